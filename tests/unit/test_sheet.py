"""The first sample sheet."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from pathlib import Path

import pytest
from offnote.datasets import load_clips
from offnote.errors import InputError
from offnote.sheet import _abnormal_as_one_word, _label, guess_clips, write_sheet

from tests.recordings import touch


def guessed(root: Path) -> Counter[tuple[str, str, str, str]]:
    return Counter((clip.machine_type, clip.machine_id, clip.split, clip.label) for clip in guess_clips(root))


def test_a_folder_of_normal_recordings(tmp_path: Path) -> None:
    root = touch(tmp_path / "pump", *(f"{n}.wav" for n in range(8)))
    assert guessed(root) == {("pump", "id_00", "train", ""): 6, ("pump", "id_00", "test", ""): 2}


def test_normal_and_new_recordings(tmp_path: Path) -> None:
    root = touch(tmp_path / "pump", "normal/1.wav", "normal/2.wav", "new/3.wav")
    assert guessed(root) == {("pump", "id_00", "train", "normal"): 2, ("pump", "id_00", "test", ""): 1}


def test_neighbours_of_a_healthy_folder_are_faults(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "bldc", *(f"Healthy/M1/{n}.wav" for n in range(6)), "Bearing/M1/1.wav", "Propeller/M1/1.wav"
    )
    assert guessed(root) == {
        ("bldc", "M1", "train", "normal"): 4,
        ("bldc", "M1", "test", "normal"): 2,
        ("bldc", "M1", "test", "anomaly"): 2,
    }


def test_neighbours_of_a_faulty_folder_alone_are_normal(tmp_path: Path) -> None:
    root = touch(tmp_path / "m1", *(f"baseline/{n}.wav" for n in range(8)), *(f"worn belt/{n}.wav" for n in range(3)))
    assert guessed(root) == {
        ("m1", "id_00", "train", "normal"): 5,
        ("m1", "id_00", "test", "normal"): 3,
        ("m1", "id_00", "test", "anomaly"): 3,
    }


def test_validation_clips_are_training_clips(tmp_path: Path) -> None:
    root = touch(tmp_path / "pump", "train/1.wav", "train/2.wav", "val/3.wav", "test/4.wav")
    assert guessed(root) == {("pump", "id_00", "train", ""): 3, ("pump", "id_00", "test", ""): 1}


@pytest.mark.parametrize("place", ["pump test rig", "test-bench 3", "TestStand"])
def test_what_a_machine_is_tested_on_is_no_split(tmp_path: Path, place: str) -> None:
    root = touch(tmp_path / "hall", *(f"{place}/day1/{n}.wav" for n in range(8)))
    assert Counter(clip.split for clip in guess_clips(root)) == {"train": 6, "test": 2}


def test_folders_of_a_neighbours_name_are_faults_elsewhere_and_others_are_not(tmp_path: Path) -> None:
    names = ["fan/healthy/1.wav", "fan/bearing/2.wav", "saw/bearing/3.wav", "pump/gut/4.wav", "pump/neu/5.wav"]
    assert guessed(touch(tmp_path, *names)) == {
        (tmp_path.name, "fan", "train", "normal"): 1,
        (tmp_path.name, "fan", "test", "anomaly"): 1,
        (tmp_path.name, "saw", "test", "anomaly"): 1,
        (tmp_path.name, "pump", "train", ""): 2,
    }


def test_normal_clips_for_testing_are_spread_over_the_names(tmp_path: Path) -> None:
    root = touch(tmp_path / "fan", *(f"normal/{n}.wav" for n in range(6)), *(f"fault/{n}.wav" for n in range(3)))
    clips = [clip for clip in guess_clips(root) if clip.label == "normal"]
    assert [clip.path for clip in clips if clip.split == "test"] == ["normal/1.wav", "normal/3.wav", "normal/5.wav"]


def test_names_that_say_everything(tmp_path: Path) -> None:
    names = ["fan/train/normal_id_00_1.wav", "fan/test/normal_id_00_2.wav", "fan/test/anomaly_id_00_3.wav"]
    assert guessed(touch(tmp_path, *names)) == {
        ("fan", "id_00", "train", "normal"): 1,
        ("fan", "id_00", "test", "normal"): 1,
        ("fan", "id_00", "test", "anomaly"): 1,
    }


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("ok", "normal"),
        ("OK_day2", "normal"),
        ("not_ok", "anomaly"),
        ("not ok", "anomaly"),
        ("nok", "anomaly"),
        ("no_fault", "normal"),
        ("fault", "anomaly"),
        ("normal_then_fault", "anomaly"),
        ("abnormal", "anomaly"),
        ("unhealthy", "anomaly"),
        ("not_undamaged", "anomaly"),
        ("notok", "anomaly"),
        ("machine_no_1_fault", "anomaly"),
        ("class_no/fault", "anomaly"),
        ("undamaged", "normal"),
        ("unbroken", "normal"),
        ("undisturbed", "normal"),
        ("unimpaired", "normal"),
        ("Faultless", "normal"),
        ("flawless", "normal"),
        ("fault-free", "normal"),
        ("defect_free", "normal"),
        ("FaultFree", "normal"),
        ("free of faults", "normal"),
        ("free_from_damage", "normal"),
        ("non-defective", "normal"),
        ("nondefective", "normal"),
        ("NoFault", "normal"),
        ("no_anomalies", "normal"),
        ("without failure", "normal"),
        ("fault_free/normal_1.wav", "normal"),
        ("fault_free_normal", "normal"),
        ("free_fault", "anomaly"),
        ("freezer", ""),
        ("regardless", ""),
        ("monday", ""),
        ("NormalSound_IND", "normal"),
        ("AnomalousSound_IND", "anomaly"),
        ("NGSound", "anomaly"),
        ("FreeOfFaults", "normal"),
        ("FreeFromDamage", "normal"),
        ("AbNormal", "anomaly"),
        ("ABNormal", "anomaly"),
        ("ABNORMAL", "anomaly"),
        ("ab-normal", "anomaly"),
        ("Ab_Normal", "anomaly"),
        ("ab normal", "anomaly"),
        ("AB-NORMAL", "anomaly"),
        ("SoundAbNormal_IND", "anomaly"),
        ("fan/ab.normal/1.wav", "anomaly"),
        ("lab_normal", "normal"),
        ("LAB_NORMAL", "normal"),
        ("AB-Normal", "anomaly"),
        ("AB_normal", "anomaly"),
        ("ab_NORMAL", "anomaly"),
        ("Ab-NORMAL_2", "anomaly"),
        ("AB-NORMAL_001.wav", "anomaly"),
        ("AB Normal 2", "anomaly"),
        ("fan_AB-NORMAL_01.wav", "anomaly"),
        ("bearing_AB-normal", "anomaly"),
        ("AB-normal_1.wav", "anomaly"),
        ("LAB-normal_1.wav", "normal"),
        ("abnormals", "anomaly"),
        ("abnormality", "anomaly"),
        ("abnormalities_2", "anomaly"),
        ("ABNORMALS", "anomaly"),
        ("AB_normal_1.wav", "anomaly"),
        ("bearing_AB_normal", "anomaly"),
        ("FAN_AB_NORMAL_01.wav", "anomaly"),
        ("fan_01_AB_Normal", "anomaly"),
        ("ab - normal", "anomaly"),
        ("Ab\N{EN DASH}normal", "anomaly"),
        ("AB--normal", "anomaly"),
        ("SoundAb-Normal", "anomaly"),
        ("001Ab-Normal.wav", "anomaly"),
        ("3Ab_Normal", "anomaly"),
        ("01ab_normal.wav", "anomaly"),
        ("SN12AB-normal", "normal"),
        ("c30ab_normal", "normal"),
        ("ab/normal", "normal"),
    ],
)
def test_a_negation_turns_a_word_round(folder: str, label: str) -> None:
    (spelt,) = _abnormal_as_one_word([folder])
    assert _label(spelt) == label


@pytest.mark.parametrize("other", ["fault", "Faulty", "NOT_OK", "abnormal", "IR007", "misalignment_1500rpm"])
@pytest.mark.parametrize("name", ["AB_{}/1.wav", "bearing_AB-{}/1.wav", "hall/fan_AB_{}/1.wav", "Motör Ab {}/1.wav"])
def test_ab_beside_its_faults_is_a_unit(tmp_path: Path, name: str, other: str) -> None:
    names = {word: name.format(word) for word in ("normal_1500rpm", other)}
    root = touch(tmp_path / "press", *names.values())
    labels = {clip.path: clip.label for clip in guess_clips(root)}
    assert labels == {names["normal_1500rpm"]: "normal", names[other]: "anomaly"}


@pytest.mark.parametrize(
    ("normal", "abnormal", "others"),
    [
        ("normal/1.wav", "AB_normal/1.wav", ["AB_fault/1.wav"]),
        ("fan/normal/1.wav", "fan/Ab-normal/1.wav", ["pump AB No 3/1.wav"]),
        ("normal/AB_no_1.wav", "ab-normal/AB_no_2.wav", []),
        ("fan/normal/1.wav", "fan/ab-normal/1.wav", ["saw/AB_ok_1.wav"]),
        ("FAN_NORMAL_01.wav", "FAN_AB_NORMAL_01.wav", []),
        ("SoundNormal_1.wav", "Sound_Ab-Normal_1.wav", ["sound_ab_bad.wav"]),
        ("train/good/1.wav", "train/ab-normal/2.wav", []),
        ("train/001_normal.wav", "train/002_ab-normal.wav", []),
        ("train/fan_normal_1.wav", "train/pump_ab-normal_1.wav", []),
        ("nominal_load/001_normal.wav", "nominal_load/002_ab-normal.wav", []),
        ("ok/1.wav", "ab-normal/2.wav", ["ab_noise/3.wav"]),
        ("pump_ok_1.wav", "pump_ab-normal_1.wav", ["pump_ab_3.wav"]),
        ("normal/a/1.wav", "test/ab-normal_2.wav", ["test/ab_1.wav"]),
        ("normal/a/1.wav", "fan/ab-normal.wav", ["fan/ab.wav"]),
        ("A_normal/1.wav", "ab_normal/1.wav", []),
    ],
)
def test_ab_beside_normal_is_abnormal(tmp_path: Path, normal: str, abnormal: str, others: list[str]) -> None:
    root = touch(tmp_path / "press", normal, abnormal, *others)
    labels = {clip.path: clip.label for clip in guess_clips(root)}
    assert (labels[normal], labels[abnormal]) == ("normal", "anomaly")


@pytest.mark.parametrize(
    "paths",
    [
        ["normal/A_normal_1.wav", "normal/AB_normal_1.wav", "leak/A_leak_1.wav", "leak/AB_leak_1.wav"],
        ["train/AB_normal_1.wav", "train/AB_normal_2.wav", "test/AB_leak_1.wav"],
        ["A_normal/1.wav", "A_faulty/1.wav", "AB_normal/1.wav", "AB_faulty/1.wav"],
        ["SN12AB-normal-1.wav", "SN12AB-fault-1.wav", "SN12AC-normal-1.wav"],
    ],
)
def test_a_unit_beside_others_is_told_by_its_own_faults(tmp_path: Path, paths: list[str]) -> None:
    clips = guess_clips(touch(tmp_path / "press", *paths))
    assert all((clip.label == "normal") == ("normal" in clip.path) for clip in clips)


def test_undamaged_beside_damaged_is_normal(tmp_path: Path) -> None:
    root = touch(tmp_path / "gear", *(f"undamaged/{n}.wav" for n in range(4)), "damaged/1.wav")
    assert guessed(root) == {
        ("gear", "id_00", "train", "normal"): 3,
        ("gear", "id_00", "test", "normal"): 1,
        ("gear", "id_00", "test", "anomaly"): 1,
    }


@pytest.mark.parametrize("place", ["2024-01-03", "1450", "2024-01-03/1450"])
def test_folders_may_be_called_by_numbers_alone(tmp_path: Path, place: str) -> None:
    root = touch(tmp_path / "fan", *(f"{place}/{label}/{n}.wav" for label in ("normal", "fault") for n in range(4)))
    assert Counter((clip.split, clip.label) for clip in guess_clips(root)) == {
        ("train", "normal"): 2,
        ("test", "normal"): 2,
        ("test", "anomaly"): 4,
    }


@pytest.mark.parametrize(
    "dates",
    [
        ("2024-01-03", "2024-01-04"),
        ("2024_1_3", "2024_1_4 14-30"),
        ("20240103_1430", "2024-01-05T14:30:05Z"),
        ("20240103143005", "202401041430"),
    ],
)
def test_two_days_are_no_two_machines(tmp_path: Path, dates: tuple[str, str]) -> None:
    root = touch(tmp_path / "hall", *(f"fan3/{day}/{n}.wav" for day in dates for n in range(4)))
    assert {clip.machine for clip in guess_clips(root)} == {("hall", "fan3")}


@pytest.mark.parametrize("names", [("2024-01-03_PumpA", "2024-01-04_PumpB"), ("20191203", "20191207")])
def test_a_date_before_a_name_and_a_serial_number_are_no_dates(tmp_path: Path, names: tuple[str, str]) -> None:
    root = touch(tmp_path / "hall", *(f"pump/{name}/{n}.wav" for name in names for n in range(4)))
    assert {clip.machine_id for clip in guess_clips(root)} == set(names)


def test_a_machine_may_be_called_new(tmp_path: Path) -> None:
    root = touch(tmp_path / "hall", *(f"new_pump/normal/{n}.wav" for n in range(4)), "new-york/normal/1.wav")
    assert set(guessed(root)) == {
        ("hall", "new_pump", "train", "normal"),
        ("hall", "new_pump", "test", "normal"),
        ("hall", "new-york", "train", "normal"),
    }


@pytest.mark.parametrize(
    "new", ["new/3.wav", "new_recordings/3.wav", "New clips 2024/3.wav", "2024-05 new audio data/3.wav", "new_003.wav"]
)
def test_new_recordings_are_for_testing(tmp_path: Path, new: str) -> None:
    root = touch(tmp_path / "pump", "normal/1.wav", "normal/2.wav", new)
    assert guessed(root) == {("pump", "id_00", "train", "normal"): 2, ("pump", "id_00", "test", ""): 1}


def test_the_advice_to_make_a_sheet_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    root = touch(tmp_path / "Wérk Süd 1", "a.wav")
    with pytest.raises(InputError) as raised:
        load_clips(root)
    advice = str(raised.value).split("`")[1]
    assert shlex.split(advice) == ["offnote", "sheet", str(root)]


def test_no_anomaly_is_trained_on_and_none_is_dropped(tmp_path: Path) -> None:
    assert guessed(touch(tmp_path / "fan", "train/anomaly_1.wav", "train/normal_2.wav")) == {
        ("fan", "id_00", "test", "anomaly"): 1,
        ("fan", "id_00", "train", "normal"): 1,
    }


def test_two_machines_stay_two(tmp_path: Path) -> None:
    clips = guess_clips(touch(tmp_path / "hall", "Lüfter/1.wav", "Löfter/1.wav", "pump 1/1.wav", "pump#1/1.wav"))
    assert len({clip.machine for clip in clips}) == 4


def test_the_sheet_is_read_back(tmp_path: Path) -> None:
    root = touch(tmp_path / "Halle Süd", *(f"normal {n}.wav" for n in range(4)))
    write_sheet(root, tmp_path / "elsewhere" / "sheet.tsv")
    clips = load_clips(tmp_path / "elsewhere" / "sheet.tsv")
    assert [clip.path for clip in clips if clip.split == "train"] == [
        f"../Halle Süd/normal {number}.wav" for number in range(3)
    ]


def test_a_sheet_is_never_overwritten(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.wav", "sheet.tsv")
    with pytest.raises(InputError, match="there already"):
        write_sheet(root, root / "sheet.tsv")


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\\b", b"a\tb", b" a"])
def test_a_folder_that_a_sheet_cannot_name_is_shown_safely(tmp_path: Path, name: bytes) -> None:
    root = touch(tmp_path / os.fsdecode(name), "1.wav", "2.wav")
    with pytest.raises(InputError, match="names of recordings and their folders must be UTF-8") as found:
        write_sheet(root, tmp_path / "sheet.tsv")
    assert str(found.value).isprintable()
    assert not (tmp_path / "sheet.tsv").exists()
    # Inside that folder a sheet need not name it.
    write_sheet(root, root / "sheet.tsv")
    assert len(load_clips(root / "sheet.tsv")) == 2
