"""A submission of two systems, by the real Snakefile: what is sent, that it comes out the same, and its rehearsal."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from offnote import cache
from offnote.challenge import load_challenge
from offnote.official import evaluate
from offnote.package_check import check_submission
from offnote.score_folders import scan_rows

from tests.workflow.runs import Workflow, copy_code
from tests.years import LABEL, settings


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Return a folder with a submission of two systems: the mean of two trials, and the second trial alone."""
    flow = Workflow(tmp_path_factory.mktemp("sent"))
    flow.finish(two_systems(), "--", "submission")
    return flow


def two_systems() -> dict[str, Any]:
    second = {"submission": {"trial": 1, "name": "One trial", "abbreviation": "AE1"}, "evaluate": {"aggregator": "max"}}
    config = settings(2024, runs={"one_trial": second})
    config["training"] = config["training"] | {"trials": 2}
    return config


def test_the_same_submission_comes_out_of_another_folder_byte_for_byte(sent: Workflow, workflow: Workflow) -> None:
    workflow.finish(two_systems(), "--", "submission", cores=1)
    files = {name: sent.files(name) for name in ("ae/submission/*.*", "ae/submission/SHA256SUMS")}
    assert len(files["ae/submission/*.*"]) == 4  # the archive, the manifests of two systems, the check
    assert files == {name: workflow.files(name) for name in files}
    assert sent.files("ae/submission/task2/*/*") == workflow.files("ae/submission/task2/*/*")


def test_each_system_sends_the_scores_that_its_run_states(sent: Workflow) -> None:
    challenge = load_challenge(2024)
    section = challenge.evaluated()[0]
    for number, (run, trials, column) in enumerate([("ae", (0, 1), "mean"), ("one_trial", (1,), "max")], start=1):
        package = sent.folder / f"results/ae/submission/task2/{LABEL}_{number}"
        stem = f"{run}/scores/{section.machine_type}/{section.machine_id}"
        tables = [
            {Path(row["path"]).name: float(row[column]) for row in sent.rows(f"{stem}/trial_{trial}.csv")}
            for trial in trials
        ]
        rows, mistakes = scan_rows((package / challenge.name(challenge.scores, section)).read_bytes())
        assert not mistakes
        for name, row in rows.items():
            assert row.value == pytest.approx(sum(table[name] for table in tables) / len(tables), rel=1e-14)
        decisions, _ = scan_rows((package / challenge.name(challenge.decisions, section)).read_bytes(), binary=True)
        thresholds = [
            float(row["threshold"])
            for row in sent.rows(f"{run}/tables/decisions.csv")
            if row["machine_type"] == section.machine_type and int(row["trial"]) in trials
        ]
        threshold = sum(thresholds) / len(thresholds)
        assert {name: row.value == 1 for name, row in decisions.items()} == {
            name: row.value > threshold for name, row in rows.items()
        }


def test_the_description_tells_what_was_measured(sent: Workflow) -> None:
    means = json.loads((sent.folder / "results/ae/official/evaluation.json").read_text())["types"]
    text = (sent.folder / f"results/ae/submission/task2/{LABEL}_1/{LABEL}_1.meta.yaml").read_text()
    meta = yaml.safe_load(text)
    for row in means:
        results = meta["results"]["development_dataset"][row["machine_type"]]
        assert results["harmonic_mean_pauc"] == pytest.approx(100 * row["harmonic_mean"]["pauc"])
    model = json.loads((sent.folder / "results/ae/models/fan/all/trial_0/model.json").read_text())
    assert meta["system"]["complexity"]["total_parameters"] == 2 * sum(model["parameters"].values())
    assert meta["system"]["description"]["ensemble_method_subsystem_count"] == 2
    assert "Trained with the seeds 0 (trial 0), 0 (trial 1)" in text


