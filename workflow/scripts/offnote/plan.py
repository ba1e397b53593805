"""What there is to do, known when the Snakefile is read: runs, machines, scopes, and which of them can be trained.

Nothing here imports torch or Snakemake, and nothing reads audio.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from offnote import cache, datasets, rehearsal, synthesis, synthetic_challenge
from offnote.challenge import Challenge, load_challenge
from offnote.clips import Clip, Machine, check_name, read_clips
from offnote.config import Dataset, Demo, Section, Settings, resolve
from offnote.descriptions import MachineSet
from offnote.domains import training_domains
from offnote.errors import InputError
from offnote.provenance import canonical_json, digest
from offnote.scores import statistic_names
from offnote.status import Status
from offnote.submission import labels_of, planned_files, require_machines, require_stated

FEATURES = "results/cache/features/{dataset}/{key}/{machine_type}/{machine_id}.h5"
CHECKPOINTS = "results/cache/checkpoints"
ALL = "all"
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
        """Return a hash of size and date of each recording of a machine: one replaced by an older one is noticed too.

        Raises
        ------
        InputError
            A recording is not there.
        """
        return digest([[path, *self._state_of(path)] for path in self.files(machine)])

    def size(self, machine: Machine) -> int:
        """Return the bytes of the recordings of a machine together."""
        return sum(self._state_of(path)[0] for path in self.files(machine))

    def _state_of(self, path: str) -> tuple[int, int | str]:
        if self.objects is None:
            return _size_and_date(path)
        return self.objects[Path(path).relative_to(self.root).as_posix()]


@dataclass(frozen=True)
class Run:
    """One configuration and the work it asks for."""

    settings: Settings
    recordings: Recordings

    @cached_property
    def machines(self) -> list[Machine]:
        """Every machine of the dataset that the configuration does not leave out."""
        patterns = self.settings.dataset.machines or []
        return [machine for machine in self.recordings.clips if _is_wanted(machine, patterns)]

    @cached_property
    def scopes(self) -> dict[Machine, list[Machine]]:
        """The scopes that can be trained: each with the machines it covers, those without training clips included."""
        members: dict[Machine, list[Machine]] = {}
        for machine in self.machines:
            members.setdefault(self.scope_of(machine), []).append(machine)
        return {scope: machines for scope, machines in members.items() if any(map(self._has_training_clips, machines))}

    @property
    def scored_machines(self) -> list[Machine]:
        """The machines that a model will score."""
        return [machine for machine in self.machines if self.scope_of(machine) in self.scopes]

    def scope_of(self, machine: Machine) -> Machine:
        """Return the scope whose model covers `machine`."""
        kind = self.settings.model.scope
        return Machine(
            ALL if kind == "set" else machine.machine_type,
            machine.machine_id if kind == "machine" else ALL,
        )

    def training_machines(self, scope: Machine) -> list[Machine]:
        """Return the machines of `scope` that have training clips."""
        return [machine for machine in self.scopes[scope] if self._has_training_clips(machine)]

    def status(self, machine: Machine) -> str:
        """Say why `machine` gets no model, in the words of the tables; empty where it gets one."""
        return "" if self.scope_of(machine) in self.scopes else Status.NO_TRAINING_CLIPS

    @property
    def trials(self) -> range:
        """The trials, counted from 0."""
        return range(self.settings.training.trials)

    @property
    def feature_settings(self) -> dict[str, Any]:
        """Every setting that the frames depend on."""
        return _feature_settings(self.settings)

    @property
    def training_settings(self) -> dict[str, Any]:
        """Every setting that a model depends on, beside its features."""
        training = self.settings.training.model_dump(exclude={"trials"})
        return {**self.settings.model_dump(include={"window", "model", "seed"}), "training": training}

    @property
    def feature_key(self) -> str:
        """Twelve hex digits that name the feature settings in paths."""
        return digest(self.feature_settings)[:12]

    def cache_path(self, machine: Machine) -> str:
        """Return the feature cache that is made of a machine, relative to the working directory."""
        return FEATURES.format(dataset=self.settings.dataset.name, key=self.feature_key, **machine._asdict())

    @cached_property
    def challenge(self) -> Challenge | None:
        """The challenge that the run takes part in."""
        year = self.settings.submission.year
        return None if year is None else load_challenge(year)

    def machines_of(self, kind: MachineSet) -> list[Machine]:
        """Return the scored machines that are of the ``development`` or ``evaluation`` set of the challenge."""
        challenge = self.challenge
        return [machine for machine in self.scored_machines if challenge and challenge.holds(kind, machine)]

    def _has_training_clips(self, machine: Machine) -> bool:
        return any(clip.split == "train" for clip in self.recordings.clips[machine])


@dataclass(frozen=True)
class Batch:
    """The machines or scopes that one job works through, one after the other.

    Without members, a batch stands for a rule whose wildcards name the one machine.

    Attributes
    ----------
    name
        Name of the rule.
    known
        Wildcards whose values all members share.
    members
        The machines, or scopes; empty for a rule with wildcards.
    """

    name: str
    known: Mapping[str, str]
    members: tuple[Machine, ...] = ()

    @property
    def title(self) -> str:
        """Name the machines in a message of Snakemake's."""
        return ", ".join(map(str, self.members)) or "{wildcards.machine_type}/{wildcards.machine_id}"

    def all(self, pattern: str) -> list[str]:
        """Return the path pattern once for each member.

        Examples
        --------
        >>> Batch("train_0", {"run": "a"}, (Machine("fan", "id_00"),)).all("{run}/{machine_type}/{machine_id}/{trial}")
        ['a/fan/id_00/{trial}']
        """
        filled = _fill(pattern, self.known)
        return [_fill(filled, member._asdict()) for member in self.members] or [filled]

    def one(self, pattern: str) -> str:
        """Return the path pattern of what the whole batch shares, such as its log."""
        if not self.members:
            return _fill(pattern, self.known)
        return _fill(pattern, {**self.known, "machine_type": "batch", "machine_id": self.name})

    def of(self, function: Callable[[Mapping[str, str]], Any]) -> Callable[[Mapping[str, str]], Any]:
        """Return a function of a job's wildcards that calls `function` with them and with those the batch knows."""
        return lambda wildcards: function({**self.known, **dict(wildcards.items())})

    def sized(self, function: Callable[[Mapping[str, str], Any, int], int]) -> Callable[[Any, Any, int], int]:
        """Return a resource of a job: `function` of its wildcards, its input files, and how often it is tried."""
        return lambda wildcards, input, attempt: function({**self.known, **dict(wildcards.items())}, input, attempt)  # noqa: A006

    def each(self, function: Callable[[Mapping[str, str], Machine], Any]) -> Callable[[Mapping[str, str]], list[Any]]:
        """Return a function of the wildcards that lists `function` of the wildcards and each member in turn."""
        return self.of(lambda known: [function(known, member) for member in self.members or [_machine_in(known)]])

    def together(
        self, function: Callable[[Mapping[str, str], Machine], Iterable[str]]
    ) -> Callable[[Mapping[str, str]], list[str]]:
        """Return a function of the wildcards that joins the paths that `function` gives for each member."""
        listed = self.each(function)
        return lambda wildcards: [path for paths in listed(wildcards) for path in paths]


