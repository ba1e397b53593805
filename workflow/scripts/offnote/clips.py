"""Clips, machines, and the table of clips: a user's sample sheet and the workflow's clip list are one format.

The table is tab-separated UTF-8 text with a header. Labels, attributes and test domains stand nowhere else.
"""

from __future__ import annotations

import csv
import difflib
import math
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from offnote.config import NAME_PATTERN, RESERVED_NAMES, why_unbearable
from offnote.errors import InputError
from offnote.files import replacing

SPLITS = ("train", "test", "supplemental")
DOMAINS = ("", "source", "target")
LABELS = {"": "", "normal": "normal", "anomaly": "anomaly", "abnormal": "anomaly"}
REQUIRED = ("path", "machine_type", "machine_id", "split")


# What every program reads as a number; Python's float() takes 1_000 and digits of other scripts too.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Machine(NamedTuple):
    """A machine, or a scope: a machine type and ID, either of which may be `all` in a scope."""

    machine_type: str
    machine_id: str

    def __str__(self) -> str:
        return f"{self.machine_type}/{self.machine_id}"


@dataclass(frozen=True, slots=True)
class Clip:
    """One audio file, or one slice of a long one, and what is known about it.

    Attributes
    ----------
    path
        The file, relative to the dataset's root, with forward slashes.
    machine_type, machine_id
        The machine, such as ``fan`` and ``id_00``.
    split
        ``train`` (normal clips to learn from), ``test``, or ``supplemental``.
    label
        ``normal``, ``anomaly``, or empty where nobody knows.
    start, end
        The slice in seconds; None for the whole file.
    domain
        ``source``, ``target``, or empty where there are no domains or nobody knows.
    time, attributes
        When it was recorded, and further attributes, as free text.
    """

    path: str
    machine_type: str
    machine_id: str
    split: str
    label: str = ""
    start: float | None = None
    end: float | None = None
    time: str = ""
    domain: str = ""
    attributes: str = ""

    @property
    def machine(self) -> Machine:
        """The machine that was recorded."""
        return Machine(self.machine_type, self.machine_id)

    @property
    def order(self) -> tuple[str, str, int, str, float]:
        """The place of the clip in every list: by machine, training clips first, by path, by time."""
        return self.machine_type, self.machine_id, SPLITS.index(self.split), self.path, self.start or 0.0

    @property
    def row(self) -> list[str | float | None]:
        """The values in the order of the columns, as plain JSON."""
        return [getattr(self, column) for column in COLUMNS]

    @property
    def unlabelled_row(self) -> list[str | float | None]:
        """Path, split, domain, start and end: what may be known before `evaluate`, so no test clip's domain."""
        return [self.path, self.split, self.domain if self.split == "train" else "", self.start, self.end]


@dataclass(frozen=True)
class Entry:
    """One clip of a machine, as everything before `evaluate` knows it: without label, and without a test domain.

    Attributes
    ----------
    path
        The recording, relative to the dataset's root.
    split
        ``train``, ``test`` or ``supplemental``.
    domain
        ``source`` or ``target`` where a training clip's is known.
    start, end
        Seconds into the recording; None for a whole one.

    Raises
    ------
    InputError
        Unknown split, a domain of a clip that is not for training, or a slice without one of its ends,
        or that ends before it starts.
    """

    path: str
    split: str
    domain: str = ""
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise InputError(f"{self.path}: split is {self.split!r}; it must be one of {', '.join(SPLITS)}")
        if self.domain and self.split != "train":
            raise InputError(f"{self.path}: a {self.split} clip may not carry a domain here, only a training clip may")
        if (self.start is None) != (self.end is None):
            raise InputError(f"{self.path}: a slice needs both start and end; give the other one, or neither")
        if self.start is not None and self.end is not None and not 0 <= self.start < self.end < math.inf:
            raise InputError(f"{self.path}: there is no slice from {self.start:g} s to {self.end:g} s; mend its ends")

    def __str__(self) -> str:
        return self.path if self.start is None else f"{self.path} from {self.start:g} s to {self.end:g} s"


@dataclass(frozen=True)
class Excluded:
    """A broken clip that the work went on without, and what is wrong with it."""

    entry: Entry
    reason: str


COLUMNS = tuple(field.name for field in fields(Clip))


def read_clips(path: Path) -> list[Clip]:
    """Read a table of clips and check every row.

    Parameters
    ----------
    path
        A sample sheet or a clip list. The columns ``path``, ``machine_type``, ``machine_id`` and ``split`` must be
        there, the others of :class:`Clip` may be.

    Returns
    -------
    list of Clip
        In the order of :attr:`Clip.order`, whatever the order of the rows.

    Raises
    ------
    InputError
        Names the row and column of the first mistake.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, delimiter="\t", strict=True)
            _check_header(path, reader.fieldnames or ())
            clips = [_parse(path, reader.line_num, row) for row in reader]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check dataset.path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        hint = ": is a quotation mark opened and not closed?" if "end of data" in str(error) else ""
        raise InputError(f"{path}: is not a table of tab-separated UTF-8 text ({error}{hint})") from error
    if not clips:
        raise InputError(f"{path}: has no rows; list one clip a row")
    check_unique(clips, str(path))
    return sorted(clips, key=lambda clip: clip.order)


def write_clips(path: Path, clips: Iterable[Clip]) -> None:
    """Write a table of clips that :func:`read_clips` reads back."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        for clip in clips:
            writer.writerow(["" if value is None else value for value in clip.row])


