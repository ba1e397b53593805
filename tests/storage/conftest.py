"""A storage with the recordings of the demo set, and a run that needs none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.s3 import DEMO, RECORDINGS, Storage, from_folder
from tests.workflow.runs import Workflow


@pytest.fixture(scope="session")
def storage() -> Iterator[Storage]:
    """Return a storage in which the recordings of the demo set lie below `plant`."""
    server = Storage()
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        server.bucket.create()
        yield server
    server.stop()


@pytest.fixture(scope="session")
def here(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Return a finished run whose recordings and results lie on this computer; the recordings are copied to `plant`."""
    finished = Workflow(tmp_path_factory.mktemp("here"))
    finished.finish(DEMO, "--until", "synthesise")
    storage.put(finished.folder / RECORDINGS, "plant")
    finished.finish(from_folder(str(finished.folder / RECORDINGS)))
    return finished


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    """Return a folder of its own."""
    return Workflow(tmp_path)
