"""Bad input, done for real: what the person at the keyboard sees, and what is left of the run."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
from offnote.config import Demo
from offnote.synthesis import planned_paths, synthesise_clip

from tests.workflow.runs import QUICK, TINY_DEMO, Workflow

RATE = 16000
CLIPS = Demo(train=4, test_normal=2, test_anomaly=2, duration=2.0)
HEADER = "path\tmachine_type\tmachine_id\tsplit\tlabel"

Samples = np.ndarray[Any, np.dtype[np.float64]]


def sound(path: Path, change: Callable[[Samples], Samples]) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, change(samples), rate, subtype="FLOAT")


def with_one_nan(samples: Samples) -> Samples:
    return np.where(np.arange(len(samples)) == 999, np.nan, samples)


# Each breaks the clip at a path, and says what the screen must say of it.
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "unreadable": (lambda path: path.write_bytes(b"no sound at all"), "damaged, or no audio file"),
    "zero_bytes": (lambda path: path.write_bytes(b""), "empty, it holds no bytes"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:20000]), "cut short, 19956 of 64000 bytes"),
    "empty": (lambda path: sound(path, lambda samples: samples[:0]), "empty, its header tells of no samples"),
    "silent": (lambda path: sound(path, np.zeros_like), "silent, every sample"),
    "nan": (lambda path: sound(path, with_one_nan), "is not finite"),
    "shorter_than_padding": (lambda path: sound(path, lambda samples: samples[:300]), "300 samples are too few"),
    "shorter_than_window": (lambda path: sound(path, lambda samples: samples[:1500]), "3 frames are less than one"),
}


def record(flow: Workflow, machines: Iterable[str]) -> None:
    """Write the clips of some rotors, all alike, and the sheet that lists them."""
    rows = [HEADER]
    for machine in machines:
        for path in planned_paths(CLIPS, "rotor", "id_00"):
            name = f"recordings/{machine}/{path.partition('/')[2]}"
            (flow.folder / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(flow.folder / name, synthesise_clip(path, CLIPS), RATE, subtype="PCM_16")
            label = "anomaly" if "anomaly" in path else "normal"
            rows.append(f"{name}\trotor\t{machine}\t{'train' if '/train/' in path else 'test'}\t{label}")
    (flow.folder / "sheet.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Return a folder with a sheet of machines: one sound, and one for each fault with one broken test clip."""
    flow = Workflow(tmp_path_factory.mktemp("broken"))
    record(flow, ["none", *FAULTS])
    for fault, (breaks, _) in FAULTS.items():
        breaks(victim(flow, fault))
    return flow


def victim(flow: Workflow, fault: str) -> Path:
    """Return the clip of a machine that its fault breaks: the last normal one of four test clips."""
    return max((flow.folder / "recordings" / fault / "test").glob("normal_*"))


def settings(flow: Workflow, broken_clips: str) -> dict[str, Any]:
    dataset = {"name": "broken", "path": str(flow.folder / "sheet.tsv"), "broken_clips": broken_clips}
    return QUICK | {"run": "broken", "dataset": dataset}


@dataclass(frozen=True)
class Stop:
    """What was on the screen when the run stopped, the machines it came how far with, and what said how it came out."""

    screen: str
    trained: set[str]
    scored: set[str]
    outcome: set[str]


@pytest.fixture(scope="module")
def stopped(broken: Workflow) -> Stop:
    """Run the workflow where broken clips stop, with tables and a manifest of an earlier state of things there."""
    results = broken.folder / "results/broken"
    (results / "tables").mkdir(parents=True)
    (results / "tables/machines.csv").write_text("machine_type,machine_id,trial,auc\n", encoding="utf-8")
    (results / "manifest.json").write_text("{}\n", encoding="utf-8")
    done = broken.run(settings(broken, "stop"))
    assert done.returncode == 1
    return Stop(
        done.stdout + done.stderr,
        {path.parts[-3] for path in results.glob("models/rotor/*/trial_0/model.safetensors")},
        {path.parent.name for path in results.glob("scores/rotor/*/trial_0.csv")},
        {path.name for pattern in ("tables/*", "official/*", "manifest.json") for path in results.glob(pattern)},
    )


