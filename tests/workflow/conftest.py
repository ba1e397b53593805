"""Folders to run the workflow in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflow.runs import TINY_DEMO, Workflow


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    return Workflow(tmp_path)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Return a folder with a finished run of a tiny demo set. Tests may add runs to it but not change this one."""
    finished = Workflow(tmp_path_factory.mktemp("demo"))
    finished.finish(TINY_DEMO)
    return finished
