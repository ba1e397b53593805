"""Score files: one row a clip, every statistic of its window errors, no label; and the description beside each.

A score file is CSV with the columns ``path, split, [start, end,]`` and then one column a statistic. `start` and `end`
(seconds) stand there where the clips are slices. Numbers are written so that reading them gives the same float64.

Its description is JSON: the score file's checksum, why it is empty where it is, the clips that are not in it and why,
and what the scores were made from.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from offnote.clips import Entry, Excluded
from offnote.errors import InputError
from offnote.files import replacing
from offnote.provenance import sha256_of

FORMAT = "offnote-scores"
FORMAT_VERSION = 1
MEND = "Delete the file, and run the same again"

SPLITS = ("train", "validation", "test", "supplemental")

Key = tuple[str, float | None, float | None]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one machine and trial, a row a clip.

    Attributes
    ----------
    path : array of str, (clips,)
        Relative to the dataset's root.
    split : array of str, (clips,)
        ``train``, ``validation`` (training clips held out from the fit), ``test`` or ``supplemental``.
    start, end : float64 array, (clips,)
        Seconds; NaN where the clip is not cut there.
    statistics : mapping of str to float64 array, (clips,)
        ``mean``, ``median``, ``std``, ``max``, ``q75``, ... or whatever the detector gives. Higher = more anomalous.
    """

    path: npt.NDArray[np.str_]
    split: npt.NDArray[np.str_]
    start: FloatArray
    end: FloatArray
    statistics: Mapping[str, FloatArray]

    def __len__(self) -> int:
        return len(self.path)

    def clips(self) -> list[Key]:
        """Return what tells clips apart: the `(path, start, end)` of each, with None for a NaN."""
        bounds = zip(self.start.tolist(), self.end.tolist(), strict=True)
        return [(str(path), _seconds(a), _seconds(b)) for path, (a, b) in zip(self.path, bounds, strict=True)]


def quantile_name(quantile: float) -> str:
    """Return the column of a quantile: `q` and its percentage.

    >>> [quantile_name(q) for q in (0.75, 0.29, 0.995)]
    ['q75', 'q29', 'q99.5']
    """
    return f"q{100 * quantile:.10g}"


def statistic_names(quantiles: Sequence[float]) -> list[str]:
    """Name the statistics of a clip's window errors, in the order of their columns.

    >>> statistic_names([0.75])
    ['mean', 'median', 'std', 'max', 'q75']
    """
    return ["mean", "median", "std", "max", *map(quantile_name, quantiles)]


def statistics(errors: npt.NDArray[np.floating], quantiles: Sequence[float]) -> dict[str, float]:
    """Summarise the window errors of one clip in float64.

    Parameters
    ----------
    errors : array, (windows,)
        At least one.
    quantiles : sequence of float
        Between 0 and 1; linear interpolation between neighbours.

    Returns
    -------
    dict of str to float
        ``mean`` (the score of the published baselines), ``median``, ``std`` (over all windows, not windows - 1),
        ``max`` and a column for each quantile.

    Examples
    --------
    >>> statistics(np.array([1.0, 2.0, 3.0, 6.0]), [0.75])
    {'mean': 3.0, 'median': 2.5, 'std': 1.8708286933869707, 'max': 6.0, 'q75': 3.75}
    """
    exact = np.asarray(errors, dtype=np.float64)
    median, *points = _quantiles(exact, [0.5, *quantiles])
    values = (float(exact.mean()), median, float(exact.std()), float(exact.max()), *points)
    return dict(zip(statistic_names(quantiles), values, strict=True))


def _quantiles(values: npt.NDArray[np.float64], quantiles: Sequence[float]) -> list[float]:
    """Return what ``np.quantile`` returns, bit for bit, in a fraction of its time."""
    ordered = np.sort(values)
    places = np.array(quantiles) * (len(ordered) - 1)
    below = places.astype(np.int64)
    lower, upper = ordered[below], ordered[np.minimum(below + 1, len(ordered) - 1)]
    share, gap = places - below, upper - lower
    found: list[float] = np.where(share < 0.5, lower + gap * share, upper - gap * (1 - share)).tolist()
    return found


def write(path: Path, table: ScoreTable) -> None:
    """Write a score file; the same table gives the same bytes.

    Raises
    ------
    InputError
        If a score is not finite, or a clip appears twice.
    """
    keys = table.clips()
    _refuse_duplicates(path, keys)
    sliced = any(start is not None or end is not None for _, start, end in keys)
    header = ["path", "split", *(["start", "end"] if sliced else []), *table.statistics]
    columns = [column.tolist() for column in table.statistics.values()]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for (name, *bounds), split, *values in zip(keys, table.split, *columns, strict=True):
            if not all(map(math.isfinite, values)):
                raise InputError(f"{path}: the score of clip {name} is not finite; look at the features of this clip")
            writer.writerow([name, split, *(bounds if sliced else []), *map(repr, values)])


