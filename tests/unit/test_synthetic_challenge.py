from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from offnote import audio
from offnote.challenge import load_challenge
from offnote.clips import Machine
from offnote.config import Audio, Demo
from offnote.datasets import parse_paths
from offnote.errors import InputError
from offnote.score_folders import read_folder
from offnote.sounds import SAMPLE_RATE
from offnote.synthetic_challenge import (
    FAR_DELAY,
    FAR_GAIN,
    ground_truth,
    machines,
    planned_paths,
    record,
    record_far,
    render,
    synthesise_machine,
    takes,
)

from tests.recordings import decibels
from tests.years import WHOLE

every_year = pytest.mark.parametrize("year", WHOLE)


def small(year: int, train: int = 5, test_normal: int = 3, test_anomaly: int = 3) -> Demo:
    return Demo(year=year, train=train, test_normal=test_normal, test_anomaly=test_anomaly, duration=1.0)


def halves(year: int) -> tuple[Machine, Machine]:
    """Return a machine of the development set and one of the evaluation set."""
    known = machines(small(year))
    one, other = (
        next(machine for machine in known if load_challenge(year).holds(kind, machine))
        for kind in ("development", "evaluation")
    )
    return one, other


@every_year
def test_the_layout_of_the_year_reads_from_every_path_what_the_year_tells(year: int, tmp_path: Path) -> None:
    demo, challenge = small(year), load_challenge(year)
    planned = {take.path: take for machine in machines(demo) for take in takes(demo, machine)}
    assert list(planned) == planned_paths(demo)
    clips = parse_paths(tmp_path, list(planned), f"dcase{year}")
    assert len(clips) == len(planned)
    for clip in clips:
        take = planned[clip.path]
        assert (clip.machine, clip.split) == (take.machine, take.split)
        open_ = take.split == "train" or (take.split == "test" and challenge.holds("development", take.machine))
        assert clip.label == (take.label if open_ else "")
        assert clip.domain == (take.domain if open_ or (year == 2021 and take.split == "test") else "")
        if year > 2020 and open_:
            assert clip.attributes in (take.condition.attributes, "noAttribute")


@every_year
def test_machines_are_those_of_the_year_with_the_clips_asked_for(year: int) -> None:
    demo = small(year, train=400)
    stated, names = load_challenge(year).machines, load_challenge(year).demo
    assert names is not None
    assert len(machines(demo)) == sum(len(ids) for types in stated.values() for ids in types.values())
    for machine in halves(year):
        clips = Counter((take.split, take.label, take.domain) for take in takes(demo, machine))
        if year == 2020:
            assert clips == {("train", "normal", ""): 400, ("test", "normal", ""): 3, ("test", "anomaly", ""): 3}
            continue
        assert clips.pop(("supplemental", "normal", "source"), 0) == (40 if names.supplemental else 0)
        tested = {
            ("test", label, domain): n
            for label in ("normal", "anomaly")
            for domain, n in (("source", 2), ("target", 1))
        }
        assert clips == {("train", "normal", "source"): 396, ("train", "normal", "target"): 4} | tested


@every_year
def test_names_in_the_evaluation_set_tell_no_label_by_their_order(year: int) -> None:
    demo = small(year, test_normal=20, test_anomaly=20)
    test = [take for take in takes(demo, halves(year)[1]) if take.split == "test"]
    for domain in {take.domain for take in test} if year == 2021 else {None}:
        labels = [take.label for take in sorted(test) if domain in (None, take.domain)]
        # Sorted apart, there would be one change of label.
        assert sum(one != other for one, other in pairwise(labels)) > 5


@every_year
def test_the_evaluators_tables_tell_what_the_names_do_not(year: int, tmp_path: Path) -> None:
    demo, challenge = small(year), load_challenge(year)
    for name, text in ground_truth(demo).items():
        (tmp_path / "truth" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "truth" / name).write_text(text)
    (tmp_path / "scores").mkdir()
    for section in challenge.evaluated():
        machine = Machine(section.machine_type, section.machine_id)
        test = [take for take in takes(demo, machine) if take.split == "test" and section.domain in ("", take.domain)]
        rows = [f"{Path(take.path).name},{int(take.label == 'anomaly')}\n" for take in test]
        (tmp_path / "scores" / challenge.name(challenge.scores, section)).write_text("".join(rows))
    sections = read_folder(tmp_path / "scores", challenge, tmp_path / "truth")
    assert len(sections) == len(challenge.evaluated())
    for found in sections:
        np.testing.assert_array_equal(found.anomalous, found.scores)
        if year > 2021:
            assert Counter(found.domains.tolist()) == {"source": 4, "target": 2}


def test_attributes_are_hidden_for_some_machine_types_from_2024_on() -> None:
    for year in WHOLE:
        hidden = {path.split("/")[0] for path in planned_paths(small(year)) if "noAttribute" in path}
        shown = {path.split("/")[0] for path in planned_paths(small(year)) if "_speed_" in path}
        assert bool(hidden) == (year >= 2024)
        assert not hidden & shown
        assert bool(shown) == (year > 2020)


