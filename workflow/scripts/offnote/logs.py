"""One log per job that holds its whole story, and one sentence on the screen when it fails."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from offnote.errors import InputError

log = logging.getLogger("offnote")

T = TypeVar("T")

FAILED = "FAILED "
SECONDS_BETWEEN_COUNTS = 5.0


@contextmanager
def job_log(path: str | Path, what: str) -> Iterator[None]:
    """Send everything a job prints to its log file; on failure put one sentence on the screen and exit with status 1.

    Standard output and error are redirected as file descriptors, so that messages of C libraries land in the log too.

    Parameters
    ----------
    path
        The log file. It is started anew.
    what
        The job in a few words, such as ``train fan/id_00``, for the sentence on the screen.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    screen = os.dup(2)
    with path.open("w", encoding="utf-8") as stream:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
        log.info("%s starts", what)
        started = time.monotonic()
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - a killed or interrupted job needs its sentence too
            traceback.print_exc()
            sentence = f"{what}: {_sentence(error)} (log: {path})\n"
            sys.stderr.write(FAILED + sentence)
            sys.stderr.flush()
            os.write(screen, f"offnote: {sentence}".encode())
            sys.exit(1)
        log.info("%s is done after %.1f s", what, time.monotonic() - started)


def failures(folder: Path, since: float) -> list[str]:
    """Return the sentences of the jobs that failed, from the logs in `folder` changed after the time `since`."""
    changed = [path for path in sorted(folder.rglob("*.log")) if path.stat().st_mtime >= since]
    last_lines = [path.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2] for path in changed]
    return [line.removeprefix(FAILED) for line in last_lines if line.startswith(FAILED)]


def _sentence(error: BaseException) -> str:
    if isinstance(error, InputError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Pass `items` on and log a count of them every five seconds, so that a long step shows that it lives.

    Examples
    --------
    >>> sum(progress([1, 2, 3], 3, "numbers"))
    6
    """
    started = reported = time.monotonic()
    count = 0
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - reported >= SECONDS_BETWEEN_COUNTS:
            reported = now
            log.info("%s: %d of %d after %.0f s", what, count, total, now - started)
    if reported > started:
        log.info("%s: %d of %d, all after %.0f s", what, count, total, time.monotonic() - started)
