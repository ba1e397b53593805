"""The feature cache: the log-mel frames of one machine's clips in one HDF5 file, format version 1.

========================  =======================  ==========================================================
Dataset                   Type, shape              Holds
========================  =======================  ==========================================================
``/frames``               float32 or float16,      the frames of all clips, one clip after another
                          (total, mels)
``/clips/path``           UTF-8, (clips,)          the recording, relative to the dataset's root
``/clips/offset``         int64, (clips + 1,)      first frame of each clip, and the number of all frames
``/clips/split``          UTF-8, (clips,)          ``train``, ``test`` or ``supplemental``
``/clips/domain``         UTF-8, (clips,)          domain of a training clip; empty for all others
``/clips/sha256``         UTF-8, (clips,)          SHA-256 of the recording's bytes
``/clips/samples``        int64, (clips,)          samples the frames were made from, after resampling
``/clips/start``, `end`   float64, (clips,)        seconds into the recording, NaN for a whole one; only in
                                                   files with slices
``/excluded``             a group like ``/clips``  the broken clips that the work went on without: ``path``,
                                                   ``split``, ``start``, ``end`` and ``reason``; only where
                                                   there are any
========================  =======================  ==========================================================

Attributes: ``format`` and ``format_version``; ``features``, the settings behind the frames as JSON; ``inputs_sha256``,
over the list of clips; ``computed_on``, ``cpu`` or ``cuda``; ``gated_seconds``, what the gate left out; and
``complete = 1``, written last. No label, host or time is in the file (but what a path tells by itself): the same clips
and settings give the same bytes.

A cache made by another program needs ``/frames``, ``path``, ``offset``, ``split`` and the attributes ``format``,
``format_version``, ``features`` and ``complete``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from offnote.clips import Entry, Excluded
from offnote.config import Audio, Features, Gate, Slice
from offnote.errors import InputError
from offnote.files import replacing
from offnote.provenance import canonical_json, differences, digest
from offnote.wording import printable

if TYPE_CHECKING:
    from typing_extensions import Buffer

FORMAT = "offnote-features"
FORMAT_VERSION = 1
FRAMES_PER_CHUNK = 256
# Written in one go: each call of HDF5 keeps all other threads waiting.
FRAMES_AT_ONCE = 16 * FRAMES_PER_CHUNK
# HDF5 1.10's way of writing: since then everything in a file but the values has a checksum of its own. Fletcher32 is
# that of the values.
LIBRARY_VERSIONS = ("v110", "v110")

Frames = NDArray[np.float32] | NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class CachedClip:
    """What the cache keeps of one clip: `frames` is (frames, mels); `samples` counts what they were made from."""

    entry: Entry
    sha256: str
    samples: int
    frames: Frames


def write(
    path: Path,
    clips: Iterable[CachedClip | Excluded],
    settings: Mapping[str, Any],
    *,
    n_mels: int,
    dtype: Literal["float32", "float16"] = "float32",
    computed_on: str = "cpu",
    gated_seconds: float = 0.0,
) -> None:
    """Write a feature cache, clip by clip, so that a long list of clips never is in memory at once.

    Parameters
    ----------
    path
        The file to make. It appears only when it is complete.
    clips
        The clips in the order they are to have, excluded ones among them. Frames are rounded to `dtype`.
    settings
        Every setting that the frames depend on, as JSON values.
    n_mels
        Values in one frame.
    dtype
        Precision of the file.
    computed_on
        ``cpu`` or ``cuda``.
    gated_seconds
        How much of the recordings the gate left out.

    Raises
    ------
    InputError
        A clip's frames do not have `n_mels` values.
    """
    with replacing(path) as temporary, _written_to(temporary) as file:
        shape, chunks = (0, n_mels), (FRAMES_PER_CHUNK, n_mels)
        frames = file.create_dataset(
            "frames", shape, dtype, maxshape=(None, n_mels), chunks=chunks, fletcher32=True, track_times=False
        )
        excluded: list[Excluded] = []
        written = list(_append(frames, clips, excluded))
        _write_clips(file.create_group("clips", track_times=False), written)
        if excluded:
            _write_excluded(file.create_group("excluded", track_times=False), excluded)
        attributes = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "features": canonical_json(settings),
            "inputs_sha256": inputs_sha256([clip.entry for clip in written], [clip.sha256 for clip in written]),
            "computed_on": computed_on,
            "gated_seconds": gated_seconds,
        }
        for name, value in attributes.items():
            file.attrs[name] = _fixed_width([value])[0] if isinstance(value, str) else value
        file.flush()
        file.attrs["complete"] = 1


class _Disk(io.FileIO):
    """What HDF5 writes to: from the first error on, as of a full disk, it takes everything and keeps nothing.

    HDF5 cannot give up a file that it cannot write: it fails again when the file is closed, in words of its own, and
    crashes when the process ends.
    """

    error: OSError | None = None

    def write(self, data: Buffer) -> int:
        rest = memoryview(data)
        while len(rest) and self.error is None:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.error = error
        return len(memoryview(data))


@contextmanager
def _written_to(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for writing; the first error of the disk is raised where the block ends."""
    with _Disk(path, "r+b") as disk:
        try:
            with h5py.File(disk, "w", libver=LIBRARY_VERSIONS) as file:
                yield file
        finally:
            if disk.error is not None:
                raise disk.error


