"""The harness of `make bench`: its statistics, its tables, the sets it generates, what it says where a side fails."""

from __future__ import annotations

import ast
import csv
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from offnote.clips import read_clips
from offnote.config import ROOT
from offnote.errors import InputError
from scipy import stats

from benchmarks import clips, processes, stages
from benchmarks.measurement import Figure, Goal, Row, in_turn, summarised
from benchmarks.processes import Bench
from benchmarks.schedules import figures, paired_loss
from benchmarks.tables import as_csv, as_markdown, write_tables

FASTER = Row("job", "whole job", "s", [2.0, 1.0, 4.0], "opponent", [8.0, 10.0, 8.0], True, Goal("at least", 4))
SLOWER = Row("floor", "features", "ms/clip", [3.0, 3.3], "floor", [2.0, 3.0], False, Goal("at most", 1.3))
ALONE = Row("nothing", "no-op", "s", [5.0, 7.0, 6.0], "", [], True, Goal("at most", 10))


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=9))
def test_a_figure_is_numpys_median_between_the_extremes(values: list[float]) -> None:
    figure = summarised(values)
    assert figure.middle == pytest.approx(np.median(values))
    assert figure.lowest == min(values) <= figure.middle <= figure.highest == max(values)


def test_no_repetition_is_no_figure() -> None:
    with pytest.raises(ValueError, match="at least one repetition"):
        summarised([])


def test_ratios_are_taken_within_a_repetition_and_not_between_medians() -> None:
    # 8/2, 10/1, 8/4; the ratio of the medians would be 8/2 as well, so look at the extremes too.
    assert FASTER.figure == Figure(4.0, 2.0, 10.0)
    assert astuple(SLOWER.figure) == pytest.approx((1.3, 1.1, 1.5))
    assert ALONE.figure == Figure(6.0, 5.0, 7.0)


def test_a_goal_is_judged_by_the_median() -> None:
    assert [row.reached for row in (FASTER, ALONE)] == [True, True]
    assert not Row("a", "", "s", [2.0], "b", [7.9], True, Goal("at least", 4)).reached
    assert not Row("a", "", "s", [10.1], "", [], True, Goal("at most", 10)).reached


def test_sides_take_turns_and_the_order_turns_round() -> None:
    calls: list[str] = []

    def side(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    costs = in_turn(3, lambda: side("a"), lambda: side("b"), lambda: side("c"))
    assert calls == [*"abc", *"cba", *"abc"]
    assert costs == [[1, 6, 7], [2, 5, 8], [3, 4, 9]]


def test_the_csv_table_holds_every_figure(tmp_path: Path) -> None:
    write_tables(tmp_path / "new", "bench", [FASTER, ALONE], "`command`")
    with (tmp_path / "new" / "bench.csv").open(encoding="utf-8", newline="") as stream:
        faster, alone = csv.DictReader(stream)
    assert [float(faster[name]) for name in ("offnote", "other", "ratio", "ratio_low", "ratio_high")] == [
        2,
        8,
        4,
        2,
        10,
    ]
    assert (faster["goal"], faster["reached"], faster["repetitions"]) == ("at least 4", "yes", "3")
    assert [alone[name] for name in ("offnote", "other", "ratio", "ratio_low")] == ["6.0", "", "", ""]
    assert as_csv([FASTER, ALONE]) == (tmp_path / "new" / "bench.csv").read_text(encoding="utf-8")


def test_the_markdown_table_is_one_for_a_reader(tmp_path: Path) -> None:
    write_tables(tmp_path, "bench", [FASTER, SLOWER, ALONE], "`command`")
    text = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert text.startswith("`command`\n\n| what |")
    rows = as_markdown([FASTER, SLOWER, ALONE]).splitlines()[2:]
    assert rows == text.splitlines()[-3:]
    assert {row.count("|") for row in rows} == {6}
    assert "**4.00×** [2.00, 10.0] less | at least 4, reached" in rows[0]
    assert "**1.30×** [1.10, 1.50] of it" in rows[1]
    assert "| – | **6.00 s** [5.00, 7.00] | at most 10, reached" in rows[2]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=30))