def plan(config: Mapping[str, Any], list_storage: Callable[[str], Listing] | None = None) -> dict[str, Run]:
    """Plan the runs that a configuration asks for.

    Parameters
    ----------
    config
        As for :func:`offnote.config.resolve`.
    list_storage
        Lists the recordings below a folder of a storage; None where none can be listed.

    Returns
    -------
    dict
        Name to run.

    Raises
    ------
    InputError
        The configuration or the dataset is wrong, or no machine is left to train.
    """
    settings = resolve(config)
    _check_what_runs_share(list(settings.values()))
    found: dict[str, Recordings] = {}
    runs = {}
    for name, run_settings in settings.items():
        dataset = run_settings.dataset.model_dump(exclude={"machines"})
        # Only of caches it matters what features are wanted: theirs have to be those.
        wanted = _feature_settings(run_settings) if run_settings.dataset.features is not None else None
        key = canonical_json([dataset, wanted])
        if key not in found:
            found[key] = _find(run_settings, list_storage)
        runs[name] = Run(run_settings, found[key])
        _check(runs[name])
    return runs


@dataclass(frozen=True)
class PlannedSubmission:
    """The systems of a submission, and the files that it will consist of.

    Attributes
    ----------
    systems
        Each a run, in the order of their numbers.
    files
        Relative to the folder of the submission, the archive first.
    reports
        The technical reports, as the configuration names them.
    """

    systems: list[Run]
    files: list[str]
    reports: list[str]


