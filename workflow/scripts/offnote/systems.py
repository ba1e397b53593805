"""Runs as systems of the challenge: how a run does on the development set, and what it sends of the evaluation set.

Whose scores are judged and sent is stated in the configuration (``submission.trial``), and so is the rule behind the
decisions (``evaluate.threshold``); labels of test clips choose neither. Of the mean over trials, the threshold is the
mean of the trials' thresholds: each is chosen from the clips that its own trial held out.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from offnote import cache, scores
from offnote.challenge import Challenge, Section, challenge_of
from offnote.clips import Clip, Excluded, read_clips
from offnote.config import Settings
from offnote.detectors import Card, read_card
from offnote.errors import InputError
from offnote.evaluation import MachineScores, choose_thresholds, join, listed_test_clips
from offnote.files import replacing
from offnote.official import Evaluation, evaluate, judge, report, write_tables
from offnote.package_check import Check, check_submission
from offnote.package_check import report as check_report
from offnote.provenance import differences
from offnote.score_folders import LabelledSection, ground_truth_files
from offnote.scores import Key, name_clip
from offnote.status import Status
from offnote.submission import (
    CHECK,
    MANIFEST,
    Measured,
    System,
    labels_of,
    require_machines,
    results_in_percent,
    stated_of,
    stated_once,
    write_submission,
)
from offnote.wording import counted

RECIPE = ("detector", "window", "model", "training", "features", "n_mels", "seed")
"""What ``model.json`` says of the settings behind a model."""

AGGREGATIONS = {"mean": "average", "max": "maximum", "std": "standard deviation"}
"""How the statistics of a clip's windows are called in ``meta.yaml``; others keep their names."""


@dataclass(frozen=True)
class ScoredRun:
    """A run, and the files that it wrote.

    Attributes
    ----------
    settings : Settings
    machines : sequence of MachineScores
        Every machine of the run.
    clips : Path
        The clip list.
    models : sequence of Path
        The folders of the models.
    caches : sequence of Path
        The features of the machines of the evaluation set.
    """

    settings: Settings
    machines: Sequence[MachineScores]
    clips: Path
    models: Sequence[Path] = ()
    caches: Sequence[Path] = ()

    @classmethod
    def from_plain(cls, run: Mapping[str, Any]) -> Self:
        """Make one of plain values, as the workflow hands them on."""
        return cls(
            Settings(**run["settings"]),
            [MachineScores.from_plain(job) for job in run["machines"]],
            Path(run["clips"]),
            list(map(Path, run["models"])),
            list(map(Path, run["caches"])),
        )


@dataclass(frozen=True)
class SentScores:
    """The test clips of one machine with the one score of each that is sent.

    Attributes
    ----------
    scored : MachineScores
    names : list of str
        File names, sorted.
    labels, domains : array of str, (clips,)
    scores : float64 array, (clips,)
    decisions : bool array, (clips,), or None
        None where there is no threshold to decide by.
    """

    scored: MachineScores
    names: list[str]
    labels: npt.NDArray[np.str_]
    domains: npt.NDArray[np.str_]
    scores: npt.NDArray[np.float64]
    decisions: npt.NDArray[np.bool_] | None

    def where(self, chosen: npt.NDArray[np.bool_]) -> SentScores:
        """Return some of the clips."""
        return replace(
            self,
            names=[name for name, wanted in zip(self.names, chosen.tolist(), strict=True) if wanted],
            labels=self.labels[chosen],
            domains=self.domains[chosen],
            scores=self.scores[chosen],
            decisions=None if self.decisions is None else self.decisions[chosen],
        )


def judge_run(run: ScoredRun) -> Evaluation:
    """Judge a run on the machines of the development set, as the evaluators of ``submission.year`` do.

    Raises
    ------
    InputError
        None of the machines is of the development set, a clip of one has no label or, from 2021 on, no domain, or a
        machine has normal or anomalous clips only.
    """
    challenge = challenge_of(run.settings)
    rows = listed_test_clips(run.clips)
    judged = [
        scored
        for scored in run.machines
        if challenge.holds("development", scored.machine) and not _why_unscored(scored)
    ]
    labelled = [
        _labelled(section, part, challenge)
        for scored in judged
        for section, part in _sections(sent_scores(scored, rows[scored.machine], run.settings), challenge)
    ]
    if not labelled:
        raise InputError(
            f"run {run.settings.run}: has scores of no machine of the development set of {challenge.year}; check "
            "submission.year, dataset.path and dataset.machines"
        )
    ordered = sorted(labelled, key=lambda section: section.section.order)
    return judge(ordered, challenge, broken_clips=sum(len(_broken_test_clips(scored)) for scored in judged))


