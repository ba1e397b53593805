"""The official figures: what a year's evaluators compute from the scores and decisions of one system.

Areas come from :mod:`offnote.metrics`. Precision, recall, F1 and the two means follow the published evaluators to the
last digit, their floors at the machine epsilon included.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from offnote import metrics
from offnote.challenge import DECISION_MEASURES, Challenge, Figure, OfficialScore, load_challenge
from offnote.errors import InputError
from offnote.files import replacing, write_csv
from offnote.score_folders import BoolArray, LabelledSection, absent_files, read_folder
from offnote.wording import counted

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What there is to say of one system.

    Attributes
    ----------
    challenge : Challenge
        The year it was judged by.
    sections : list of dict
        ``machine_type``, ``section`` (two digits), where the year parts them ``domain``, and the figures, as fractions.
    types : list of dict
        ``machine_type``, and ``arithmetic_mean`` and ``harmonic_mean``, each a dict of the figures.
    overall : dict
        The two means over all sections of all types.
    official_score : float or None
        None where the year has none for a single system. Of the sections that there are: only where it is `complete`,
        and `clips_compared`, it is called official.
    false_alarms : list of dict
        For each domain of each section with decisions: ``machine_type``, ``section``, ``domain`` (empty where the year
        has none), ``normal_clips``, and ``rate``, the share of these that was called an anomaly.
    absent : list of str
        Score files of the same set that were not there.
    unknown_types : list of str
        Machine types that the year does not have: somebody's own, or misspelt.
    clips : dict of str to int
        Test clips that are ``normal`` and ``anomaly``.
    broken_clips : int
        Test clips that have no score because they are broken, and count in nothing.
    clips_compared : bool
        Whether something told which clips there are, beside the score files: decisions, or ground truth.
    """

    challenge: Challenge
    sections: list[dict[str, Any]]
    types: list[dict[str, Any]]
    overall: dict[str, dict[str, float]]
    official_score: float | None
    false_alarms: list[dict[str, Any]]
    absent: list[str]
    unknown_types: list[str]
    clips: dict[str, int]
    broken_clips: int
    clips_compared: bool

    @property
    def figures(self) -> list[str]:
        """The names of the figures, in the order of their columns."""
        return list(self.overall["arithmetic_mean"])

    @property
    def complete(self) -> bool:
        """Whether all score files of a set of the year are there, only these, and no broken clip is left out."""
        return not (self.absent or self.unknown_types or self.broken_clips)

    def as_json(self) -> dict[str, Any]:
        """Return the evaluation as one plain object."""
        names = (
            "sections",
            "types",
            "overall",
            "official_score",
            "complete",
            "false_alarms",
            "absent",
            "unknown_types",
            "broken_clips",
            "clips_compared",
        )
        return {"year": self.challenge.year} | {name: getattr(self, name) for name in names}


def evaluate(folder: Path, year: int, labels: Path | None = None) -> Evaluation:
    r"""Judge the scores and decisions of one system as the evaluators of a year do.

    Parameters
    ----------
    folder, labels
        As in :func:`offnote.score_folders.read_folder`.
    year
        Such as 2022.

    Raises
    ------
    InputError
        As in :func:`offnote.score_folders.read_folder`, or a section has normal or anomalous clips only.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     rows = "normal_id_00_00000000.wav,1.5\nanomaly_id_00_00000000.wav,2.5\n"
    ...     _ = (Path(folder) / "anomaly_score_fan_id_00.csv").write_text(rows)
    ...     evaluate(Path(folder), 2020).sections
    [{'machine_type': 'fan', 'section': '00', 'auc': 1.0, 'pauc': 1.0}]
    """
    challenge = load_challenge(year)
    labelled = read_folder(folder, challenge, labels)
    compared = labels is not None or labelled[0].decisions is not None
    return judge(labelled, challenge, clips_compared=compared)


