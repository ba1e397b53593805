"""Writing files so that a half-written one never carries the final name, and locks that end with their process."""

from __future__ import annotations

import csv
import errno
import fcntl
import lzma
import math
import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offnote.errors import InputError

# Trouble with the disk, whatever was being written; other errors inside a block may speak of what was being read.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# What `zipfile` raises where an archive is damaged, or of a kind it does not know. The decompressors have errors of
# their own; bzip2's is an OSError without a number.
ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, OSError, ValueError)
# Of these methods `zipfile` inflates no more at once than it is asked for; of others, a hidden size fills the memory.
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.part(\..+)?")


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

    Raises
    ------
    InputError
        The folder cannot be written to, or the disk is full.

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
    temporary = _temporary(path)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _sync(temporary)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise _not_writable(path, error) from error
        raise
    _sync(path.parent)


def nearest(folder: Path) -> Path:
    """Return `folder`, or where it is still to be made, the one above it that is there.

    Raises
    ------
    InputError
        One of them is a link to nowhere.

    Examples
    --------
    >>> nearest(Path("no such folder/results"))
    PosixPath('.')
    """
    places = (folder, *folder.parents, *folder.absolute().parents)
    place = next(place for place in places if place.is_dir() or (place.is_symlink() and not place.exists()))
    if not place.is_dir():
        raise InputError(f"{place}: a link to nowhere; mend it, or mount the disk that it leads to")
    return place


def require_writable(folders: Iterable[Path]) -> None:
    """Make sure that files can be made in all `folders`, or where one is still to be made, in the one above it.

    Raises
    ------
    InputError
        Names the first that cannot be written to.
    """
    for folder in dict.fromkeys(map(nearest, folders)):
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise _not_writable(folder, error) from error


def clear_leftovers(folder: Path) -> list[Path]:
    """Remove the temporaries below `folder` that killed processes left, and return them.

    Raises
    ------
    InputError
        One cannot be removed.

    Examples
    --------
    >>> clear_leftovers(Path("no such folder"))
    []
    """
    below = ((Path(parent), files) for parent, _, files in os.walk(folder))
    leftovers = [parent / name for parent, files in below for name in files if LEFTOVER.fullmatch(name)]
    for leftover in leftovers:
        try:
            leftover.unlink(missing_ok=True)
        except OSError as error:
            raise _not_writable(leftover.parent, error) from error
    return leftovers


def lock(path: Path, *, folder: bool = False) -> int | None:
    """Lock `path`, until this process ends, however it ends: the kernel lets go then.

    It is a `folder`, or a file, which is made where missing.

    Returns
    -------
    int or None
        The descriptor that holds the lock; None where another process holds it.

    Raises
    ------
    OSError
        The file cannot be made, or its file system knows no locks.
    """
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table with a header, in UTF-8; what a row does not have, None and NaN are empty cells."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: str | float | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)


def _temporary(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".part{path.suffix}", dir=path.parent)
    except OSError as error:
        raise _not_writable(path, error) from error
    os.close(handle)
    return Path(name)


def _not_writable(path: Path, error: OSError) -> InputError:
    reason = os.strerror(error.errno or 0)
    return InputError(f"{path}: cannot be written ({reason}); make room, or mend the folder, and run the same again")


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
