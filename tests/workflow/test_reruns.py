"""What a change makes the workflow do again, and what it leaves alone."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from offnote.clips import read_clips, write_clips

from tests.workflow.runs import TINY_DEMO, Workflow, copy_code

MACHINES = ["rotor/id_00", "valve/id_02"]
TABLES = {"evaluate": 1}


def redone(planned: dict[str, int]) -> dict[str, int]:
    """Leave out the target, the clip list and the manifest, which every change of the results touches."""
    return {rule: count for rule, count in planned.items() if rule not in ("all", "index", "manifest")}


def test_a_second_run_and_one_after_another_do_nothing(demo: Workflow) -> None:
    other = TINY_DEMO | {"run": "other", "training": TINY_DEMO["training"] | {"learning_rate": 0.01}}
    caches = demo.files("cache/features/**/*.h5")
    demo.finish(other)
    assert demo.planned(TINY_DEMO) == {}
    assert demo.planned(other) == {}
    assert demo.files("cache/features/**/*.h5") == caches


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"evaluate": {"aggregator": "max", "resamples": 50}}, {"evaluate": 1, "figures": 3}),
        ({"scores": {"quantiles": [0.5]}}, {"score": 3, "evaluate": 1, "figures": 3}),
        (
            {"training": TINY_DEMO["training"] | {"learning_rate": 0.01}},
            {"train": 3, "score": 3, "evaluate": 1, "figures": 3},
        ),
        ({"features": {"n_mels": 32}}, {"features": 3, "train": 3, "score": 3, "evaluate": 1, "figures": 3}),
        ({"device": "cpu"}, {}),
        ({"jobs": {"checkpoint_seconds": 5}}, {}),
        ({"dataset": TINY_DEMO["dataset"] | {"broken_clips": "exclude"}}, {"evaluate": 1}),
    ],
    ids=str,
)
def test_a_change_redoes_what_depends_on_it(demo: Workflow, change: dict[str, Any], again: dict[str, int]) -> None:
    assert redone(demo.planned(TINY_DEMO | change)) == again


@pytest.mark.parametrize(
    "options",
    [["--set-threads", "features=4"], ["--workflow-profile", "none"], ["--resources", "gpu=4"], ["--cores", "1"]],
    ids=" ".join,
)
def test_threads_profile_and_resources_redo_nothing(demo: Workflow, options: list[str]) -> None:
    assert demo.planned(TINY_DEMO, *options) == {}


@pytest.fixture(scope="module")
def copied(demo: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Return the finished demo with a copy of the code beside it, which tests may edit."""
    code = copy_code(tmp_path_factory.mktemp("code"))
    folder = tmp_path_factory.mktemp("results") / "folder"
    shutil.copytree(demo.folder, folder)
    return replace(demo, folder=folder, code=code)


@pytest.mark.parametrize(
    ("module", "old", "new", "again"),
    [
        (
            "features",
            "20 / self.features.power",
            "10 * 2 / self.features.power",
            {"features": 3, "train": 3, "score": 3, "evaluate": 1, "figures": 3},
        ),
        ("features", "    def _log_mel(", "    # A remark.\n    def _log_mel(", {}),
        ("training", "MEAN_DECAY = 0.9\n", "MEAN_DECAY = 0.8\n", {"train": 3, "score": 3, "evaluate": 1, "figures": 3}),
        ("scores", "exact.mean()", "exact.sum() / len(exact)", {"score": 3, "evaluate": 1, "figures": 3}),
        ("evaluation", "TOLERANCE = 1e-6", "TOLERANCE = 2e-6", {"evaluate": 1, "figures": 3}),
    ],
    ids=["log-mel", "a comment", "training", "a score", "the tables"],
)
def test_an_edit_of_the_code_redoes_its_stage_and_later_ones(
    copied: Workflow, module: str, old: str, new: str, again: dict[str, int]
) -> None:
    path = copied.code / "workflow/scripts/offnote" / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    try:
        planned = redone(copied.planned(TINY_DEMO))
    finally:
        path.write_text(text, encoding="utf-8")
    assert {rule: count for rule, count in planned.items() if rule in again} == again
    assert planned.keys() - again.keys() <= ({"train"} if module == "scores" else set())
    assert copied.planned(TINY_DEMO) == {}