def system_of(run: ScoredRun, judged: ScoredRun | None = None) -> System:
    """Put together what a run sends: scores and decisions of the evaluation set, and what was measured of it.

    Parameters
    ----------
    run
        Scores the evaluation set.
    judged
        Scores the development set; the same run where it is left out.

    Raises
    ------
    InputError
        A machine of the evaluation set is missing, a clip of one has no score, there is no threshold to decide by, or
        where the year wants one recipe for all machines, models differ in it.
    """
    challenge = challenge_of(run.settings)
    models = [*run.models, *(judged.models if judged else ())]
    cards = {folder: read_card(folder) for folder in dict.fromkeys(models)}
    if challenge.first_shot:
        require_one_recipe(cards, challenge)
    scored, decided = _sent(run, challenge)
    results = results_in_percent(judge_run(judged or run).types, challenge)
    return System(
        stated=stated_of(run.settings.submission),
        measured=_measured(run, [cards[folder] for folder in run.models], results),
        scores=scored,
        decisions=decided,
    )


def submit(folder: Path, runs: Sequence[ScoredRun], first: Settings, manifests: Sequence[Path]) -> None:
    """Write a submission of up to four systems, with the manifest of each and what the check says beside it.

    Parameters
    ----------
    folder
        Where it goes, as in :func:`offnote.submission.write_submission`.
    runs
        The systems, in the order of their numbers.
    first
        The settings that say what is stated once for all: the year and who sends it.
    manifests
        The manifest of each run.

    Raises
    ------
    InputError
        As :func:`offnote.submission.write_submission`.
    """
    labels = labels_of(first.submission.lastname, first.submission.institute, len(runs))
    beside = {f"{label}{MANIFEST}": path.read_bytes() for label, path in zip(labels, manifests, strict=True)}
    archive, check = _written(folder, [system_of(run) for run in runs], first, runs[0].clips, beside)
    with replacing(folder / CHECK) as temporary:
        temporary.write_text("\n".join(check_report(archive.name, check)) + "\n", encoding="utf-8")


def _written(
    folder: Path, systems: Sequence[System], first: Settings, clips: Path, beside: Mapping[str, bytes]
) -> tuple[Path, Check]:
    """Write a submission, read it back, and make sure that it passes the check."""
    year = challenge_of(first).year
    archive = write_submission(folder, year, stated_once(first.submission), systems, beside).archive
    check = check_submission(archive, year, clips)
    if check.mistakes:
        raise InputError(f"{archive}: {check.mistakes[0]}")
    return archive, check