def test_the_interval_of_what_is_lost_is_scipys(pairs: list[tuple[float, float]]) -> None:
    published, fast = ({str(number): pair[side] for number, pair in enumerate(pairs)} for side in (0, 1))
    loss = paired_loss(published, fast)
    lost = np.subtract(*np.array(pairs).T)
    assert loss.mean == pytest.approx(lost.mean(), abs=1e-9)
    if lost.std() > 1e-6:
        low, high = stats.t.interval(0.95, len(pairs) - 1, lost.mean(), stats.sem(lost))
        assert (loss.low, loss.high) == pytest.approx((low, high))


def test_machines_are_compared_in_pairs_or_not_at_all() -> None:
    for fast in ({"a": 1.0}, {"a": 1.0, "c": 2.0}):
        with pytest.raises(ValueError, match="the same of both"):
            paired_loss({"a": 1.0, "b": 2.0}, fast)


def test_figures_are_the_means_over_trials(tmp_path: Path) -> None:
    table = tmp_path / "machines.csv"
    rows = ["fan,id_00,0,0.8", "fan,id_00,1,0.9", "fan,id_00,mean,0.85", "pump,id_02,mean,0.5"]
    table.write_text("\n".join(["machine_type,machine_id,trial,auc", *rows]) + "\n", encoding="utf-8")
    assert figures(table, "auc") == {"fan/id_00": 85.0, "pump/id_02": 50.0}


def test_both_sides_get_the_same_clips(tmp_path: Path) -> None:
    made = clips.synthesised(tmp_path, machines=3, train=2, test=2, seconds=1.0)
    listed = read_clips(made.sheet)
    by_machine = json.loads(made.paths.read_text(encoding="utf-8"))
    assert len(by_machine) == made.machines == 3
    paths = [path for splits in by_machine.values() for split in ("train", "test") for path in splits[split]]
    assert sorted(paths) == sorted(str(made.sheet.parent / clip.path) for clip in listed)
    assert all(soundfile.info(path).frames == 16000 for path in paths)
    assert Counter((clip.split, clip.label) for clip in listed) == {
        ("train", "normal"): 6,
        ("test", "normal"): 3,
        ("test", "anomaly"): 3,
    }
    changed = made.sheet.stat().st_mtime_ns
    assert clips.synthesised(tmp_path, machines=3, train=2, test=2, seconds=1.0) == made
    assert made.sheet.stat().st_mtime_ns == changed


def test_noise_is_shared_out_among_the_machines(tmp_path: Path) -> None:
    listed = read_clips(clips.noise(tmp_path, machines=3, clips=100, seconds=0.1).sheet)
    assert sorted(Counter(clip.machine for clip in listed).values()) == [33, 33, 34]
    assert Counter((clip.split, clip.label) for clip in listed)["test", "anomaly"] == 5


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, clips.Recordings]:
    folder = tmp_path_factory.mktemp("bench")
    recordings = clips.synthesised(folder / "clips", machines=2, train=4, test=2, seconds=1.0)
    return Bench(folder, cores=1, repetitions=1, full=False), recordings


@pytest.mark.parametrize(
    ("what", "counted"),
    [
        ("features", {"clips": 12}),
        ("floor", {"clips": 12}),
        ("floor_in_single", {"clips": 12}),
        ("scoring", {"clips": 6}),
        ("steps", {"steps": 1}),
        ("plain_steps", {"steps": 1}),
        ("bare", {"machines": 2}),
    ],
)
def test_a_stage_is_measured_in_a_process_of_its_own(
    tiny: tuple[Bench, clips.Recordings], what: str, counted: dict[str, int]
) -> None:
    bench, recordings = tiny
    started = time.perf_counter()
    measured = bench.offnote(what, recordings, "--epochs", "2")
    assert 0 < measured.pop("seconds") < time.perf_counter() - started
    assert measured == counted


def test_jobs_beside_each_other_share_the_machines(tiny: tuple[Bench, clips.Recordings]) -> None:
    bench, recordings = tiny
    measured = bench.offnote("features", recordings, "--cores", "2")
    assert measured.pop("seconds") > 0
    assert measured == {"clips": 12}


def test_a_job_that_fails_keeps_no_other_waiting(tiny: tuple[Bench, clips.Recordings]) -> None:
    bench, recordings = tiny
    with pytest.raises(InputError, match=r"benchmarks\.stages features … failed"):
        bench.offnote("features", recordings, "--cores", "3")  # of two machines
    assert "features: a process failed" in (bench.folder / "benchmark.log").read_text(encoding="utf-8")


