"""From score files and labels to tables: how well anomalies are told from normal clips, and which clips stand out.

This is where labels enter. What needs them (AUC, pAUC) stays empty where there are none; what does not (the place of a
new clip among the machine's held-out normal clips) is there for every machine, so that a run on unlabelled recordings
has a result too.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from offnote import metrics, scores, thresholds
from offnote.clips import Clip, Excluded, Machine, read_clips
from offnote.config import BrokenClips, Evaluate
from offnote.errors import InputError
from offnote.files import replacing, write_csv
from offnote.logs import log
from offnote.provenance import derive_seed
from offnote.scores import Description, Key, ScoreTable, name_clip
from offnote.status import Status
from offnote.summary import COUNTS, MEASURES, Row, html_page, summary_lines
from offnote.thresholds import Threshold

FloatArray = npt.NDArray[np.float64]

TOLERANCE = 1e-6
"""Seconds by which a slice may reach out of its recording's bounds: rounding, far below one sample."""

MACHINE = ("machine_type", "machine_id")
AREAS = ("auc", "auc_low", "auc_high", "pauc", "pauc_low", "pauc_high")
RANKS = ("rank", "rank_in_machine")
MACHINE_COLUMNS = (*MACHINE, "trial", *AREAS, *COUNTS, "median_percentile", "share_above_95", "status")
TYPE_COLUMNS = ("machine_type", "mean_over", "machines", *AREAS)
DECISION_COLUMNS = (
    *(*MACHINE, "trial", "rule", "clips", "threshold", "stated_rate", "false_alarm_rate", "false_alarm_rate_source"),
    *("false_alarm_rate_target", "precision", "recall", "f1_score", *COUNTS, "unlabelled_alarms"),
)
EXCLUDED_COLUMNS = (*MACHINE, "path", "start", "end", "split", "label", "reason")
CLIP_COLUMNS = (*RANKS, *MACHINE, "path", "start", "end", "label", *MEASURES, "alarm", "held_out")
COLUMNS = {
    "machines.csv": MACHINE_COLUMNS,
    "types.csv": TYPE_COLUMNS,
    "clips.csv": CLIP_COLUMNS,
    "decisions.csv": DECISION_COLUMNS,
    "excluded.csv": EXCLUDED_COLUMNS,
}
SUMMARY, PAGE = "summary.md", "summary.html"
TABLES = (*COLUMNS, SUMMARY, PAGE)
"""What :func:`evaluate` writes."""

FIGURES = ("roc.svg", "histogram.svg", "loss.svg")
"""What :mod:`offnote.report` draws of a machine. Named here, as who only asks for their names need not import it."""


@dataclass(frozen=True)
class MachineScores:
    """What was scored of one machine.

    Attributes
    ----------
    machine : Machine
    scores : sequence of Path
        The score file of each trial, from trial 0 on.
    status : str
        Why the machine has no scores, such as ``no training clips``; empty where it has.
    """

    machine: Machine
    scores: Sequence[Path]
    status: str = ""

    @classmethod
    def from_plain(cls, job: Mapping[str, Any]) -> Self:
        """Make one of plain values, as the workflow hands them on."""
        machine = Machine(job["machine_type"], job["machine_id"])
        return cls(machine, [Path(path) for path in job["scores"]], job["status"])

    @property
    def name(self) -> str:
        """Type and ID, as in ``fan/id_00``."""
        return str(self.machine)


@dataclass(frozen=True)
class LabelledScores:
    """The scores of one machine beside the labels of its test clips.

    Attributes
    ----------
    clips : list of (path, start, end)
        The test clips, sorted, so that no result depends on the order of rows.
    labels : array of str, (clips,)
        ``normal``, ``anomaly`` or empty.
    domains : array of str, (clips,)
        ``source``, ``target`` or empty.
    test : float64 array, (trials, clips)
    held_out, train : lists of float64 arrays, one a trial
        Scores of the training clips that the model did not and did see.
    unscored : list of str
        Recordings that were cut into slices and of which none was left, as where the machine was off throughout.
    """

    clips: list[Key]
    labels: npt.NDArray[np.str_]
    domains: npt.NDArray[np.str_]
    test: FloatArray
    held_out: list[FloatArray]
    train: list[FloatArray]
    unscored: list[str]

    def of(self, label: str) -> FloatArray:
        """Return the scores of the test clips with this label, (trials, clips)."""
        return self.test[:, self.labels == label]

    def known(self) -> tuple[npt.NDArray[np.bool_], FloatArray]:
        """Return of the clips with a label whether each is anomalous, (known,), and its scores, (trials, known)."""
        known = self.labels != ""
        return self.labels[known] == "anomaly", self.test[:, known]


