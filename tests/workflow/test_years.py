"""Every year, from its clips to a submission that passes the check, by the real Snakefile."""

from __future__ import annotations

import json
import subprocess

import pytest
from offnote.challenge import load_challenge, years
from offnote.package_check import check_submission

from tests.years import LABEL, record, settings

from .conftest import Workflow


@pytest.mark.parametrize("year", [year for year in years() if year != 2024])  # test_submission.py sends to that one
def test_every_year_goes_from_clips_to_a_submission_that_passes_the_check(workflow: Workflow, year: int) -> None:
    record(workflow.folder / "recordings", year)
    (workflow.folder / "report.pdf").write_bytes(b"%PDF-1.7\nnothing yet\n")
    config = settings(year)
    config["submission"] = config["submission"] | {"technical_report": "report.pdf"}
    workflow.finish(config, "--", "submission")
    folder = workflow.folder / "results/ae/submission"
    check = check_submission(folder / f"{LABEL}.zip", year, workflow.folder / "recordings")
    assert (check.mistakes, check.warnings, check.systems) == ([], [], [f"{LABEL}_1"])
    challenge = load_challenge(year)
    assert check.tables == len(challenge.evaluated()) * (2 if challenge.decisions else 1)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    assert json.loads((folder / f"{LABEL}_1.manifest.json").read_text())["config"]["submission"]["year"] == year
    assert "Nothing to be done" in workflow.finish(config, "--", "submission")
