"""kill -9 of a worker, and of Snakemake itself: the same command carries on, to the same bytes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from tests.workflow.runs import TINY_DEMO, Workflow
from tests.years import settings

CONFIG: dict[str, Any] = TINY_DEMO | {
    "dataset": {"machines": ["rotor/*"]},
    "training": {"epochs": 200, "validation": 0.25},
    "jobs": {"checkpoint_seconds": 0},
}
PATIENCE = 120.0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    finished = Workflow(tmp_path_factory.mktemp("undisturbed"))
    finished.finish(CONFIG)
    return finished


@pytest.fixture
def started(tmp_path: Path) -> subprocess.Popen[bytes]:
    """Start Snakemake with one core: one job at a time, so that the job found is the one whose checkpoint was seen."""
    return start_in(tmp_path, CONFIG, cores=1)


def start_in(folder: Path, config: dict[str, Any], *options: str, cores: int = 2) -> subprocess.Popen[bytes]:
    """Start Snakemake in a folder, and return its process."""
    command = Workflow(folder).command(config, *options, cores=cores)
    with (folder / "screen.txt").open("wb") as screen:
        return subprocess.Popen(command, stdout=screen, stderr=screen)


def wait_for(found: Callable[[], Any], what: str, pause: float = 0.05) -> Any:
    """Return what `found` finds as soon as it finds something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(pause)
    pytest.fail(f"waited {PATIENCE:.0f} s for {what}")


