from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from offnote import metrics, report
from offnote.clips import Clip, Machine
from offnote.config import Evaluate
from offnote.errors import InputError
from offnote.evaluation import FIGURES, MachineResult, MachineScores, machine_result
from offnote.scores import ScoreTable, write, write_description
from sklearn.metrics import roc_auc_score

SETTINGS = Evaluate(resamples=50)
FAN = Machine("fan", "id_00")
LABELLED = ["normal"] * 8 + ["anomaly"] * 6


class MachineFiles:
    """Score, loss and label files of one machine."""

    def __init__(self, folder: Path, labels: list[str], trials: int = 2, scale: float = 1.0) -> None:
        self.folder = folder
        generator = np.random.default_rng(0)
        paths = np.array([f"{k:02}.wav" for k in range(10 + len(labels))])
        splits = np.array(["train"] * 6 + ["validation"] * 4 + ["test"] * len(labels))
        whole = np.full(len(paths), np.nan)
        self.scores, self.losses = [], []
        for trial in range(trials):
            shifts = [0.0] * 10 + [scale * (label == "anomaly") for label in labels]
            values = generator.normal(10, 1, len(paths)) + shifts
            self.scores.append(folder / f"trial_{trial}.csv")
            write(self.scores[-1], ScoreTable(paths, splits, whole, whole, {"mean": values}))
            self.losses.append(folder / f"loss_{trial}.csv")
            self.losses[-1].write_text(f"epoch,loss,validation_loss\n1,90.5,95.5\n2,{40 + trial},45.0\n")
        clips = zip(paths[10:].tolist(), labels, strict=True)
        self.clips = [Clip(path, "fan", "id_00", "test", label) for path, label in clips]

    def draw(self, folder: str = "figures") -> dict[str, str]:
        report.draw_machine(
            FAN,
            scores=self.scores,
            losses=self.losses,
            clips=self.clips,
            folder=self.folder / folder,
            settings=SETTINGS,
        )
        drawn = {Path(name).stem: ET.parse(self.folder / folder / name).getroot() for name in FIGURES}
        return {kind: " ".join("".join(root.itertext()).split()) for kind, root in drawn.items()}

    def result(self) -> MachineResult:
        return machine_result(MachineScores(FAN, self.scores), self.clips, SETTINGS)


def test_figures_say_what_they_show(tmp_path: Path) -> None:
    machine = MachineFiles(tmp_path, [*LABELLED, "", ""])
    texts = machine.draw()
    areas = machine.result().areas
    assert areas is not None
    cells = {name: f"{100 * value:.1f}" for name, value in areas.cells(SETTINGS.confidence).items()}
    assert f"AUC {cells['auc']} % [{cells['auc_low']}, {cells['auc_high']}]" in texts["roc"]
    assert f"pAUC {cells['pauc']} % [{cells['pauc_low']}, {cells['pauc_high']}]" in texts["roc"]
    assert "8 normal, 6 anomalous clips" in texts["roc"]
    for group in ("training 6", "held out 4", "test, normal 8", "test, anomaly 6", "test, without label 2"):
        assert f"{group} clips" in texts["histogram"]
    assert "fan/id_00: training" in texts["loss"]
    assert "2 trials" in texts["loss"]


def test_the_same_input_gives_the_same_bytes_whatever_the_users_style(tmp_path: Path) -> None:
    machine = MachineFiles(tmp_path, LABELLED)
    machine.draw("first")
    with matplotlib.rc_context({"lines.linewidth": 7, "svg.fonttype": "path", "figure.facecolor": "black"}):
        machine.draw("again")
        assert matplotlib.rcParams["lines.linewidth"] == 7
    for name in FIGURES:
        first, again = (tmp_path / folder / name for folder in ("first", "again"))
        assert first.read_bytes() == again.read_bytes()
        assert b"<dc:date>" not in first.read_bytes()