def check_unique(clips: Iterable[Clip], source: str) -> None:
    """Refuse a clip of a machine that is listed twice, whole or in part, and stretches that overlap across two splits.

    The ones would count twice in training or in a table, the others would test on what was trained on.

    Raises
    ------
    InputError
        Names the recording.
    """
    recordings: dict[tuple[Machine, str], list[Clip]] = {}
    for clip in clips:
        recordings.setdefault((clip.machine, clip.path), []).append(clip)
    for (_, path), stretches in recordings.items():
        if len({(clip.start, clip.end) for clip in stretches}) < len(stretches):
            raise InputError(f"{source}: the clip {path} is listed twice; keep one of the rows")
        if len(stretches) > 1 and any(clip.start is None for clip in stretches):
            raise InputError(f"{source}: {path} is listed whole, and a stretch of it too; list its stretches alone")
        _refuse_overlap(stretches, f"{source}: {path}")


def _refuse_overlap(stretches: Iterable[Clip], where: str) -> None:
    latest: dict[str, float] = {}
    for clip in sorted(stretches, key=lambda clip: clip.start or 0.0):
        for split, end in latest.items():
            if split != clip.split and end > (clip.start or 0.0):
                raise InputError(f"{where}: a stretch for {split} and one for {clip.split} overlap; keep them apart")
        latest[clip.split] = max(latest.get(clip.split, 0.0), math.inf if clip.end is None else clip.end)


def _check_header(path: Path, header: Sequence[str]) -> None:
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        wrong = [name for mark, name in ((",", "commas"), (";", "semicolons")) if header and mark in header[0]]
        hint = f"; columns are separated by tabs, not {wrong[-1]}" if wrong and len(header) == 1 else ""
        raise InputError(f"{path}: the column {missing[0]!r} is missing{hint}")
    for column in header:
        if column not in COLUMNS:
            close = difflib.get_close_matches(column, COLUMNS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the columns are {', '.join(COLUMNS)}"
            raise InputError(f"{path}: unknown column {column!r}; {hint}")
    if len(set(header)) < len(header):
        raise InputError(f"{path}: a column stands twice in the header")


def _parse(path: Path, line: int, row: dict[str | None, str | None]) -> Clip:
    where = f"{path}, line {line}"
    if None in row or None in row.values():
        raise InputError(f"{where}: has another number of columns than the header")
    cells = {str(column): str(value).strip() for column, value in row.items()}
    for column in ("split", "label", "domain"):
        cells[column] = cells.get(column, "").lower()
    if not cells["path"]:
        raise InputError(f"{where}: the path is empty")
    for column in ("machine_type", "machine_id"):
        check_name(f"{where}, {column}", cells[column])
    _check_choice(f"{where}, split", cells["split"], SPLITS)
    _check_choice(f"{where}, label", cells["label"], tuple(LABELS))
    _check_choice(f"{where}, domain", cells["domain"], DOMAINS, "; what else is known of a clip goes into attributes")
    label = LABELS[cells["label"]]
    if cells["split"] == "train" and label == "anomaly":
        raise InputError(f"{where}: a training clip is labelled anomaly; detectors learn from normal clips only")
    start, end = (_seconds(where, column, cells.get(column, "")) for column in ("start", "end"))
    if (start is None) != (end is None):
        raise InputError(f"{where}: a slice needs both start and end; give the other one, or neither")
    if start is not None and end is not None and end <= start:
        raise InputError(f"{where}: the slice ends at {end:g} s, not after its start")
    texts = {column: cells.get(column, "") for column in ("time", "attributes")}
    return Clip(
        posixpath.normpath(cells["path"].replace("\\", "/")),
        cells["machine_type"],
        cells["machine_id"],
        cells["split"],
        label,
        start,
        end,
        domain=cells["domain"],
        **texts,
    )


def check_name(where: str, name: str) -> None:
    """Refuse a machine type or ID that cannot stand in a path of the results.

    Raises
    ------
    InputError
        Says what a name may be made of.
    """
    if why := why_unbearable(name):
        raise InputError(f"{where}: {why}")
    if not re.fullmatch(NAME_PATTERN, name) or name in RESERVED_NAMES:
        raise InputError(
            f"{where}: {name!r} cannot be a folder's name here; use letters, digits, '_', '-' and '.', starting with a "
            f"letter or digit, and none of {', '.join(sorted(RESERVED_NAMES))}"
        )


def _check_choice(where: str, value: str, choices: Sequence[str], hint: str = "") -> None:
    if value not in choices:
        raise InputError(f"{where}: {value!r} is none of {', '.join(choice or 'empty' for choice in choices)}{hint}")


def _seconds(where: str, column: str, text: str) -> float | None:
    if not text:
        return None
    seconds = float(text) if NUMBER.fullmatch(text) else -1.0
    if not 0.0 <= seconds < float("inf"):
        raise InputError(f"{where}, {column}: {text!r} is not a time in seconds")
    return seconds