@pytest.mark.parametrize("year", [2020, 2024, 2026])
def test_files_have_the_year_s_channels_and_come_out_the_same_again(year: int, tmp_path: Path) -> None:
    demo = small(year)
    machine = halves(year)[0]
    for folder in ("one", "two"):
        synthesise_machine(machine, tmp_path / folder, demo)
    paths = [take.path for take in takes(demo, machine)]
    for path in paths:
        info = soundfile.info(tmp_path / "one" / path)
        assert (info.samplerate, info.subtype, info.channels) == (16_000, "PCM_16", 2 if year == 2026 else 1)
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()
    assert len({(tmp_path / "one" / path).read_bytes() for path in paths}) == len(paths)


def test_the_far_microphone_hears_the_machine_late_and_low_in_another_stretch_of_the_hall() -> None:
    demo = small(2026)
    take = next(take for take in takes(demo, halves(2026)[0]) if take.label == "anomaly")
    near = record(take, demo)
    far = record_far(take, demo, near)
    np.testing.assert_allclose(far.machine[FAR_DELAY:], FAR_GAIN * near.machine[:-FAR_DELAY], rtol=1e-6)
    assert not far.machine[:FAR_DELAY].any()
    assert decibels(far.hall) == pytest.approx(decibels(near.hall), abs=1e-3)
    assert abs(np.corrcoef(far.hall, near.hall)[0, 1]) < 0.1
    channels = render(take, demo)
    assert channels.shape == (SAMPLE_RATE, 2)
    np.testing.assert_array_equal(channels, np.stack([near.mixed(), far.mixed()], axis=1))


def test_features_of_swapped_channels_are_those_of_the_other_microphone(tmp_path: Path) -> None:
    demo = small(2026, train=1, test_normal=1, test_anomaly=1)
    machine = halves(2026)[0]
    synthesise_machine(machine, tmp_path, demo)
    for take in takes(demo, machine):
        near = record(take, demo)
        for channel, parts in enumerate((near, record_far(take, demo, near))):
            read = audio.read(tmp_path / take.path, Audio(sample_rate=SAMPLE_RATE, channel=channel))
            # To the rounding to 16 bit.
            np.testing.assert_allclose(read, parts.mixed(), atol=1.01 * 2**-15)
            assert np.abs(read - (near if channel else record_far(take, demo, near)).mixed()).max() > 0.01


@pytest.mark.parametrize("year", [2025, 2026])
def test_supplemental_clips_hold_the_machine_or_the_hall_alone(year: int) -> None:
    demo = small(year)
    silent = set()
    for machine in machines(demo):
        for take in takes(demo, machine):
            if take.split == "supplemental":
                parts = record(take, demo)
                assert parts.machine.any() != parts.hall.any()
                silent.add(bool(parts.hall.any()))
    assert silent == {True, False}


def spectra(demo: Demo, machine: Machine, domain: str) -> np.ndarray:
    chosen = [t for t in takes(demo, machine) if (t.split, t.label, t.domain) == ("test", "normal", domain)]
    power = np.array([np.abs(np.fft.rfft(render(take, demo))) ** 2 for take in chosen])
    bands: np.ndarray = np.log(power[:, 1:].reshape(len(chosen), 40, -1).mean(axis=2))
    return bands


def test_the_domains_sound_different() -> None:
    demo = small(2023, test_normal=24)
    deviations: dict[str, list[float]] = {"source": [], "target": []}
    for machine in machines(demo):
        source, target = (spectra(demo, machine, domain) for domain in ("source", "target"))
        known, new = source[::2], {"source": source[1::2], "target": target}
        for domain, clips in new.items():
            scaled = (clips - known.mean(axis=0)) / source.std(axis=0)
            deviations[domain].append(float(np.sqrt(np.mean(scaled**2))))
    assert np.mean(deviations["target"]) > 1.2 * np.mean(deviations["source"])


@pytest.mark.parametrize("year", [0, 2019])
def test_an_unknown_year_is_refused(year: int) -> None:
    with pytest.raises(InputError, match=f"demo.year: there is no year {year} here"):
        planned_paths(small(year))


@pytest.mark.parametrize("key", ["train", "test_normal", "test_anomaly"])
def test_there_are_clips_of_both_domains_or_none_is_made(key: str) -> None:
    with pytest.raises(InputError, match=f"demo.{key}: 2 or more"):
        planned_paths(small(2022, **{key: 1}))
    assert planned_paths(small(2020, **{key: 1}))


def test_level_and_length_tell_nothing_of_the_label() -> None:
    demo = small(2024, test_normal=20, test_anomaly=20)
    machine = halves(2024)[1]
    levels = {
        label: [
            decibels(render(take, demo))
            for take in takes(demo, machine)
            if take.split == "test" and take.label == label and take.domain == "source"
        ]
        for label in ("normal", "anomaly")
    }
    assert abs(np.mean(levels["normal"]) - np.mean(levels["anomaly"])) < 2 * np.std(levels["normal"])


def test_a_take_is_made_from_its_place_alone() -> None:
    few, many = small(2022), small(2022, train=9, test_normal=8, test_anomaly=8)
    machine = halves(2022)[0]

    def sounds(demo: Demo) -> dict[tuple[str, str, str, int], bytes]:
        return {take[2:]: render(take, demo).tobytes() for take in takes(demo, machine)}

    assert sounds(few).items() <= sounds(many).items()
