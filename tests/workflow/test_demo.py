"""From nothing to tables, and what a second run does."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from offnote.clips import read_clips, write_clips
from offnote.config import Settings

from .conftest import TINY_DEMO, Workflow

MACHINES = ["rotor/id_00", "valve/id_00", "valve/id_02"]


def test_it_ends_with_tables_of_every_machine(demo: Workflow) -> None:
    rows = demo.rows("demo/tables/machines.csv")
    means = [row for row in rows if row["trial"] == "mean"]
    assert [f"{row['machine_type']}/{row['machine_id']}" for row in means] == MACHINES
    assert {row["status"] for row in rows} == {"ok"}
    assert all(float(row["auc_low"]) <= float(row["auc"]) <= float(row["auc_high"]) for row in means)
    types = demo.rows("demo/tables/types.csv")
    assert [row["machine_type"] for row in types] == ["rotor", "valve", "all", "all"]


def test_every_clip_has_a_score(demo: Workflow) -> None:
    for machine in MACHINES:
        rows = demo.rows(f"demo/scores/{machine}/trial_0.csv")
        splits = [row["split"] for row in rows]
        assert {split: splits.count(split) for split in splits} == {"train": 6, "validation": 2, "test": 8}
        assert len({row["path"] for row in rows}) == 16


def test_caches_models_and_scores_are_the_same_whatever_the_labels(demo: Workflow, workflow: Workflow) -> None:
    """A sheet of the same clips with every label turned round: only the tables may notice."""
    listed = read_clips(demo.folder / "results/cache/clips/demo.tsv")
    clips = [clip for clip in listed if clip.machine == ("rotor", "id_00")]
    other = {"normal": "anomaly", "anomaly": "normal"}
    turned = [replace(clip, label=other[clip.label]) if clip.split == "test" else clip for clip in clips]
    shutil.copytree(demo.folder / "results/cache/demo", workflow.folder / "recordings")
    write_clips(workflow.folder / "recordings/sheet.tsv", turned)
    dataset = {"name": "turned", "path": str(workflow.folder / "recordings/sheet.tsv")}
    workflow.finish(TINY_DEMO | {"dataset": dataset})
    for ours, theirs in [
        ("cache/features/turned/*/rotor/id_00.h5", "cache/features/demo/*/rotor/id_00.h5"),
        ("demo/models/rotor/*/*/*", "demo/models/rotor/*/*/*"),
        ("demo/scores/rotor/*/*", "demo/scores/rotor/*/*"),
    ]:
        assert list(workflow.files(ours).values()) == list(demo.files(theirs).values())
        assert workflow.files(ours)
    auc = {flow: float(flow.rows("demo/tables/machines.csv")[0]["auc"]) for flow in (demo, workflow)}
    assert auc[workflow] == pytest.approx(1 - auc[demo])


def test_figures_and_report(demo: Workflow) -> None:
    figures = demo.files("demo/report/*/*/*.svg")
    assert {Path(name).stem for name in figures} == {"roc", "histogram", "loss"}
    assert len(figures) == 3 * len(MACHINES)
    demo.finish(TINY_DEMO, "--report", str(demo.folder / "report.zip"))
    with zipfile.ZipFile(demo.folder / "report.zip") as archive:
        page = next(name for name in archive.namelist() if name.endswith("report.html"))
        text = archive.read(page).decode()
    assert "Receiver operating characteristic" in text
    assert "machines.csv" in text


def test_manifest_says_what_the_run_was_made_from(demo: Workflow) -> None:
    manifest = json.loads((demo.folder / "results/demo/manifest.json").read_text(encoding="utf-8"))
    assert manifest["config"]["training"]["epochs"] == 2
    assert manifest["devices"][0]["type"] in ("cpu", "cuda")
    assert len(manifest["seeds"]) == len(set(manifest["seeds"].values())) == len(MACHINES)
    assert {entry["clips"] for entry in manifest["inputs"].values()} == {16}
    config = yaml.safe_load((demo.folder / "results/demo/config.yaml").read_text(encoding="utf-8"))
    assert Settings(**config).model_dump() == manifest["config"]


def test_a_second_run_does_nothing(demo: Workflow) -> None:
    assert demo.planned(TINY_DEMO) == {}


@pytest.mark.parametrize(
    "missing",
    [
        "demo/models/rotor/id_00/trial_0/loss.csv",
        "demo/scores/valve/id_00/trial_0.json",
        "demo/tables/types.csv",
        "demo/report/valve/id_02/histogram.svg",
        "demo/config.yaml",
        "cache/clips/demo.tsv",
    ],
)
def test_whatever_is_missing_is_made_again(demo: Workflow, missing: str) -> None:
    path = demo.folder / "results" / missing
    aside = path.rename(path.with_suffix(".aside"))
    try:
        assert demo.planned(TINY_DEMO)
    finally:
        aside.rename(path)
    assert demo.planned(TINY_DEMO) == {}


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ({"evaluate": {"aggregator": "max", "resamples": 50}}, {"evaluate": 1, "figures": 3}),
        ({"scores": {"quantiles": [0.5]}}, {"score": 3, "evaluate": 1, "figures": 3}),
        ({"training": {"epochs": 3, "validation": 0.25}}, {"train": 3, "score": 3, "evaluate": 1, "figures": 3}),
        ({"device": "cpu"}, {}),
    ],
)
def test_a_change_redoes_what_depends_on_it(demo: Workflow, change: dict[str, Any], redone: dict[str, int]) -> None:
    planned = demo.planned(TINY_DEMO | change)
    assert {rule: count for rule, count in planned.items() if rule not in ("all", "manifest")} == redone


def test_another_run_shares_the_feature_caches(demo: Workflow) -> None:
    planned = demo.planned(TINY_DEMO | {"run": "other"})
    assert "features" not in planned
    assert planned["train"] == 3
    assert demo.planned(TINY_DEMO) == {}


def test_scores_do_not_depend_on_cores_or_batches(demo: Workflow, workflow: Workflow) -> None:
    shutil.copytree(demo.folder / "results/cache/demo", workflow.folder / "results/cache/demo")
    workflow.finish(TINY_DEMO | {"jobs": {"machines": 2}}, cores=1)
    for pattern in ("demo/scores/*/*/trial_0.csv", "demo/models/*/*/*/model.safetensors", "cache/features/*/*/*/*.h5"):
        assert workflow.files(pattern) == demo.files(pattern)
        assert len(workflow.files(pattern)) == len(MACHINES)


def test_too_few_threads_stop_the_job(workflow: Workflow) -> None:
    config = TINY_DEMO | {"dataset": {"machines": ["rotor/id_00"]}, "model": {"threads": 2}}
    done = workflow.run(config, cores=1)
    assert done.returncode == 1
    assert "model.threads is 2" in done.stdout + done.stderr
    assert not workflow.files("demo/models/**/*.safetensors")
    assert not workflow.files("demo/tables/*")


def test_a_wrong_key_is_refused_by_name(workflow: Workflow) -> None:
    done = workflow.run({"training": {"epoch": 3, "learning_rate": "1e-3"}})
    assert done.returncode == 1
    output = done.stdout + done.stderr
    assert "training.epoch: unknown key; did you mean 'epochs'?" in output
    assert "training.learning_rate: '1e-3' is text, not a number" in output
    assert "Traceback" not in output
