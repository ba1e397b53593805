"""Runs of the demo on Slurm, and without it, and what is to be the same of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from offnote.config import ROOT

from tests.cluster.slurm import Slurm
from tests.workflow.runs import Workflow, write_default_configuration

SMALL: dict[str, Any] = {
    "run": "small",
    "dataset": {"machines": ["rotor/*", "valve/*"]},
    "demo": {"train": 8, "test_normal": 4, "test_anomaly": 4, "duration": 2.0},
    "training": {"epochs": 2, "validation": 0.25},
    "evaluate": {"resamples": 50},
    "jobs": {"machines": 2},
}

LONG = SMALL | {
    "dataset": {"machines": ["rotor/id_00"]},
    "training": {"epochs": 1000, "validation": 0.25},
    "jobs": {"checkpoint_seconds": 0},
}
"""Long enough to be disturbed in the middle of its training."""

# The pretended GPUs compute nothing, so that jobs go on on the CPU. Without an accounting database Slurm itself is
# asked how jobs are, and soon.
PROFILE = ["--workflow-profile", str(ROOT / "profiles/slurm"), "--config", "require_gpu=false"]
STATUS = ["--slurm-no-account", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"]
BY_SUBMISSIONS = [*PROFILE, *STATUS]

RESULTS = ("small/models/**/*.*", "small/scores/**/*.*", "small/tables/*")


def results(workflow: Workflow) -> dict[str, bytes]:
    """Return what is to be the same wherever it was computed."""
    return {path: content for pattern in RESULTS for path, content in workflow.files(pattern).items()}


def submit_allocation(slurm: Slurm, workflow: Workflow, configuration: dict[str, Any]) -> int:
    """Submit the script of one allocation as a user would, with the environment of the tests active."""
    (workflow.folder / "overlay.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    asked = ["--cpus-per-task=2", "--mem=6G"]
    write_default_configuration(workflow.folder)
    options = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "overlay.yaml"]
    script = str(ROOT / "profiles/slurm/allocation.sh")
    return slurm.submit(*asked, script, *options, folder=workflow.folder, environment=environment())


def start(
    workflow: Workflow, configuration: dict[str, Any], path: Path | None = None, *, options: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start Snakemake, which submits every job, with `path` before all other folders of programs."""
    (workflow.folder / "overlay.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    write_default_configuration(workflow.folder)
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "overlay.yaml"]
    command += [*BY_SUBMISSIONS, *options]
    with (workflow.folder / "screen.txt").open("wb") as screen:
        return subprocess.Popen(command, stdout=screen, stderr=screen, cwd=workflow.folder, env=environment(path))


def environment(path: Path | None = None) -> dict[str, str]:
    """Return the environment of a user who has that of the tests active."""
    folders = [*([str(path)] if path else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    return os.environ | {"PATH": ":".join(folders)}
