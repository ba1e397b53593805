"""Writing files so that a half-written one never carries the final name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    r"""Give a temporary sibling of `path` to write to, and put it in place of `path` when the block ends well.

    The data is on the disk (fsync) before the name changes, and the name changes in one step, so that a reader, or a
    run after a power cut, finds the old file, the new one, or none. When the block raises, the temporary is removed.

    Parameters
    ----------
    path
        The file to make or replace. Its folder is made where missing.

    Yields
    ------
    Path
        The temporary file: hidden, in the same folder, with the same suffix.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     target = Path(folder) / "scores.csv"
    ...     with replacing(target) as temporary:
    ...         _ = temporary.write_text("path,mean\\n")
    ...     target.read_text()
    'path,mean\\n'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".part{path.suffix}", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
