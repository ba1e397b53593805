"""What there is to do, known when the Snakefile is read: runs, machines, scopes, and which of them can be trained.

Nothing here imports torch or Snakemake, and nothing reads audio.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from offnote import rehearsal
from offnote.challenge import Challenge, challenge_of
from offnote.clips import Machine
from offnote.config import Dataset, Section, Settings, resolve
from offnote.descriptions import MachineSet
from offnote.domains import training_domains
from offnote.errors import InputError
from offnote.provenance import canonical_json, digest
from offnote.recordings import Listing, Recordings, by_machine, feature_settings, recordings_of
from offnote.scores import statistic_names
from offnote.status import Status
from offnote.submission import TEAM, labels_of, planned_files, require_machines, require_stated

FEATURES = "results/cache/features/{dataset}/{key}/{machine_type}/{machine_id}.h5"
ALL = "all"


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
        return feature_settings(self.settings)

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
        return None if self.settings.submission.year is None else challenge_of(self.settings)

    def machines_of(self, kind: MachineSet) -> list[Machine]:
        """Return the scored machines that are of the ``development`` or ``evaluation`` set of the challenge."""
        challenge = self.challenge
        return [machine for machine in self.scored_machines if challenge and challenge.holds(kind, machine)]

    def _has_training_clips(self, machine: Machine) -> bool:
        return any(clip.split == "train" for clip in self.recordings.clips[machine])


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
        wanted = feature_settings(run_settings) if run_settings.dataset.features is not None else None
        key = canonical_json([dataset, wanted])
        if key not in found:
            found[key] = recordings_of(run_settings, list_storage)
        runs[name] = Run(run_settings, found[key])
        _check(runs[name])
    _refuse_what_is_to_be_made(runs)
    return runs


def _refuse_what_is_to_be_made(runs: Mapping[str, Run]) -> None:
    """Refuse caches that another of the runs makes: what is in them is read before it is made."""
    made = {
        Path(run.cache_path(machine)).resolve(): name
        for name, run in runs.items()
        for machine in run.scored_machines
        if machine not in run.recordings.caches
    }
    for name, run in runs.items():
        for path in run.recordings.caches.values():
            if maker := made.get(path.resolve()):
                raise InputError(
                    f"run {name}: dataset.features names {path}, which the run {maker} makes; give both runs the same "
                    "dataset, whose caches they share, or run this one with a configuration file of its own"
                )


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
    settings = next(iter(runs.values())).settings
    first = settings.submission
    names = first.systems or list(runs)
    if unknown := [name for name in names if name not in runs]:
        raise InputError(f"submission.systems: {unknown[0]!r} is none of the runs {', '.join(runs)}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"submission.systems: names {twice[0]!r} twice; each run is one system")
    if first.year is None and not asked:
        return None
    challenge = challenge_of(settings)
    systems = [runs[name] for name in names]
    if asked:
        _require_sendable(systems, challenge, asked)
    try:
        labels = labels_of(first.lastname, first.institute, len(names))
    except InputError:
        if asked:
            raise
        return None
    reports = [run.settings.submission.technical_report for run in systems]
    files = planned_files(challenge.year, labels, [report is not None for report in reports])
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
    played = replace(recordings, clips=by_machine(role for role, _ in roles), elsewhere=elsewhere)
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
        team = {"year", "systems", *TEAM}
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
    _ = run.challenge
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