@pytest.fixture(scope="module")
def went_on(broken: Workflow, stopped: Stop) -> str:
    """Run it again where broken clips are excluded, and return what was on the screen."""
    assert stopped.screen
    return broken.finish(settings(broken, "exclude"))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_clip_stops_its_machine_in_one_sentence(broken: Workflow, stopped: Stop, fault: str) -> None:
    [sentence] = {
        line for line in stopped.screen.splitlines() if line.startswith("offnote: ") and f"rotor/{fault}" in line
    }
    assert victim(broken, fault).name in sentence
    assert FAULTS[fault][1] in sentence
    assert "set dataset.broken_clips: exclude" in sentence
    log = Path(sentence.rpartition("(log: ")[2].rstrip(")"))
    story = (broken.folder / log).read_text(encoding="utf-8")
    assert "Traceback" in story
    assert sentence.removeprefix("offnote: ") in story
    assert "Traceback" not in stopped.screen


def test_where_one_machine_stops_the_others_finish_and_there_are_no_tables(broken: Workflow, stopped: Stop) -> None:
    # The clip shorter than a window is a clip to the features and to the training: only the scoring stops at it.
    assert stopped.trained == {"none", "shorter_than_window"}
    assert stopped.scored == {"none"}
    assert stopped.outcome == set()


def test_excluded_clips_are_listed_counted_and_never_scored(broken: Workflow, went_on: str) -> None:
    listed = broken.rows("broken/tables/excluded.csv")
    assert {row["machine_id"]: row["path"] for row in listed} == {
        fault: victim(broken, fault).relative_to(broken.folder).as_posix() for fault in FAULTS
    }
    for row in listed:
        assert FAULTS[row["machine_id"]][1] in row["reason"]
        assert (row["split"], row["label"] != "") == ("test", True)
    assert f"Without {len(FAULTS)} broken clips" in went_on
    whole = broken.rows("broken/scores/rotor/none/trial_0.csv")
    for fault in FAULTS:
        scored = broken.rows(f"broken/scores/rotor/{fault}/trial_0.csv")
        names = {row["path"].partition(fault)[2] for row in scored}
        missing = str(victim(broken, fault)).rpartition(fault)[2]
        assert names == {row["path"].partition("none")[2] for row in whole} - {missing}
        assert all(float(row["mean"]) > 0 for row in scored)


def test_clips_that_caches_made_elsewhere_exclude_are_excluded_here(
    broken: Workflow, went_on: str, workflow: Workflow
) -> None:
    assert went_on
    [folder] = (broken.folder / "results/cache/features/broken").iterdir()
    dataset = {"name": "elsewhere", "features": str(folder), "path": str(broken.folder / "sheet.tsv")}
    config = QUICK | {"run": "broken", "dataset": dataset | {"broken_clips": "exclude"}}
    workflow.finish(config)
    for table in ("excluded.csv", "machines.csv", "clips.csv"):
        assert workflow.files(f"broken/tables/{table}") == broken.files(f"broken/tables/{table}")
    done = workflow.run(QUICK | {"run": "stopped", "dataset": dataset})
    assert done.returncode == 1
    assert "set dataset.broken_clips: exclude" in done.stdout + done.stderr
    # A row that a cache says nothing of is not passed over.
    text = (broken.folder / "sheet.tsv").read_text(encoding="utf-8")
    (workflow.folder / "sheet.tsv").write_text(f"{text}recordings/more.wav\trotor\tnone\ttest\tnormal\n")
    done = workflow.run(QUICK | {"dataset": dataset | {"path": str(workflow.folder / "sheet.tsv")}})
    assert done.returncode == 1
    assert "lists the clip recordings/more.wav of rotor/none, which the cache of this machine does not hold" in (
        done.stdout + done.stderr
    )


def test_a_machine_without_a_usable_clip_gets_a_status_and_holds_up_no_other(workflow: Workflow) -> None:
    record(workflow, ["none", "untrained", "nothing"])
    for broken in ("untrained/train/*", "nothing/*/*"):
        for path in workflow.folder.glob(f"recordings/{broken}"):
            path.write_bytes(b"")
    screen = workflow.finish(settings(workflow, "exclude"))
    machines = {row["machine_id"]: row for row in workflow.rows("broken/tables/machines.csv") if row["trial"] != "0"}
    statuses = {"none": "ok", "untrained": "no usable training clips", "nothing": "no usable training clips"}
    assert {name: row["status"] for name, row in machines.items()} == statuses
    assert (machines["none"]["auc"] != "", machines["untrained"]["auc"], machines["nothing"]["auc"]) == (True, "", "")
    assert (machines["untrained"]["normal"], machines["untrained"]["anomaly"]) == ("2", "2")
    assert (machines["nothing"]["normal"], machines["nothing"]["anomaly"]) == ("0", "0")
    excluded = Counter((row["machine_id"], row["split"]) for row in workflow.rows("broken/tables/excluded.csv"))
    assert excluded == {("untrained", "train"): 4, ("nothing", "train"): 4, ("nothing", "test"): 4}
    assert {row["machine_id"] for row in workflow.rows("broken/tables/clips.csv")} == {"none"}
    assert "| rotor/untrained | no usable training clips | 2 | 2 | 0 |" in screen
    figure = (workflow.folder / "results/broken/report/rotor/untrained/histogram.svg").read_text(encoding="utf-8")
    assert "no usable training clips" in figure
    assert "Nothing to be done" in workflow.finish(settings(workflow, "exclude"))


