"""Whatever a reader does while it reads: nothing but reading, and writing in the folder that it was given."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# What Python's own audit events call the running of code, and the way out of this process.
RUNS_CODE = ("os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen", "pickle.find_class",
             "ctypes.dlopen", "marshal.loads", "socket.connect", "exec", "compile")  # fmt: skip
CHANGES_FILES = ("os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
                 "shutil.rmtree", "shutil.move")  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_folder: Path | None = None
_seen: list[str] = []


@contextmanager
def only_reads(folder: Path) -> Iterator[None]:
    """Make sure that the block runs no code of a file, opens no way out, and changes no file outside `folder`.

    It hears what Python announces of itself (PEP 578): not what a C library does on its own, as libsndfile and HDF5 do
    with files that are opened for reading.
    """
    global _folder
    _folder = folder
    _seen.clear()
    try:
        yield
    finally:
        _folder = None
    assert not _seen, _seen


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _folder is None:
        return
    if event in RUNS_CODE:
        _seen.append(f"{event} {arguments!r:.300}")
    elif event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & WRITES and not _is_inside(path):
            _seen.append(f"open {path!r} to write")
    elif event in CHANGES_FILES and not all(map(_is_inside, filter(_is_path, arguments))):
        _seen.append(f"{event} {arguments!r:.300}")


def _is_path(value: object) -> bool:
    return isinstance(value, str | bytes | os.PathLike)


def _is_inside(path: Any) -> bool:
    # A descriptor was opened before, by a name.
    return not _is_path(path) or Path(os.fsdecode(path)).absolute().is_relative_to(_folder or "/")


sys.addaudithook(_hear)