@dataclass(frozen=True)
class _Written:
    entry: Entry
    sha256: str
    samples: int
    frames: int


def _append(
    dataset: h5py.Dataset, clips: Iterable[CachedClip | Excluded], excluded: list[Excluded]
) -> Iterator[_Written]:
    n_mels = dataset.shape[1]
    waiting: list[Frames] = []
    for clip in clips:
        if isinstance(clip, Excluded):
            excluded.append(clip)
            continue
        count, mels = clip.frames.shape
        if mels != n_mels or count == 0:
            raise InputError(f"{clip.entry}: {count} frames of {mels} values; it takes one or more of {n_mels}")
        waiting.append(clip.frames)
        if sum(map(len, waiting)) >= FRAMES_AT_ONCE:
            _extend(dataset, waiting)
            waiting = []
        yield _Written(clip.entry, clip.sha256, clip.samples, count)
    if waiting:
        _extend(dataset, waiting)


def _extend(dataset: h5py.Dataset, frames: Sequence[Frames]) -> None:
    total, added = len(dataset), np.concatenate(frames).astype(dataset.dtype, copy=False)
    dataset.resize(total + len(added), axis=0)
    dataset[total:] = added


def _write_clips(group: h5py.Group, written: Sequence[_Written]) -> None:
    entries = [clip.entry for clip in written]
    columns: dict[str, NDArray[Any]] = {
        "path": _fixed_width([entry.path for entry in entries]),
        "offset": np.cumsum([0] + [clip.frames for clip in written], dtype=np.int64),
        "split": _fixed_width([entry.split for entry in entries]),
        "domain": _fixed_width([entry.domain for entry in entries]),
        "sha256": _fixed_width([clip.sha256 for clip in written]),
        "samples": np.array([clip.samples for clip in written], dtype=np.int64),
    }
    if any(entry.start is not None for entry in entries):
        columns |= _bounds(entries)
    _write_columns(group, columns)


def _write_excluded(group: h5py.Group, excluded: Sequence[Excluded]) -> None:
    entries = [clip.entry for clip in excluded]
    texts = {
        "path": [entry.path for entry in entries],
        "split": [entry.split for entry in entries],
        "reason": [clip.reason for clip in excluded],
    }
    _write_columns(group, {name: _fixed_width(values) for name, values in texts.items()} | _bounds(entries))


def _bounds(entries: Sequence[Entry]) -> dict[str, NDArray[Any]]:
    return {name: np.array([getattr(entry, name) for entry in entries], dtype=np.float64) for name in ("start", "end")}


def _write_columns(group: h5py.Group, columns: Mapping[str, NDArray[Any]]) -> None:
    for name, values in columns.items():
        group.create_dataset(name, data=values, chunks=True, fletcher32=True, track_times=False)


