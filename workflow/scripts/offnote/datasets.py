r"""Layouts: how the paths of a published dataset tell the machine, the split and the label of each clip.

A layout is what a file in ``config/datasets`` says of them (:mod:`offnote.descriptions`): patterns, regular expressions
with named groups that are matched against the end of a clip's path without its suffix, and where the split comes from.
"""

from __future__ import annotations

import os
import posixpath
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from offnote import descriptions
from offnote.clips import LABELS, Clip, Machine, check_name, check_unique, read_clips
from offnote.descriptions import Splitting, describe
from offnote.errors import InputError
from offnote.wording import first_of

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg"})
# In the one ä is a letter, as most systems write it, in the other two, as older ones of Apple do.
UNICODE_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
OTHER_SUFFIXES = frozenset({".aac", ".aif", ".aiff", ".amr", ".au", ".caf", ".m4a", ".mp3", ".mp4", ".opus", ".wma"})
"""Of sound files that are not read here."""


@dataclass(frozen=True)
class Layout:
    """How the paths of one dataset are read.

    Attributes
    ----------
    name
        Name of the layout's file.
    patterns, split
        The keys `clips` and `split` of :class:`offnote.descriptions.Description`.
    """

    name: str
    patterns: tuple[re.Pattern[str], ...]
    split: Splitting | None

    def parse(self, path: str, root: str = "") -> Clip | None:
        """Read one clip's path, relative to `root`; None where it does not fit the layout.

        Examples
        --------
        >>> clip = load_layout("dcase2020").parse("fan/test/anomaly_id_00_00000003.wav")
        >>> clip.machine_type, clip.machine_id, clip.split, clip.label
        ('fan', 'id_00', 'test', 'anomaly')
        """
        # The folder that a user names may lie above or below the machine type's: so look at the whole path.
        whole = f"{root}/{path}".rpartition(".")[0]
        for pattern in self.patterns:
            if found := pattern.search(whole):
                groups: dict[str, str] = found.groupdict(default="")
                return Clip(
                    path,
                    groups["machine_type"],
                    groups["machine_id"],
                    split=groups.get("split", "test"),
                    label=LABELS[groups.get("label", "")],
                    domain=groups.get("domain", ""),
                    attributes=groups.get("attributes", ""),
                )
        return None


def layout_names() -> list[str]:
    """List the layouts: the files in ``config/datasets`` that say how clips are called."""
    return [name for name in descriptions.names() if describe(name).clips]


def load_layout(name: str) -> Layout:
    """Read the layout of that name.

    Raises
    ------
    InputError
        There is none.
    """
    if name not in layout_names():
        raise InputError(f"dataset.layout: there is no {name!r}; choose auto or one of {', '.join(layout_names())}")
    described = describe(name)
    return Layout(name, described.clips, described.split)


def load_clips(path: Path, layout: str = "auto") -> list[Clip]:
    """List the clips of a dataset: of a folder in a known layout, or of a sample sheet.

    Parameters
    ----------
    path
        A folder, or a sample sheet (``.tsv``) whose paths are relative to it.
    layout
        The name of a layout for a folder, or ``auto`` to find out which one fits all its recordings.

    Returns
    -------
    list of Clip
        In the order of :attr:`offnote.clips.Clip.order`.

    Raises
    ------
    InputError
        The folder or sheet is missing, a file of the sheet is missing, or recordings do not fit the layout.
    """
    if path.is_dir():
        paths = find_recordings(path)
        _check_one_name(path, path, paths)
        return parse_paths(path, paths, layout)
    if path.suffix != ".tsv" or not path.is_file():
        if not path.exists():
            raise InputError(f"dataset.path: there is no {path}; mend the path, or mount its disk")
        raise InputError(f"dataset.path: {path} is neither a folder nor a sample sheet (.tsv)")
    clips = read_clips(path)
    _check_one_machine(path, clips)
    for name in sorted({clip.path for clip in clips}):
        if not os.path.isfile(os.path.join(path.parent, name)):  # noqa: PTH113, PTH118 - a hot loop
            raise InputError(f"{path}: there is no file {name}; {_advice(path.parent, name)}")
    _check_one_name(path, path.parent, [clip.path for clip in clips])
    return clips


