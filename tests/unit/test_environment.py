"""The environments name what the package needs."""

from __future__ import annotations

import re
import tomllib

import yaml
from offnote.config import ROOT


def dependencies() -> list[str]:
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"])


def test_the_conda_environment_has_the_packages_dependencies() -> None:
    environment = yaml.safe_load((ROOT / "envs" / "offnote.yaml").read_text(encoding="utf-8"))
    assert environment["dependencies"][-1]["pip"] == dependencies()


def test_the_lock_pins_every_dependency_and_names_no_host() -> None:
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for dependency in dependencies():
        name = re.split("[=>]", dependency)[0]
        assert re.search(rf"^{name}==", lock, re.M), name
    assert "://" not in lock
    assert not lock.startswith("-")