@pytest.fixture(scope="module")
def listed(demo: Workflow, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workflow, dict[str, Any]]:
    """Return a finished run of two machines' recordings by a sample sheet, and its configuration."""
    flow = Workflow(tmp_path_factory.mktemp("listed"))
    known = read_clips(demo.folder / "results/cache/clips/demo.tsv")
    shutil.copytree(demo.folder / "results/cache/demo", flow.folder / "recordings")
    write_clips(flow.folder / "recordings/sheet.tsv", [clip for clip in known if str(clip.machine) in MACHINES])
    dataset = {"name": "listed", "path": str(flow.folder / "recordings/sheet.tsv")}
    config = TINY_DEMO | {"run": "listed", "dataset": dataset}
    flow.finish(config)
    return flow, config


@pytest.fixture
def recordings(listed: tuple[Workflow, dict[str, Any]]) -> Iterator[Path]:
    """Return the folder of the recordings, and put it back as it was afterwards."""
    folder = listed[0].folder / "recordings"
    before = folder.with_name("before")
    shutil.copytree(folder, before)
    yield folder
    shutil.rmtree(folder)
    before.rename(folder)
    assert listed[0].planned(listed[1]) == {}


def edit_sheet(folder: Path, pattern: str, replacement: str) -> None:
    sheet = folder / "sheet.tsv"
    text, count = re.subn(pattern, replacement, sheet.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    assert count == 1
    sheet.write_text(text, encoding="utf-8")


def another_sound(path: Path) -> None:
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 32000), 16000, subtype="PCM_16")


def add(folder: Path) -> None:
    another_sound(folder / "new.wav")
    edit_sheet(folder, r"\Z", "new.wav\trotor\tid_00\ttest\tanomaly\t\t\t\t\t\n")


def change(folder: Path) -> None:
    another_sound(next((folder / "rotor/test").glob("normal_id_00_*")))


def remove(folder: Path) -> None:
    edit_sheet(folder, r"^rotor/train/.*\n", "")


def replace_by_an_older_one(folder: Path) -> None:
    path = next((folder / "rotor/test").glob("normal_id_00_*"))
    before = path.stat()
    another_sound(path)
    assert path.stat().st_size == before.st_size
    os.utime(path, (before.st_atime, before.st_mtime - 1000))


def correct_label(folder: Path) -> None:
    edit_sheet(folder, r"^(rotor/test/.*\t)anomaly", r"\1normal")


ONE_MACHINE = {"features": 1, "train": 1, "score": 1, "evaluate": 1, "figures": 1}


@pytest.mark.parametrize(
    ("edit", "again"),
    [
        (add, ONE_MACHINE),
        (change, ONE_MACHINE),
        (replace_by_an_older_one, ONE_MACHINE),
        (remove, ONE_MACHINE),
        (correct_label, {"evaluate": 1, "figures": 1}),
    ],
)
def test_an_edit_of_the_recordings_redoes_their_machine_and_the_tables(
    listed: tuple[Workflow, dict[str, Any]],
    recordings: Path,
    edit: Callable[[Path], None],
    again: dict[str, int],
) -> None:
    edit(recordings)
    assert redone(listed[0].planned(listed[1])) == again


def test_a_clip_more_changes_no_other_clips_score_and_no_other_machine(
    listed: tuple[Workflow, dict[str, Any]], recordings: Path
) -> None:
    flow, config = listed
    copied = Workflow(flow.folder.with_name("copied"))
    shutil.copytree(flow.folder, copied.folder)
    add(copied.folder / "recordings")
    config = config | {"dataset": config["dataset"] | {"path": str(copied.folder / "recordings/sheet.tsv")}}
    copied.finish(config)
    before = {row["path"]: row for row in flow.rows("listed/scores/rotor/id_00/trial_0.csv")}
    after = {row["path"]: row for row in copied.rows("listed/scores/rotor/id_00/trial_0.csv")}
    assert after.keys() - before.keys() == {"new.wav"}
    assert {path: after[path] for path in before} == before
    for pattern in ("listed/models/*/*/*/*.safetensors", "listed/scores/valve/*/*"):
        assert copied.files(pattern) == flow.files(pattern)
    shutil.rmtree(copied.folder)