def read(path: Path) -> ScoreTable:
    """Read a score file, and compare it with the checksum in its description, where it has one.

    Raises
    ------
    InputError
        If the file is missing or holds no clip, a column is missing, a cell is wrong, its checksum is another, or its
        description cannot be read. Rows count from 1, the header.
    """
    checksum = read_description(path).scores_sha256
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file, strict=True)) or [[]]
    except OSError as error:
        raise InputError(f"{path}: the score file cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: this is not a CSV file in UTF-8: {error}") from error
    names = _statistic_names(path, header)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InputError(
                f"{path}, row {number}: {len(row)} cells under {len(header)} columns; is it cut off? {MEND}"
            )
    if not rows:
        raise InputError(f"{path}: the score file holds no clip; score the machine again")
    table = _table(path, dict(zip(header, zip(*rows, strict=True), strict=True)), names)
    _refuse_duplicates(path, table.clips())
    if checksum not in (None, sha256_of(path)):
        raise InputError(f"{path}: not the scores that the JSON file beside it speaks of. {MEND}")
    return table


@dataclass(frozen=True)
class Description:
    """What the description of a score file says of its table.

    Attributes
    ----------
    status : str
        Why there are no scores, in the words of :class:`offnote.status.Status`; empty where there are.
    excluded : sequence of Excluded
        The clips that have no score.
    scores_sha256 : str, optional
        Checksum of the score file.
    """

    status: str = ""
    excluded: Sequence[Excluded] = ()
    scores_sha256: str | None = None


def description_of(path: Path) -> Path:
    """Name the description of the score file `path`.

    >>> description_of(Path("trial_0.csv")).name
    'trial_0.json'
    """
    return path.with_suffix(".json")


def write_description(path: Path, *, status: str = "", excluded: Sequence[Excluded] = (), **origin: Any) -> None:
    """Describe the score file `path`, which is written already.

    Parameters
    ----------
    path
        The score file.
    status, excluded
        As in :class:`Description`.
    **origin
        What the scores were made from, as JSON can say it.
    """
    described = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "scores_sha256": sha256_of(path),
        "status": status,
        "excluded": [asdict(clip.entry) | {"reason": clip.reason} for clip in excluded],
    }
    with replacing(description_of(path)) as temporary:
        temporary.write_text(json.dumps(described | origin, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_description(path: Path) -> Description:
    """Read the description of the score file `path`; without one, nothing is wrong and no clip excluded.

    Raises
    ------
    InputError
        The description is damaged, or of another format or version.
    """
    file = description_of(path)
    if not file.exists():
        return Description()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        written_as = found["format"], found["format_version"]
        excluded = [Excluded(_entry(row), row["reason"]) for row in found["excluded"]]
        description = Description(found["status"], excluded, found["scores_sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file}: it must tell which clips have no score; score the machine again") from error
    if written_as != (FORMAT, FORMAT_VERSION):
        raise InputError(
            f"{file}: it is of the format {written_as[0]!r}, version {written_as[1]!r}; this program reads version "
            f"{FORMAT_VERSION} of {FORMAT!r}: score the machine again"
        )
    return description


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(**{name: value for name, value in row.items() if name != "reason"})


def name_clip(clip: Key) -> str:
    """Name a clip in a sentence: its path, and its seconds where it is a slice.

    Examples
    --------
    >>> name_clip(("a.wav", 2.0, 4.0))
    'a.wav (2.0 to 4.0 s)'
    """
    path, start, end = clip
    if start is None and end is None:
        return path
    return f"{path} ({'start' if start is None else start} to {'end' if end is None else end} s)"


def _statistic_names(path: Path, header: Sequence[str]) -> list[str]:
    names = [name for name in header if name not in ("path", "split", "start", "end")]
    missing = [name for name in ("path", "split") if name not in header]
    if ("start" in header) != ("end" in header):
        missing.append("end" if "start" in header else "start")
    if missing:
        raise InputError(f"{path}: the column {missing[0]!r} is missing from this score file")
    if not names:
        raise InputError(f"{path}: no column holds a score, only {', '.join(header)}")
    if len(set(header)) != len(header):
        raise InputError(f"{path}: two columns of this score file have the same name: {', '.join(header)}")
    return names


def _table(path: Path, cells: Mapping[str, Sequence[str]], names: Sequence[str]) -> ScoreTable:
    for number, split in enumerate(cells["split"], start=2):
        if split not in SPLITS:
            raise InputError(f"{path}, row {number}: split {split!r} is none of {', '.join(SPLITS)}")
    whole = [""] * len(cells["path"])
    start, end = (_numbers(path, name, cells.get(name, whole), empty=math.nan) for name in ("start", "end"))
    return ScoreTable(
        path=np.array(cells["path"]),
        split=np.array(cells["split"]),
        start=start,
        end=end,
        statistics={name: _numbers(path, name, cells[name]) for name in names},
    )


def _numbers(path: Path, name: str, cells: Sequence[str], empty: float | None = None) -> FloatArray:
    def parse() -> Iterator[float]:
        for number, cell in enumerate(cells, start=2):
            if cell == "" and empty is not None:
                yield empty
                continue
            try:
                value = float(cell)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise InputError(f"{path}, row {number}: {cell!r} in column {name!r} is not a finite number. {MEND}")
            yield value

    return np.fromiter(parse(), dtype=np.float64, count=len(cells))


def _refuse_duplicates(path: Path, keys: Sequence[Key]) -> None:
    seen: set[Key] = set()
    for key in keys:
        if key in seen:
            raise InputError(f"{path}: clip {key[0]} has two rows; every clip is scored once")
        seen.add(key)


def _seconds(value: float) -> float | None:
    return None if math.isnan(value) else value
