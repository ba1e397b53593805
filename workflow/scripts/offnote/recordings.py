"""The recordings, or feature caches, that a run works on: which there are, in a folder, a storage or the demo set.

Nothing here imports torch or Snakemake, and nothing reads audio.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from offnote import cache, datasets, descriptions, synthesis, synthetic_challenge
from offnote.clips import Clip, Machine, check_name, check_unique, read_clips
from offnote.config import Demo, Settings
from offnote.errors import InputError
from offnote.provenance import digest

DEMO_FOLDER = "results/cache/demo"
STORAGES = ("s3://",)


class Listing(NamedTuple):
    """What lies below a folder of a storage, such as S3.

    Attributes
    ----------
    root
        Where jobs find their copies of what they need of it.
    objects
        Path relative to the folder, to what changes when the object is replaced: its size and its tag.
    """

    root: Path
    objects: Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class Recordings:
    """The recordings, or feature caches, that a run works on.

    Attributes
    ----------
    root
        The folder that clip paths are relative to.
    clips
        Every clip with what is known of it, by machine, in the order of the clip list.
    caches
        Feature caches made elsewhere, by machine; empty where features are made from audio.
    elsewhere
        The files of clips whose paths are not below `root`, by these paths.
    are_made
        Whether the workflow makes the recordings itself: those of the demo set.
    objects
        Where the recordings are in a storage, what :class:`Listing` tells of them.
    """

    root: Path
    clips: Mapping[Machine, Sequence[Clip]]
    caches: Mapping[Machine, Path]
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    are_made: bool = False
    objects: Mapping[str, tuple[int, str]] | None = None

    def files(self, machine: Machine) -> list[str]:
        """Return the recordings of a machine, each once, however many of its stretches are clips."""
        paths = [clip.path for clip in self.clips[machine]]
        return list(dict.fromkeys(self.elsewhere.get(path, str(self.root / path)) for path in paths))

    def fingerprint(self, machine: Machine) -> str:
        """Return a hash of size and date of each recording of a machine, or of its cache where that was made elsewhere.

        So one that is replaced by an older one is noticed, too.

        Raises
        ------
        InputError
            A recording is not there.
        """
        if machine in self.caches:
            return digest([str(self.caches[machine]), *_size_and_date(str(self.caches[machine]))])
        return digest([[path, *self._state_of(path)] for path in self.files(machine)])

    def size(self, machine: Machine) -> int:
        """Return the bytes of the recordings of a machine together."""
        return sum(self._state_of(path)[0] for path in self.files(machine))

    def _state_of(self, path: str) -> tuple[int, int | str]:
        if self.objects is None:
            return _size_and_date(path)
        return self.objects[Path(path).relative_to(self.root).as_posix()]


def demo_folder(demo: Demo) -> str:
    """Return where the demo set lies; that of a year lies beside the other.

    Examples
    --------
    >>> demo_folder(Demo()), demo_folder(Demo(year=2024))
    ('results/cache/demo', 'results/cache/demo_2024')
    """
    return DEMO_FOLDER if demo.year is None else f"{DEMO_FOLDER}_{demo.year}"


def feature_settings(settings: Settings) -> dict[str, Any]:
    """Return every setting that the frames depend on."""
    return cache.feature_settings(settings.audio, settings.slice, settings.gate, settings.features)


def recordings_of(settings: Settings, list_storage: Callable[[str], Listing] | None = None) -> Recordings:
    """Find what the section ``dataset`` names.

    Parameters
    ----------
    settings
        Those of a run.
    list_storage
        Lists the recordings below a folder of a storage; None where none can be listed.

    Raises
    ------
    InputError
        Nothing is there, it is not laid out as stated, or caches are of other features than those of `settings`.
    """
    dataset = settings.dataset
    if dataset.features is not None:
        folder = Path(dataset.features).expanduser()
        # By a relative path, Snakemake would take what another configuration made for something that it has to make.
        return _find_caches(folder.absolute() if folder.parts[:1] == ("results",) else folder, settings)
    if dataset.path is None:
        root = Path(demo_folder(settings.demo))
        return Recordings(root, by_machine(_demo_clips(root, settings.demo)), {}, are_made=True)
    if dataset.path.startswith(STORAGES):
        return _find_stored(dataset.path, dataset.layout, list_storage)
    path = Path(dataset.path).expanduser()
    clips = datasets.load_clips(path, dataset.layout)
    return Recordings(path if path.is_dir() else path.parent, by_machine(clips), {})


def _find_stored(folder: str, layout: str, list_storage: Callable[[str], Listing] | None) -> Recordings:
    if list_storage is None:
        raise InputError(f"dataset.path: {folder} can be read by snakemake only; name a folder of this computer")
    if folder.endswith(".tsv"):
        raise InputError(f"dataset.path: {folder}: a sheet can only list recordings of this computer; name a folder")
    root, objects = list_storage(folder)
    paths = datasets.choose_recordings(objects)
    if not paths:
        suffixes = ", ".join(sorted(datasets.AUDIO_SUFFIXES))
        raise InputError(f"dataset.path: {folder} holds no recordings ({suffixes}); name a folder above them")
    return Recordings(root, by_machine(datasets.parse_paths(root, paths, layout)), {}, objects=objects)


def _demo_clips(root: Path, demo: Demo) -> list[Clip]:
    if demo.year is None:
        return datasets.parse_paths(root, synthesis.planned_paths(demo), "dcase2020")
    return datasets.parse_paths(root, synthetic_challenge.planned_paths(demo), descriptions.name_of(demo.year))


def _find_caches(folder: Path, settings: Settings) -> Recordings:
    """Take machines and clips from feature caches, and labels from the sheet where there is one."""
    dataset = settings.dataset
    caches = {Machine(path.parent.name, path.stem): path for path in sorted(folder.glob("*/*.h5"))}
    if not caches:
        raise InputError(f"dataset.features: {folder} holds no caches <machine_type>/<machine_id>.h5")
    clips = [clip for machine, path in caches.items() for clip in _cached_clips(machine, path, settings)]
    if dataset.path is not None:
        sheet = read_clips(Path(dataset.path).expanduser())
        clips = _with_labels(clips, sheet, dataset.path)
        # A gate may have left nothing of a recording.
        if settings.gate.level is None:
            _refuse_uncached(sheet, clips, dataset.path)
    return Recordings(folder, by_machine(clips), caches)


def _cached_clips(machine: Machine, path: Path, settings: Settings) -> list[Clip]:
    for name in machine:
        check_name(str(path), name)
    with cache.read(path) as cached:
        cache.check_settings(cached, feature_settings(settings), stated_only=True)
        for entry in (*cached.entries, *(clip.entry for clip in cached.excluded)):
            datasets.refuse_unusable(path, entry.path)
        if cached.n_mels != settings.features.n_mels:
            raise InputError(f"{path}: has {cached.n_mels} mel bands; set features.n_mels: {cached.n_mels}")
        clips = [
            Clip(entry.path, *machine, split=entry.split, start=entry.start, end=entry.end, domain=entry.domain)
            for entry in (*cached.entries, *(clip.entry for clip in cached.excluded))
        ]
        check_unique(clips, str(path))
        return clips


def _with_labels(clips: Iterable[Clip], sheet: Iterable[Clip], name: str) -> list[Clip]:
    known = {(clip.machine, clip.path, clip.start, clip.end): clip for clip in sheet}
    labelled = []
    for clip in clips:
        row = known.get((clip.machine, clip.path, clip.start, clip.end)) or known.get(
            (clip.machine, clip.path, None, None)
        )
        if row is None or row.split != clip.split:
            raise InputError(f"{name}: has no {clip.split} row for the cached clip {clip.path} of {clip.machine}")
        labelled.append(replace(row, start=clip.start, end=clip.end))
    return labelled


def _refuse_uncached(sheet: Iterable[Clip], cached: Iterable[Clip], name: str) -> None:
    """Refuse rows that would be lost: of a machine that has a cache, but not in it."""
    machines, held = set(), set()
    for clip in cached:
        machines.add(clip.machine)
        held |= {(clip.machine, clip.path, clip.start, clip.end), (clip.machine, clip.path, None, None)}
    for row in sheet:
        if row.machine in machines and (row.machine, row.path, row.start, row.end) not in held:
            raise InputError(
                f"{name}: lists the clip {row.path} of {row.machine}, which the cache of this machine does not hold; "
                "make the cache anew, or take the row out"
            )


def by_machine(clips: Iterable[Clip]) -> dict[Machine, list[Clip]]:
    """Return clips by machine, both in the order of the clip list."""
    by_machine: dict[Machine, list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: clip.order):
        by_machine.setdefault(clip.machine, []).append(clip)
    return by_machine


def _size_and_date(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - a hot loop
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend it, or take it out of the dataset") from None
    return found.st_size, found.st_mtime_ns
