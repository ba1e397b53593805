"""One workflow at a time in a folder, and no job that outlives the workflow it belongs to.

Both rest on one lock, which the kernel takes away with the process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import platform
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from offnote.errors import InputError
from offnote.files import lock

VARIABLE = "OFFNOTE_WORKFLOW"
"""Environment variable that tells a job which workflow it belongs to: computer, token, and the path of the lock."""

PATIENCE_SECONDS = 3.0


def hold(folder: Path) -> None:
    """Let no other workflow start in `folder` until this process ends, and let the jobs it starts know of it.

    Raises
    ------
    InputError
        Another one is at work there.
    """
    path = folder.absolute() / ".snakemake" / "offnote.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = _lock_patiently(path)
    except OSError:
        # A file system without locks: whoever starts two workflows there is not kept from it.
        return
    if held is None:
        raise InputError(f"another snakemake is at work in {folder}; wait until it has finished")
    token = secrets.token_hex(8)
    os.ftruncate(held, 0)
    os.write(held, token.encode())
    os.environ[VARIABLE] = f"{platform.node()} {token} {path}"


def end_with_workflow(farewell: Callable[[], object] = lambda: None) -> None:
    """End this process as soon as the workflow that started it is no more: it would get in the way of the next.

    Jobs that run on another computer than their workflow, or were started by hand, go on.

    Parameters
    ----------
    farewell
        What to do before the end.
    """
    computer, token, path = [*os.environ.get(VARIABLE, "").split(" ", 2), "", "", ""][:3]
    if token and computer == platform.node():
        Thread(target=_outlive, args=(Path(path), token, farewell), daemon=True).start()


def _outlive(path: Path, token: str, farewell: Callable[[], object]) -> None:
    try:
        with path.open() as file:
            if file.read() == token:
                # Granted when the workflow has ended. Another token: it has, and the next one is at work.
                fcntl.flock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        pass
    except OSError:
        return
    try:
        farewell()
    finally:
        os._exit(1)


def _lock_patiently(path: Path) -> int | None:
    """Lock `path`; the jobs of a workflow that was killed have it for a moment before they end."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while (held := lock(path)) is None and time.monotonic() < give_up:
        time.sleep(0.1)
    return held
