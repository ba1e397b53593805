"""One log per job that holds its whole story, and one sentence on the screen when it fails."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, TypeVar

from offnote.errors import InputError
from offnote.supervision import end_with_workflow

log = logging.getLogger("offnote")

T = TypeVar("T")

FAILED = "FAILED "
STARTS = re.compile(r"INFO (.*) starts$")
ENDS = re.compile(r"INFO .* is done after [0-9.]+ s$")
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
    screen = os.dup(2)
    with _opened(path, what) as stream:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
        end_with_workflow(lambda: log.error("its snakemake is no more, so it ends here"))
        log.info("%s starts", what)
        started = time.monotonic()
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - a killed or interrupted job needs its sentence too
            sentence = f"{what}: {_sentence(error)} (log: {path})\n"
            os.write(screen, f"offnote: {sentence}".encode())
            try:
                traceback.print_exc()
                sys.stderr.write(FAILED + sentence)
                sys.stderr.flush()
            except OSError:
                _write_over_the_end(f"\n{FAILED}{sentence}".encode())
            sys.exit(1)
        log.info("%s is done after %.1f s", what, time.monotonic() - started)


def _write_over_the_end(text: bytes) -> None:
    """Put the last words of a job in place of what stands last in its log: on a full disk there is no other room."""
    with suppress(OSError):
        os.ftruncate(2, max(0, os.lseek(2, 0, os.SEEK_END) - len(text)))
        os.lseek(2, 0, os.SEEK_END)
        os.write(2, text)
        # What could not be written before must not follow them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class Mistakes:
    """Gathers what is wrong with the machines of one job, so that it names all of them and not only the first.

    Examples
    --------
    >>> mistakes = Mistakes()
    >>> for number in (1, 2, 3):
    ...     with mistakes.gathered():
    ...         if number != 2:
    ...             raise InputError(f"{number}.wav: silent")
    >>> mistakes.report()
    Traceback (most recent call last):
    offnote.errors.InputError: 1.wav: silent. 3.wav: silent
    """

    def __init__(self) -> None:
        self._sentences: list[str] = []

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Put an InputError of the block by, so that the work goes on with the next machine."""
        try:
            yield
        except InputError as error:
            log.exception("%s", error)
            self._sentences.append(str(error))

    def report(self) -> None:
        """Raise an InputError that says everything that was put by, if there is anything."""
        if self._sentences:
            raise InputError(". ".join(dict.fromkeys(self._sentences)))


def failures(folder: Path, since: float) -> list[str]:
    """Return a sentence for each job that failed, from the logs in `folder` changed after the time `since`.

    A job that was killed had no time for its sentence: its log just ends.
    """
    changed = [path for path in sorted(folder.rglob("*.log")) if path.stat().st_mtime >= since]
    sentences = [_failure(path, path.read_text(encoding="utf-8", errors="replace").splitlines()) for path in changed]
    return [sentence for sentence in sentences if sentence]


def _failure(path: Path, lines: list[str]) -> str:
    """Return the sentence of a job's failure; nothing where it is done, or where the log is not a job's."""
    started = STARTS.search(lines[0]) if lines else None
    if started is None or ENDS.search(lines[-1]):
        return ""
    # A sentence may be followed by a list.
    failed = next((place for place in reversed(range(len(lines))) if lines[place].startswith(FAILED)), None)
    if failed is not None:
        return "\n".join(lines[failed:]).removeprefix(FAILED)
    return f"{started[1]}: killed, by hand or for want of memory; the same command carries on (log: {path})"


def _opened(path: Path, what: str) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w", encoding="utf-8")
    except OSError as error:
        sys.exit(f"offnote: {what}: the log {path} cannot be written ({error.strerror}); mend the folder it is in")


def _sentence(error: BaseException) -> str:
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command carries on"
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
