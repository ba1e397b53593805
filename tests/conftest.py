"""What all tests share."""

from __future__ import annotations

import os

# Several tests at once would otherwise fight for the cores; set before torch is imported, and inherited by every job.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import hypothesis
import pytest
from offnote.config import ROOT

from tests.profiles import copy_that_tells

# How long an example takes says more about what else runs on the machine.
hypothesis.settings.register_profile("offnote", deadline=None)
hypothesis.settings.load_profile("offnote")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real recordings and published scores; skip where it is missing."""
    folder = Path(os.environ.get("OFFNOTE_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("the folder of real recordings is not here")
    return folder


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the workflow that tells what jobs ask for."""
    return copy_that_tells(tmp_path_factory.mktemp("code"))