@pytest.mark.parametrize(
    ("labels", "counts"),
    [
        (["", "", ""], "0 normal, 0 anomalous and 3 without"),
        (["normal"] * 4, "4 normal, 0 anomalous and 0 without"),
        ([], "0 normal"),
    ],
)
def test_without_both_classes_the_roc_figure_says_why(tmp_path: Path, labels: list[str], counts: str) -> None:
    texts = MachineFiles(tmp_path, labels).draw()
    assert "needs normal and anomalous test clips" in texts["roc"]
    assert counts in texts["roc"]
    assert "held out 4 clips" in texts["histogram"]


def test_a_machine_without_scores_has_figures_that_say_why(tmp_path: Path) -> None:
    machine = MachineFiles(tmp_path, LABELLED)
    for path in machine.losses:
        path.write_text("epoch,loss,validation_loss\n")
    for path in machine.scores:
        path.write_text("path,split\n")
        write_description(path, status="no usable training clips")
    texts = machine.draw()
    assert "no training to show" in texts["loss"]
    assert "no score to show: no usable training clips" in texts["roc"]
    assert "no score to show: no usable training clips" in texts["histogram"]


def test_a_single_trial_without_held_out_clips_has_one_curve(tmp_path: Path) -> None:
    machine = MachineFiles(tmp_path, LABELLED, trials=1)
    machine.losses[0].write_text("epoch,loss,validation_loss\n1,90.5,\n")
    assert "held-out" not in machine.draw()["loss"]
    losses = report.read_losses(machine.losses[0])
    assert losses.training.tolist() == [90.5]
    assert np.isnan(losses.validation).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("epoch,loss\n1,2.0\n", "not a table of epoch, loss"),
        ("epoch,loss,validation_loss\n1,much,\n", "not a table of epoch, loss"),
        ("epoch,loss,validation_loss\n1\n", "not a table of epoch, loss"),
        ("", "not a table of epoch, loss"),
        (None, "cannot be read"),
    ],
)
def test_a_broken_loss_file_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "loss.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=rf"loss\.csv: .*{said}"):
        report.read_losses(path)


def test_histogram_rows_hold_every_score_of_every_trial(tmp_path: Path) -> None:
    result = MachineFiles(tmp_path, LABELLED, trials=3).result()
    figure = Figure()
    report.draw_histogram(figure, result, SETTINGS)
    (axes,) = figure.axes
    # heights above each row's base line, summed, are the same for all rows: each holds the whole of its group
    rows = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    data = [row.get_data() for row in rows]
    sums = [float(np.sum(values - baseline)) for values, _, baseline in data]
    assert sums == pytest.approx([sums[0]] * 4)
    assert len({to_hex(row.get_facecolor()) for row in rows}) == 4
    assert axes.get_xscale() == "linear"


def test_a_long_tail_is_drawn_on_a_logarithmic_axis(tmp_path: Path) -> None:
    figure = Figure()
    report.draw_histogram(figure, MachineFiles(tmp_path, LABELLED, scale=500.0).result(), SETTINGS)
    assert figure.axes[0].get_xscale() == "log"


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30))
def test_every_score_falls_into_a_bin(values: list[float]) -> None:
    edges, _ = report._bins(np.array(values))
    assert np.histogram(values, edges)[0].sum() == len(values)


@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
def test_the_area_under_the_mean_curve_is_the_mean_area(trials: int, normal: int, anomaly: int, seed: int) -> None:
    labels = [0] * normal + [1] * anomaly
    scores = np.random.default_rng(seed).integers(0, 6, size=(trials, len(labels)))
    rates, mean = report.mean_curve([metrics.roc(labels, trial) for trial in scores])
    expected = np.mean([roc_auc_score(labels, trial) for trial in scores])
    assert np.trapezoid(mean, rates) == pytest.approx(expected, abs=1e-12)
    assert (np.diff(mean) >= -1e-15).all()
    assert (rates[0], mean[0], rates[-1], mean[-1]) == (0, 0, 1, 1)
