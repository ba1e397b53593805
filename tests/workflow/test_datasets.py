"""A user's own recordings: layouts, sample sheets, recordings without labels, long ones, and caches made elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
from offnote.config import Demo
from offnote.synthesis import planned_paths, synthesise_clip

from tests.workflow.runs import QUICK, Workflow

CLIPS = Demo(train=8, test_normal=4, test_anomaly=4, duration=2.0)


def clips(kind: str) -> list[np.ndarray[Any, Any]]:
    """Synthesise the rotor's clips of one kind: train/normal, test/normal or test/anomaly."""
    return [synthesise_clip(path, CLIPS) for path in planned_paths(CLIPS, "rotor", "id_00") if f"/{kind}" in path]


def write(path: Path, samples: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, 16000, subtype="PCM_16")


def test_mimii_layout(workflow: Workflow) -> None:
    root = workflow.folder / "0_dB_fan"
    for number, samples in enumerate(clips("train/normal") + clips("test/normal")):
        eight = np.stack([samples] + 7 * [np.zeros_like(samples)], axis=1)
        write(root / f"fan/id_00/normal/{number:08d}.wav", eight)
    for number, samples in enumerate(clips("test/anomaly")):
        write(root / f"fan/id_00/abnormal/{number:08d}.wav", np.stack(8 * [samples], axis=1))
    workflow.finish(QUICK | {"run": "fan", "dataset": {"name": "mimii_0_dB", "path": str(root)}})
    [row] = [row for row in workflow.rows("fan/tables/machines.csv") if row["trial"] == "mean"]
    assert (row["machine_type"], row["machine_id"], row["normal"], row["anomaly"]) == ("fan", "id_00", "4", "4")
    scored = workflow.rows("fan/scores/fan/id_00/trial_0.csv")
    tested = [row["path"] for row in scored if row["split"] == "test" and "/normal/" in row["path"]]
    assert tested == [f"fan/id_00/normal/{number:08d}.wav" for number in range(4)]


def test_a_machine_without_training_clips_stands_in_the_tables(workflow: Workflow) -> None:
    root = workflow.folder / "dev_data"
    for number, samples in enumerate(clips("train/normal")):
        write(root / f"fan/train/normal_id_00_{number:08d}.wav", samples)
    for kind in ("normal", "anomaly"):
        for number, samples in enumerate(clips(f"test/{kind}")):
            write(root / f"fan/test/{kind}_id_00_{number:08d}.wav", samples)
            write(root / f"pump/test/{kind}_id_04_{number:08d}.wav", samples)
    workflow.finish(QUICK | {"run": "gaps", "dataset": {"name": "gaps", "path": str(root)}})
    statuses = {row["machine_type"]: row["status"] for row in workflow.rows("gaps/tables/machines.csv")}
    assert statuses == {"fan": "ok", "pump": "no training clips"}
    assert "no training clips" in (workflow.folder / "results/gaps/tables/summary.md").read_text(encoding="utf-8")


