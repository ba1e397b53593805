"""Every year, from its clips to a submission that passes the check, by the real Snakefile."""

from __future__ import annotations

import json
import subprocess

import pytest
from offnote.challenge import load_challenge
from offnote.official import evaluate
from offnote.package_check import check_submission

from tests.workflow.runs import Workflow
from tests.years import LABEL, WHOLE, settings


@pytest.mark.parametrize("year", [year for year in WHOLE if year != 2024])  # test_submission.py sends to that one
def test_every_year_goes_from_clips_to_a_submission_that_passes_the_check(workflow: Workflow, year: int) -> None:
    (workflow.folder / "report.pdf").write_bytes(b"%PDF-1.7\nnothing yet\n")
    config = settings(year)
    config["submission"] = config["submission"] | {"technical_report": "report.pdf"}
    workflow.finish(config, "--", "submission")
    folder = workflow.folder / "results/ae/submission"
    check = check_submission(folder / f"{LABEL}.zip", year, workflow.folder / f"results/cache/demo_{year}")
    assert (check.mistakes, check.warnings, check.systems) == ([], [], [f"{LABEL}_1"])
    challenge = load_challenge(year)
    assert check.tables == len(challenge.evaluated()) * (2 if challenge.decisions else 1)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    assert json.loads((folder / f"{LABEL}_1.manifest.json").read_text())["config"]["submission"]["year"] == year
    workflow.finish(config, "--", "ground_truth")
    truth = workflow.folder / f"results/cache/demo_{year}_ground_truth"
    judged = evaluate(folder / f"task2/{LABEL}_1", year, truth)
    assert len(judged.sections) == len(challenge.evaluated())
    # From 2022 on a section has both domains.
    assert all(0 <= section["auc_target" if year > 2021 else "auc"] <= 1 for section in judged.sections)
    assert "Nothing to be done" in workflow.finish(config, "--", "submission")