def _advice(folder: Path, name: str) -> str:
    for form in UNICODE_FORMS:
        if (folder / unicodedata.normalize(form, name)).is_file():
            return f"one whose letters look the same is there, in Unicode's form {form}: write the path of that one"
    return "paths are relative to the sheet's folder"


def _check_one_name(where: Path, root: Path, paths: Iterable[str]) -> None:
    """Refuse one recording under two paths, as by a link: it could be trained on under one and tested under the other.

    Raises
    ------
    InputError
        Names the folder or sheet, and both paths.
    """
    names: dict[str, str] = {}
    real = cache(os.path.realpath)
    for name in dict.fromkeys(paths):
        folder, file = os.path.split(os.path.join(root, name))  # noqa: PTH118 - a hot loop
        recording = os.path.join(real(folder), file)  # noqa: PTH118
        if os.path.islink(recording):  # noqa: PTH114
            recording = os.path.realpath(recording)
        if (other := names.setdefault(recording, name)) != name:
            raise InputError(f"{where}: {other} and {name} are one recording; keep one of these names for it")


def parse_paths(root: Path, paths: Sequence[str], layout: str) -> list[Clip]:
    """Read the paths of recordings, relative to `root`, by a layout. The files themselves are not touched."""
    layouts = [load_layout(name) for name in (layout_names() if layout == "auto" else [layout])]
    above = root.absolute().as_posix()
    parsed = {candidate.name: [candidate.parse(path, above) for path in paths] for candidate in layouts}
    fitting = [candidate for candidate in layouts if None not in parsed[candidate.name]]
    # Years that name clips alike read the same from them, so it does not matter which of them it is.
    if any(parsed[candidate.name] != parsed[fitting[0].name] for candidate in fitting):
        names = ", ".join(candidate.name for candidate in fitting)
        raise InputError(f"dataset.layout: {root} fits several layouts ({names}): name the one it is")
    if not fitting:
        raise InputError(_say_what_does_not_fit(root, paths, parsed))
    clips = [clip for clip in parsed[fitting[0].name] if clip is not None]
    for machine_type, machine_id in sorted({clip.machine for clip in clips}):
        check_name(f"{root}, machine type", machine_type)
        check_name(f"{root}, machine ID", machine_id)
    _check_one_source(root, clips)
    check_unique(clips, str(root))
    if fitting[0].split == "first_normals":
        clips = _split_by_first_normals(clips)
    return sorted(clips, key=lambda clip: clip.order)


def find_recordings(folder: Path) -> list[str]:
    """List the audio files below a folder, relative to it, in name order. Hidden files and folders do not count.

    Links to folders are followed, but not one that leads back to a folder above it.

    Raises
    ------
    InputError
        There are none, a folder cannot be read, or a recording is a link to nowhere or has a name that cannot stand
        in a table.
    """
    try:
        found = sorted(_recordings_below(folder, "", [_identity(folder)]))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); mend it or take it away") from error
    if not found:
        others = find_unreadable(folder)
        hint = f"; of formats that are not read here: {first_of(others)}; convert to WAV or FLAC" if others else ""
        raise InputError(f"{folder}: no recordings ({', '.join(sorted(AUDIO_SUFFIXES))}) are below this folder{hint}")
    for path in found:
        refuse_unusable(folder, path)
    _refuse_two_formats(found)
    return found


def find_unreadable(folder: Path) -> list[str]:
    """List the sound files below `folder` of formats that are not read here, relative to it; hidden ones do not count.

    Examples
    --------
    >>> find_unreadable(Path("no such folder"))
    []
    """
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in OTHER_SUFFIXES)
    return sorted(
        path.as_posix()
        for path in found
        if not any(part.startswith(".") for part in path.parts) and (folder / path).is_file()
    )


def _refuse_two_formats(paths: Iterable[str]) -> None:
    """Refuse one recording in two formats: a clip would be on both sides, of training and of testing."""
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(posixpath.splitext(path)[0], path)
        if other != path:
            raise InputError(f"{other} and {path} are one recording in two formats; move one of them elsewhere")