def test_the_official_tables_are_those_of_the_score_files(sent: Workflow, tmp_path: Path) -> None:
    """Evaluate the same scores from files in the year's names."""
    challenge = load_challenge(2024)
    for name in challenge.machines["development"]:
        tables = [sent.rows(f"ae/scores/{name}/section_00/trial_{trial}.csv") for trial in (0, 1)]
        rows = [
            f"{Path(a['path']).name},{(float(a['mean']) + float(b['mean'])) / 2!r}\n"
            for a, b in zip(*tables, strict=True)
            if a["split"] == "test"
        ]
        (tmp_path / challenge.scores.format(machine_type=name, machine_id="section_00")).write_text("".join(rows))
    expected = evaluate(tmp_path, 2024)
    found = json.loads((sent.folder / "results/ae/official/evaluation.json").read_text())
    assert found["official_score"] == pytest.approx(expected.official_score)
    for row, other in zip(found["sections"], expected.sections, strict=True):
        assert {name: row[name] for name in other} == pytest.approx(other)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"year": None}, "submission.year: say for which year"),
        ({"year": 2019}, "submission.year: there is no year 2019 here"),
        ({"lastname": None}, "submission.lastname: is not stated"),
        ({"institute": "my lab"}, "submission.institute: is 'my lab'"),
        ({"systems": ["ae", "other"]}, "submission.systems: 'other' is none of the runs ae"),
        ({"systems": ["ae", "ae"]}, "submission.systems: names 'ae' twice"),
        ({"technical_report": "no.pdf"}, "submission.technical_report: no.pdf cannot be read"),
        ({"description": {"front_ned": "x"}}, "submission.description.front_ned: there is no such key in 2024"),
        ({"trial": 3}, "submission.trial is 3, and training.trials is 1"),
    ],
)
def test_what_is_missing_is_said_before_any_job(sent: Workflow, changes: dict[str, Any], sentence: str) -> None:
    config = settings(2024)
    config["submission"] = config["submission"] | changes
    assert sentence in refusal(sent, config, "submission")


@pytest.mark.parametrize("target", ["submission", "rehearse"])
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"training": {"epochs": 1, "validation": 0.0}}, "run ae: 2024 wants decisions, and training.validation: 0"),
        ({"slice": {"length": 0.5}}, "run ae: has slices of recordings as clips"),
    ],
)
def test_what_the_last_job_would_stumble_over_is_said_before_any(
    sent: Workflow, target: str, changes: dict[str, Any], sentence: str
) -> None:
    assert sentence in refusal(sent, settings(2024, **changes), target)


def refusal(flow: Workflow, config: dict[str, Any], target: str) -> str:
    """Return what the screen says of a target that is refused before any job."""
    done = flow.run(config, "--dry-run", "--", target)
    screen = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in screen
    return screen


def test_the_last_submission_stays_until_the_next_is_good(sent: Workflow, tmp_path: Path) -> None:
    flow = Workflow(tmp_path / "again")
    shutil.copytree(sent.folder, flow.folder, symlinks=True)
    last = flow.files("ae/submission/**/*.*") | flow.files("ae/submission/SHA256SUMS")
    assert last.pop("ae/submission/check.txt").startswith(f"{LABEL}.zip, as a submission".encode())
    stray = flow.folder / f"results/ae/submission/task2/{LABEL}_1/notes.txt"
    stray.write_text("mine")
    config = two_systems()
    config["submission"] = config["submission"] | {"name": "Another", "systems": ["one_trial"]}
    done = flow.run(config, "--", "submission")
    assert done.returncode == 1
    assert re.search("notes.txt: is not of this submission, nor as an earlier one left it", done.stdout)
    stray.unlink()
    assert flow.files("ae/submission/**/*.*") | flow.files("ae/submission/SHA256SUMS") == last
    # What the second system was is taken away with it.
    flow.finish(config, "--", "submission")
    names = {path.rpartition("/")[2] for path in flow.files("ae/submission/*.*")}
    assert names == {f"{LABEL}.zip", f"{LABEL}_1.manifest.json", "check.txt"}
    check = check_submission(flow.folder / "results/ae/submission", 2024, flow.folder / "results/cache/clips/demo.tsv")
    assert (check.mistakes, check.systems) == ([], [f"{LABEL}_1"])
    assert "Nothing to be done" in flow.finish(config, "--", "submission")


def test_a_machine_of_the_evaluation_set_that_is_not_there_is_named(sent: Workflow) -> None:
    config = settings(2024, run="less")
    config["dataset"] = {"machines": ["!ToothBrush/*"]}
    screen = refusal(sent, config, "submission")
    assert "has no ToothBrush/section_00 with training clips, a machine of the evaluation set of 2024" in screen


