"""The workflow on a real Slurm: every job a submission of its own, or all of them in one allocation."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.slurm import Slurm, wait
from tests.workflow.conftest import ROOT, Workflow

# The pretended GPUs compute nothing, so that jobs go on on the CPU. Without an accounting database Slurm itself is
# asked how jobs are, and soon.
PROFILE = ["--workflow-profile", str(ROOT / "profiles/slurm"), "--config", "require_gpu=false"]
STATUS = ["--slurm-no-account", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"]

CONFIGURATION: dict[str, Any] = {
    "run": "small",
    "dataset": {"machines": ["rotor/*", "valve/*"]},
    "demo": {"train": 8, "test_normal": 4, "test_anomaly": 4, "duration": 2.0},
    "training": {"epochs": 2, "validation": 0.25},
    "evaluate": {"resamples": 50},
    "jobs": {"machines": 2},
}
# Long enough to be disturbed in the middle of its training.
LONG = CONFIGURATION | {
    "dataset": {"machines": ["rotor/id_00"]},
    "training": {"epochs": 1000, "validation": 0.25},
    "jobs": {"checkpoint_seconds": 0},
}
RESULTS = ("small/models/**/*.*", "small/scores/**/*.*", "small/tables/*")


def results(workflow: Workflow) -> dict[str, bytes]:
    """Return what is to be the same wherever it was computed."""
    return {path: content for pattern in RESULTS for path, content in workflow.files(pattern).items()}


def test_slurm_gives_gpus_few_submissions_and_the_bytes_of_a_local_run(slurm: Slurm, tmp_path: Path) -> None:
    here, there = (Workflow(tmp_path / name) for name in ("here", "there"))
    for workflow in (here, there):
        workflow.folder.mkdir()
    here.finish(CONFIGURATION)
    there.finish(CONFIGURATION, *PROFILE, *STATUS)
    jobs = slurm.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    # Of 4 machines, 2 a job: recordings in one, features, models and scores in two each, figures in one, and the clip
    # list, tables and manifest.
    assert len(jobs) == 11
    assert [job.gpus for job in jobs].count(1) == 6
    assert len(results(there)) == 4 * (3 + 2) + 7
    assert results(there) == results(here)


def test_in_one_allocation_a_requeue_in_mid_training_changes_no_byte(slurm: Slurm, tmp_path: Path) -> None:
    here, there = (Workflow(tmp_path / name) for name in ("here", "there"))
    for workflow in (here, there):
        workflow.folder.mkdir()
    here.finish(LONG)
    number = submit_allocation(slurm, there, LONG)
    wait("no checkpoint", lambda: bool(there.files("cache/checkpoints/*/*.safetensors")), seconds=180)
    slurm.requeue(number)
    wait("not done", lambda: slurm.job(number).state == "COMPLETED", seconds=300)
    assert slurm.job(number).facts["Restarts"] == "1"
    log = (there.folder / "logs/train/small/rotor/id_00/trial_0.log").read_text()
    assert "training goes on after epoch" in log
    assert results(there) == results(here)


def submit_allocation(slurm: Slurm, workflow: Workflow, configuration: dict[str, Any]) -> int:
    """Submit the script of one allocation as a user would, with the environment of the tests active."""
    (workflow.folder / "overlay.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    asked = ["--cpus-per-task=2", "--mem=6G"]
    options = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "overlay.yaml"]
    script = str(ROOT / "profiles/slurm/allocation.sh")
    return slurm.submit(*asked, script, *options, folder=workflow.folder, environment=environment)