def test_stopping_again_refuses_tables_that_lack_a_clip(broken: Workflow, went_on: str) -> None:
    assert went_on
    done = broken.run(settings(broken, "stop"), "--until", "evaluate")
    assert done.returncode == 1
    assert "has no score" in done.stdout + done.stderr
    assert not (broken.folder / "results/broken/tables/machines.csv").exists()


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["a.wav\tfan\tid_00\ttrain\tnormal", "b.wav\tfan\tid_00\ttrain\tnormal"], "there is no file b.wav"),
        (["a.wav\tfan\tid_00\ttrain\tnormal", "a.wav\tfan\tid_00\ttrain\tnormal"], "the clip a.wav is listed twice"),
        (["a.wav\tfan\tid_00\ttraining\tnormal"], "line 2, split: 'training' is none of"),
        (["a.wav\tfan\tid_00\ttest\tbroken"], "line 2, label: 'broken' is none of"),
        (["a.wav\tfan\tid 00\ttrain\tnormal"], "line 2, machine_id: 'id 00' cannot be a folder's name"),
        (["a.wav\tall\tid_00\ttrain\tnormal"], "line 2, machine_type: 'all' cannot be a folder's name"),
        (["a.wav\tfan\tid_00\ttrain"], "line 2: has another number of columns than the header"),
    ],
)
def test_a_wrong_row_of_a_sheet_is_named_before_any_job(workflow: Workflow, rows: list[str], sentence: str) -> None:
    (workflow.folder / "a.wav").touch()
    (workflow.folder / "sheet.tsv").write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    done = workflow.run({"run": "a", "dataset": {"name": "a", "path": str(workflow.folder / "sheet.tsv")}})
    assert done.returncode == 1
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (workflow.folder / "results").exists()


def test_recordings_with_odd_names_and_dates_are_like_any_others(workflow: Workflow) -> None:
    folder = workflow.folder / "a {b} <c> $d 'e'"
    folder.mkdir()
    rows = [HEADER]
    for number in range(4):
        name = f"{{x}} <y> {number} ü;&*?#.wav"
        soundfile.write(folder / name, np.random.default_rng(number).normal(0, 0.1, RATE), RATE)
        os.utime(folder / name, (2e9, 2e9))
        rows.append(f"{name}\tfan\tid_00\t{'train' if number < 3 else 'test'}\t")
    (folder / "sheet.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    config = {"run": "a", "dataset": {"name": "a", "path": str(folder / "sheet.tsv")}, "training": {"epochs": 1}}
    workflow.finish(config)
    assert [row["path"] for row in workflow.rows("a/tables/clips.csv")] == ["{x} <y> 3 ü;&*?#.wav"]
    assert "Nothing to be done" in workflow.finish(config)


def test_a_job_of_several_machines_names_all_that_is_broken(workflow: Workflow) -> None:
    rows = [HEADER]
    for machine in ("id_00", "id_02", "id_04"):
        soundfile.write(workflow.folder / f"{machine}.wav", np.random.default_rng(0).normal(0, 0.1, 32000), 16000)
        rows += [f"{machine}.wav\tfan\t{machine}\ttrain\tnormal"]
    for machine in ("id_00", "id_04"):
        (workflow.folder / f"{machine}.wav").write_bytes(b"")
    (workflow.folder / "sheet.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    dataset = {"name": "a", "path": str(workflow.folder / "sheet.tsv")}
    done = workflow.run({"run": "a", "dataset": dataset, "jobs": {"machines": 3}})
    assert done.returncode == 1
    [sentence] = [line for line in done.stderr.splitlines() if line.startswith("offnote: features of")][:1]
    assert "id_00.wav: " in sentence
    assert "id_04.wav: " in sentence


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("path\tmachine_type\tmachine_id\tsplits", "the column 'split' is missing"),
        (f"{HEADER}\tlabels", "unknown column 'labels'; did you mean 'label'?"),
    ],
)
def test_an_unknown_or_missing_column_is_named(workflow: Workflow, header: str, sentence: str) -> None:
    (workflow.folder / "sheet.tsv").write_text(header + "\n", encoding="utf-8")
    done = workflow.run({"run": "a", "dataset": {"name": "a", "path": str(workflow.folder / "sheet.tsv")}})
    assert done.returncode == 1
    assert sentence in done.stdout + done.stderr


