"""Dry runs with a profile, that tell what each job asks for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.workflow.runs import copy_code

SMALL = {
    "run": "small",
    "dataset": {"machines": ["rotor/id_00"]},
    "demo": {"train": 4, "test_normal": 2, "test_anomaly": 2},
}

# Messages in words would hide what jobs ask for.
TELLS = "\nfor each in workflow.rules:\n    each.message = None\n"


def copy_that_tells(folder: Path) -> Path:
    """Copy the workflow to a folder, so that it tells what jobs ask for."""
    with (copy_code(folder) / "Snakefile").open("a", encoding="utf-8") as file:
        file.write(TELLS)
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


def assert_misspelt_is_refused(code: Path, folder: Path, engine: str) -> None:
    """Expect a refusal of the engine's profile with a setting that is none: else to accept it would say little."""
    text = (code / "profiles" / engine / "profile.yaml").read_text(encoding="utf-8")
    (folder / "profile").mkdir()
    (folder / "profile/profile.yaml").write_text(f"{text}\n{engine}-setting-that-is-none: 1\n", encoding="utf-8")
    done = dry_run(code, folder, folder / "profile")
    assert done.returncode != 0
    assert f"{engine}-setting-that-is-none" in done.stderr
