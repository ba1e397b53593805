from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from offnote.config import Demo
from offnote.errors import InputError
from offnote.sounds import SAMPLE_RATE
from offnote.synthesis import MACHINES, fault_of, planned_paths, render, synthesise_clip, synthesise_machine
from offnote.synthetic_machines import Fault

from tests.recordings import decibels

SHORT = Demo(duration=2.0)
KINDS = {
    "rotor": {"imbalance", "misalignment", "bearing"},
    "pump": {"cavitation", "leak", "slip"},
    "slide_rail": {"jerk", "rattle", "squeal"},
    "valve": {"sticking", "bounce", "leak"},
}
EVERY_FAULT = [(kind, name, fault) for kind, name in MACHINES for fault in sorted(KINDS[kind])]

machines = pytest.mark.parametrize(("machine_type", "machine_id"), MACHINES)
every_fault = pytest.mark.parametrize(("machine_type", "machine_id", "kind"), EVERY_FAULT)


def hashes(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_there_are_four_types_with_two_ids_each() -> None:
    assert Counter(kind for kind, _ in MACHINES) == dict.fromkeys(KINDS, 2)
    assert len(set(MACHINES)) == len(MACHINES)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_the_plan_has_as_many_clips_of_each_kind_as_asked_for(train: int, normal: int, anomaly: int) -> None:
    paths = planned_paths(Demo(train=train, test_normal=normal, test_anomaly=anomaly))
    assert len(set(paths)) == len(paths) == len(MACHINES) * (train + normal + anomaly)
    assert sum("/train/normal_" in path for path in paths) == len(MACHINES) * train
    assert sum("/test/normal_" in path for path in paths) == len(MACHINES) * normal
    assert sum("/test/anomaly_" in path for path in paths) == len(MACHINES) * anomaly


def test_the_plan_of_some_machines_is_that_part_of_the_whole() -> None:
    whole = planned_paths(SHORT)
    assert planned_paths(SHORT, "pump") == [path for path in whole if path.startswith("pump/")]
    assert planned_paths(SHORT, machine_id="id_02") == [path for path in whole if "_id_02_" in path]
    assert [path for machine in MACHINES for path in planned_paths(SHORT, *machine)] == whole


@pytest.mark.parametrize("machine", [("fan", None), ("pump", "id_01"), (None, "id_77")])
def test_an_unknown_machine_is_refused(machine: tuple[str | None, str | None]) -> None:
    with pytest.raises(InputError, match=r"no machine .* It has rotor/id_00, "):
        planned_paths(SHORT, *machine)


@pytest.mark.parametrize(
    "path",
    [
        "rotor/train/anomaly_id_00_00000000.wav",
        "rotor/train/normal_id_01_00000000.wav",
        "fan/train/normal_id_00_00000000.wav",
        "rotor/train/normal_id_00_0.wav",
        "root/rotor/train/normal_id_00_00000000.wav",
        "rotor/train/normal_id_00_00000000.wav\n",
    ],
)
def test_a_path_that_is_not_of_the_plan_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="no clip of the demo set"):
        synthesise_clip(path, SHORT)


def test_an_unknown_fault_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match=r"Valve has no fault 'squeal'\. It may have sticking, bounce, leak"):
        render("valve/test/normal_id_00_00000000.wav", SHORT, Fault("squeal", 1.0))


@machines
def test_the_same_files_whatever_the_order_and_the_size_of_the_set(
    machine_type: str, machine_id: str, tmp_path: Path
) -> None:
    small = Demo(train=1, test_normal=1, test_anomaly=2, duration=1.0)
    large = Demo(train=2, test_normal=2, test_anomaly=4, duration=1.0)
    synthesise_machine(machine_type, machine_id, tmp_path / "small", small)
    for path in reversed(planned_paths(large, machine_type, machine_id)):
        synthesise_clip(path, large)
    synthesise_machine(machine_type, machine_id, tmp_path / "large", large)
    few, many = hashes(tmp_path / "small"), hashes(tmp_path / "large")
    assert sorted(many) == sorted(planned_paths(large, machine_type, machine_id))
    assert few.items() < many.items()
    assert len(set(many.values())) == len(many)


def test_writing_again_replaces_what_is_there(tmp_path: Path) -> None:
    demo = Demo(train=1, test_normal=1, test_anomaly=1, duration=1.0)
    synthesise_machine("pump", "id_00", tmp_path, demo)
    before = hashes(tmp_path)
    (tmp_path / "pump/train/normal_id_00_00000000.wav").write_bytes(b"half a file")
    synthesise_machine("pump", "id_00", tmp_path, demo)
    assert hashes(tmp_path) == before


@machines
def test_files_hold_the_clip_in_the_format_of_the_challenge(machine_type: str, machine_id: str, tmp_path: Path) -> None:
    demo = Demo(train=1, test_normal=1, test_anomaly=1, duration=1.5)
    synthesise_machine(machine_type, machine_id, tmp_path, demo)
    for path in planned_paths(demo, machine_type, machine_id):
        info = soundfile.info(tmp_path / path)
        assert (info.samplerate, info.channels, info.subtype, info.format) == (16_000, 1, "PCM_16", "WAV")
        sound, _ = soundfile.read(tmp_path / path)
        np.testing.assert_allclose(sound, synthesise_clip(path, demo), atol=1e-4)