def _fixed_width(texts: Sequence[str]) -> NDArray[Any]:
    """Encode with a fixed width: unlike variable-length text, whose place in the file has no checksum."""
    encoded = [text.encode() for text in texts]
    width = max(1, *map(len, encoded)) if encoded else 1
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", width))


def inputs_sha256(entries: Sequence[Entry], hashes: Sequence[str]) -> str:
    """Return the SHA-256 over the list of clips: path, hash of the recording, split, domain, start and end of each."""
    return digest(
        [
            [entry.path, sha256, entry.split, entry.domain, entry.start, entry.end]
            for entry, sha256 in zip(entries, hashes, strict=True)
        ]
    )


class FeatureCache:
    """An opened feature cache: its list of clips in memory, its frames read when asked for.

    Attributes
    ----------
    path : Path
        The file.
    entries : list of Entry
        The clips, in the file's order.
    offsets : int64 array, (clips + 1,)
        First frame of each clip, and the number of all frames.
    n_mels : int
        Values in one frame.
    settings : dict
        The settings behind the frames.
    sha256 : list of str
        SHA-256 of each clip's recording; empty texts where the program that made the cache gave none.
    inputs_sha256 : str
        SHA-256 over the list of clips.
    excluded : list of Excluded
        The broken clips that are not in the file, and why.
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file
        self._frames: h5py.Dataset = file["frames"]
        self.entries = _entries(path, file["clips"])
        self.offsets: NDArray[np.int64] = file["clips/offset"][:].astype(np.int64)
        self.n_mels = int(self._frames.shape[-1])
        self.settings: dict[str, Any] = json.loads(_attribute(file, "features"))
        self.sha256 = _texts(file["clips"], "sha256") or [""] * len(self.entries)
        self.inputs_sha256 = inputs_sha256(self.entries, self.sha256)
        self.excluded = _excluded(path, file["excluded"]) if "excluded" in file else []

    def __len__(self) -> int:
        return len(self.entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. It is closed, too, when the object is no longer used."""
        self._file.close()

    @property
    def machine(self) -> str:
        """The machine, ``<machine_type>/<machine_id>``: that is how the file and its folder are called."""
        return f"{self.path.parent.name}/{self.path.stem}"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the frames: float32 or float16."""
        dtype: np.dtype[Any] = self._frames.dtype
        return dtype

    def frames(self, first: int, last: int) -> Frames:
        """Read the frames `first` to `last - 1`, counted over all clips, as (frames, mels).

        Raises
        ------
        InputError
            A checksum in the file is wrong, or the file can no longer be read.
        """
        with _mendable(self.path):
            frames: Frames = self._frames[first:last]
            return frames

    def clip(self, index: int) -> Frames:
        """Read the frames of one clip, as (frames, mels)."""
        return self.frames(int(self.offsets[index]), int(self.offsets[index + 1]))

    def clips(self, indices: Sequence[int]) -> tuple[Frames, NDArray[np.int64]]:
        """Read several clips, neighbours in one go.

        Parameters
        ----------
        indices
            The clips, in the order they are wanted.

        Returns
        -------
        frames
            Their frames one after another, (frames, mels).
        offsets
            First frame of each in `frames`, and the number of all: int64, (clips + 1,).

        Raises
        ------
        InputError
            As :meth:`frames`, or a value is not finite, as other programs may write it.
        """
        lengths = np.diff(self.offsets)[list(indices)]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        frames = np.empty((offsets[-1], self.n_mels), dtype=self.dtype)
        with _mendable(self.path):
            for run in _neighbours(indices):
                source = np.s_[self.offsets[indices[run.start]] : self.offsets[indices[run.stop - 1] + 1]]
                self._frames.read_direct(frames, source, np.s_[offsets[run.start] : offsets[run.stop]])
        if not np.isfinite(frames).all():
            first = int(np.argmin(np.isfinite(frames).all(axis=1)))
            clip = indices[int(np.searchsorted(offsets, first, side="right")) - 1]
            raise InputError(
                f"{self.path}: frames of the clip {self.entries[clip]} are not finite; make the cache again"
            )
        return frames, offsets


def _neighbours(indices: Sequence[int]) -> Iterator[range]:
    """Cut positions in `indices` into ranges over which the index grows by one."""
    cuts = [place for place, (index, following) in enumerate(pairwise(indices), 1) if following != index + 1]
    bounds = [0, *cuts, len(indices)]
    return (range(first, last) for first, last in pairwise(bounds) if first < last)


def read(path: Path) -> FeatureCache:
    """Open a feature cache and check its format, its shapes and its list of clips.

    A flipped byte is noticed wherever it matters, in files of :func:`write`; that of frames when they are read.

    Parameters
    ----------
    path
        The file, made by :func:`write` or by another program.

    Raises
    ------
    InputError
        The file is missing, not HDF5, cut short, of another format or version, incomplete, or contradicts itself.
    """
    with _mendable(path):
        file = h5py.File(path, "r", locking="best-effort")
        try:
            _refuse_other_files(path, file)
            _check_format(path, file)
            _check_shapes(path, file)
            cache = FeatureCache(path, file)
            _check_clips(cache, _attribute(file, "inputs_sha256"))
        except BaseException:
            file.close()
            raise
    return cache


@contextmanager
def _mendable(path: Path) -> Iterator[None]:
    """Turn what HDF5 says of a missing, foreign or damaged file into one sentence for its user."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such feature cache; make it first") from None
    except BlockingIOError as error:
        raise InputError(f"{path}: another program is writing this file; wait until it has finished") from error
    except InputError:
        raise
    except Exception as error:  # h5py has one of nearly every kind
        raise InputError(f"{path}: not a feature cache, or damaged ({error}); delete it and make it again") from error