@dataclass(frozen=True)
class Areas:
    """AUC and pAUC, and the values they take in the bootstrap resamples.

    Attributes
    ----------
    values : float64 array, (2,)
    samples : float64 array, (2, resamples)
    """

    values: FloatArray
    samples: FloatArray

    def cells(self, confidence: float) -> dict[str, float]:
        """Return the columns from ``auc`` to ``pauc_high``; without resamples there are no bounds."""
        found = dict(zip(("auc", "pauc"), self.values.tolist(), strict=True))
        if self.samples.size:
            for name, samples in zip(("auc", "pauc"), self.samples, strict=True):
                found[f"{name}_low"], found[f"{name}_high"] = metrics.interval(samples, confidence)
        return found


@dataclass(frozen=True)
class MachineResult:
    """Everything the tables say of one machine.

    Attributes
    ----------
    scored : MachineScores
    status : str
        One of :class:`offnote.status.Status`.
    counts : mapping of str to int
        Test clips that are ``normal``, ``anomaly`` and ``unlabelled``.
    excluded : sequence of (Excluded, str)
        The broken clips that have no score, each with its label, which only a test clip's row tells.
    joined : LabelledScores or None
        None for a machine without scores.
    trials : list of (float, float)
        AUC and pAUC of each trial; empty where the status is not ``ok``.
    areas : Areas or None
        Their means; None where the status is not ``ok``.
    thresholds : sequence of Threshold
        That of each trial; empty where there are no scores.
    """

    scored: MachineScores
    status: str
    counts: Mapping[str, int]
    excluded: Sequence[tuple[Excluded, str]] = ()
    joined: LabelledScores | None = None
    trials: Sequence[tuple[float, float]] = ()
    areas: Areas | None = None
    thresholds: Sequence[Threshold] = ()


def evaluate(
    machines: Sequence[MachineScores],
    *,
    clips: Path,
    folder: Path,
    settings: Evaluate,
    run: str,
    broken_clips: BrokenClips = "stop",
) -> None:
    """Write the tables of a run, those of :data:`TABLES`. The same input gives the same bytes.

    ``machines.csv``
        A row for each trial of each machine and, where ``trial`` is ``mean``, one for the mean over its trials
        with the bootstrap interval; a machine without scores has one row with no trial. ``median_percentile`` and
        ``share_above_95`` (between 0 and 1) are over all of the machine's test clips.
    ``types.csv``
        A row for each machine type with the arithmetic mean over its machines, then two rows ``all``: the mean
        over all machines, and (``mean_over`` is ``types``) the mean over the types, as DCASE 2020 reports it.
        ``machines`` counts those that have an AUC and so entered.
    ``clips.csv``
        A row for each test clip, most anomalous first: by percentile, deviation, and score. ``score`` is the mean
        over trials. ``percentile`` is the place of the score among the machine's ``held_out`` normal clips (0 to 100,
        mean over trials, empty where none were held out). ``deviation`` is how many spreads it lies above their median
        (:func:`offnote.metrics.deviations`, mean over trials; where fewer than two were held out, among all training
        clips), so that machines whose errors differ in scale can be compared, and clips above every held-out one told
        apart.
        ``alarm`` is the share of the trials in which the score is above the machine's threshold.
    ``decisions.csv``
        A row for each trial of each machine: the threshold, the rule behind it (``evaluate.threshold``) and how
        many normal clips it was chosen from, the false-alarm rate that it states and the one that came out on the
        normal test clips, of all and of each domain; precision, recall and F1 of its alarms; how many test clips
        there are of each kind, and how many of the unlabelled ones raise an alarm.
    ``excluded.csv``
        A row for each broken clip that has no score, with the reason.
    ``summary.md``, ``summary.html``
        For people.

    Parameters
    ----------
    machines
        Every machine of the run.
    clips
        The clip list, with labels where they are known.
    folder
        Where the tables go.
    settings
        The ``evaluate`` section of the configuration.
    run
        Name of the run.
    broken_clips
        With ``stop``, tables that lack a clip are refused: it was excluded before the configuration said so.

    Raises
    ------
    InputError
        If a test clip has a score but no row in the clip list, or the reverse; if the trials of a machine do not hold
        the same clips; or if the score files have no column ``settings.aggregator``.
    """
    listed = listed_test_clips(clips)
    ordered = sorted(machines, key=lambda scored: scored.machine)
    results = [machine_result(scored, listed[scored.machine], settings) for scored in ordered]
    excluded = [row for result in results for row in _excluded_rows(result)]
    if excluded and broken_clips == "stop":
        raise InputError(_say_what_is_excluded(excluded))
    if results and not any(result.joined for result in results):
        first = results[0]
        raise InputError(
            f"run {run}: no machine has scores ({first.scored.name}: {first.status}); look at dataset.path, slice and "
            f"gate{', and at the clips that are broken' if excluded else ''}"
        )
    tables = (
        [row for result in results for row in _machine_rows(result, settings.confidence)],
        list(_type_rows(results, settings.confidence)),
        _ranked([row for result in results for row in _clip_rows(result)]),
        [row for result in results for row in _decision_rows(result, settings)],
        excluded,
    )
    for (name, columns), rows in zip(COLUMNS.items(), tables, strict=True):
        write_csv(folder / name, columns, rows)
    unscored = [(result.scored.name, path) for result in results if result.joined for path in result.joined.unscored]
    text = "\n".join(summary_lines(run, settings, *tables, unscored)) + "\n"
    for name, content in ((SUMMARY, text), (PAGE, html_page(text))):
        with replacing(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="\n")


