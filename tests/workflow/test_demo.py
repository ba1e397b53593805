"""From nothing to tables, and what a second run does."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml
from offnote.config import Settings

from tests.workflow.runs import TINY_DEMO, Workflow

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


def test_models_trained_at_once_score_as_those_trained_by_themselves(workflow: Workflow) -> None:
    at_once = {"training": TINY_DEMO["training"] | {"stacked": True}}
    workflow.finish(TINY_DEMO | {"jobs": {"machines": 2}, "runs": {"by_themselves": {}, "at_once": at_once}})
    assert "models at once" in "".join(path.read_text() for path in workflow.folder.glob("logs/train/at_once/**/*.log"))
    for machine in MACHINES:
        found, expected = (workflow.rows(f"{run}/scores/{machine}/trial_0.csv") for run in ("at_once", "by_themselves"))
        assert [row["path"] for row in found] == [row["path"] for row in expected]
        assert [float(row["mean"]) for row in found] == pytest.approx(
            [float(row["mean"]) for row in expected], rel=1e-4
        )