def test_a_sheet_without_labels_ends_in_ranked_tables(workflow: Workflow) -> None:
    lines = ["path\tmachine_type\tmachine_id\tsplit"]
    for split, samples in [("train", clips("train/normal")), ("test", clips("test/anomaly"))]:
        for number, clip in enumerate(samples):
            write(workflow.folder / f"Werk Süd/{split} {number}.wav", clip)
            lines.append(f"Werk Süd/{split} {number}.wav\tpress\tno_7\t{split}")
    (workflow.folder / "sheet.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sheet = str(workflow.folder / "sheet.tsv")
    workflow.finish(QUICK | {"run": "factory", "dataset": {"name": "factory", "path": sheet}})
    ranked = workflow.rows("factory/tables/clips.csv")
    assert [row["rank"] for row in ranked] == ["1", "2", "3", "4"]
    assert {row["path"] for row in ranked} == {f"Werk Süd/test {number}.wav" for number in range(4)}
    assert all(0 <= float(row["percentile"]) <= 100 for row in ranked)
    assert {row["status"] for row in workflow.rows("factory/tables/machines.csv")} == {"no labels"}


def test_a_broken_clip_is_named_last_on_the_screen(workflow: Workflow) -> None:
    root = workflow.folder / "dev_data"
    for number, samples in enumerate(clips("train/normal")):
        write(root / f"fan/train/normal_id_00_{number:08d}.wav", samples)
    (root / "fan/train/normal_id_00_00000003.wav").write_bytes(b"RIFF")
    done = workflow.run(QUICK | {"run": "broken", "dataset": {"name": "broken", "path": str(root)}})
    assert done.returncode == 1
    said = [
        line for line in (done.stdout + done.stderr).splitlines() if line.startswith("offnote: features of fan/id_00")
    ]
    assert len(said) == 2
    assert "normal_id_00_00000003.wav" in said[-1]
    assert not workflow.files("broken/tables/*")


def test_long_recordings_are_sliced_and_a_machine_that_is_off_gets_a_status(workflow: Workflow) -> None:
    write(workflow.folder / "normal.wav", np.concatenate(clips("train/normal")))
    write(workflow.folder / "on.wav", np.concatenate(clips("test/normal")))
    write(workflow.folder / "off.wav", 1e-3 * np.concatenate(clips("train/normal")))
    write(workflow.folder / "new.wav", np.concatenate(clips("test/normal") + clips("test/anomaly")))
    rows = ["path\tmachine_type\tmachine_id\tsplit", "normal.wav\tpump\tno_1\ttrain", "new.wav\tpump\tno_1\ttest"]
    rows += ["off.wav\tpump\tno_2\ttrain", "on.wav\tpump\tno_2\ttest"]
    (workflow.folder / "sheet.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    dataset = {"name": "long", "path": str(workflow.folder / "sheet.tsv")}
    gated = {"slice": {"length": 2.0}, "gate": {"level": -60.0}}
    workflow.finish(QUICK | {"run": "long", "dataset": dataset, **gated})
    scored = workflow.rows("long/scores/pump/no_1/trial_0.csv")
    assert [row["start"] for row in scored if row["split"] == "test"] == [f"{2.0 * number}" for number in range(8)]
    assert len([row for row in scored if row["split"] in ("train", "validation")]) == 8
    assert len(workflow.rows("long/tables/clips.csv")) == 8
    statuses = {row["machine_id"]: row["status"] for row in workflow.rows("long/tables/machines.csv")}
    assert statuses == {"no_1": "no labels", "no_2": "no usable training clips"}


def test_starting_from_caches_without_audio(demo: Workflow, workflow: Workflow) -> None:
    [folder] = (demo.folder / "results/cache/features/demo").iterdir()
    dataset = {
        "name": "elsewhere",
        "features": str(folder),
        "path": str(demo.folder / "results/cache/clips/demo.tsv"),
    }
    config = QUICK | {"run": "demo", "dataset": dataset}
    assert "features" not in workflow.planned(config)
    workflow.finish(config)
    assert workflow.files("demo/scores/*/*/*.csv") == demo.files("demo/scores/*/*/*.csv")
    assert workflow.files("demo/tables/machines.csv") == demo.files("demo/tables/machines.csv")


def test_ones_own_caches_may_be_named_by_a_relative_path(workflow: Workflow) -> None:
    workflow.finish(QUICK | {"run": "demo"}, "--until", "features")
    [folder] = (workflow.folder / "results/cache/features/demo").iterdir()
    named = str(folder.relative_to(workflow.folder))
    planned = workflow.planned(QUICK | {"run": "again", "dataset": {"name": "again", "features": named}})
    assert planned["train"]
    assert "features" not in planned
    # What a run of the same configuration makes cannot be read before.
    runs = {"again": {"dataset": {"name": "again", "features": named}}}
    refused = workflow.run(QUICK | {"run": "demo", "runs": runs}, "--dry-run")
    assert refused.returncode == 1
    assert "which the run demo makes; give both runs the same dataset" in refused.stdout + refused.stderr


def write_elsewhere(path: Path, seed: int) -> None:
    """Write a cache as another program may, in the fewest words that the format asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["frames"] = np.random.default_rng(seed).normal(size=(12 * 20, 64)).astype(np.float32)
        file["clips/path"] = [f"{number}.wav" for number in range(12)]
        file["clips/offset"] = np.arange(13) * 20
        file["clips/split"] = ["train"] * 8 + ["test"] * 4
        file.attrs.update({"format": "offnote-features", "format_version": 1, "features": "{}", "complete": 1})


def test_caches_of_another_program_may_name_their_clips_alike(workflow: Workflow) -> None:
    """Each has paths relative to a folder of its own."""
    for seed, machine in enumerate(("id_00", "id_02")):
        write_elsewhere(workflow.folder / "features" / "fan" / f"{machine}.h5", seed)
    workflow.finish(QUICK | {"run": "ext", "dataset": {"name": "ext", "features": str(workflow.folder / "features")}})
    rows = workflow.rows("ext/tables/clips.csv")
    assert {(row["machine_id"], row["path"]) for row in rows} == {
        (machine, f"{number}.wav") for machine in ("id_00", "id_02") for number in range(8, 12)
    }


def test_a_cache_that_gave_way_to_an_older_one_is_noticed(workflow: Workflow) -> None:
    config = QUICK | {"run": "ext", "dataset": {"name": "ext", "features": "features"}}
    for seed, machine in enumerate(("id_00", "id_02")):
        write_elsewhere(workflow.folder / "features" / "fan" / f"{machine}.h5", seed)
    workflow.finish(config)
    assert workflow.planned(config) == {}
    replaced = workflow.folder / "features" / "fan" / "id_02.h5"
    write_elsewhere(replaced, seed=2)
    os.utime(replaced, (1e9, 1e9))
    planned = workflow.planned(config)
    assert (planned["train"], planned["score"], planned["evaluate"]) == (1, 1, 1)


def test_caches_of_other_settings_are_refused_by_key(demo: Workflow, workflow: Workflow) -> None:
    [folder] = (demo.folder / "results/cache/features/demo").iterdir()
    done = workflow.run(QUICK | {"dataset": {"name": "elsewhere", "features": str(folder)}, "preset": "dcase2020"})
    assert done.returncode == 1
    assert "features.n_mels is 64 there and 128 here" in done.stdout + done.stderr


def test_streamed_training_still_trains(demo: Workflow, workflow: Workflow) -> None:
    [folder] = (demo.folder / "results/cache/features/demo").iterdir()
    training = QUICK["training"] | {"memory": 0.05}  # the features of three clips
    dataset = {"name": "elsewhere", "features": str(folder), "path": str(demo.folder / "results/cache/clips/demo.tsv")}
    config = QUICK | {"run": "streamed", "dataset": dataset, "training": training, "model": {"scope": "set"}}
    workflow.finish(config)
    losses = [float(row["loss"]) for row in workflow.rows("streamed/models/all/all/trial_0/loss.csv")]
    assert losses[1] < losses[0]


def test_trials_differ_and_are_averaged(demo: Workflow, workflow: Workflow) -> None:
    [folder] = (demo.folder / "results/cache/features/demo").iterdir()
    dataset = {"name": "elsewhere", "features": str(folder), "path": str(demo.folder / "results/cache/clips/demo.tsv")}
    training = QUICK["training"] | {"trials": 2}
    workflow.finish(QUICK | {"run": "demo", "dataset": dataset, "training": training, "jobs": {"machines": 3}})
    rows = [row for row in workflow.rows("demo/tables/machines.csv") if row["machine_type"] == "rotor"]
    first, second, mean = rows
    assert (first["trial"], second["trial"], mean["trial"]) == ("0", "1", "mean")
    assert float(mean["auc"]) == pytest.approx((float(first["auc"]) + float(second["auc"])) / 2)
    scores = workflow.files("demo/scores/rotor/id_00/*.csv")
    assert scores["demo/scores/rotor/id_00/trial_0.csv"] != scores["demo/scores/rotor/id_00/trial_1.csv"]
    # The first trial is the one that a run with a single trial makes.
    assert (
        scores["demo/scores/rotor/id_00/trial_0.csv"] == demo.files("demo/scores/rotor/id_00/trial_0.csv").popitem()[1]
    )


def test_real_clips(workflow: Workflow, shared_data: Path) -> None:
    root = shared_data / "dcase2020"
    workflow.finish(QUICK | {"run": "slider", "dataset": {"name": "dcase2020", "path": str(root)}})
    statuses = {row["machine_type"]: row["status"] for row in workflow.rows("slider/tables/machines.csv")}
    others = dict.fromkeys(["ToyCar", "ToyConveyor", "fan", "pump", "valve"], "no training clips")
    assert statuses == others | {"slider": "ok"}