def listed_test_clips(clips: Path) -> dict[Machine, list[Clip]]:
    """Return the test clips of each machine in the clip list `clips`."""
    listed: dict[Machine, list[Clip]] = defaultdict(list)
    for clip in read_clips(clips):
        if clip.split == "test":
            listed[clip.machine].append(clip)
    return listed


def machine_result(scored: MachineScores, listed: Sequence[Clip], settings: Evaluate) -> MachineResult:
    """Evaluate one machine by its test clips in the clip list; errors are those of :func:`evaluate`."""
    described = scores.read_description(scored.scores[0]) if scored.scores else Description()
    rows = _Rows(listed)
    excluded = [(clip, rows.label(clip)) for clip in described.excluded]
    if status := scored.status or described.status:
        without = {rows.of_excluded(clip) for clip, _ in excluded}
        return MachineResult(scored, status, _counts(row.label for row in listed if row not in without), excluded)
    joined = join(scored, listed, settings.aggregator)
    chosen = choose_thresholds(scored.name, joined, settings)
    counts = _counts(joined.labels.tolist())
    status = _status(counts, excluded=any(clip.entry.split == "test" for clip, _ in excluded))
    if status != Status.OK:
        return MachineResult(scored, status, counts, excluded, joined, thresholds=chosen)
    trials = _trial_areas(joined, settings.max_fpr)
    seed = derive_seed(settings.seed, 0, scored.name)
    samples = metrics.bootstrap(joined.of("normal"), joined.of("anomaly"), settings.resamples, settings.max_fpr, seed)
    areas = Areas(np.mean(trials, axis=0), np.array(samples))
    return MachineResult(scored, status, counts, excluded, joined, trials, areas, chosen)


