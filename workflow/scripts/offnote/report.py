"""The figures of one machine: ROC curves, score histogram, loss curves. SVG, the same bytes for the same input.

Colours are those of Okabe and Ito (2008), which stay apart in colour-blind eyes.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from offnote import metrics
from offnote.clips import Clip, Machine
from offnote.config import Evaluate
from offnote.errors import InputError
from offnote.evaluation import FIGURES, LabelledScores, MachineResult, MachineScores, machine_result
from offnote.files import replacing
from offnote.wording import counted

FloatArray = npt.NDArray[np.float64]
Curve = tuple[FloatArray, FloatArray]

BLUE, SKY, GREEN, ORANGE, VERMILION = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00"
INK, FAINT = "#333333", "#BBBBBB"
STYLE: dict[Any, Any] = {
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "font.size": 11,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "offnote",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
HELD_OUT = "held out"
BINS = 40
LONG_TAIL = 5
"""The histogram's axis is logarithmic where the highest score is this many times the median."""


@dataclass(frozen=True)
class Losses:
    """Training and validation loss of one trial by epoch; without held-out clips the validation loss is NaN."""

    epochs: FloatArray
    training: FloatArray
    validation: FloatArray


@dataclass(frozen=True)
class Group:
    """Clips that share a strip of the histogram, and their scores in each trial."""

    name: str
    trials: Sequence[FloatArray]
    colour: str

    @property
    def scores(self) -> FloatArray:
        """The scores of all trials together."""
        return np.concatenate(self.trials)

    @property
    def size(self) -> str:
        """How many clips there are, and in how many trials each was scored."""
        clips = counted(len(self.trials[0]), "clip")
        return clips if len(self.trials) == 1 else f"{clips}, {len(self.trials)} trials"


def draw_machine(
    machine: Machine,
    *,
    scores: Sequence[Path],
    losses: Sequence[Path],
    clips: Sequence[Clip],
    folder: Path,
    settings: Evaluate,
) -> None:
    """Draw the figures of one machine, those of :data:`offnote.evaluation.FIGURES`.

    Parameters
    ----------
    machine
        The machine.
    scores
        The score file of each trial.
    losses
        The ``loss.csv`` of each trial: columns ``epoch``, ``loss`` and ``validation_loss`` (empty cells where there are
        no held-out clips).
    clips
        The machine's test clips, with labels where they are known.
    folder
        Where the figures go.
    settings
        The ``evaluate`` section of the configuration.

    Raises
    ------
    InputError
        As :func:`offnote.evaluation.evaluate`, or if a loss file is not one.
    """
    result = machine_result(MachineScores(machine, scores), clips, settings)
    roc, histogram, loss = (folder / name for name in FIGURES)
    with _figure(roc, width=5.6, height=5.6) as figure:
        draw_roc(figure, result, settings)
    with _figure(histogram, width=7.2, height=5.6) as figure:
        draw_histogram(figure, result, settings)
    with _figure(loss, width=7.2, height=4.4) as figure:
        draw_losses(figure, str(machine), [read_losses(path) for path in losses])


