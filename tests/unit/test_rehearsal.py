"""A rehearsal: who plays whom, under which names, and that nothing tells a label."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from offnote import detectors
from offnote.challenge import load_challenge
from offnote.clips import Clip, Entry, Machine
from offnote.config import Demo
from offnote.detectors import load_detector
from offnote.meta import package_of
from offnote.rehearsal import cast
from offnote.score_folders import ground_truth_files, read_folder
from offnote.synthetic_challenge import machines, takes

from tests.small import CPU, fit_small, noise, small_cache, small_model, small_training
from tests.years import WHOLE


def development(year: int) -> dict[Machine, list[Clip]]:
    """Make up the clips of the development set of a year."""
    demo = Demo(year=year, train=4, test_normal=4, test_anomaly=4)
    return {
        machine: [
            Clip(take.path, *machine, take.split, take.label, domain=take.domain)
            for take in takes(demo, machine)
            if take.split != "supplemental"
        ]
        for machine in machines(demo)
        if load_challenge(year).holds("development", machine)
    }


@pytest.mark.parametrize("year", WHOLE)
def test_every_machine_of_the_evaluation_set_is_played_under_its_own_names(year: int) -> None:
    challenge = load_challenge(year)
    roles = cast(challenge, development(year))
    machines = {Machine(section.machine_type, section.machine_id) for section in challenge.evaluated()}
    assert {role.machine for role, _ in roles} == machines
    assert len({role.path for role, _ in roles}) == len(roles)
    for role, played in roles:
        assert role.split == played.split
        if role.split == "train":
            assert (role.domain, role.label) == (played.domain, "normal")
            continue
        name = role.path.rpartition("/")[2]
        assert re.fullmatch(package_of(challenge).clip, name)
        assert name.startswith(role.machine_id)
        assert (role.label, role.attributes) == ("", "")
        assert role.domain == (played.domain if year == 2021 else "")


@pytest.mark.parametrize("year", [2020, 2021, 2022])
def test_a_machine_type_is_played_by_its_own(year: int) -> None:
    roles = cast(load_challenge(year), development(year))
    assert all(role.machine_type == played.machine_type for role, played in roles)
    by_machine = {role.machine: played.machine for role, played in roles}
    assert len(set(by_machine.values())) == len(by_machine)


def test_new_machine_types_are_played_by_all_in_turn() -> None:
    roles = cast(load_challenge(2024), development(2024))
    players = dict.fromkeys((role.machine, played.machine) for role, played in roles)
    assert len(players) == 9
    assert len({played for _, played in players}) == 7


def test_the_numbers_of_clips_tell_no_label() -> None:
    machine = Machine("fan", "section_00")
    clips = [Clip(f"{n}.wav", *machine, "test", "normal" if n < 50 else "anomaly", domain="source") for n in range(100)]
    roles = [pair for pair in cast(load_challenge(2024), {machine: clips}) if pair[0].machine_type == "Scanner"]
    numbers = [int(role.path[-8:-4]) for role, played in roles if played.label == "anomaly"]
    assert 40 < np.mean(numbers) < 60
    assert roles == [pair for pair in cast(load_challenge(2024), {machine: clips}) if pair[0].machine_type == "Scanner"]


@pytest.mark.parametrize("year", WHOLE)
def test_ground_truth_is_read_back_as_the_evaluators_publish_it(tmp_path: Path, year: int) -> None:
    challenge = load_challenge(year)
    template = package_of(challenge).clip_name
    truths = {
        section: {
            template.format(machine_id=section.machine_id, domain=section.domain, number=number): (
                number % 2 == 1,
                section.domain or ("target" if number > 1 else "source"),
            )
            for number in range(4)
        }
        for section in challenge.evaluated()
    }
    for name, text in ground_truth_files(challenge, truths).items():
        (tmp_path / "truth" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "truth" / name).write_text(text)
    (tmp_path / "scores").mkdir()
    for section, clips in truths.items():
        rows = "".join(f"{clip},{number}\n" for number, clip in enumerate(clips))
        (tmp_path / "scores" / challenge.name(challenge.scores, section)).write_text(rows)
    for found in read_folder(tmp_path / "scores", challenge, tmp_path / "truth"):
        known = truths[found.section]
        assert found.anomalous.tolist() == [known[clip][0] for clip in found.clips]
        if year > 2020:
            assert found.domains.tolist() == [known[clip][1] for clip in found.clips]


def test_renaming_a_machine_changes_nothing_but_what_the_seeds_declare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = noise([20] * 6, mels=4)

    def fit(name: str, folder: str) -> bytes:
        path = tmp_path / folder / name / "section_00.h5"
        small_cache(path, frames, [Entry(f"{name}/{n}.wav", "train") for n in range(len(frames))])
        settings = {"model": small_model(scope="type"), "training": small_training(batch_size=8, validation=0.3)}
        fit_small([path], tmp_path / folder / "model", scope=f"{name}/all", **settings)
        detector = load_detector(tmp_path / folder / "model", CPU)
        return (
            repr(detector.score(frames[0], [])).encode() + (tmp_path / folder / "model/model.safetensors").read_bytes()
        )

    assert fit("fan", "one") != fit("Scanner", "two")
    monkeypatch.setattr(detectors, "derive_seed", lambda seed, trial, scope: 7)
    assert fit("fan", "three") == fit("Scanner", "four")