def test_a_machine_of_the_development_set_that_is_not_there_is_named(sent: Workflow) -> None:
    config = settings(2024, run="less")
    config["dataset"] = {"machines": ["!fan"]}
    screen = refusal(sent, config, "rehearse")
    assert "has no fan/section_00 with training clips, a machine of the development set" in screen


def test_a_rehearsal_goes_from_renamed_clips_to_figures(sent: Workflow) -> None:
    config = settings(2024, run="rehearsed")
    screen = sent.finish(config, "--", "rehearse")
    folder = sent.folder / "results/rehearsed/rehearsal"
    assert check_submission(folder / f"submission/{LABEL}.zip", 2024).mistakes == []
    assert "Rehearsal of DCASE 2024 Task 2" in screen
    assert re.search(r"\* train: [1-9]\d* s in 1 job\n", screen)
    assert "## False alarms" in screen
    # What the clips are called tells no label, and is all that stands before the labels are opened.
    names = {Path(row["path"]).name for row in sent.rows("rehearsed/rehearsal/scores/Scanner/section_00/trial_0.csv")}
    assert {name for name in names if "train" not in name} == {f"section_00_{number:04d}.wav" for number in range(8)}
    listed = (sent.folder / "results/cache/clips/demo.rehearsal.tsv").read_text()
    assert "anomaly" not in listed
    judged = json.loads((folder / f"{LABEL}_1/evaluation.json").read_text())
    assert [row["machine_type"] for row in judged["sections"]] == sorted(load_challenge(2024).machines["evaluation"])
    # The first machine is played by the first of the development set: the same frames, by another model.
    [key] = (sent.folder / "results/cache/features/demo.rehearsal").iterdir()
    with (
        cache.read(key / "3DPrinter/section_00.h5") as role,
        cache.read(sent.folder / f"results/cache/features/demo/{key.name}/ToyCar/section_00.h5") as played,
    ):
        assert sorted(role.sha256) == sorted(played.sha256)
        alike = dict(zip(played.sha256, range(len(played)), strict=True))
        for number, sha256 in enumerate(role.sha256):
            assert np.array_equal(role.clip(number), played.clip(alike[sha256]))
    assert "Nothing to be done" in sent.finish(config, "--", "rehearse")


def test_a_rehearsal_leaves_the_real_machines_of_the_evaluation_set_alone(sent: Workflow) -> None:
    planned = sent.planned(settings(2024, run="alone", jobs={"machines": 1}), "--", "rehearse")
    machines = load_challenge(2024).machines
    played = len(machines["development"]) + len(machines["evaluation"])
    assert (planned["train"], planned["score"]) == (played, played)


def test_a_year_whose_evaluation_set_is_not_known_yet_has_all_but_a_submission(sent: Workflow, tmp_path: Path) -> None:
    """As the page on adding a year begins: the development set is there, and what machines follow is not."""
    code = copy_code(tmp_path / "code")
    years = code / "config/datasets"
    text = (years / "dcase2024.yaml").read_text(encoding="utf-8")
    known = yaml.safe_load(text)
    known["machines"]["evaluation"] = {}
    (years / "dcase2027.yaml").write_text(yaml.safe_dump(known), encoding="utf-8")
    preset = (code / "config/presets/dcase2024.yaml").read_text(encoding="utf-8")
    (code / "config/presets/dcase2027.yaml").write_text(preset, encoding="utf-8")
    flow = Workflow(tmp_path / "new", code)
    flow.folder.mkdir()
    config = settings(2027, demo=settings(2024)["demo"])
    assert flow.planned(config)["official"] == 1
    for target, needed in (("submission", "evaluation"), ("rehearse", "evaluation")):
        assert f"dcase2027.yaml: machines.{needed} is empty" in refusal(flow, config, target)


def test_the_archive_holds_what_lies_beside_it(sent: Workflow) -> None:
    with zipfile.ZipFile(sent.folder / f"results/ae/submission/{LABEL}.zip") as archive:
        packed = {f"ae/submission/{name}": archive.read(name) for name in archive.namelist()}
    assert packed == sent.files("ae/submission/task2/*/*")