def rehearse(
    folder: Path,
    runs: Sequence[tuple[ScoredRun, ScoredRun]],
    first: Settings,
    played: Mapping[str, str],
    benchmarks: Mapping[str, Sequence[Path]],
) -> None:
    """Write the submission of a rehearsal, check it, then open the labels and judge it as the evaluators would.

    Parameters
    ----------
    folder
        Where ``submission``, ``ground_truth``, the official tables of each system and ``rehearsal.md`` go.
    runs
        For each system the rehearsal's run, and the run that it is a rehearsal of.
    first
        As in :func:`submit`.
    played
        The clip of the development set behind each clip of the rehearsal, by their paths.
    benchmarks
        What Snakemake wrote of how long the jobs took, stage by stage.

    Raises
    ------
    InputError
        The submission is not as it should be.
    """
    challenge = challenge_of(first)
    # Only rehearsals write here: what another one left would be taken for a part of this.
    for earlier in (folder / "submission", folder / "ground_truth", *folder.glob("*_task2_[1-4]")):
        shutil.rmtree(earlier, ignore_errors=True)
    archive, check = _written(folder / "submission", [system_of(*pair) for pair in runs], first, runs[0][0].clips, {})
    for name, text in ground_truth_files(challenge, _truths(challenge, *runs[0], played)).items():
        with replacing(folder / "ground_truth" / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    lines = [
        f"# Rehearsal of DCASE {challenge.year} Task 2",
        "",
        f"The submission passes the check: {archive}",
        "",
    ]
    lines += [f"* {stage}: {_told(files)}" for stage, files in benchmarks.items()]
    for label in check.systems:
        judged = evaluate(archive.parent / "task2" / label, challenge.year, folder / "ground_truth")
        write_tables(folder / label, label, judged)
        lines += ["", *report(label, judged)]
    with replacing(folder / "rehearsal.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _told(benchmarks: Sequence[Path]) -> str:
    """Say how long jobs took, by what Snakemake wrote of each."""
    there = [path for path in benchmarks if path.is_file()]
    seconds = sum(json.loads(line)["s"] for path in there for line in path.read_text(encoding="utf-8").splitlines())
    lost = f" (of {len(benchmarks) - len(there)} of them, whose logs are gone, nothing is known)"
    return f"{seconds:.0f} s in {counted(len(benchmarks), 'job')}{lost if len(there) < len(benchmarks) else ''}"


def _truths(
    challenge: Challenge, sent: ScoredRun, judged: ScoredRun, played: Mapping[str, str]
) -> dict[Section, dict[str, tuple[bool, str]]]:
    """Return label and domain of the rehearsal's test clips: those of the clips that they are."""
    known = {clip.path: clip for clip in read_clips(judged.clips)}
    truths: dict[Section, dict[str, tuple[bool, str]]] = {}
    for clip in read_clips(sent.clips):
        if clip.split == "test":
            real = known[played[clip.path]]
            section = next(part for part in challenge.files_of(clip.machine) if part.domain in ("", real.domain))
            truths.setdefault(section, {})[PurePosixPath(clip.path).name] = (real.label == "anomaly", real.domain)
    return truths


def require_one_recipe(cards: Mapping[Path, Card], challenge: Challenge) -> None:
    """Refuse models that differ in a setting: no machine type may have one of its own where types are new (first-shot).

    Parameters
    ----------
    cards
        What is known of each model, by its folder.
    challenge
        The year, for the message.

    Raises
    ------
    InputError
        They do; the message names every key.
    """
    recipes = {folder: card.model_dump(mode="json", include=set(RECIPE)) for folder, card in cards.items()}
    for (first, one), (folder, other) in pairwise(recipes.items()):
        if different := differences(one, other):
            raise InputError(
                f"{folder}: other settings than those of {first}: {'; '.join(different)}. In {challenge.year} all "
                "machines need the same settings (first-shot): train all of them by one configuration"
            )


def sent_scores(scored: MachineScores, listed: Sequence[Clip], settings: Settings) -> SentScores:
    """Return the scores that are sent of a machine's test clips, and the decisions on them.

    Parameters
    ----------
    scored
        With the score files of all trials.
    listed
        Its test clips in the clip list.
    settings
        Whose sections ``evaluate`` and ``submission`` say which score is taken.

    Raises
    ------
    InputError
        As :func:`offnote.evaluation.join`; or clips are slices, or two have one name.
    """
    joined = join(scored, listed, settings.evaluate.aggregator)
    values = np.array([threshold.value for threshold in choose_thresholds(scored.name, joined, settings.evaluate)])
    trial = settings.submission.trial
    chosen = slice(None) if trial == "mean" else slice(trial, trial + 1)
    sent, threshold = joined.test[chosen].mean(axis=0), float(values[chosen].mean())
    names = _names(scored, joined.clips)
    order = np.argsort(names, kind="stable")
    return SentScores(
        scored,
        [names[place] for place in order],
        joined.labels[order],
        joined.domains[order],
        sent[order],
        None if math.isnan(threshold) else sent[order] > threshold,
    )


def _names(scored: MachineScores, clips: Iterable[Key]) -> list[str]:
    names: dict[str, str] = {}
    for clip in clips:
        path, start, end = clip
        if start is not None or end is not None:
            raise InputError(
                f"{scored.name}: {name_clip(clip)} is a slice; the challenge wants one score for each recording: "
                "leave slice.length empty"
            )
        name = PurePosixPath(path).name
        if name in names:
            raise InputError(f"{scored.name}: {path} and {names[name]} have one name; the challenge tells clips by it")
        names[name] = path
    return list(names)


def _why_unscored(scored: MachineScores) -> str:
    return scored.status or scores.read_description(scored.scores[0]).status


def _broken_test_clips(scored: MachineScores) -> list[Excluded]:
    return [clip for clip in scores.read_description(scored.scores[0]).excluded if clip.entry.split == "test"]


def _sections(sent: SentScores, challenge: Challenge) -> Iterator[tuple[Section, SentScores]]:
    """Yield the score files of a machine: one, or one for each domain."""
    for section in challenge.files_of(sent.scored.machine):
        part = sent.where(sent.domains == section.domain) if section.domain else sent
        if part.names:
            yield section, part


def _labelled(section: Section, part: SentScores, challenge: Challenge) -> LabelledSection:
    for name, label, domain in zip(part.names, part.labels.tolist(), part.domains.tolist(), strict=True):
        if not label or (challenge.domains and domain not in challenge.domains):
            missing = "label" if not label else f"domain ({' or '.join(challenge.domains)})"
            where = f"{part.scored.name}, of the development set of {challenge.year}"
            raise InputError(f"{where}: the clip {name} has no {missing}")
    return LabelledSection(
        section,
        part.scored.scores[0],
        tuple(part.names),
        part.labels == "anomaly",
        part.domains,
        part.scores,
        part.decisions if challenge.decisions else None,
    )


def _sent(
    run: ScoredRun, challenge: Challenge
) -> tuple[dict[Section, dict[str, float]], dict[Section, dict[str, bool]]]:
    """Return scores and decisions of the evaluation set, by section and clip."""
    rows = listed_test_clips(run.clips)
    known = {each.machine: each for each in run.machines}
    require_machines(run.settings.run, known, challenge, "evaluation")
    scored: dict[Section, dict[str, float]] = {}
    decided: dict[Section, dict[str, bool]] = {}
    for machine in challenge.machines_of("evaluation"):
        found = known[machine]
        _require_all_scores(found, rows[machine])
        sent = sent_scores(found, rows[machine], run.settings)
        for section, part in _sections(sent, challenge):
            scored[section] = dict(zip(part.names, part.scores.tolist(), strict=True))
            if challenge.decisions:
                if part.decisions is None:
                    advice = (
                        "gamma needs two training clips with different scores"
                        if run.settings.evaluate.threshold == "gamma"
                        else "hold clips out (training.validation), or set evaluate.threshold: gamma"
                    )
                    raise InputError(f"{found.name}: there is no threshold to decide by; {advice}")
                decided[section] = dict(zip(part.names, part.decisions.tolist(), strict=True))
    return scored, decided


def _require_all_scores(scored: MachineScores, listed: Sequence[Clip]) -> None:
    status = _why_unscored(scored) or ("" if listed else Status.NO_TEST_CLIPS)
    if status:
        raise InputError(f"{scored.name}: cannot be sent: {status}; a submission needs a score for every clip")
    if broken := _broken_test_clips(scored):
        raise InputError(
            f"{scored.name}: the clip {broken[0].entry} has no score ({broken[0].reason}); a submission needs one for "
            "every clip: mend or retrieve it again"
        )


def _measured(run: ScoredRun, cards: Sequence[Card], results: Mapping[str, Mapping[str, float]]) -> Measured:
    settings = run.settings
    trial = settings.submission.trial
    trials = range(settings.training.trials) if trial == "mean" else [trial]
    features, distance = settings.features, settings.model.distance
    return Measured(
        sampling_rates=[settings.audio.sample_rate],
        acoustic_features=(
            f"log-mel energies, {features.n_mels} bands, frames of {features.n_fft} samples every "
            f"{features.hop_length}, {settings.window.frames} of them side by side"
        ),
        machine_learning_method="AE" if distance == "squared_error" else "AE, selective Mahalanobis distance",
        front_end=front_end(settings),
        aggregation_method=AGGREGATIONS.get(settings.evaluate.aggregator, settings.evaluate.aggregator),
        # Those that one clip meets, as Keras counts them: a machine's network, once for each trial.
        total_parameters=len(trials) * max(sum(card.parameters.values()) for card in cards),
        macs=len(trials) * multiply_accumulates(settings, _mean_frames(run.caches)),
        results=results,
        seeds=[f"{settings.seed} (trial {number})" for number in trials],
        combination="average" if len(trials) > 1 else None,
    )


def front_end(settings: Settings) -> str | None:
    """Say which microphone was listened to, where there are several; None where there is one.

    Examples
    --------
    >>> from offnote.config import resolve
    >>> front_end(resolve({"preset": "dcase2026", "submission": {"year": 2026}, "audio": {"channel": 1}})["demo"])
    'channel 1 alone, counted from 0'
    """
    channel, demo = settings.audio.channel, challenge_of(settings).demo
    if channel == "mean":
        return "mean of all channels"
    several = channel > 0 or (demo is not None and demo.channels > 1)
    return f"channel {channel} alone, counted from 0" if several else None


def multiply_accumulates(settings: Settings, frames: float) -> int:
    """Count the multiply-accumulate operations of the network on one clip of that many frames.

    Those of the features, of batch normalisation (which folds into the layers) and of distances are not counted.

    Examples
    --------
    >>> from offnote.config import resolve
    >>> multiply_accumulates(resolve({})["demo"], 313)  # 309 windows; 320 x 64 + 64 x 64 + 64 x 8, and back
    15504384
    """
    inputs = settings.window.frames * settings.features.n_mels
    products = sum(width * following for width, following in pairwise([inputs, *settings.model.hidden, inputs]))
    return round(max(0.0, frames - settings.window.frames + 1) * products)


def _mean_frames(caches: Sequence[Path]) -> float:
    """Return the frames of a clip of the evaluation set, on average."""
    frames: list[int] = []
    for path in caches:
        with cache.read(path) as found:
            lengths = np.diff(found.offsets).tolist()
            frames += [count for count, entry in zip(lengths, found.entries, strict=True) if entry.split == "test"]
    return float(np.mean(frames)) if frames else 0.0