def choose_recordings(paths: Iterable[str]) -> list[str]:
    """Choose the audio files among the paths of a storage, in name order, as :func:`find_recordings` does of a folder.

    Raises
    ------
    InputError
        One has a name that cannot stand in a table, or be the path of a file below a folder.

    Examples
    --------
    >>> choose_recordings(["fan/test/b.wav", "fan/test/a.WAV", "fan/readme.md", "fan/.trash/c.wav"])
    ['fan/test/a.WAV', 'fan/test/b.wav']
    """
    suffixes = tuple(AUDIO_SUFFIXES)
    found = sorted(path for path in paths if path.lower().endswith(suffixes))
    for path in found:
        refuse_unusable(Path(), path)
        if path != posixpath.normpath(path) or path.startswith(("/", "../")):
            raise InputError(f"dataset.path: {path!r} cannot be the path of a recording; rename it")
    chosen = [path for path in found if "/." not in f"/{path}"]
    _refuse_two_formats(chosen)
    return chosen


def _recordings_below(folder: Path, prefix: str, above: Sequence[tuple[int, int]]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                identity = _identity(Path(entry.path))
                if identity not in above:
                    yield from _recordings_below(Path(entry.path), f"{prefix}{entry.name}/", [*above, identity])
            elif entry.is_symlink() and not entry.is_file():
                # It may have been a machine's folder, on a disk that is not there now.
                raise InputError(f"{entry.path}: a link to nowhere; mend it or take it away")
            elif os.path.splitext(entry.name)[1].lower() in AUDIO_SUFFIXES:  # noqa: PTH122 - a hot loop
                if not entry.is_file():
                    raise InputError(f"{entry.path}: is no file but a pipe or a device; take it away")
                yield prefix + entry.name


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def refuse_unusable(folder: Path, path: str) -> None:
    """Refuse a name that a sheet, a table or Snakemake would take for another: nothing else can be done about it.

    Raises
    ------
    InputError
        Shows the name with what cannot be printed in it escaped.
    """
    # Letters and spaces of some scripts do not count as printable.
    printable = path.isprintable() or not {"Cc", "Cs"} & set(map(unicodedata.category, path))
    if printable and "\\" not in path and not path[:1].isspace():
        return
    name = f"{folder}/{path}".encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    raise InputError(
        f"{name!r}: names of recordings and their folders must be UTF-8, without control characters and backslashes, "
        "and without a space in front; rename it"
    )


def _say_what_does_not_fit(root: Path, paths: Sequence[str], parsed: dict[str, list[Clip | None]]) -> str:
    name, best = max(parsed.items(), key=lambda item: len(item[1]) - item[1].count(None))
    strangers = [path for path, clip in zip(paths, best, strict=True) if clip is None]
    advice = "move them elsewhere, or" if len(strangers) < len(paths) else "set dataset.layout if it is one of ours, or"
    return (
        f"{root}: {len(strangers)} of {len(paths)} recordings do not fit the layout {name}, {strangers[0]} for one; "
        f"{advice} make a sample sheet with `offnote sheet {shlex.quote(str(root))}`"
    )


def _check_one_machine(sheet: Path, clips: Iterable[Clip]) -> None:
    """Refuse a file of two machines, which only caches made elsewhere may have: each names files in its own folder."""
    machines: dict[str, Machine] = {}
    for clip in clips:
        other = machines.setdefault(clip.path, clip.machine)
        if other != clip.machine:
            raise InputError(f"{sheet}: the file {clip.path} is listed for {other} and for {clip.machine}; keep one")


def _check_one_source(root: Path, clips: Iterable[Clip]) -> None:
    """Refuse a folder that holds a machine twice, as two signal-to-noise ratios of MIMII side by side do."""
    counts = Counter((*clip.machine, clip.split, clip.label, clip.path.rpartition("/")[2]) for clip in clips)
    machine_type, machine_id, *_ = max(counts, key=lambda key: counts[key])
    if max(counts.values()) > 1:
        raise InputError(
            f"{root}: {machine_type}/{machine_id} is there more than once, with equal file names in several folders; "
            "name one of those folders in dataset.path, and give each a dataset.name"
        )


def _split_by_first_normals(clips: Iterable[Clip]) -> list[Clip]:
    machines: dict[tuple[str, str], list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: clip.path):
        machines.setdefault(clip.machine, []).append(clip)
    result: list[Clip] = []
    for members in machines.values():
        normals = [clip for clip in members if clip.label == "normal"]
        anomalies = [clip for clip in members if clip.label == "anomaly"]
        train = [replace(clip, split="train") for clip in normals[len(anomalies) :]]
        result += [*train, *normals[: len(anomalies)], *anomalies]
    return result