def test_what_this_machine_cannot_do_is_said_before_anything_is_removed(demo: Workflow) -> None:
    before = demo.files("demo/**/*.*")
    impossible: list[tuple[dict[str, Any], str]] = [
        ({"model": {"threads": 3}, "seed": 1}, "model.threads is 3"),
        ({"require_gpu": True, "seed": 1}, "a GPU is required"),
    ]
    for config, sentence in impossible:
        if "require_gpu" in config and has_gpu():
            continue
        done = demo.run(TINY_DEMO | config, cores=2)
        assert done.returncode == 1
        assert sentence in done.stdout + done.stderr
        assert demo.files("demo/**/*.*") == before


def has_gpu() -> bool:
    from offnote.device import gpus

    return gpus() > 0


@pytest.mark.parametrize("damage", ["truncated", "one flipped byte"])
def test_a_damaged_cache_is_named_by_the_job_that_reads_it(demo: Workflow, workflow: Workflow, damage: str) -> None:
    [source] = (demo.folder / "results/cache/features/demo").glob("*/rotor/id_00.h5")
    path = workflow.folder / "features/rotor/id_00.h5"
    path.parent.mkdir(parents=True)
    content = bytearray(source.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        with h5py.File(source, "r") as file:
            content[file["frames"].id.get_chunk_info(0).byte_offset + 100] ^= 1
    path.write_bytes(content)
    dataset = {"name": "elsewhere", "features": str(workflow.folder / "features")}
    done = workflow.run(QUICK | {"run": "damaged", "dataset": dataset})
    assert done.returncode == 1
    assert f"{path}: not a feature cache, or damaged" in done.stdout + done.stderr
    assert not workflow.files("damaged/tables/*")


def disk(flow: Workflow, config: dict[str, Any], script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount file systems; in it ``$run`` is the command of the workflow."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this system lets nobody mount a file system of their own (unshare)")
    run = " ".join(flow.command(config))
    command = ["unshare", "-rm", "bash", "-c", f"run='{run}'; cd {flow.folder}; {script}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_full_disk_stops_the_run_and_the_same_command_carries_on(demo: Workflow, workflow: Workflow) -> None:
    """On a disk that holds the recordings of the demo set, and not the features of its three machines as well."""
    script = (
        "mkdir results && mount -t tmpfs -o size=1g tmpfs results && $run --until synthesise && "
        "used=$(du -sk results | cut -f1) && mount -o remount,size=$((used + 400))k results && "
        "! $run && echo STOPPED && "
        "mount -o remount,size=1g results && $run && cp -r results/demo/scores scores"
    )
    done = disk(workflow, TINY_DEMO, script)
    assert done.returncode == 0, done.stdout + done.stderr
    before = (done.stdout + done.stderr).partition("STOPPED")[0]
    assert "offnote: features of" in before
    assert ".h5: cannot be written (No space left on device); make room" in before
    assert "Traceback" not in before
    for path in (demo.folder / "results/demo/scores").glob("*/*/trial_0.csv"):
        again = workflow.folder / "scores" / path.relative_to(demo.folder / "results/demo/scores")
        assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("folder", ["results", "logs", ".snakemake"])
def test_a_read_only_folder_is_named_before_anything_is_removed(workflow: Workflow, folder: str) -> None:
    tables = workflow.folder / "results/demo/tables/machines.csv"
    if folder != "results":
        tables.parent.mkdir(parents=True)
        tables.touch()
    done = disk(workflow, TINY_DEMO, f"mkdir {folder} && mount -t tmpfs -o ro tmpfs {folder} && $run")
    assert done.returncode == 1
    assert f"{folder}: cannot be written (Read-only file system)" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert tables.exists() == (folder != "results")
