"""A real Slurm, and runs on it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.runs import LONG
from tests.cluster.slurm import Slurm, why_not
from tests.workflow.runs import Workflow


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Return a running cluster; without one the tests fail, unless told to be skipped."""
    if reason := why_not():
        if os.environ.get("OFFNOTE_WITHOUT_SLURM"):
            pytest.skip(reason)
        pytest.fail(f"{reason}; to do without, set OFFNOTE_WITHOUT_SLURM=1")
    with Slurm(tmp_path_factory.mktemp("slurm")).running() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Return a folder with a finished run without Slurm."""
    finished = Workflow(tmp_path_factory.mktemp("undisturbed"))
    finished.finish(LONG)
    return finished