def _refuse_other_files(path: Path, file: h5py.File) -> None:
    """Refuse a file that has its values in others, which HDF5 would read, or wait for, wherever they lie.

    Only what is read is looked at: whatever else another program has left there holds nobody up.
    """
    for group in ("", "clips/", "excluded/"):
        for name in (group + member for member in _members(file, group)):
            if not isinstance(file.get(name, getlink=True), h5py.HardLink) or _lies_elsewhere(file[name]):
                raise InputError(f"{path}: /{name} is a link, or lies in another file; a feature cache is one file")


def _members(file: h5py.File, group: str) -> list[str]:
    """List what is read in a group, without following a link: those to the groups themselves are looked at first."""
    if not group:
        return [name for name in file if name in ("frames", "clips", "excluded")]
    return list(file[group]) if group in file else []


def _lies_elsewhere(item: h5py.Dataset | h5py.Group) -> bool:
    return isinstance(item, h5py.Dataset) and (item.external is not None or item.is_virtual)


def _check_format(path: Path, file: h5py.File) -> None:
    found = {name: _attribute(file, name) for name in ("format", "format_version", "features", "complete")}
    if found["format"] != FORMAT:
        raise InputError(f"{path}: its format is {found['format']!r}; a feature cache says {FORMAT!r}")
    if found["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{path}: its format_version is {found['format_version']}; this program reads version {FORMAT_VERSION}: "
            "delete the file and make it again"
        )
    if found["complete"] != 1:
        raise InputError(f"{path}: it was not written to its end (attribute 'complete'); delete it and make it again")
    if found["features"] is None:
        raise InputError(f"{path}: the attribute 'features', the settings behind the frames, is missing")
    settings = json.loads(found["features"])
    if not isinstance(settings, dict):
        raise InputError(f"{path}: the attribute 'features' must be a JSON object of settings, such as {{}}")
    try:
        canonical_json(settings).encode()
    except ValueError:
        raise InputError(
            f"{path}: the attribute 'features' has a number that is not finite, or text that is not Unicode; write it "
            "anew"
        ) from None