def plan_submission(runs: Mapping[str, Run], asked: Collection[str]) -> PlannedSubmission | None:
    """Plan the submission of some runs; None where the configuration does not say all that it needs.

    Parameters
    ----------
    runs
        As :func:`plan` returns them.
    asked
        What somebody wants of it, so that what is missing is an error: ``submission``, ``rehearse``, or neither.

    Raises
    ------
    InputError
        A system is no run, or `asked` and a key of the section ``submission`` is missing or wrong.
    """
    first = next(iter(runs.values())).settings.submission
    names = first.systems or list(runs)
    if unknown := [name for name in names if name not in runs]:
        raise InputError(f"submission.systems: {unknown[0]!r} is none of the runs {', '.join(runs)}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"submission.systems: names {twice[0]!r} twice; each run is one system")
    if first.year is None:
        if asked:
            raise InputError('submission.year: say for which year, as in --config "submission={year: 2024}"')
        return None
    systems = [runs[name] for name in names]
    if asked:
        _require_sendable(systems, load_challenge(first.year), asked)
    try:
        labels = labels_of(first.lastname, first.institute, len(names))
    except InputError:
        if asked:
            raise
        return None
    reports = [run.settings.submission.technical_report for run in systems]
    files = planned_files(first.year, labels, [report is not None for report in reports])
    return PlannedSubmission(systems, files, list(filter(None, reports)))


def _require_sendable(systems: Sequence[Run], challenge: Challenge, asked: Collection[str]) -> None:
    """Find at once what would otherwise end the last job, when every model is trained."""
    kinds: tuple[tuple[MachineSet, str], ...] = (
        ("development", "submission"),
        ("development", "rehearse"),
        ("evaluation", "submission"),
    )
    for run in systems:
        name, settings = run.settings.run, run.settings
        for kind in dict.fromkeys(kind for kind, target in kinds if target in asked):
            require_machines(name, run.scored_machines, challenge, kind)
        clips = (clip for machine in run.scored_machines for clip in run.recordings.clips[machine])
        if settings.slice.length is not None or any(clip.start is not None for clip in clips):
            raise InputError(
                f"run {name}: has slices of recordings as clips; the challenge wants one score for each recording: "
                "leave slice.length empty, and name whole recordings"
            )
        if challenge.decisions and settings.evaluate.threshold == "conformal" and not settings.training.validation:
            raise InputError(
                f"run {name}: {challenge.year} wants decisions, and training.validation: 0 holds no clips out to "
                "choose a threshold from; raise it, or set evaluate.threshold: gamma"
            )
    require_stated(challenge, {run.settings.run: run.settings.submission for run in systems})


def plan_rehearsal(run: Run) -> Run:
    """Plan a rehearsal: machines of the development set play those of the evaluation set.

    Returns
    -------
    Run
        Its name is that of `run` with ``/rehearsal``, and so lie its files.

    Raises
    ------
    InputError
        The run does not say for which year it is, starts from caches without recordings, has slices, or no machine of
        the development set; or the year's file names no machine of the evaluation set.
    """
    recordings, challenge = run.recordings, run.challenge
    name = run.settings.run
    if challenge is None:
        raise InputError(f"run {name}: there is nothing to rehearse for; set submission.year")
    if recordings.caches:
        raise InputError(f"run {name}: starts from dataset.features; a rehearsal needs the recordings themselves")
    development = {
        machine: clips for machine, clips in recordings.clips.items() if challenge.holds("development", machine)
    }
    if not development:
        raise InputError(f"run {name}: has no machine of the development set of {challenge.year}; see dataset.path")
    if any(clip.start is not None for clips in development.values() for clip in clips):
        raise InputError(f"run {name}: has slices of recordings as clips; a rehearsal needs whole ones")
    roles = rehearsal.cast(challenge, development)
    dataset = run.settings.dataset
    changed = dataset.model_copy(update={"name": f"{dataset.name}{rehearsal.SUFFIX}", "machines": None})
    settings = run.settings.model_copy(update={"run": f"{run.settings.run}/rehearsal", "dataset": changed})
    elsewhere = {role.path: str(recordings.root / played.path) for role, played in roles}
    played = replace(recordings, clips=_by_machine(role for role, _ in roles), elsewhere=elsewhere)
    return Run(settings, played)


def plan_rehearsals(systems: Sequence[Run], asked: bool) -> dict[str, Run]:
    """Plan the rehearsal of each system, by the name of its run; none where one of them cannot be rehearsed.

    Parameters
    ----------
    systems
        As :attr:`PlannedSubmission.systems`.
    asked
        Whether somebody wants one, so that what stands in its way is an error.

    Raises
    ------
    InputError
        As :func:`plan_rehearsal`, where one is `asked`.
    """
    try:
        return {run.settings.run: plan_rehearsal(run) for run in systems}
    except InputError:
        if asked:
            raise
        return {}


def demo_folder(demo: Demo) -> str:
    """Return where the demo set lies; that of a year lies beside the other.

    Examples
    --------
    >>> demo_folder(Demo()), demo_folder(Demo(year=2024))
    ('results/cache/demo', 'results/cache/demo_2024')
    """
    return DEMO_FOLDER if demo.year is None else f"{DEMO_FOLDER}_{demo.year}"


def demo_batches(demo: Demo, size: int) -> list[Batch]:
    """Divide the work of making the demo set into batches.

    One batch stands for all machines by its wildcards where their clips are called alike. In the shape of a year they
    are not: those of the evaluation set tell less, and those of some machine types.

    Examples
    --------
    >>> [batch.name for batch in demo_batches(Demo(), 20)], len(demo_batches(Demo(year=2022), 20))
    (['synthesise'], 3)
    """
    if demo.year is None:
        return [Batch("synthesise", {})]
    chunks = _chunks(synthetic_challenge.machines(demo), size)
    return [Batch(f"synthesise_{number}", {}, chunk) for number, chunk in enumerate(chunks)]


def demo_paths(demo: Demo, batch: Batch) -> list[str]:
    """Return the clips that a batch of the demo set makes, relative to the set's root."""
    if demo.year is None:
        return synthesis.machine_paths(demo, "{machine_type}", "{machine_id}")
    return [take.path for machine in batch.members for take in synthetic_challenge.takes(demo, machine)]


def batches(name: str, groups: Iterable[tuple[Mapping[str, str], Iterable[Machine]]], size: int) -> list[Batch]:
    """Divide the work of a rule into batches.

    Parameters
    ----------
    name
        Name of the rule.
    groups
        The members that may share a job, each group with the wildcards they have in common.
    size
        Members in a batch. With one, a single batch stands for all by its wildcards.

    Examples
    --------
    >>> fans = [Machine("fan", f"id_0{number}") for number in (0, 2, 4)]
    >>> [batch.name for batch in batches("train", [({"run": "a"}, fans)], 2)]
    ['train_0_0', 'train_0_1']
    >>> [batch.name for batch in batches("train", [({"run": "a"}, fans)], 1)]
    ['train']
    """
    if size == 1:
        return [Batch(name, {})]
    divided = []
    for place, (known, group) in enumerate(groups):
        divided += [
            Batch(f"{name}_{place}_{number}", known, chunk) for number, chunk in enumerate(_chunks(group, size))
        ]
    return divided


def _chunks(machines: Iterable[Machine], size: int) -> list[tuple[Machine, ...]]:
    members = tuple(machines)
    return [members[first : first + size] for first in range(0, len(members), size)]


def _feature_settings(settings: Settings) -> dict[str, Any]:
    return cache.feature_settings(settings.audio, settings.slice, settings.gate, settings.features)


def _find(settings: Settings, list_storage: Callable[[str], Listing] | None) -> Recordings:
    dataset = settings.dataset
    if dataset.features is not None:
        return _find_caches(Path(dataset.features).expanduser(), settings)
    if dataset.path is None:
        root = Path(demo_folder(settings.demo))
        return Recordings(root, _by_machine(_demo_clips(root, settings.demo)), {}, are_made=True)
    if dataset.path.startswith(STORAGES):
        return _find_stored(dataset.path, dataset.layout, list_storage)
    path = Path(dataset.path).expanduser()
    clips = datasets.load_clips(path, dataset.layout)
    return Recordings(path if path.is_dir() else path.parent, _by_machine(clips), {})


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
    return Recordings(root, _by_machine(datasets.parse_paths(root, paths, layout)), {}, objects=objects)


def _demo_clips(root: Path, demo: Demo) -> list[Clip]:
    if demo.year is None:
        return datasets.parse_paths(root, synthesis.planned_paths(demo), "dcase2020")
    return datasets.parse_paths(root, synthetic_challenge.planned_paths(demo), f"dcase{demo.year}")


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
    return Recordings(folder, _by_machine(clips), caches)


def _cached_clips(machine: Machine, path: Path, settings: Settings) -> list[Clip]:
    for name in machine:
        check_name(str(path), name)
    with cache.read(path) as cached:
        cache.check_settings(cached, _feature_settings(settings), stated_only=True)
        if cached.n_mels != settings.features.n_mels:
            raise InputError(f"{path}: has {cached.n_mels} mel bands; set features.n_mels: {cached.n_mels}")
        return [
            Clip(entry.path, *machine, split=entry.split, start=entry.start, end=entry.end, domain=entry.domain)
            for entry in (*cached.entries, *(clip.entry for clip in cached.excluded))
        ]


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


def _by_machine(clips: Iterable[Clip]) -> dict[Machine, list[Clip]]:
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


def _is_wanted(machine: Machine, patterns: Sequence[str]) -> bool:
    """Tell whether the patterns take a machine: those with a ! leave out of what the others take, or else of all."""
    taking = [pattern for pattern in patterns if not pattern.startswith("!")]
    leaving_out = [pattern for pattern in patterns if pattern.startswith("!")]
    return (not taking or any(_matches(machine, pattern) for pattern in taking)) and not any(
        _matches(machine, pattern) for pattern in leaving_out
    )


def _matches(machine: Machine, pattern: str) -> bool:
    """Tell whether a pattern, with or without its !, is about a machine."""
    pattern = pattern.removeprefix("!")
    return fnmatch(str(machine), pattern) or fnmatch(machine.machine_type, pattern)


def _check_what_runs_share(settings: Sequence[Settings]) -> None:
    first = settings[0]
    sources: dict[str, Dataset] = {}
    for other in settings:
        for section in ("demo", "jobs", "retrieve"):
            if keys := _differing(section, getattr(first, section), getattr(other, section)):
                raise InputError(f"run {other.run}: {keys} must be the same in all runs: state this outside `runs`")
        team = {"year", "systems", "lastname", "institute", "authors"}
        if keys := _differing("submission", first.submission, other.submission, team):
            raise InputError(f"run {other.run}: {keys} must be the same in all runs: state this outside `runs`")
        name = other.dataset.name
        source = other.dataset.model_copy(update={"machines": None})
        if keys := _differing("dataset", sources.setdefault(name, source), source):
            # The demo set cannot be renamed.
            rename = "" if name == "demo" else ", or give this run a dataset.name of its own"
            raise InputError(
                f"run {other.run}: {keys} must be the same in all runs of the dataset {name!r}, which share its "
                f"feature caches: state this outside `runs`{rename}"
            )


def _differing(name: str, one: Section, other: Section, keys: Collection[str] | None = None) -> str:
    """Name the keys, all or some, in which a section of two runs differs; empty where there is none."""
    different = [key for key, value in one if getattr(other, key) != value and (keys is None or key in keys)]
    return " and ".join(f"{name}.{key}" for key in different)


def _check(run: Run) -> None:
    """Find at once what would otherwise end a job hours later."""
    try:
        _ = run.challenge
    except InputError as error:
        raise InputError(f"submission.year: {error}") from None
    patterns = run.settings.dataset.machines or []
    for pattern in patterns:
        if not any(_matches(machine, pattern) for machine in run.recordings.clips):
            raise InputError(f"dataset.machines: {pattern!r} is none of {', '.join(map(str, run.recordings.clips))}")
    if patterns and not run.machines:
        raise InputError(f"dataset.machines: {', '.join(patterns)} leave no machine; take out what starts with '!'")
    statistics = statistic_names(run.settings.scores.quantiles)
    if len(set(statistics)) < len(statistics):
        raise InputError("scores.quantiles: one stands there twice; each is a column of the score files")
    distance = run.settings.model.distance
    if distance == "mahalanobis_of_mean":
        statistics = ["mean"]
    aggregator = run.settings.evaluate.aggregator
    if aggregator not in statistics:
        hint = f", all that model.distance: {distance} gives" if statistics == ["mean"] else ""
        raise InputError(f"evaluate.aggregator: {aggregator!r} is none of {', '.join(statistics)}{hint}")
    if distance != "squared_error":
        for scope, machines in run.scopes.items():
            training_domains([clip for machine in machines for clip in run.recordings.clips[machine]], str(scope))
    for path in (*map(str, run.recordings.caches.values()), *(run.recordings.objects or ())):
        if any(bracket in path for bracket in "{}<>"):
            raise InputError(f"{path}: Snakemake takes what is between {{}} or <> in a path for a variable; rename it")
    if not run.scopes:
        raise InputError(
            f"run {run.settings.run}: no machine has training clips, so there is nothing to learn from; "
            f"check the layout of {run.recordings.root}"
        )


def _fill(pattern: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        pattern = pattern.replace(f"{{{name}}}", value)
    return pattern


def _machine_in(wildcards: Mapping[str, str]) -> Machine:
    return Machine(wildcards["machine_type"], wildcards["machine_id"])
