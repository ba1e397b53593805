"""Runs as systems of the challenge: what is judged and sent of their score files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from offnote.challenge import Section, load_challenge
from offnote.clips import Clip, Entry, Excluded, Machine, write_clips
from offnote.config import Evaluate, Settings, Window, resolve
from offnote.detectors import Card
from offnote.errors import InputError
from offnote.evaluation import LabelledScores, MachineScores, choose_thresholds
from offnote.models import Autoencoder
from offnote.official import report
from offnote.scores import ScoreTable, write, write_description
from offnote.systems import (
    ScoredRun,
    front_end,
    judge_run,
    multiply_accumulates,
    require_one_recipe,
    sent_scores,
    system_of,
)
from torch.utils.flop_counter import FlopCounterMode

FAN = Machine("fan", "id_00")


def settings(year: int | None = 2020, **changes: Any) -> Settings:
    config = {"submission": {"year": year}, "training": {"trials": 2}}
    [found] = resolve({name: config.get(name, {}) | changes.get(name, {}) for name in {*config, *changes}}).values()
    return found


def scored(
    folder: Path, names: Sequence[str], values: Sequence[Sequence[float]], start: float = np.nan
) -> MachineScores:
    """Write the score files of a machine, a trial for each list of values, with four clips that were held out."""
    paths = [folder / "fan/id_00" / f"trial_{trial}.csv" for trial in range(len(values))]
    whole = np.full(len(names) + 4, start)
    for trial, path in enumerate(paths):
        held_out = [f"train/{number}.wav" for number in range(4)]
        table = ScoreTable(
            np.array([*held_out, *names]),
            np.array(["validation"] * 4 + ["test"] * len(names)),
            whole,
            whole + 1,
            {"mean": np.array([trial + 1.0, trial + 2.0, trial + 3.0, trial + 4.0, *values[trial]])},
        )
        write(path, table)
    return MachineScores(FAN, paths)


def listed(names: Sequence[str], **known: Any) -> list[Clip]:
    return [Clip(name, *FAN, "test", "anomaly" if "anomaly" in name else "normal", **known) for name in names]


def test_the_mean_over_trials_is_sent_and_decided_by_the_mean_of_their_thresholds(tmp_path: Path) -> None:
    names = ["test/b.wav", "test/a.wav", "test/c.wav"]
    machine = scored(tmp_path, names, [[4.0, 5.0, 9.0], [5.0, 3.0, 0.5]])
    sent = sent_scores(machine, listed(names), settings())
    assert sent.names == ["a.wav", "b.wav", "c.wav"]
    assert sent.scores.tolist() == [4.0, 4.5, 4.75]
    # The highest of four held-out clips is the threshold: 4 in the first trial, 5 in the second.
    assert sent.decisions is not None
    assert sent.decisions.tolist() == [False, False, True]


def test_a_stated_trial_is_sent_as_it_is(tmp_path: Path) -> None:
    names = ["test/a.wav", "test/b.wav"]
    machine = scored(tmp_path, names, [[4.0, 5.0], [5.0, 6.0]])
    sent = sent_scores(machine, listed(names), settings(submission={"trial": 1}))
    assert (sent.scores.tolist(), sent.decisions.tolist() if sent.decisions is not None else None) == (
        [5.0, 6.0],
        [False, True],
    )


def test_labels_choose_nothing(tmp_path: Path) -> None:
    names = ["test/a.wav", "test/b.wav"]
    machine = scored(tmp_path, names, [[4.0, 5.0], [5.0, 6.0]])
    one = sent_scores(machine, listed(names), settings())
    other = sent_scores(machine, [replace(clip, label="anomaly") for clip in listed(names)], settings())
    assert one.scores.tobytes() == other.scores.tobytes()
    assert str(one.decisions) == str(other.decisions)


def test_a_gamma_distribution_that_does_not_fit_is_told(caplog: pytest.LogCaptureFixture) -> None:
    generator = np.random.default_rng(4)
    spread = np.sort(np.concatenate([generator.normal(20.0, 1.0, 891), generator.normal(30.0, 1.0, 9)]))
    joined = LabelledScores([], np.array([]), np.array([]), np.zeros((2, 0)), [], [spread, spread[:800]], [])
    chosen = choose_thresholds("fan/id_00", joined, Evaluate(threshold="gamma"))
    failed = [float(np.mean(train > found.value)) > 0.2 for train, found in zip(joined.train, chosen, strict=True)]
    assert failed == [True, False]
    [line] = caplog.messages
    assert line.startswith("fan/id_00, trial 0: the gamma distribution does not fit: ")


@pytest.mark.parametrize(
    ("year", "channel", "said"),
    [
        (2025, 0, None),
        (2025, 2, "channel 2 alone, counted from 0"),
        (2026, 0, "channel 0 alone, counted from 0"),
        (2026, 1, "channel 1 alone, counted from 0"),
        (2026, "mean", "mean of all channels"),
    ],
)
def test_the_microphone_is_told_where_there_are_several(year: int, channel: int | str, said: str | None) -> None:
    assert front_end(settings(year, audio={"channel": channel})) == said


def test_slices_and_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    names = ["test/a.wav", "more/a.wav"]
    with pytest.raises(InputError, match=r"fan/id_00: more/a\.wav and test/a\.wav have one name|test/a\.wav and more"):
        sent_scores(scored(tmp_path, names, [[1.0, 2.0]]), listed(names), settings())
    machine = scored(tmp_path, ["test/a.wav"], [[1.0]], start=2.0)
    with pytest.raises(InputError, match=r"test/a\.wav \(2\.0 to 3\.0 s\) is a slice"):
        sent_scores(machine, listed(["test/a.wav"], start=2.0, end=3.0), settings())


def run_of(folder: Path, machine: MachineScores, clips: Sequence[Clip], **changes: Any) -> ScoredRun:
    write_clips(folder / "clips.tsv", clips)
    return ScoredRun(settings(**changes), [machine], folder / "clips.tsv")


def test_a_run_is_judged_by_its_score_files(tmp_path: Path) -> None:
    names = ["test/normal_1.wav", "test/normal_2.wav", "test/anomaly_1.wav"]
    run = run_of(tmp_path, scored(tmp_path, names, [[1.0, 3.0, 2.0], [1.0, 2.0, 4.0]]), listed(names))
    judged = judge_run(run)
    assert [(row["machine_type"], row["section"], row["auc"]) for row in judged.sections] == [("fan", "00", 1.0)]
    other = judge_run(replace(run, settings=settings(submission={"trial": 0})))
    assert other.sections[0]["auc"] == 0.5


@pytest.mark.parametrize(
    ("year", "change", "sentence"),
    [
        (2020, {"label": ""}, "fan/id_00, of the development set of 2020: the clip a.wav has no label"),
        (2022, {}, "run demo: has scores of no machine of the development set of 2022"),
        (None, {}, "submission.year: say for which year"),
    ],
)
def test_what_cannot_be_judged_is_named(tmp_path: Path, year: int, change: dict[str, Any], sentence: str) -> None:
    clips = [replace(clip, **change) for clip in listed(["test/a.wav"])]
    run = run_of(tmp_path, scored(tmp_path, ["test/a.wav"], [[1.0], [1.0]]), clips, year=year)
    with pytest.raises(InputError, match=sentence):
        judge_run(run)


def test_a_clip_of_the_development_set_without_a_domain_is_named(tmp_path: Path) -> None:
    machine = scored(tmp_path, ["test/a.wav"], [[1.0], [1.0]])
    section = MachineScores(Machine("fan", "section_00"), machine.scores)
    clips = [replace(clip, machine_id="section_00") for clip in listed(["test/a.wav"])]
    run = replace(run_of(tmp_path, machine, clips, year=2024), machines=[section])
    with pytest.raises(InputError, match=r"a\.wav has no domain \(source or target\)"):
        judge_run(run)


def sixteen(tmp_path: Path, machine: MachineScores, clips: Sequence[Clip]) -> ScoredRun:
    """Return a run in which every machine of the evaluation set of 2020 has the scores of one."""
    named = [Machine(section.machine_type, section.machine_id) for section in load_challenge(2020).evaluated()]
    rows = [replace(clip, **one._asdict()) for one in named for clip in clips]
    write_clips(tmp_path / "clips.tsv", rows)
    machines = [replace(machine, machine=one) for one in named]
    return ScoredRun(settings(), machines, tmp_path / "clips.tsv")


def test_a_clip_of_the_evaluation_set_without_a_score_is_named(tmp_path: Path) -> None:
    machine = scored(tmp_path, ["test/a.wav"], [[1.0], [1.0]])
    run = sixteen(tmp_path, machine, listed(["test/a.wav", "test/b.wav"]))
    for path in machine.scores:
        write_description(path, excluded=[Excluded(Entry("test/b.wav", "test"), "silent")])
    with pytest.raises(InputError, match=r"ToyCar/id_05: the clip test/b\.wav has no score \(silent\)"):
        system_of(run)
    with pytest.raises(
        InputError, match="run demo: has no ToyCar/id_06 with training clips, a machine of the evaluation set of 2020"
    ):
        system_of(replace(run, machines=[one for one in run.machines if one.name != "ToyCar/id_06"]))
    with pytest.raises(InputError, match="ToyCar/id_05: cannot be sent: no training clips"):
        system_of(replace(run, machines=[replace(one, scores=[], status="no training clips") for one in run.machines]))


def test_an_official_evaluation_tells_of_broken_clips(tmp_path: Path) -> None:
    names = ["test/normal_a.wav", "test/anomaly_b.wav"]
    machine = scored(tmp_path, names, [[4.0, 5.0], [5.0, 6.0]])
    write_clips(tmp_path / "clips.tsv", [*listed(names), *listed(["test/normal_c.wav"])])
    run = ScoredRun(settings(), [machine], tmp_path / "clips.tsv")
    for path in machine.scores:
        write_description(path, excluded=[Excluded(Entry("test/normal_c.wav", "test"), "silent")])
    judged = judge_run(run)
    assert (judged.broken_clips, judged.clips) == (1, {"normal": 1, "anomaly": 1})
    whole = replace(judged, absent=[])
    assert (whole.complete, replace(whole, broken_clips=0).complete) == (False, True)
    assert "Without 1 broken clip, which no figure counts." in "\n".join(report("demo", judged))


def card(**changes: Any) -> Card:
    found = settings(2024)
    known: dict[str, Any] = {
        "detector": "autoencoder",
        "window": found.window,
        "model": found.model,
        "training": found.training,
        "features": {"features": found.features.model_dump()},
        "n_mels": 64,
        "scope": "fan/all",
        "seed": 0,
        "trial": 0,
        "inputs_sha256": [],
        "held_out": [],
        "device": {},
        "versions": {},
    }
    return Card(**known | changes)


def test_a_setting_that_differs_by_machine_is_named_where_machine_types_are_new() -> None:
    challenge = load_challenge(2024)
    same = {Path("fan"): card(), Path("valve"): card(scope="valve/all", trial=1)}
    require_one_recipe(same, challenge)
    longer = card(training=settings(training={"epochs": 7}).training)
    with pytest.raises(
        InputError,
        match=r"slider: other settings than those of valve: training\.epochs is \d+ there and 7 here\. In 2024 all",
    ):
        require_one_recipe(same | {Path("slider"): longer}, challenge)
    wider = card(window=Window(frames=9), features={"features": {"n_mels": 64}})
    with pytest.raises(
        InputError,
        match=r"features\.features\.n_fft is \d+ there and missing here.*window\.frames is 5 there and 9 here",
    ):
        require_one_recipe(same | {Path("slider"): wider}, challenge)


def test_the_first_shot_rule_holds_from_2023_on() -> None:
    assert [year for year in range(2020, 2027) if load_challenge(year).first_shot] == [2023, 2024, 2025, 2026]


@pytest.mark.parametrize("preset", ["mimii", "dcase2020", "dcase2024"])
def test_operations_are_counted_as_torch_counts_them(preset: str) -> None:
    found = next(iter(resolve({"preset": preset}).values()))
    inputs = found.window.frames * found.features.n_mels
    network = Autoencoder(inputs, found.model, torch.Generator().manual_seed(0)).eval()
    windows = torch.zeros(313 - found.window.frames + 1, inputs)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(windows)
    assert multiply_accumulates(found, 313) == counter.get_total_flops() // 2


def test_sections_of_2021_are_parted_by_domain(tmp_path: Path) -> None:
    names = [f"test/{domain}_{label}.wav" for domain in ("source", "target") for label in ("normal", "anomaly")]
    machine = scored(tmp_path, names, [[1.0, 2.0, 4.0, 3.0]] * 2)
    clips = [replace(clip, machine_id="section_00", domain=clip.path[5:11]) for clip in listed(names)]
    section = replace(machine, machine=Machine("fan", "section_00"))
    run = replace(run_of(tmp_path, machine, clips, year=2021), machines=[section])
    judged = judge_run(run)
    assert [(row["domain"], row["auc"]) for row in judged.sections] == [("source", 1.0), ("target", 0.0)]
    assert Section("fan", "section_00", "source") in load_challenge(2021).files_of(Machine("fan", "section_00"))