def join(scored: MachineScores, listed: Sequence[Clip], aggregator: str) -> LabelledScores:
    """Put the scores of a machine's test clips beside their labels.

    A score belongs to the row of the clip list with the same path and, where the row has them, start and end. Where
    recordings were cut into slices after the list was made, every slice takes the label of the row that it lies in.

    Raises
    ------
    InputError
        As :func:`evaluate`.
    """
    if not scored.scores:
        raise InputError(f"{scored.name}: there are no score files to evaluate; score the machine first")
    tables = [scores.read(path) for path in scored.scores]
    columns = [_column(*pair, aggregator) for pair in zip(scored.scores, tables, strict=True)]
    trials = [
        {clip: score for clip, split, score in zip(table.clips(), table.split, column, strict=True) if split == "test"}
        for table, column in zip(tables, columns, strict=True)
    ]
    clips = sorted(trials[0], key=_sortable)
    for path, trial in zip(scored.scores[1:], trials[1:], strict=True):
        _require_same_clips(scored.scores[0], trials[0], path, trial)
    excluded = scores.read_description(scored.scores[0]).excluded
    matched, unscored = _rows_of(scored, clips, excluded, listed, sliced=not np.isnan(tables[0].start).all())
    splits = {
        name: [column[table.split == name] for table, column in zip(tables, columns, strict=True)]
        for name in ("validation", "train")
    }
    return LabelledScores(
        clips=clips,
        labels=np.array([row.label for row in matched], dtype=np.str_),
        domains=np.array([row.domain for row in matched], dtype=np.str_),
        test=np.array([[trial[clip] for clip in clips] for trial in trials], dtype=np.float64),
        held_out=splits["validation"],
        train=splits["train"],
        unscored=unscored,
    )


def _column(path: Path, table: ScoreTable, aggregator: str) -> FloatArray:
    try:
        return table.statistics[aggregator]
    except KeyError:
        raise InputError(
            f"{path}: there is no column {aggregator!r} to take as the score; "
            f"set evaluate.aggregator to one of {', '.join(table.statistics)}"
        ) from None


def _require_same_clips(first: Path, expected: Iterable[Key], path: Path, found: Iterable[Key]) -> None:
    different = set(expected) ^ set(found)
    if different:
        clip = min(different, key=_sortable)
        raise InputError(
            f"{path}: the test clip {name_clip(clip)} is not in both this file and {first}; score all trials again"
        )


def _rows_of(
    scored: MachineScores,
    clips: Sequence[Key],
    excluded: Sequence[Excluded],
    listed: Sequence[Clip],
    *,
    sliced: bool,
) -> tuple[list[Clip], list[str]]:
    """Return the rows of the scored clips, and the recordings that were cut into no slice at all."""
    rows = _Rows(listed)
    matched = [rows.of(clip) for clip in clips]
    for clip, found in zip(clips, matched, strict=True):
        if found is None:
            raise InputError(
                f"{scored.scores[0]}: the test clip {name_clip(clip)} has a score, but the clip list has no test row "
                f"of {scored.name} for it; add the row, or score the machine again"
            )
    used = {*matched, *(rows.of_excluded(clip) for clip in excluded)}
    unscored = [row for row in listed if row not in used]
    for row in unscored:
        if row.start is not None or not sliced:
            raise InputError(
                f"{scored.scores[0]}: the test clip {name_clip((row.path, row.start, row.end))} of the clip list has "
                f"no score for {scored.name}; score the machine again"
            )
    if unscored:
        log.warning("%s: %d test recordings gave no clip, such as %s", scored.name, len(unscored), unscored[0].path)
    return (
        [row for row in matched if row is not None],
        sorted(row.path for row in unscored),
    )


class _Rows:
    """The rows of a machine in the clip list, found by clip."""

    def __init__(self, listed: Sequence[Clip]) -> None:
        self._exact = {(row.path, row.start, row.end): row for row in listed}
        self._of_file: dict[str, list[Clip]] = defaultdict(list)
        for row in listed:
            self._of_file[row.path].append(row)

    def of(self, clip: Key) -> Clip | None:
        """Return the row of a clip, or the row of the recording that it is a slice of."""
        return self._exact.get(clip) or _row_around(clip, self._of_file[clip[0]])

    def of_excluded(self, clip: Excluded) -> Clip | None:
        """Return the row of a clip without a score; None for one that is no test clip."""
        return self.of((clip.entry.path, clip.entry.start, clip.entry.end))

    def label(self, clip: Excluded) -> str:
        """Return the label of a clip without a score; empty where it is no test clip."""
        row = self.of_excluded(clip)
        return "" if row is None else row.label


def _row_around(clip: Key, rows: Sequence[Clip]) -> Clip | None:
    """Return the row that the clip lies in: that of the recording it was cut from."""
    start, end = _bounds(clip[1], clip[2])
    for row in rows:
        row_start, row_end = _bounds(row.start, row.end)
        if row_start <= start + TOLERANCE and end <= row_end + TOLERANCE:
            return row
    return None


def _bounds(start: float | None, end: float | None) -> tuple[float, float]:
    return 0.0 if start is None else start, math.inf if end is None else end