@machines
def test_another_seed_another_clip(machine_type: str, machine_id: str) -> None:
    path = f"{machine_type}/train/normal_{machine_id}_00000000.wav"
    assert not np.array_equal(synthesise_clip(path, SHORT), synthesise_clip(path, Demo(duration=2.0, seed=1)))


@machines
def test_normal_clips_have_a_sensible_level_and_are_no_copies(machine_type: str, machine_id: str) -> None:
    clips = [synthesise_clip(f"{machine_type}/train/normal_{machine_id}_{index:08d}.wav", SHORT) for index in range(8)]
    levels = [decibels(clip) for clip in clips]
    assert all(clip.shape == (2 * SAMPLE_RATE,) and clip.dtype == np.float32 for clip in clips)
    assert all(-34 < level < -18 for level in levels)
    assert np.ptp(levels) > 0.5
    likeness = np.abs(np.corrcoef(np.stack(clips)) - np.eye(8))
    assert likeness.max() < 0.6


def spectrum(machine_type: str, machine_id: str, first: int) -> np.ndarray:
    paths = (f"{machine_type}/train/normal_{machine_id}_{index:08d}.wav" for index in range(first, first + 4))
    power = np.mean([np.abs(np.fft.rfft(synthesise_clip(path, SHORT))) ** 2 for path in paths], axis=0)
    bands: np.ndarray = np.log(power[1:].reshape(40, -1).mean(axis=1))
    return bands


@pytest.mark.parametrize("machine_type", KINDS)
def test_the_two_ids_of_a_type_sound_different(machine_type: str) -> None:
    within = np.abs(spectrum(machine_type, "id_00", 0) - spectrum(machine_type, "id_00", 4)).mean()
    between = np.abs(spectrum(machine_type, "id_00", 0) - spectrum(machine_type, "id_02", 0)).mean()
    assert between > 1.5 * within


@every_fault
def test_no_clip_reaches_full_scale_and_none_is_silent(machine_type: str, machine_id: str, kind: str) -> None:
    for index in range(8):
        path = f"{machine_type}/test/anomaly_{machine_id}_{index:08d}.wav"
        assert 0.01 < np.abs(render(path, SHORT, Fault(kind, 1.0))).max() < 0.95


@every_fault
def test_a_graver_fault_differs_more_from_the_same_clip_without_it(
    machine_type: str, machine_id: str, kind: str
) -> None:
    path = f"{machine_type}/test/anomaly_{machine_id}_00000000.wav"
    normal = render(path, SHORT, None)
    changes = [decibels(render(path, SHORT, Fault(kind, severity)) - normal) for severity in np.linspace(0, 1, 5)]
    steps = np.diff(changes)
    assert (steps > 3).all()
    np.testing.assert_allclose(steps, steps[0], atol=0.1)
    assert changes[0] < decibels(normal) - 12


def test_a_planned_anomaly_is_its_normal_clip_with_its_fault_and_a_normal_clip_has_none() -> None:
    for path in planned_paths(Demo(train=1, test_normal=1, test_anomaly=3)):
        fault = fault_of(path, SHORT)
        assert (fault is not None) == ("/anomaly_" in path)
        clip = synthesise_clip(path, SHORT)
        assert np.array_equal(clip, render(path, SHORT, fault))
        assert np.array_equal(clip, render(path, SHORT, None)) == (fault is None)


@given(st.integers(0, 2**31), st.sampled_from(MACHINES), st.integers(8, 40))
def test_kinds_of_fault_are_balanced_and_severities_spread_over_their_range(
    seed: int, machine: tuple[str, str], blocks: int
) -> None:
    demo = Demo(train=1, test_normal=1, test_anomaly=3 * blocks, seed=seed)
    faults = [fault for path in planned_paths(demo, *machine) if (fault := fault_of(path, demo))]
    severities = {kind: sorted(f.severity for f in faults if f.kind == kind) for kind in KINDS[machine[0]]}
    assert [len(values) for values in severities.values()] == [blocks] * 3
    for values in severities.values():
        assert 0 <= values[0] <= values[-1] < 1
        assert np.diff([0.0, *values, 1.0]).max() < 3 / blocks


def test_the_order_of_the_kinds_depends_on_the_seed_but_not_on_the_size() -> None:
    def kinds(demo: Demo) -> list[str]:
        faults = (fault_of(path, demo) for path in planned_paths(demo, "rotor", "id_00"))
        return [fault.kind for fault in faults if fault]

    assert kinds(Demo(test_anomaly=32)) != kinds(Demo(test_anomaly=32, seed=1))
    assert kinds(Demo(test_anomaly=32))[:7] == kinds(Demo(test_anomaly=7))


@pytest.mark.parametrize("duration", [1.0, 1.23457, 3.0])
def test_any_duration_will_do(duration: float) -> None:
    demo = Demo(duration=duration)
    for kind, name in MACHINES:
        clip = synthesise_clip(f"{kind}/test/anomaly_{name}_00000001.wav", demo)
        assert clip.shape == (round(duration * SAMPLE_RATE),)
        assert np.isfinite(clip).all()
