"""One workflow at a time in a folder, and no job that outlives the workflow it belongs to.

Both rest on one lock, which the kernel takes away with the process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Thread

from offnote.errors import InputError
from offnote.files import lock, nearest

VARIABLE = "OFFNOTE_WORKFLOW"
"""Environment variable that tells a job which workflow it belongs to: computer, token, and the path of the lock."""

PATIENCE_SECONDS = 3.0
POLL_SECONDS = 0.5


def glimpse(folder: Path) -> str | None:
    """Return the token of the last workflow that held `folder`, empty where there was none; None while one is at work.

    To be taken before a plan is made of what is there, and given to :func:`hold` afterwards.
    """
    try:
        with _lock_file(folder).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return file.read()
    except BlockingIOError:
        return None
    except OSError:
        return ""


def hold(folder: Path, seen: str | None) -> None:
    """Let no other workflow start in `folder` until this process ends, and let the jobs it starts know of it.

    Parameters
    ----------
    folder
        The working directory.
    seen
        What :func:`glimpse` returned before the plan was made: it is worth nothing if another one was at work since.

    Raises
    ------
    InputError
        Another one is at work there, or was since `seen`.
    """
    path = _lock_file(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = _lock_patiently(path)
    except OSError:
        # A file system without locks: whoever starts two workflows there is not kept from it.
        return
    if held is None:
        raise InputError(f"another snakemake is at work in {folder}; wait until it has finished")
    if os.read(held, 100).decode() != seen:
        os.close(held)
        raise InputError(f"another snakemake was at work in {folder} while this one made its plan; run the same again")
    token = secrets.token_hex(8)
    os.ftruncate(held, 0)
    os.pwrite(held, token.encode(), 0)
    os.environ[VARIABLE] = f"{platform.node()} {token} {path}"


def hold_results(folders: Iterable[Path]) -> None:
    """Let no workflow of another working directory write into `folders`, which both may have by links.

    Raises
    ------
    InputError
        Another one is at work there, or one of them is a link to nowhere.
    """
    folders = list(folders)
    for folder in folders:
        nearest(folder)  # is no link to nowhere
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = _lock_patiently(folder, folder=True)
        except OSError:
            continue
        if held is None:
            raise InputError(f"another snakemake is at work in {folder}; wait until it has finished")


def end_with_workflow(farewell: Callable[[], object] = lambda: None) -> None:
    """End this process where it would get in the way of the next workflow.

    That is as soon as the workflow that started it is no more. On another computer, where the lock may not be seen, it
    is when the next one has begun. Jobs that were started by hand go on.

    Parameters
    ----------
    farewell
        What to do before the end.
    """
    computer, token, path = [*os.environ.get(VARIABLE, "").split(" ", 2), "", "", ""][:3]
    if token:
        is_wanted = _is_held if computer == platform.node() else _is_last
        Thread(target=_outlive, args=(is_wanted, Path(path), token, farewell), daemon=True).start()


def _outlive(is_wanted: Callable[[Path, str], bool], path: Path, token: str, farewell: Callable[[], object]) -> None:
    try:
        while is_wanted(path, token):
            time.sleep(POLL_SECONDS)
    except OSError:
        return
    try:
        farewell()
    finally:
        os._exit(1)


def _is_held(path: Path, token: str) -> bool:
    """Tell whether the workflow with this token lives: the lock is held, and not by the next one."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return _is_last(path, token)
    return False


def _is_last(path: Path, token: str) -> bool:
    """Tell whether no workflow has held the lock since the one with this token; it is empty while one takes it."""
    return path.read_text() in (token, "")


def _lock_file(folder: Path) -> Path:
    return folder.absolute() / ".snakemake" / "offnote.lock"


def _lock_patiently(path: Path, *, folder: bool = False) -> int | None:
    """Lock `path`; the jobs of a workflow that was killed have it for a moment before they end."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while (held := lock(path, folder=folder)) is None and time.monotonic() < give_up:
        time.sleep(0.1)
    return held