def test_the_memory_of_training_is_what_it_takes_beyond_the_imports(tiny: tuple[Bench, clips.Recordings]) -> None:
    bench, recordings = tiny
    assert 0 < bench.offnote("training", recordings, "--epochs", "2")["bytes"] < stages.resident("VmHWM")


def test_a_side_that_fails_is_named_with_its_log(tiny: tuple[Bench, clips.Recordings], tmp_path: Path) -> None:
    bench, recordings = tiny
    lost = clips.Recordings(tmp_path / "none.tsv", recordings.paths, 1)
    with pytest.raises(InputError, match=r"benchmarks\.stages scoring … failed; \S+benchmark\.log says why"):
        bench.offnote("scoring", lost)
    assert "none.tsv" in (bench.folder / "benchmark.log").read_text(encoding="utf-8")


def test_without_the_opponents_environment_the_command_that_makes_it_is_named(
    tiny: tuple[Bench, clips.Recordings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, recordings = tiny
    monkeypatch.setattr(processes, "OPPONENT", tmp_path / "bin" / "python")
    with pytest.raises(InputError, match="`make bench` makes it"):
        bench.opponent("scoring", recordings)


def test_more_cores_than_there_are_are_refused() -> None:
    with pytest.raises(InputError, match=r"--cores 100000: only \d+ cores are here"):
        processes.limited_to(100_000)


def test_growth_is_measured_through_the_real_workflow(tmp_path: Path) -> None:
    options = ["--machines", "1", "2", "--clips", "40", "60", "--fixed-machines", "2", "--fixed-clips", "40"]
    command = [sys.executable, "-m", "benchmarks.growth", *options, "--cores", "1", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "growth.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["machines"], row["clips"]) for row in rows] == [("1", "40"), ("2", "40"), ("2", "60")]
    assert all(float(row["seconds_again"]) < float(row["seconds"]) for row in rows)
    assert all(100 < float(row[stage]) < 1500 for row in rows for stage in ("features", "train", "score"))
    assert (tmp_path / "growth.svg").read_text(encoding="utf-8").count("nothing to do") >= 1


def test_the_gpu_benchmark_measures_both_presets(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--machines", "2", "--clips", "4"]
    command += ["--precisions", "tf32"]
    done = subprocess.run([*command, "--folder", str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in (tmp_path / "bench_gpu.md").read_text(encoding="utf-8").splitlines()[4:]]
    assert [row[0].removeprefix("| ").split(",")[0] for row in rows] == [
        *["log-mel spectrograms", *["steps of training"] * 2] * 2
    ]
    assert [row[0].split(", ")[-1] for row in rows[1:3]] == ["tf32"] * 2
    # Beside other work a floor may be measured too low.
    assert all(float(row[-1].split(" %")[0]) > 0 for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_benchmark_of_it_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    assert "PyTorch finds no GPU here, so nothing was measured" in done.stderr


def test_the_opponent_imports_nothing_of_offnote_and_is_pinned() -> None:
    tree = ast.parse((ROOT / "benchmarks" / "opponent.py").read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert found & {"keras", "librosa", "numpy"} == {"keras", "librosa", "numpy"}
    assert not any(name.startswith(("offnote", "benchmarks")) for name in found)
    pinned = (ROOT / "benchmarks" / "requirements.txt").read_text(encoding="utf-8")
    assert {line.split("==")[0] for line in pinned.splitlines() if "==" in line} == {
        "keras",
        "librosa",
        "tensorflow-cpu",
    }


# Of what librosa imports.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_opponents_features_are_those_of_offnote(
    tiny: tuple[Bench, clips.Recordings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from offnote import cache

    _, recordings = tiny
    # Keras is not installed here, and the features need none of it.
    monkeypatch.setitem(sys.modules, "keras", type(sys)("keras"))
    from benchmarks import opponent

    run = stages.planned(recordings.sheet)
    machine = run.machines[0]
    with cache.read(stages.features_of(run, machine, tmp_path, threads=1)) as made:
        for number, path in enumerate(run.recordings.files(machine)):
            np.testing.assert_allclose(made.clip(number), opponent.log_mel(path).T, atol=1e-3)