def read_losses(path: Path) -> Losses:
    """Read the ``loss.csv`` of one trial.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or holds something else than numbers.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        places = [header.index(name) for name in ("epoch", "loss", "validation_loss")]
        columns = [[float(row[place]) if row[place] != "" else math.nan for row in rows] for place in places]
    except OSError as error:
        raise InputError(f"{path}: the training losses cannot be read: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{path}: this is not a table of epoch, loss and validation_loss; delete it, and run the same again"
        ) from error
    return Losses(*(np.array(column) for column in columns))


def draw_roc(figure: Figure, result: MachineResult, settings: Evaluate) -> None:
    """Draw the ROC curve of each trial, their mean, and the area that the pAUC measures.

    The mean curve takes the mean true positive rate at each false positive rate, so that the area under it is the mean
    AUC. A machine without clips of both classes gets a sentence instead.
    """
    axes = figure.add_subplot()
    axes.set(title=f"{result.scored.name}: ROC", xlim=(0, 1), ylim=(0, 1.01))
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    if result.joined is None or result.areas is None:
        _say_instead(axes, _why_no_roc(result) if result.joined else _why_no_scores(result))
        return
    cells = result.areas.cells(settings.confidence)
    curves = _roc_curves(result.joined)
    rates, mean = mean_curve(curves)
    shaded = rates <= settings.max_fpr
    limit = float(np.interp(settings.max_fpr, rates, mean))
    rates_shaded, mean_shaded = np.r_[rates[shaded], settings.max_fpr], np.r_[mean[shaded], limit]
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=(0, (4, 4)))
    axes.plot(rates, mean, color=BLUE, lw=2, label=f"AUC {_area_text(cells, 'auc')}")
    axes.fill_between(
        rates_shaded, mean_shaded, color=ORANGE, alpha=0.5, lw=0, label=f"pAUC {_area_text(cells, 'pauc')}"
    )
    if len(curves) > 1:
        for number, curve in enumerate(curves):
            axes.plot(*curve, color=SKY, lw=0.8, zorder=1, label=None if number else f"each of {len(curves)} trials")
    # Below the axes: wherever within them, it would lie on the curve of some machine.
    figure.legend(loc="outside lower center", title=_legend_title(result, settings), alignment="left")


def draw_histogram(figure: Figure, result: MachineResult, settings: Evaluate) -> None:
    """Draw how the scores of each group of clips are spread: a row a group, all trials together.

    Heights are shares of the group's scores, on one scale for all rows. A line for each trial marks the 95 % point of
    its held-out clips. The axis is logarithmic where the scores have a long upper tail.
    """
    axes = figure.add_subplot()
    axes.set_title(f"{result.scored.name}: scores")
    groups = _score_groups(result.joined) if result.joined is not None else []
    if not groups:
        _say_instead(axes, _why_no_scores(result))
        return
    edges, scale = _bins(np.concatenate([group.scores for group in groups]))
    shares = [np.histogram(group.scores, edges)[0] / len(group.scores) for group in groups]
    height = 0.85 / max(float(share.max()) for share in shares)
    rows = range(len(groups) - 1, -1, -1)
    for row, group, share in zip(rows, groups, shares, strict=True):
        axes.axhline(row, color=FAINT, lw=0.8)
        axes.stairs(row + height * share, edges, baseline=row, fill=True, color=group.colour)
        if group.name == HELD_OUT:
            _mark(axes, [float(np.quantile(trial, 0.95, method="higher")) for trial in group.trials])
    axes.set(xlabel=f"score ({settings.aggregator})", xscale=scale, ylim=(0, len(groups)))
    axes.set_yticks([row + 0.4 for row in rows], [f"{group.name}\n{group.size}" for group in groups])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def draw_losses(figure: Figure, name: str, losses: Sequence[Losses]) -> None:
    """Draw the training and validation losses of every trial, on a logarithmic axis."""
    axes = figure.add_subplot()
    axes.set(title=f"{name}: training", xlabel="epoch", ylabel="loss (dB²)")
    if not any(len(trial.epochs) for trial in losses):
        _say_instead(axes, "There is no training to show.")
        return
    for number, trial in enumerate(losses):
        labels = ("training", "held-out clips") if number == 0 else (None, None)
        marker = "o" if len(trial.epochs) == 1 else None
        axes.plot(trial.epochs, trial.training, color=BLUE, lw=1.2, marker=marker, label=labels[0])
        if not np.isnan(trial.validation).all():
            axes.plot(trial.epochs, trial.validation, color=VERMILION, lw=1.2, ls="--", marker=marker, label=labels[1])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.legend(title="1 trial" if len(losses) == 1 else f"{len(losses)} trials", alignment="left")


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Average ROC curves vertically, keeping their steps.

    Parameters
    ----------
    curves : sequence of pairs of float64 arrays, (corners,)
        False and true positive rates, as from :func:`offnote.metrics.roc`.

    Returns
    -------
    pair of float64 arrays, (corners of the mean,)

    Examples
    --------
    >>> import numpy as np
    >>> step, slope = [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]
    >>> [rates.tolist() for rates in mean_curve([np.array(step), np.array(slope)])]
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 1.0, 1.0]]
    """
    rates = np.unique(np.concatenate([curve[0] for curve in curves]))
    # at a vertical step np.interp gives its upper end; run backwards, it gives the lower one
    lower = np.mean([np.interp(-rates, -false[::-1], true[::-1]) for false, true in curves], axis=0)
    upper = np.mean([np.interp(rates, false, true) for false, true in curves], axis=0)
    return np.repeat(rates, 2), np.column_stack([lower, upper]).ravel()


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure of that size in inches, and write it as SVG when the block ends well."""
    with replacing(path) as temporary, matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change a run's results
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def _score_groups(joined: LabelledScores) -> list[Group]:
    candidates: list[tuple[str, Sequence[FloatArray], str]] = [
        ("training", joined.train, SKY),
        (HELD_OUT, joined.held_out, BLUE),
        ("test, normal", list(joined.of("normal")), GREEN),
        ("test, anomaly", list(joined.of("anomaly")), VERMILION),
        ("test, without label", list(joined.of("")), ORANGE),
    ]
    return [Group(name, trials, colour) for name, trials, colour in candidates if len(trials[0])]


def _mark(axes: Axes, scores: Sequence[float]) -> None:
    text = "95 % point of held-out clips" + (f", each of {len(scores)} trials" if len(scores) > 1 else "")
    for number, score in enumerate(scores):
        axes.axvline(score, color=INK, lw=1, ls=(0, (4, 3)), label=None if number else text)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)


def _bins(scores: FloatArray) -> tuple[FloatArray, str]:
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        return np.array([low - 0.5, low + 0.5]), "linear"
    if low > 0 and high > LONG_TAIL * float(np.median(scores)):
        return np.geomspace(low, high, BINS + 1), "log"
    return np.linspace(low, high, BINS + 1), "linear"


def _roc_curves(joined: LabelledScores) -> list[Curve]:
    anomalous, trials = joined.known()
    return [metrics.roc(anomalous, trial) for trial in trials]


def _why_no_scores(result: MachineResult) -> str:
    return f"There is no score to show: {result.status}."


def _why_no_roc(result: MachineResult) -> str:
    counts = result.counts
    return (
        "An ROC curve needs normal and anomalous test clips.\n"
        f"Here are {counts['normal']} normal, {counts['anomaly']} anomalous\n"
        f"and {counts['unlabelled']} without a label."
    )


def _area_text(cells: Mapping[str, float], name: str) -> str:
    text = f"{100 * cells[name]:.1f} %"
    low, high = (100 * cells.get(f"{name}_{end}", math.nan) for end in ("low", "high"))
    return text if math.isnan(low) else f"{text} [{low:.1f}, {high:.1f}]"


def _legend_title(result: MachineResult, settings: Evaluate) -> str:
    counts = f"{result.counts['normal']} normal, {result.counts['anomaly']} anomalous clips"
    return f"{counts}\n[{100 * settings.confidence:.3g} % interval]" if settings.resamples else counts


def _say_instead(axes: Axes, sentence: str) -> None:
    axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center")
    axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    axes.spines[:].set_visible(False)