def _sortable(clip: Key) -> tuple[str, float, float]:
    return clip[0], *_bounds(clip[1], clip[2])


def _counts(labels: Iterable[str]) -> dict[str, int]:
    counted = Counter(label or "unlabelled" for label in labels)
    return {name: counted[name] for name in COUNTS}


def _status(counts: Mapping[str, int], *, excluded: bool) -> str:
    if not any(counts.values()):
        return Status.ALL_TEST_CLIPS_EXCLUDED if excluded else Status.NO_TEST_CLIPS
    classes = (counts["normal"] > 0) + (counts["anomaly"] > 0)
    return (Status.NO_LABELS, Status.ONE_CLASS_ONLY, Status.OK)[classes]


def _trial_areas(joined: LabelledScores, max_fpr: float) -> list[tuple[float, float]]:
    anomalous, trials = joined.known()
    return [(metrics.auc(anomalous, trial), metrics.pauc(anomalous, trial, max_fpr)) for trial in trials]


def choose_thresholds(name: str, joined: LabelledScores, settings: Evaluate) -> list[Threshold]:
    """Choose the threshold of each trial of the machine `name`, without a look at the test clips."""
    if settings.threshold == "gamma":
        chosen = [thresholds.gamma(train, settings.false_alarm_rate) for train in joined.train]
        for trial, (threshold, train) in enumerate(zip(chosen, joined.train, strict=True)):
            # A fit that failed puts most of its own clips above the threshold.
            if (above := _share(train > threshold.value)) > 2 * settings.false_alarm_rate:
                log.warning(
                    "%s, trial %d: the gamma distribution does not fit: %.0f %% of the clips that it was fitted to are "
                    "above the threshold, where %.0f %% were asked for; better set evaluate.threshold: conformal",
                    *(name, trial, 100 * above, 100 * settings.false_alarm_rate),
                )
        return chosen
    return [thresholds.conformal(held_out, settings.false_alarm_rate) for held_out in joined.held_out]


def _alarms(result: MachineResult, joined: LabelledScores) -> npt.NDArray[np.bool_]:
    """Tell which test clips raise an alarm, (trials, clips)."""
    return joined.test > np.array([[threshold.value] for threshold in result.thresholds])


def _decision_rows(result: MachineResult, settings: Evaluate) -> Iterator[Row]:
    joined = result.joined
    if joined is None:
        return
    normal, anomalous = joined.labels == "normal", joined.labels == "anomaly"
    for trial, (threshold, alarms) in enumerate(zip(result.thresholds, _alarms(result, joined), strict=True)):
        row: dict[str, Any] = {**result.scored.machine._asdict(), "trial": trial, "rule": settings.threshold}
        row |= {"clips": threshold.clips, "threshold": threshold.value, "stated_rate": threshold.stated_rate}
        if not math.isnan(threshold.value):
            row["unlabelled_alarms"] = int(np.sum(alarms[joined.labels == ""]))
            row["false_alarm_rate"] = _share(alarms[normal])
            for domain in ("source", "target"):
                row[f"false_alarm_rate_{domain}"] = _share(alarms[normal & (joined.domains == domain)])
            if normal.any() and anomalous.any():
                known = normal | anomalous
                figures = metrics.precision_recall_f1(anomalous[known], alarms[known])
                row |= dict(zip(("precision", "recall", "f1_score"), figures, strict=True))
        yield row | dict(result.counts)


def _share(flags: npt.NDArray[np.bool_]) -> float:
    return float(flags.mean()) if flags.size else math.nan


def _mean(areas: Sequence[Areas]) -> Areas:
    """Return the mean of independent areas; as each was resampled by itself, so is their mean."""
    values, samples = [area.values for area in areas], [area.samples for area in areas]
    return Areas(np.mean(values, axis=0), np.mean(samples, axis=0))


def _percentiles(joined: LabelledScores) -> FloatArray:
    """Return the place of each test clip among the held-out ones, (trials, clips)."""
    return np.array([metrics.percentiles(*trial) for trial in zip(joined.test, joined.held_out, strict=True)])


