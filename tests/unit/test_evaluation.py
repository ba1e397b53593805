from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from offnote import metrics
from offnote.clips import Clip, Entry, Excluded, Machine, write_clips
from offnote.config import BrokenClips, Evaluate
from offnote.errors import InputError
from offnote.evaluation import TABLES, MachineScores, evaluate
from offnote.scores import ScoreTable, write, write_description
from scipy import stats
from sklearn.metrics import roc_auc_score

SETTINGS = Evaluate(resamples=200, max_fpr=0.2)
NAMES = ("machines", "types", "clips", "decisions", "excluded")
Scored = tuple[Clip, str, float]


class Run:
    """A run in a folder: clips are added with their scores, then evaluated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: list[Clip] = []
        self.machines: list[MachineScores] = []

    def add(self, name: str, labels: Sequence[str], trials: int = 2, held_out: int = 5, seed: int = 0) -> list[Path]:
        machine_type, machine_id = name.split("/")
        generator = np.random.default_rng([seed, *name.encode()])
        train = [Clip(f"{name}/train/{k:03}.wav", machine_type, machine_id, "train", "normal") for k in range(10)]
        test = [Clip(f"{name}/test/{k:03}.wav", machine_type, machine_id, "test", x) for k, x in enumerate(labels)]
        splits = ["validation"] * held_out + ["train"] * (10 - held_out) + ["test"] * len(test)
        # rounded to tenths, so that there are ties
        trial_scores = generator.normal(5.0, 1.0, (trials, 10 + len(test))).round(1)
        trial_scores[:, 10:] += [0.8 * (label == "anomaly") for label in labels]
        paths = [self.folder / "scores" / name / f"trial_{k}.csv" for k in range(trials)]
        for path, values in zip(paths, trial_scores, strict=True):
            write_scores(path, list(zip([*train, *test], splits, values, strict=True)))
        self.clips += [*train, *test]
        self.machines.append(MachineScores(Machine(machine_type, machine_id), paths))
        return paths

    def evaluate(
        self, settings: Evaluate = SETTINGS, tables: str = "tables", broken_clips: BrokenClips = "stop"
    ) -> dict[str, list[dict[str, str]]]:
        write_clips(self.folder / "clips.tsv", self.clips)
        evaluate(
            self.machines,
            clips=self.folder / "clips.tsv",
            folder=self.folder / tables,
            settings=settings,
            run="trial-run",
            broken_clips=broken_clips,
        )
        return {name: rows(self.folder / tables / f"{name}.csv") for name in NAMES}

    def summary(self) -> str:
        return (self.folder / "tables" / "summary.md").read_text(encoding="utf-8")


def write_scores(path: Path, scored: Sequence[Scored]) -> None:
    clips, splits, values = zip(*scored, strict=True)
    start, end = (seconds([getattr(clip, name) for clip in clips]) for name in ("start", "end"))
    scores = np.array(values, dtype=float)
    statistics = {"mean": scores, "max": 3 * scores}
    write(path, ScoreTable(np.array([clip.path for clip in clips]), np.array(splits), start, end, statistics))


def seconds(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def of(table: Sequence[Mapping[str, str]], **cells: str) -> Mapping[str, str]:
    (row,) = [row for row in table if cells.items() <= row.items()]
    return row


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


LABELLED = ["normal"] * 12 + ["anomaly"] * 9


def test_areas_and_percentiles_are_those_of_plain_loops(run: Run) -> None:
    labels = [*LABELLED, "", ""]
    paths = run.add("fan/id_00", labels)
    tables = run.evaluate()
    aucs, paucs, medians, shares = [], [], [], []
    for trial, path in enumerate(paths):
        scored = rows(path)
        test = {row["path"]: float(row["mean"]) for row in scored if row["split"] == "test"}
        held_out = [float(row["mean"]) for row in scored if row["split"] == "validation"]
        known = [
            (int(clip.label == "anomaly"), test[clip.path]) for clip in run.clips if clip.path in test and clip.label
        ]
        aucs.append(roc_auc_score(*zip(*known, strict=True)))
        paucs.append(roc_auc_score(*zip(*known, strict=True), max_fpr=0.2))
        places = [100 * sum((h < s) + (h == s) / 2 for h in held_out) / len(held_out) for s in test.values()]
        medians.append(np.median(places))
        shares.append(sum(place > 95 for place in places) / len(places))
        row = of(tables["machines"], trial=str(trial))
        measured = [float(row[name]) for name in ("auc", "pauc", "median_percentile", "share_above_95")]
        assert measured == pytest.approx([aucs[-1], paucs[-1], medians[-1], shares[-1]], abs=1e-12)
        assert row["auc_low"] == row["pauc_high"] == ""
    mean = of(tables["machines"], trial="mean")
    assert [mean[name] for name in ("normal", "anomaly", "unlabelled", "status")] == ["12", "9", "2", "ok"]
    measured = [float(mean[name]) for name in ("auc", "pauc", "median_percentile", "share_above_95")]
    assert measured == pytest.approx([np.mean(x) for x in (aucs, paucs, medians, shares)], abs=1e-12)
    assert float(mean["auc_low"]) < float(mean["auc"]) < float(mean["auc_high"])


def test_types_are_means_over_machines_and_say_both_means_over_all(run: Run) -> None:
    for name in ("pump/id_02", "fan/id_00", "fan/id_02"):
        run.add(name, LABELLED)
    run.add("valve/id_00", [""] * 4)
    tables = run.evaluate()
    auc = {row["machine_type"] + row["machine_id"]: row["auc"] for row in tables["machines"] if row["trial"] == "mean"}
    fan = (float(auc["fanid_00"]) + float(auc["fanid_02"])) / 2
    pump = float(auc["pumpid_02"])
    assert [(row["machine_type"], row["mean_over"], row["machines"]) for row in tables["types"]] == [
        ("fan", "machines", "2"),
        ("pump", "machines", "1"),
        ("valve", "machines", "0"),
        ("all", "machines", "3"),
        ("all", "types", "3"),
    ]
    found = [float(row["auc"]) for row in tables["types"] if row["auc"]]
    assert found == pytest.approx([fan, pump, (2 * fan + pump) / 3, (fan + pump) / 2], abs=1e-12)
    assert list(auc) == ["fanid_00", "fanid_02", "pumpid_02", "valveid_00"]


def test_the_interval_of_a_mean_is_narrower_by_the_root_of_the_machines(run: Run) -> None:
    for number in range(9):
        run.add(f"fan/id_{number:02}", ["normal"] * 40 + ["anomaly"] * 40)
    tables = run.evaluate(replace_settings(resamples=2000))

    def width(row: Mapping[str, str]) -> float:
        return float(row["auc_high"]) - float(row["auc_low"])

    machines = [width(row) for row in tables["machines"] if row["trial"] == "mean"]
    assert width(of(tables["types"], machine_type="fan")) == pytest.approx(
        np.sqrt(np.mean(np.square(machines)) / 9), rel=0.1
    )


def replace_settings(**changes: object) -> Evaluate:
    return Evaluate.model_validate(SETTINGS.model_dump() | changes)


def test_clips_are_ranked_by_percentile_then_by_deviation(run: Run) -> None:
    run.add("fan/id_00", LABELLED)
    run.add("pump/id_00", [""] * 15)
    run.add("valve/id_00", [""] * 3, held_out=0)
    clips = run.evaluate()["clips"]
    assert [int(row["rank"]) for row in clips] == list(range(1, 21 + 15 + 3 + 1))
    with_percentile = [(float(row["percentile"]), float(row["deviation"])) for row in clips if row["percentile"]]
    assert with_percentile == sorted(with_percentile, reverse=True)
    assert [row["machine_type"] for row in clips[-3:]] == ["valve"] * 3
    assert [row["held_out"] for row in clips[-3:]] == ["0"] * 3
    for machine_type in ("fan", "pump", "valve"):
        places = [int(row["rank_in_machine"]) for row in clips if row["machine_type"] == machine_type]
        assert places == list(range(1, len(places) + 1))


def test_clips_of_a_machine_without_training_clips_of_its_own_are_ranked_by_score(run: Run) -> None:
    clip = Clip("", "fan", "id_01", "test")
    clips = [replace(clip, path=f"fan/id_01/test/{number}.wav") for number in range(3)]
    path = run.folder / "scores/fan/id_01/trial_0.csv"
    write_scores(path, [(clip, "test", score) for clip, score in zip(clips, (2.0, 1.0, 3.0), strict=True)])
    run.clips += clips
    run.machines.append(MachineScores(Machine("fan", "id_01"), [path]))
    ranked = run.evaluate()["clips"]
    assert [row["score"] for row in ranked] == ["3.0", "2.0", "1.0"]
    assert [row["percentile"] + row["deviation"] for row in ranked] == [""] * 3


def test_a_clips_numbers_are_means_over_trials(run: Run) -> None:
    paths = run.add("fan/id_00", [""] * 3, trials=3)
    row = of(run.evaluate()["clips"], path="fan/id_00/test/001.wav")
    scores, percentiles, deviations = [], [], []
    for path in paths:
        score = float(of(rows(path), path=row["path"])["mean"])
        held_out = [float(other["mean"]) for other in rows(path) if other["split"] == "validation"]
        scores.append(score)
        percentiles.append(100 * sum((h < score) + (h == score) / 2 for h in held_out) / 5)
        centre = sorted(held_out)[2]
        deviations.append((score - centre) / (1.4826 * sorted(abs(h - centre) for h in held_out)[2]))
    measured = [float(row[name]) for name in ("score", "percentile", "deviation")]
    assert measured == pytest.approx([np.mean(x) for x in (scores, percentiles, deviations)], rel=1e-12)


@pytest.mark.parametrize(
    ("labels", "status"),
    [
        (["", ""], "no labels"),
        (["normal", ""], "one class only"),
        (["anomaly"], "one class only"),
        ([], "no test clips"),
    ],
)
def test_a_machine_without_both_classes_has_no_area_but_the_rest(run: Run, labels: list[str], status: str) -> None:
    run.add("fan/id_00", labels)
    tables = run.evaluate()
    assert [row["trial"] for row in tables["machines"]] == ["0", "1", "mean"]
    assert {row["status"] for row in tables["machines"]} == {status}
    assert {row["auc"] + row["pauc_low"] for row in tables["machines"]} == {""}
    assert all((row["median_percentile"] != "") == bool(labels) for row in tables["machines"])
    assert len(tables["clips"]) == len(labels)
    assert f"| fan/id_00 | {status} |" in run.summary()


@pytest.mark.parametrize("rule", ["conformal", "gamma"])
def test_decisions_are_those_of_a_threshold_from_training_clips(run: Run, rule: str) -> None:
    paths = run.add("fan/id_00", [*LABELLED, "", ""], held_out=4)
    run.clips = [
        replace(clip, domain=("source", "target")[number % 2]) if clip.split == "test" else clip
        for number, clip in enumerate(run.clips)
    ]
    labels = {clip.path: (clip.label, clip.domain) for clip in run.clips}
    tables = run.evaluate(SETTINGS.model_copy(update={"threshold": rule, "false_alarm_rate": 0.3}))
    alarms = Counter[str]()
    for path, decision in zip(paths, tables["decisions"], strict=True):
        scored = rows(path)
        scores = {row["path"]: float(row["mean"]) for row in scored}
        split = "validation" if rule == "conformal" else "train"
        chosen_from = sorted(scores[row["path"]] for row in scored if row["split"] == split)
        threshold = chosen_from[3] if rule == "conformal" else stats.gamma.ppf(0.7, *stats.gamma.fit(chosen_from))
        assert float(decision["threshold"]) == pytest.approx(threshold, rel=1e-12)
        assert decision["clips"] == str(len(chosen_from))
        assert decision["stated_rate"] == ("0.2" if rule == "conformal" else "")
        above = {row["path"] for row in scored if row["split"] == "test" and scores[row["path"]] > threshold}
        alarms.update(above)
        for domain in ("source", "target", ""):
            normal = [clip for clip in labels if labels[clip][0] == "normal" and "/test/" in clip]
            normal = [clip for clip in normal if domain in ("", labels[clip][1])]
            rate = float(decision["false_alarm_rate" + (f"_{domain}" if domain else "")])
            assert rate == pytest.approx(sum(clip in above for clip in normal) / len(normal))
        found = sum(labels[clip][0] == "anomaly" for clip in above)
        assert float(decision["recall"]) == pytest.approx(found / LABELLED.count("anomaly"))
        assert decision["unlabelled_alarms"] == str(sum(labels[clip][0] == "" for clip in above))
    assert sum(alarms.values()) > 0
    assert {row["path"]: float(row["alarm"]) for row in tables["clips"]} == {
        path: alarms[path] / len(paths) for path in labels if "/test/" in path
    }


def test_labels_of_test_clips_choose_no_threshold(run: Run) -> None:
    run.add("fan/id_00", LABELLED)
    before = run.evaluate()["decisions"]
    turned = {"normal": "anomaly", "anomaly": "normal"}
    run.clips = [replace(clip, label=turned[clip.label]) if clip.split == "test" else clip for clip in run.clips]
    after = run.evaluate()["decisions"]
    assert [row["threshold"] for row in after] == [row["threshold"] for row in before]
    assert [row["false_alarm_rate"] for row in after] == [row["recall"] for row in before]


def test_a_machine_that_could_not_be_trained_has_one_row(run: Run) -> None:
    run.add("fan/id_00", LABELLED)
    run.machines.insert(0, MachineScores(Machine("valve", "id_06"), [], "no training clips"))
    run.clips.append(Clip("valve/test/0.wav", "valve", "id_06", "test", "normal"))
    row = of(run.evaluate()["machines"], machine_type="valve")
    assert [row[name] for name in ("trial", "auc", "normal", "status")] == ["", "", "1", "no training clips"]
    assert "| valve/id_06 | no training clips | 1 | 0 | 0 |" in run.summary()


def test_the_summary_of_an_unlabelled_run_ranks_machines_and_clips(run: Run) -> None:
    run.add("fan/id_00", [""] * 30)
    paths = run.add("pump/id_00", [""] * 30)
    for path in paths:
        text = path.read_text(encoding="utf-8").replace("test,", "test,1")  # ten and more above every held-out clip
        path.write_text(text, encoding="utf-8")
    run.evaluate()
    summary = run.summary()
    assert "| 1 | pump/id_00 | 30 | 100.0 % | " in summary
    assert "The 20 most unusual of 60 new clips" in summary
    assert summary.count(".wav`") == 20
    assert "rest on 5 held-out clips a machine: at worst they come in steps of 20" in summary
    assert "## Anomalies against normal clips" not in summary


def test_the_summary_of_a_mixed_run_ranks_the_unlabelled_clips_only(run: Run) -> None:
    run.add("fan/id_00", [*LABELLED, "", ""])
    tables = run.evaluate()
    summary = run.summary()
    mean = of(tables["machines"], trial="mean")
    auc = [f"{100 * float(mean[name]):.1f}" for name in ("auc", "auc_low", "auc_high")]
    assert f"| fan/id_00 | {auc[0]} [{auc[1]}, {auc[2]}] |" in summary
    assert "The 2 most unusual of 2 new clips" in summary
    assert summary.count(".wav`") == 2
    assert "smallest class (9 clips, fan/id_00) can move its machine's AUC by 11.1 points" in summary


def test_without_resamples_there_are_no_intervals(run: Run) -> None:
    run.add("fan/id_00", LABELLED)
    tables = run.evaluate(replace_settings(resamples=0))
    assert {row["auc_low"] + row["pauc_high"] for row in (*tables["machines"], *tables["types"])} == {""}
    assert "bootstrap" not in run.summary()
    assert "[" not in run.summary()


def test_without_held_out_clips_deviations_are_from_the_training_clips(run: Run) -> None:
    run.add("fan/id_00", [""] * 4, trials=1, held_out=0)
    tables = run.evaluate()
    assert {row["percentile"] for row in tables["clips"]} == {""}
    assert all(row["deviation"] for row in tables["clips"])
    assert "Machines without held-out clips" in run.summary()


@pytest.mark.parametrize(("held_out", "reference"), [(0, 10), (1, 10), (2, 2), (5, 5)])
def test_deviations_are_from_two_held_out_clips_or_more_else_from_all_training_clips(
    run: Run, held_out: int, reference: int
) -> None:
    [path] = run.add("fan/id_00", [""] * 4, trials=1, held_out=held_out, seed=1)
    scored = [float(row["mean"]) for row in rows(path)]
    expected = metrics.deviations(np.array(scored[10:]), np.array(scored[:reference]))
    found = {row["path"]: float(row["deviation"]) for row in run.evaluate()["clips"]}
    assert [found[row["path"]] for row in rows(path)[10:]] == pytest.approx(expected.tolist())


def test_neither_the_order_of_rows_nor_of_machines_changes_a_byte(run: Run) -> None:
    paths = [path for name in ("fan/id_00", "pump/id_00") for path in run.add(name, [*LABELLED, ""])]
    run.evaluate()
    run.evaluate(tables="again")
    for path in paths:
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([header, *reversed(lines)]) + "\n", encoding="utf-8")
    run.clips.reverse()
    run.machines.reverse()
    run.evaluate(tables="shuffled")
    for name in TABLES:
        expected = (run.folder / "tables" / name).read_bytes()
        assert (run.folder / "again" / name).read_bytes() == expected
        assert (run.folder / "shuffled" / name).read_bytes() == expected


def test_another_aggregator_is_another_column(run: Run) -> None:
    run.add("fan/id_00", LABELLED, trials=1)
    mean, highest = (run.evaluate(replace_settings(aggregator=name))["clips"] for name in ("mean", "max"))
    assert [float(row["score"]) for row in highest] == pytest.approx([3 * float(row["score"]) for row in mean])
    with pytest.raises(InputError, match=r"trial_0\.csv: there is no column 'median' .* one of mean, max"):
        run.evaluate(replace_settings(aggregator="median"))


def slices(path: str, count: int) -> list[Clip]:
    return [Clip(path, "fan", "id_00", "test", "", 10.0 * k, 10.0 * k + 10.0) for k in range(count)]


def sliced_run(run: Run, listed: Sequence[Clip], scored: Sequence[Clip]) -> None:
    path = run.folder / "trial_0.csv"
    train = [Clip("train.wav", "fan", "id_00", "train", "normal", 10.0 * k, 10.0 * k + 10.0) for k in range(4)]
    splits = ["train", "train", "validation", "validation"] + ["test"] * len(scored)
    values = np.arange(len(splits), dtype=float)
    write_scores(path, list(zip([*train, *scored], splits, values, strict=True)))
    run.clips = [*listed]
    run.machines = [MachineScores(Machine("fan", "id_00"), [path])]


def test_every_slice_takes_the_label_of_its_recording(run: Run) -> None:
    listed = [Clip("a.wav", "fan", "id_00", "test", "normal"), Clip("b.wav", "fan", "id_00", "test", "anomaly")]
    sliced_run(run, listed, [*slices("a.wav", 3), *slices("b.wav", 2)])
    tables = run.evaluate()
    assert [of(tables["machines"], trial="mean")[name] for name in ("normal", "anomaly")] == ["3", "2"]
    assert {(row["path"], row["label"]) for row in tables["clips"]} == {("a.wav", "normal"), ("b.wav", "anomaly")}
    assert {row["end"] for row in tables["clips"]} == {"10.0", "20.0", "30.0"}


def test_slices_of_a_labelled_stretch_take_its_label(run: Run) -> None:
    stretches = [
        Clip("a.wav", "fan", "id_00", "test", "normal", 0.0, 20.0),
        Clip("a.wav", "fan", "id_00", "test", "anomaly", 20.0, 40.0),
    ]
    sliced_run(run, stretches, slices("a.wav", 4))
    labels = {row["start"]: row["label"] for row in run.evaluate()["clips"]}
    assert labels == {"0.0": "normal", "10.0": "normal", "20.0": "anomaly", "30.0": "anomaly"}


def test_a_slice_with_a_row_of_its_own_needs_a_score(run: Run) -> None:
    sliced_run(run, slices("a.wav", 2), slices("a.wav", 1))
    with pytest.raises(InputError, match=r"test clip a\.wav \(10\.0 to 20\.0 s\) of the clip list has no score"):
        run.evaluate()


def test_a_clip_at_the_95_percent_point_is_not_above_it() -> None:
    # among ten held-out clips: as high as the highest, and above all of them
    assert metrics.unusual(np.array([95.0, 100.0]))["share_above_95"] == 0.5


def test_a_recording_of_which_no_slice_is_left_is_named_in_the_summary(run: Run) -> None:
    listed = [Clip("a.wav", "fan", "id_00", "test", ""), Clip("silent.wav", "fan", "id_00", "test", "")]
    sliced_run(run, listed, slices("a.wav", 2))
    run.evaluate()
    assert "| fan/id_00 | `silent.wav` |" in run.summary()


def test_a_slice_outside_every_row_is_refused(run: Run) -> None:
    sliced_run(run, slices("a.wav", 1), slices("a.wav", 2))
    with pytest.raises(InputError, match=r"test clip a\.wav \(10\.0 to 20\.0 s\) has a score, but the clip list"):
        run.evaluate()


def test_a_score_without_a_row_is_refused(run: Run) -> None:
    run.add("fan/id_00", LABELLED)
    del run.clips[-1]
    with pytest.raises(InputError, match=r"trial_0\.csv: the test clip fan/id_00/test/020\.wav has a score, but"):
        run.evaluate()


def test_a_row_without_a_score_is_refused(run: Run) -> None:
    run.add("fan/id_00", LABELLED)
    run.clips.append(Clip("fan/id_00/test/new.wav", "fan", "id_00", "test"))
    with pytest.raises(
        InputError, match=r"test clip fan/id_00/test/new\.wav of the clip list has no score for fan/id_00"
    ):
        run.evaluate()


def exclude(paths: Sequence[Path], *excluded: Excluded) -> None:
    for path in paths:
        write_description(path, excluded=excluded)


def test_an_excluded_clip_is_listed_and_counted_and_has_no_score(run: Run) -> None:
    paths = run.add("fan/id_00", LABELLED)
    expected = run.evaluate()
    run.clips.append(Clip("new.wav", "fan", "id_00", "test", "anomaly"))
    exclude(paths, Excluded(Entry("new.wav", "test"), "silent"), Excluded(Entry("old.wav", "train"), "cut | short"))
    found = run.evaluate(broken_clips="exclude")
    assert found | {"excluded": []} == expected
    machine = {"machine_type": "fan", "machine_id": "id_00", "start": "", "end": ""}
    assert found["excluded"] == [
        machine | {"path": "new.wav", "split": "test", "label": "anomaly", "reason": "silent"},
        machine | {"path": "old.wav", "split": "train", "label": "", "reason": "cut | short"},
    ]
    assert "**Without 2 broken clips** (1 of split test, 1 of split train)" in run.summary()
    assert "| fan/id_00 | `new.wav` | test | silent |" in run.summary()


def test_a_machine_whose_test_clips_are_all_excluded_says_so(run: Run) -> None:
    paths = run.add("fan/id_00", ["normal", "anomaly"])
    gone = [Excluded(Entry(clip.path, "test"), "silent") for clip in run.clips if clip.split == "test"]
    for path in paths:
        path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if ",test," not in line))
    exclude(paths, *gone)
    found = run.evaluate(broken_clips="exclude")
    assert {row["status"] for row in found["machines"]} == {"all test clips are excluded"}
    assert [row["label"] for row in found["excluded"]] == ["normal", "anomaly"]
    assert "| fan/id_00 | all test clips are excluded |" in run.summary()


def test_a_machine_whose_scoring_had_nothing_to_go_by_has_that_status_and_its_test_clips_are_counted(run: Run) -> None:
    broken = Excluded(Entry(run.add("fan/id_00", LABELLED)[0].name, "train"), "silent")
    for path in run.add("pump/id_00", LABELLED):
        path.write_text("path,split\n")
        write_description(path, status="no usable training clips", excluded=[broken])
    found = run.evaluate(broken_clips="exclude")
    pump = [row for row in found["machines"] if row["machine_type"] == "pump"]
    assert [(row["status"], row["trial"], row["auc"]) for row in pump] == [("no usable training clips", "", "")]
    assert int(pump[0]["normal"]) + int(pump[0]["anomaly"]) == len(LABELLED)
    assert [row["reason"] for row in found["excluded"]] == ["silent"]
    assert {row["machine_type"] for row in found["clips"]} == {"fan"}


def test_a_run_in_which_no_machine_has_scores_is_refused(run: Run) -> None:
    for path in run.add("pump/id_00", LABELLED):
        path.write_text("path,split\n")
        write_description(path, status="no usable training clips")
    with pytest.raises(InputError, match=r"no machine has scores \(pump/id_00: no usable training clips\)"):
        run.evaluate()


def test_test_clips_are_counted_without_the_excluded_ones_where_there_are_no_scores_too(run: Run) -> None:
    run.add("fan/id_00", LABELLED)
    paths = run.add("pump/id_00", LABELLED)
    test = next(clip for clip in run.clips if (clip.machine_type, clip.split) == ("pump", "test"))
    gone = [Excluded(Entry(test.path, "test"), "silent")]
    for path in paths:
        path.write_text("path,split\n")
        write_description(path, status="no usable training clips", excluded=gone)
    [pump] = [row for row in run.evaluate(broken_clips="exclude")["machines"] if row["machine_type"] == "pump"]
    assert int(pump["normal"]) + int(pump["anomaly"]) == len(LABELLED) - 1


def test_an_excluded_slice_leaves_its_recording_its_other_slices(run: Run) -> None:
    first, second, third = slices("a.wav", 3)
    sliced_run(run, [Clip("a.wav", "fan", "id_00", "test", "")], [first, third])
    broken = Excluded(Entry("a.wav", "test", "", second.start, second.end), "silent")
    exclude(run.machines[0].scores, broken)
    found = run.evaluate(broken_clips="exclude")
    assert [row["start"] for row in found["excluded"]] == [str(second.start)]
    assert "gave no clip" not in run.summary()


def test_tables_without_a_clip_are_refused_where_the_configuration_says_stop(run: Run) -> None:
    paths = run.add("fan/id_00", LABELLED)
    exclude(paths, Excluded(Entry("old.wav", "train"), "silent"))
    with pytest.raises(InputError, match=r"fan/id_00: the clip old\.wav has no score \(silent\).*exclude"):
        run.evaluate()


def test_a_damaged_list_of_excluded_clips_is_named(run: Run) -> None:
    paths = run.add("fan/id_00", LABELLED)
    paths[0].with_suffix(".json").write_text("{")
    with pytest.raises(InputError, match=r"trial_0\.json: it must tell which clips have no score"):
        run.evaluate()


def test_trials_of_different_clips_are_refused(run: Run) -> None:
    paths = run.add("fan/id_00", LABELLED)
    paths[1].write_text("\n".join(paths[1].read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(
        InputError, match=r"trial_1\.csv: the test clip .*/020\.wav is not in both this file and .*trial_0"
    ):
        run.evaluate()


def test_a_missing_trial_is_refused(run: Run) -> None:
    run.add("fan/id_00", LABELLED)[1].unlink()
    with pytest.raises(InputError, match=r"trial_1\.csv: the score file cannot be read"):
        run.evaluate()
    run.machines = [MachineScores(Machine("fan", "id_00"), [])]
    with pytest.raises(InputError, match="fan/id_00: there are no score files"):
        run.evaluate()


def test_a_pipe_in_a_path_does_not_break_the_table(run: Run) -> None:
    sliced_run(run, [Clip("a|b.wav", "fan", "id_00", "test", "")], [Clip("a|b.wav", "fan", "id_00", "test")])
    run.evaluate()
    assert "`a\\|b.wav`" in run.summary()


@pytest.mark.parametrize(("held_out", "new"), [(6, 20), (20, 64), (45, 30)])
def test_an_unchanged_machine_stays_below_the_limit_in_19_of_20_cases(held_out: int, new: int) -> None:
    generator = np.random.default_rng(0)
    limit = metrics.healthy_share(held_out, new)
    known, unknown = np.sort(generator.normal(size=(20000, held_out))), generator.normal(size=(20000, new))
    beaten = (unknown[:, :, None] > known[:, None, :]).sum(axis=2)
    shares = (100 * beaten / held_out > 95).mean(axis=1)
    assert (shares > limit).mean() <= 0.055
    assert (shares >= limit).mean() > 0.045