def command_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process; an empty one where it has just ended."""
    try:
        command: list[str] = process.cmdline()
    except psutil.NoSuchProcess:
        return []
    return command


def worker(snakemake: subprocess.Popen[bytes], stage: str) -> psutil.Process:
    """Wait for a job of a stage, and return its process."""

    def found() -> list[psutil.Process]:
        workers = psutil.Process(snakemake.pid).children(recursive=True)
        return [process for process in workers if any(f".{stage}.py" in part for part in command_of(process))]

    process: psutil.Process = wait_for(found, f"a job of {stage}", pause=0.01)[0]
    return process


def kill_worker(snakemake: subprocess.Popen[bytes], stage: str) -> None:
    worker(snakemake, stage).kill()
    assert snakemake.wait() == 1


def kill_snakemake(snakemake: subprocess.Popen[bytes], stage: str) -> None:
    """Kill Snakemake alone: its workers are left without it, and end by themselves."""
    worker(snakemake, stage)
    workers = psutil.Process(snakemake.pid).children(recursive=True)
    snakemake.kill()
    assert snakemake.wait() == -signal.SIGKILL
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def kill_all(snakemake: subprocess.Popen[bytes], stage: str) -> None:
    """Kill Snakemake and its workers at once, as when the power fails."""
    worker(snakemake, stage)
    workers = psutil.Process(snakemake.pid).children(recursive=True)
    snakemake.kill()
    for process in workers:
        process.kill()
    assert snakemake.wait() == -signal.SIGKILL


def in_training(folder: Path) -> Callable[[], bool]:
    return lambda: any((folder / "results/cache/checkpoints").glob("*/state.safetensors"))


@pytest.mark.parametrize("stage", ["features", "train"])
@pytest.mark.parametrize("kill", [kill_worker, kill_snakemake, kill_all])
def test_after_a_kill_the_same_command_carries_on_to_the_same_scores(
    undisturbed: Workflow,
    started: subprocess.Popen[bytes],
    tmp_path: Path,
    kill: Callable[[subprocess.Popen[bytes], str], None],
    stage: str,
) -> None:
    if stage == "train":
        wait_for(in_training(tmp_path), "the first checkpoint")
    wait_for(lambda: any(path.stat().st_size for path in (tmp_path / "logs" / stage).rglob("*.log")), "a job's log")
    kill(started, stage)
    if kill is kill_worker:
        screen = (tmp_path / "screen.txt").read_text(encoding="utf-8")
        assert f"{'training' if stage == 'train' else 'features'} of rotor/id_0" in screen
        assert "killed, by hand or for want of memory" in screen
    flow = Workflow(tmp_path)
    (tmp_path / "results/cache/.left.abcdefgh.part.h5").touch()
    flow.finish(CONFIG)
    for pattern in ("cache/features/*/*/*/*", "demo/models/*/*/*/*", "demo/scores/*/*/*", "demo/tables/*"):
        assert flow.files(pattern) == undisturbed.files(pattern)
    assert not list((tmp_path / "results").rglob(".*"))
    assert not list((tmp_path / "results/cache/checkpoints").glob("*"))
    assert flow.planned(CONFIG) == {}
    if stage == "train":
        logs = [path.read_text() for path in (tmp_path / "logs/train").rglob("*.log")]
        assert any("training goes on after epoch" in text for text in logs)


def test_a_job_of_each_stage_is_killed_in_turn(tmp_path: Path) -> None:
    flow, undisturbed = Workflow(tmp_path / "flow"), Workflow(tmp_path / "undisturbed")
    for workflow in (flow, undisturbed):
        workflow.folder.mkdir()
    for stage in ("index", "synthesise", "features", "train", "score", "figures", "evaluate", "manifest"):
        kill_worker(start_in(flow.folder, TINY_DEMO, "--until", stage), stage)
    flow.finish(TINY_DEMO)
    undisturbed.finish(TINY_DEMO)
    for pattern in ("cache/**/*.*", "demo/**/*.*"):
        assert flow.files(pattern) == undisturbed.files(pattern)
    assert not list((flow.folder / "results").rglob(".*"))
    assert flow.planned(TINY_DEMO) == {}


def test_a_job_of_each_stage_of_a_submission_is_killed_in_turn(tmp_path: Path) -> None:
    config, targets = settings(2024), ("--", "all", "ground_truth", "submission", "rehearse")
    flow, undisturbed = Workflow(tmp_path / "flow"), Workflow(tmp_path / "undisturbed")
    for workflow in (flow, undisturbed):
        workflow.folder.mkdir()
    for stage in ("ground_truth", "official", "submission", "rehearse"):
        kill_worker(start_in(flow.folder, config, "--until", stage, *targets), stage)
    for workflow in (flow, undisturbed):
        workflow.finish(config, *targets)
    results = [workflow.files("**/*.*") for workflow in (flow, undisturbed)]
    for files in results:
        assert files.pop("ae/rehearsal/rehearsal.md")  # It tells how long all took.
    assert results[0] == results[1]


def test_after_a_kill_another_configuration_has_its_own_models(
    started: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    wait_for(in_training(tmp_path), "the first checkpoint")
    worker(started, "train")
    started.kill()
    started.wait()
    flow = Workflow(tmp_path)
    flow.finish(CONFIG | {"seed": 1, "training": CONFIG["training"] | {"epochs": 2}})
    time.sleep(10)
    for card in (tmp_path / "results/demo/models").glob("rotor/*/trial_0/model.json"):
        found = json.loads(card.read_text(encoding="utf-8"))
        assert (found["seed"], found["training"]["epochs"]) == (1, 2)


def test_two_at_once_in_one_folder_are_refused(
    started: subprocess.Popen[bytes], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wait_for(in_training(tmp_path), "the first checkpoint")
    # Held, so that however slow this computer is, the first one is still at work when the second ones come.
    job = worker(started, "train")
    held = [job, *job.children(recursive=True)]
    for process in held:
        process.suspend()
    try:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        (elsewhere / "results").symlink_to(tmp_path / "results")
        for folder in (tmp_path, elsewhere):
            second = Workflow(folder).run(CONFIG)
            assert second.returncode == 1
            assert "another snakemake is at work in" in second.stdout + second.stderr
    finally:
        for process in held:
            process.resume()
    assert started.wait() == 0


SLICED: dict[str, Any] = TINY_DEMO | {
    "run": "long",
    "dataset": {"name": "long", "path": "audio/sheet.tsv"},
    "slice": {"length": 10.0},
}


def write_recordings(folder: Path, seed: int) -> None:
    """Write a machine with one long recording to train on, whose noise depends on the seed, and two short ones."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["path\tmachine_type\tmachine_id\tsplit\tlabel"]
    for name, split, label, seconds, drawn in (
        ("long.wav", "train", "normal", 600, seed),
        ("good.wav", "test", "normal", 20, 11),
        ("bad.wav", "test", "anomaly", 20, 12),
    ):
        noise = np.random.default_rng(drawn).normal(0, 0.1, 16000 * seconds)
        soundfile.write(folder / name, noise, 16000, subtype="PCM_16")
        rows.append(f"{name}\tpump\tno_1\t{split}\t{label}")
    (folder / "sheet.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def stop_while_it_reads(snakemake: subprocess.Popen[bytes], recording: Path) -> psutil.Process:
    """Wait until a job has a recording open, stop it there, and return its process."""
    reader = worker(snakemake, "features")

    def is_open() -> bool:
        reader.suspend()
        if any(Path(file.path) == recording for file in reader.open_files()):
            return True
        reader.resume()
        return False

    wait_for(is_open, f"a reader of {recording}", pause=0.002)
    return reader


@pytest.mark.parametrize("in_place", [False, True])
def test_after_a_clip_was_replaced_while_it_was_read_the_same_command_reads_the_new_one(
    tmp_path: Path, in_place: bool
) -> None:
    flow, undisturbed = Workflow(tmp_path / "flow"), Workflow(tmp_path / "undisturbed")
    write_recordings(flow.folder / "audio", seed=1)
    write_recordings(undisturbed.folder / "audio", seed=2)
    recording, new = flow.folder / "audio/long.wav", undisturbed.folder / "audio/long.wav"
    process = start_in(flow.folder, SLICED)
    reader = stop_while_it_reads(process, recording)
    if in_place:
        recording.write_bytes(new.read_bytes())
    else:
        shutil.copy(new, flow.folder / "new.wav")
        (flow.folder / "new.wav").replace(recording)
    reader.resume()
    # Whether the job noticed or not: what it made of half of each is not taken for the new recording's.
    process.wait()
    assert flow.planned(SLICED)["features"] == 1
    flow.finish(SLICED)
    undisturbed.finish(SLICED)
    for pattern in ("cache/features/*/*/*/*", "long/models/*/*/*/*", "long/scores/*/*/*", "long/tables/*"):
        assert flow.files(pattern) == undisturbed.files(pattern)
        assert flow.files(pattern)
    assert flow.planned(SLICED) == {}