def judge(
    labelled: Sequence[LabelledSection], challenge: Challenge, *, broken_clips: int = 0, clips_compared: bool = True
) -> Evaluation:
    """Judge scores, and decisions where there are any, that stand beside their labels.

    Parameters
    ----------
    labelled
        One or more sections, in the order that their rows are to have.
    challenge
        The year.
    broken_clips
        Test clips that are left out of `labelled` because they are broken.
    clips_compared
        Whether `labelled` is known to have a score for every clip.

    Raises
    ------
    InputError
        A section has normal or anomalous clips only.
    """
    sections = [_row(section, challenge) for section in labelled]
    names = [name for name in challenge.figures if name in sections[0]]
    types = sorted({row["machine_type"] for row in sections})
    anomalies = sum(int(section.anomalous.sum()) for section in labelled)
    return Evaluation(
        challenge,
        sections,
        [{"machine_type": name} | means([r for r in sections if r["machine_type"] == name], names) for name in types],
        means(sections, names),
        official_score(sections, challenge.official_score) if challenge.official_score else None,
        [row for section in labelled for row in false_alarms(section)],
        absent_files(challenge, [section.section for section in labelled]),
        [name for name in types if not challenge.sections_of(name)],
        {"normal": sum(len(section.clips) for section in labelled) - anomalies, "anomaly": anomalies},
        broken_clips,
        clips_compared,
    )


def section_figures(section: LabelledSection, challenge: Challenge) -> dict[str, float]:
    """Return the figures of one section, as fractions; without decisions those that need none.

    Raises
    ------
    InputError
        An area is asked of normal or anomalous clips alone.
    """
    return {
        name: _figure(name, figure, section, challenge)
        for name, figure in challenge.figures.items()
        if section.decisions is not None or figure.measure not in DECISION_MEASURES
    }


def false_alarms(section: LabelledSection) -> list[dict[str, Any]]:
    """Return the share of the normal clips of each domain that were called an anomaly; nothing without decisions."""
    if section.decisions is None:
        return []
    rows = []
    for domain in dict.fromkeys(section.domains.tolist()):
        decisions = section.decisions[(section.domains == domain) & ~section.anomalous]
        if len(decisions):
            rate = {"normal_clips": len(decisions), "rate": float(np.mean(decisions))}
            named = {"machine_type": section.section.machine_type, "section": section.section.number, "domain": domain}
            rows.append(named | rate)
    return rows