def _deviations(joined: LabelledScores) -> FloatArray:
    """Return the distance of each test clip from the median of the held-out ones in spreads, (trials, clips)."""
    references = [
        held_out if len(held_out) > 1 else np.concatenate([held_out, train])
        for held_out, train in zip(joined.held_out, joined.train, strict=True)
    ]
    return np.array([metrics.deviations(*trial) for trial in zip(joined.test, references, strict=True)])


def _machine_rows(result: MachineResult, confidence: float) -> Iterator[Row]:
    common = result.scored.machine._asdict() | dict(result.counts) | {"status": result.status}
    if result.joined is None:
        yield common
        return
    unusual = [metrics.unusual(trial) for trial in _percentiles(result.joined)]
    areas: Sequence[Row] = [{"auc": auc, "pauc": pauc} for auc, pauc in result.trials] or [{}] * len(unusual)
    for trial, pair in enumerate(zip(areas, unusual, strict=True)):
        yield {**common, "trial": trial, **pair[0], **pair[1]}
    means = {name: float(np.mean([trial[name] for trial in unusual])) for name in unusual[0]}
    yield {**common, "trial": "mean", **(result.areas.cells(confidence) if result.areas else {}), **means}


def _type_rows(results: Sequence[MachineResult], confidence: float) -> Iterator[Row]:
    by_type: dict[str, list[Areas]] = {result.scored.machine.machine_type: [] for result in results}
    for result in results:
        if result.areas is not None:
            by_type[result.scored.machine.machine_type].append(result.areas)
    machines = [area for areas in by_type.values() for area in areas]
    types = [_mean(areas) for areas in by_type.values() if areas]
    rows = [(name, "machines", len(areas), areas) for name, areas in by_type.items()]
    rows += [("all", "machines", len(machines), machines), ("all", "types", len(machines), types)]
    for name, mean_over, count, areas in rows:
        cells = _mean(areas).cells(confidence) if areas else {}
        yield {"machine_type": name, "mean_over": mean_over, "machines": count, **cells}


def _clip_rows(result: MachineResult) -> Iterator[dict[str, Any]]:
    joined = result.joined
    if joined is None:
        return
    names = result.scored.machine._asdict()
    held_out = min(map(len, joined.held_out))
    trials = (joined.test, _percentiles(joined), _deviations(joined))
    means = zip(*(measure.mean(axis=0).tolist() for measure in trials), strict=True)
    undecided = any(math.isnan(threshold.value) for threshold in result.thresholds)
    alarms = _alarms(result, joined).mean(axis=0).tolist()
    for (path, start, end), label, mean, alarm in zip(joined.clips, joined.labels.tolist(), means, alarms, strict=True):
        clip = {"path": path, "start": start, "end": end, "label": label, "held_out": held_out}
        yield {**names, **clip, **dict(zip(MEASURES, mean, strict=True)), "alarm": None if undecided else alarm}


def _excluded_rows(result: MachineResult) -> Iterator[Row]:
    names = result.scored.machine._asdict()
    for clip, label in result.excluded:
        place = {name: getattr(clip.entry, name) for name in ("path", "start", "end", "split")}
        yield {**names, **place, "label": label, "reason": clip.reason}


def _say_what_is_excluded(excluded: Sequence[Row]) -> str:
    first = excluded[0]
    others = f", nor have {len(excluded) - 1} more" if len(excluded) > 1 else ""
    return (
        f"{first['machine_type']}/{first['machine_id']}: the clip {first['path']} has no score ({first['reason']})"
        f"{others}; mend or take out what is broken, or set dataset.broken_clips: exclude"
    )


def _ranked(rows: Sequence[dict[str, Any]]) -> list[Row]:
    """Sort the clips of all machines, most anomalous first, and number them."""
    places: Counter[tuple[str, str]] = Counter()
    ranked: list[Row] = []
    for rank, row in enumerate(sorted(rows, key=_unusualness), start=1):
        machine = row["machine_type"], row["machine_id"]
        places[machine] += 1
        ranked.append({"rank": rank, "rank_in_machine": places[machine], **row})
    return ranked


def _unusualness(row: Row) -> tuple[Any, ...]:
    clip = (row["path"], row["start"], row["end"])
    return (
        *metrics.downwards(row["percentile"], row["deviation"]),
        row["machine_type"],
        row["machine_id"],
        # Decides where a machine has no training clips of its own to compare with.
        *metrics.downwards(row["score"]),
        *_sortable(clip),
    )