def _check_shapes(path: Path, file: h5py.File) -> None:
    missing = [name for name in ("frames", "clips/path", "clips/offset", "clips/split") if name not in file]
    if missing:
        raise InputError(f"{path}: {' and '.join(missing)} missing; a feature cache needs them")
    frames = file["frames"]
    if frames.ndim != 2 or frames.dtype not in (np.float32, np.float16):
        raise InputError(
            f"{path}: /frames must be (total, mels), float32 or float16; it is {frames.shape}, {frames.dtype}"
        )
    if file["clips/offset"].dtype.kind not in "iu":
        raise InputError(f"{path}: /clips/offset must be whole numbers; it is {file['clips/offset'].dtype}")
    clips = len(file["clips/path"])
    for name, column in file["clips"].items():
        expected = clips + 1 if name == "offset" else clips
        if not isinstance(column, h5py.Dataset):
            raise InputError(f"{path}: /clips/{name} is no column of the list of clips; take it out")
        if column.shape != (expected,):
            raise InputError(f"{path}: /clips/{name} has shape {column.shape}, and {clips} clips need ({expected},)")


def _check_clips(cache: FeatureCache, inputs: str | None) -> None:
    offsets = cache.offsets
    total = cache._frames.shape[0]
    if offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets) <= 0).any():
        raise InputError(f"{cache.path}: /clips/offset must grow from 0 to the {total} frames there are; make it again")
    seen: set[tuple[str, float | None, float | None]] = set()
    for entry in (*cache.entries, *(clip.entry for clip in cache.excluded)):
        if not entry.path:
            raise InputError(f"{cache.path}: lists a clip without a name")
        if (place := (entry.path, entry.start, entry.end)) in seen:
            raise InputError(f"{cache.path}: lists the clip {printable(str(entry))} twice; keep it once")
        seen.add(place)
    if inputs is not None and inputs != cache.inputs_sha256:
        raise InputError(f"{cache.path}: its list of clips contradicts its inputs_sha256; delete it and make it again")


def _attribute(file: h5py.File, name: str) -> Any:
    """Return an attribute, text as text whether its width is fixed or not; None where it is missing."""
    value = file.attrs.get(name)
    return value.decode() if isinstance(value, bytes) else value


def _entries(path: Path, clips: h5py.Group) -> list[Entry]:
    paths, splits = _texts(clips, "path"), _texts(clips, "split")
    domains = _texts(clips, "domain") or [""] * len(paths)
    starts, ends = _seconds(clips, "start", len(paths)), _seconds(clips, "end", len(paths))
    try:
        return [Entry(*values) for values in zip(paths, splits, domains, starts, ends, strict=True)]
    except InputError as error:
        raise InputError(f"{path}: {printable(str(error))}") from None


def _excluded(path: Path, group: h5py.Group) -> list[Excluded]:
    reasons = map(printable, _texts(group, "reason"))
    return [Excluded(*pair) for pair in zip(_entries(path, group), reasons, strict=True)]


def _texts(clips: h5py.Group, name: str) -> list[str]:
    return list(clips[name].asstr()[:]) if name in clips else []


def _seconds(clips: h5py.Group, name: str, count: int) -> list[float | None]:
    if name not in clips:
        return [None] * count
    return [None if np.isnan(value) else float(value) for value in clips[name][:]]


def feature_settings(audio: Audio, slicing: Slice, gate: Gate, features: Features) -> dict[str, dict[str, Any]]:
    """Return every setting that the frames of a cache depend on, as the cache records them and its path names them."""
    return {
        "audio": audio.model_dump(),
        "slice": slicing.model_dump(),
        "gate": gate.model_dump(),
        "features": features.model_dump(),
    }


def check_settings(cache: FeatureCache, expected: Mapping[str, Any], *, stated_only: bool = False) -> None:
    """Make sure that a cache was made with the settings that are wanted now.

    Parameters
    ----------
    cache
        The cache.
    expected
        The settings, nested as in its `settings`.
    stated_only
        Compare only what the cache states in our words: another program may say less, or more.

    Raises
    ------
    InputError
        They differ; the message names every key that does, with both values.
    """
    if other := differences(cache.settings, expected, stated_only=stated_only):
        raise InputError(f"{cache.path}: made with other settings: {'; '.join(other)}. Set the same, or make it again")