def means(rows: Sequence[Row], names: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return the arithmetic and the harmonic mean over rows, figure by figure.

    Examples
    --------
    >>> means([{"auc": 0.5}, {"auc": 1.0}], ["auc"])
    {'arithmetic_mean': {'auc': 0.75}, 'harmonic_mean': {'auc': 0.6666666666666666}}
    """
    columns = {name: np.array([row[name] for row in rows]) for name in names}
    return {
        "arithmetic_mean": {name: float(np.mean(column)) for name, column in columns.items()},
        "harmonic_mean": {name: harmonic_mean(column) for name, column in columns.items()},
    }


def harmonic_mean(values: npt.ArrayLike) -> float:
    """Return the harmonic mean, with values below the machine epsilon raised to it as the evaluators do.

    Parameters
    ----------
    values : array, (values,)
        Zero or more; at least one.

    Examples
    --------
    >>> harmonic_mean([0.6, 0.3]), harmonic_mean([0.0, 0.0])
    (0.4, 2.220446049250313e-16)
    """
    floored = np.maximum(np.asarray(values, dtype=np.float64), metrics.EPSILON)
    return float(len(floored) / np.sum(1.0 / floored))


def official_score(rows: Sequence[Row], recipe: OfficialScore) -> float:
    """Return the official score: one mean over several figures of all sections.

    Examples
    --------
    >>> recipe = OfficialScore(mean="harmonic", of=("auc", "pauc"))
    >>> round(official_score([{"auc": 0.75, "pauc": 0.5}], recipe), 9)
    0.6
    """
    values = [row[name] for name in recipe.of for row in rows]
    return harmonic_mean(values) if recipe.mean == "harmonic" else float(np.mean(values))


def f1_ev(anomalous: BoolArray, scores: npt.NDArray[np.float64]) -> float:
    """Return the F1 to expect of a threshold about which nothing is known: F1-EV, unbounded.

    The threshold is uniform between the lowest and the highest score, and a clip is called an anomaly when its score
    exceeds it; where all scores are equal, none does. Source: Wilkinghoff and Imoto, arXiv 2312.09143 (2023).

    Parameters
    ----------
    anomalous : bool array, (clips,)
    scores : float64 array, (clips,)

    Examples
    --------
    A threshold in the lower half takes one normal clip along, one in the upper half none:

    >>> f1_ev(np.array([False, False, True]), np.array([0.0, 1.0, 2.0]))
    0.8333333333333333
    """
    thresholds = np.unique(scores)
    if len(thresholds) == 1:
        return 0.0
    hits, alarms = (
        len(group) - np.searchsorted(np.sort(group), thresholds[:-1], side="right")
        for group in (scores[anomalous], scores[~anomalous])
    )
    f1 = 2.0 * hits / (hits + alarms + np.sum(anomalous))
    return float(np.sum(f1 * np.diff(thresholds)) / (thresholds[-1] - thresholds[0]))


def report(name: str, evaluation: Evaluation) -> Iterator[str]:
    """Yield the lines of an evaluation in Markdown that reads well on a screen, figures in percent."""
    challenge, clips = evaluation.challenge, evaluation.clips
    yield from (f"# {name}, as DCASE {challenge.year} Task 2 evaluates", "")
    yield (
        f"{counted(len({row['machine_type'] for row in evaluation.sections}), 'machine type')}, "
        f"{counted(len(evaluation.sections), 'score file')}, {clips['normal']} normal and {clips['anomaly']} anomalous "
        "clips. All figures are in %."
    )
    if evaluation.broken_clips:
        yield from ("", f"Without {counted(evaluation.broken_clips, 'broken clip')}, which no figure counts.")
    if not evaluation.clips_compared:
        yield from (
            "",
            "With neither decisions nor ground truth beside the scores, nothing tells whether clips are missing.",
        )
    yield from ("", *_official_lines(evaluation))
    decided = [name for name in evaluation.figures if challenge.figures[name].measure in DECISION_MEASURES]
    for title, names in (
        ("Scores", [name for name in evaluation.figures if name not in decided]),
        ("Decisions", decided),
    ):
        if names:
            yield from ("", f"## {title}", "", *_table(evaluation, names))
    if evaluation.false_alarms:
        yield from ("", "## False alarms", "", "Of the normal clips, so many were called an anomaly.", "")
        yield from _false_alarm_table(evaluation.false_alarms)


TABLES = ("sections.csv", "means.csv", "evaluation.json", "evaluation.md")
"""What :func:`write_tables` writes."""


def write_tables(folder: Path, name: str, evaluation: Evaluation) -> list[Path]:
    """Write the tables of :data:`TABLES`, and return their paths.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """
    keys = [key for key in evaluation.sections[0] if key not in evaluation.figures]
    spread = [
        {"machine_type": row.get("machine_type", "all"), "mean": kind.removesuffix("_mean")} | row[kind]
        for row in (*evaluation.types, evaluation.overall)
        for kind in ("arithmetic_mean", "harmonic_mean")
    ]
    texts = {
        "evaluation.json": json.dumps(evaluation.as_json(), indent=2) + "\n",
        "evaluation.md": "\n".join(report(name, evaluation)) + "\n",
    }
    write_csv(folder / "sections.csv", [*keys, *evaluation.figures], evaluation.sections)
    write_csv(folder / "means.csv", ["machine_type", "mean", *evaluation.figures], spread)
    for file, text in texts.items():
        with replacing(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [folder / file for file in TABLES]


def _row(section: LabelledSection, challenge: Challenge) -> dict[str, Any]:
    domain = {"domain": section.section.domain} if section.section.domain else {}
    names = {"machine_type": section.section.machine_type, "section": section.section.number}
    return names | domain | section_figures(section, challenge)


def _figure(name: str, figure: Figure, section: LabelledSection, challenge: Challenge) -> float:
    chosen = _chosen(figure, section)
    anomalous, scores = section.anomalous[chosen], section.scores[chosen]
    if section.decisions is not None and figure.measure in DECISION_MEASURES:
        found = metrics.precision_recall_f1(anomalous, section.decisions[chosen])
        return dict(zip(("precision", "recall", "f1_score"), found, strict=True))[figure.measure]
    if anomalous.all() or not anomalous.any():
        kind = "normal" if anomalous.any() else "anomalous"
        raise InputError(f"{section.path}: {name} cannot be computed, for there is no {kind} clip to compare with")
    if figure.measure == "f1_ev":
        return f1_ev(anomalous, scores)
    if figure.measure == "pauc":
        return metrics.pauc(anomalous, scores, challenge.max_fpr)
    return metrics.auc(anomalous, scores)


def _chosen(figure: Figure, section: LabelledSection) -> BoolArray:
    """Return which clips a figure is taken over."""
    chosen = np.ones(len(section.clips), dtype=bool)
    if figure.domain:
        chosen = section.domains == figure.domain
    if figure.normal:
        chosen &= section.anomalous | (section.domains == figure.normal)
    return chosen


def _official_lines(evaluation: Evaluation) -> Iterator[str]:
    challenge = evaluation.challenge
    if evaluation.absent:
        sections = filter(None, map(challenge.parse, evaluation.absent))
        counts = Counter(section.machine_type for section in sections)
        types = ", ".join(f"{machine_type} ({count})" for machine_type, count in sorted(counts.items()))
        yield from (f"**Score files of the set that are not there**, and so in no mean: {types}.", "")
    if evaluation.unknown_types:
        names = ", ".join(evaluation.unknown_types)
        yield from (f"**Machine types that {challenge.year} does not have**, and that are in all means: {names}.", "")
    if challenge.official_score is None or evaluation.official_score is None:
        yield f"{challenge.year} has no official score of a single system: it ranks teams by machine type."
        return
    *most, last = map(_title, challenge.official_score.of)
    score = f"{100 * evaluation.official_score:.2f}"
    mean = f"the {challenge.official_score.mean} mean of {', '.join(most)} and {last}"
    if evaluation.unknown_types:
        yield f"Score, not an official one: {score}, {mean} over all these score files."
    elif evaluation.absent:
        there = f"{len(evaluation.sections)} of {len(evaluation.sections) + len(evaluation.absent)}"
        yield f"Score of a part: {score}, {mean} over {there} score files. The official score needs them all."
    elif evaluation.broken_clips:
        yield f"Score without broken clips: {score}, {mean} over all score files. The official score needs every clip."
    elif not evaluation.clips_compared:
        yield f"Score, the official one if no clip is missing: {score}, {mean} over all score files."
    else:
        yield f"**Official score: {score}**, {mean} over all score files."


def _table(evaluation: Evaluation, names: Sequence[str]) -> Iterator[str]:
    keys = [key for key in evaluation.sections[0] if key not in evaluation.figures]
    rows = [[key.replace("_", " ") for key in keys] + [_title(name) for name in names]]
    for means_of_type in evaluation.types:
        machine_type = means_of_type["machine_type"]
        sections = [row for row in evaluation.sections if row["machine_type"] == machine_type]
        rows += [[str(row[key]) for key in keys] + _percent(row, names) for row in sections]
        if len(sections) > 1:
            rows += _mean_rows(machine_type, means_of_type, keys, names)
    rows += _mean_rows("all", evaluation.overall, keys, names)
    yield from _aligned(rows, len(keys))


def _false_alarm_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a row for each section and a column for each domain."""
    domains = sorted({row["domain"] for row in rows})
    sections = dict.fromkeys((row["machine_type"], row["section"]) for row in rows)
    rates = {(row["machine_type"], row["section"], row["domain"]): row for row in rows}

    def shown(found: Sequence[Row | None]) -> str:
        known = [row for row in found if row]
        clips = sum(row["normal_clips"] for row in known)
        alarms = sum(row["normal_clips"] * row["rate"] for row in known)
        return f"{100 * alarms / clips:.2f}" if clips else ""

    head = ["machine type", "section", *(domain or "all domains" for domain in domains)]
    each = [[*name, *(shown([rates.get((*name, domain))]) for domain in domains)] for name in sorted(sections)]
    total = ["all", "", *(shown([row for row in rows if row["domain"] == domain]) for domain in domains)]
    yield from _aligned([head, *each, total], 2)


def _mean_rows(first: str, row: Row, keys: Sequence[str], names: Sequence[str]) -> list[list[str]]:
    blank = [""] * (len(keys) - 2)
    kinds = ("arithmetic_mean", "harmonic_mean")
    return [[first, kind.replace("_", " "), *blank, *_percent(row[kind], names)] for kind in kinds]


def _percent(row: Row, names: Iterable[str]) -> list[str]:
    return [f"{100 * row[name]:.2f}" for name in names]


def _title(name: str) -> str:
    """Write a figure's name as the published tables do.

    >>> [_title(name) for name in ("auc_source", "f1_score_target", "f1_ev")]
    ['AUC source', 'F1 score target', 'F1-EV']
    """
    return (
        name.replace("f1_ev", "F1-EV")
        .replace("pauc", "pAUC")
        .replace("auc", "AUC")
        .replace("f1", "F1")
        .replace("_", " ")
    )


def _aligned(rows: Sequence[Sequence[str]], texts: int) -> Iterator[str]:
    """Yield a Markdown table whose columns line up; the first `texts` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ruler = ["-" * width if i < texts else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    for row in (rows[0], ruler, *rows[1:]):
        cells = [c.ljust(w) if i < texts else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield f"| {' | '.join(cells)} |"
