"""Dry runs with a profile, that tell what each job asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.workflow.conftest import ROOT

SMALL = {
    "run": "small",
    "dataset": {"machines": ["rotor/id_00"]},
    "demo": {"train": 4, "test_normal": 2, "test_anomaly": 2},
}

# Messages in words would hide what jobs ask for.
TELLS = "\nfor each in workflow.rules:\n    each.message = None\n"


def copy_that_tells(folder: Path) -> Path:
    """Copy the workflow to a folder, so that it tells what jobs ask for."""
    for name in ("workflow", "config", "envs", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (folder / "Snakefile").write_text((ROOT / "Snakefile").read_text(encoding="utf-8") + TELLS, encoding="utf-8")
    return folder


def dry_run(code: Path, folder: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Plan a small demo with a profile, in a folder."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(code / "Snakefile"), "--directory", str(folder)]
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    command += ["--workflow-profile", str(profile), "--dry-run", "--quiet", "host"]
    command += ["--configfile", str(folder / "small.yaml"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def asked_by(screen: str) -> dict[str, str]:
    """Read what jobs ask for, by their rules."""
    return dict(re.findall(r"^rule (\w+):.*?\n    resources: (.*?)\n", screen, re.M | re.S))
