"""Layouts: what paths say of clips."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
from offnote import datasets, descriptions
from offnote.datasets import (
    choose_recordings,
    find_recordings,
    find_unreadable,
    layout_names,
    load_clips,
    parse_paths,
)
from offnote.errors import InputError

from tests.recordings import touch


def mimii(machine: str, normal: int, abnormal: int) -> list[str]:
    return [f"{machine}/normal/{n:08d}.wav" for n in range(normal)] + [
        f"{machine}/abnormal/{n:08d}.wav" for n in range(abnormal)
    ]


def test_mimii_tests_as_many_normal_clips_as_there_are_abnormal_ones(tmp_path: Path) -> None:
    clips = load_clips(touch(tmp_path, *mimii("0_dB_fan/fan/id_00", 10, 3), *mimii("0_dB_fan/fan/id_02", 4, 0)))
    counts = Counter((clip.machine_id, clip.split, clip.label) for clip in clips)
    assert counts == {
        ("id_00", "train", "normal"): 7,
        ("id_00", "test", "normal"): 3,
        ("id_00", "test", "anomaly"): 3,
        ("id_02", "train", "normal"): 4,
    }
    tested = [clip.path for clip in clips if clip.split == "test" and clip.label == "normal"]
    assert tested == [f"0_dB_fan/fan/id_00/normal/{n:08d}.wav" for n in range(3)]


@pytest.mark.parametrize("below", ["", "0_dB_fan", "0_dB_fan/fan", "0_dB_fan/fan/id_00"])
def test_any_folder_above_the_clips_may_be_named(tmp_path: Path, below: str) -> None:
    touch(tmp_path, *mimii("0_dB_fan/fan/id_00", 4, 1))
    clips = load_clips(tmp_path / below, "mimii")
    assert {(clip.machine_type, clip.machine_id) for clip in clips} == {("fan", "id_00")}
    assert all((tmp_path / below / clip.path).is_file() for clip in clips)


def test_two_signal_to_noise_ratios_side_by_side_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, *mimii("0_dB_fan/fan/id_00", 4, 1), *mimii("6_dB_fan/fan/id_00", 4, 1))
    with pytest.raises(InputError, match="fan/id_00 is there more than once"):
        load_clips(tmp_path)


def test_dcase2020_development_and_evaluation_sets() -> None:
    paths = [
        "fan/train/normal_id_00_00000000.wav",
        "fan/test/normal_id_00_00000000.wav",
        "fan/test/anomaly_id_00_00000001.wav",
        "fan/test/id_01_00000000.wav",
    ]
    clips = parse_paths(Path("/data"), paths, "auto")
    assert [(clip.machine_id, clip.split, clip.label) for clip in clips] == [
        ("id_00", "train", "normal"),
        ("id_00", "test", "anomaly"),
        ("id_00", "test", "normal"),
        ("id_01", "test", ""),
    ]


YEARS = {
    2021: {
        "fan/train/section_00_source_train_normal_0000_m-n_X.wav": ("00", "train", "normal", "source", "m-n_X"),
        "fan/train/section_00_target_train_normal_0001.wav": ("00", "train", "normal", "target", ""),
        "fan/source_test/section_01_source_test_anomaly_0002_A.wav": ("01", "test", "anomaly", "source", "A"),
        "fan/target_test/section_01_target_test_normal_0003.wav": ("01", "test", "normal", "target", ""),
        "fan/target_test/section_03_target_test_0004.wav": ("03", "test", "", "target", ""),
    },
    2022: {
        "fan/train/section_00_source_train_normal_0000_vel_6.wav": ("00", "train", "normal", "source", "vel_6"),
        "fan/test/section_02_target_test_anomaly_0001_vel_8.wav": ("02", "test", "anomaly", "target", "vel_8"),
        "fan/test/section_03_0002.wav": ("03", "test", "", "", ""),
        "fan/test/section_03_test_0003.wav": ("03", "test", "", "", ""),
    },
    2024: {
        "bearing/train/section_00_target_train_normal_0000_noAttribute.wav": (
            *("00", "train", "normal", "target"),
            "noAttribute",
        ),
        "bearing/test/section_00_source_test_normal_0001_vel_6.wav": ("00", "test", "normal", "source", "vel_6"),
        "bearing/test/section_00_0002.wav": ("00", "test", "", "", ""),
    },
    2026: {
        "ToyCarEmu/supplemental/section_00_supplemental_noise_0000.wav": ("00", "supplemental", "", "", ""),
        "ToyCarEmu/train/section_00_source_train_normal_0001.wav": ("00", "train", "normal", "source", ""),
        "ToyCarEmu/test/section_00_0002.wav": ("00", "test", "", "", ""),
    },
}


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("named", [True, False])
def test_every_year_is_read(year: int, named: bool) -> None:
    clips = parse_paths(Path("/data"), list(YEARS[year]), f"dcase{year}" if named else "auto")
    found = {
        clip.path: (clip.machine_id.removeprefix("section_"), clip.split, clip.label, clip.domain, clip.attributes)
        for clip in clips
    }
    assert found == YEARS[year]
    assert all(clip.unlabelled_row[2] == "" for clip in clips if clip.split == "test")


def test_a_split_that_contradicts_its_folder_does_not_fit() -> None:
    with pytest.raises(InputError, match="do not fit the layout"):
        parse_paths(Path("/data"), ["fan/train/section_00_source_test_normal_0000.wav"], "dcase2023")


def test_recordings_that_do_not_fit_are_counted_and_one_is_named(tmp_path: Path) -> None:
    touch(tmp_path, *mimii("fan/id_00", 4, 1), "fan/notes.wav")
    with pytest.raises(InputError, match=r"1 of 6 recordings do not fit the layout mimii, fan/notes\.wav"):
        load_clips(tmp_path)


def test_hidden_files_and_other_files_do_not_count(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.FLAC", ".c.wav", "._a.wav", ".hidden/d.wav", "readme.txt")
    assert find_recordings(tmp_path) == ["a.wav", "b.FLAC"]


@pytest.mark.parametrize(
    ("path", "says"), [("missing", "there is no .*/missing; mend"), ("file.txt", "neither a folder nor a sample sheet")]
)
def test_a_path_that_is_nothing(tmp_path: Path, path: str, says: str) -> None:
    touch(tmp_path, "file.txt")
    with pytest.raises(InputError, match=says):
        load_clips(tmp_path / path)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recordings"):
        load_clips(tmp_path)


def test_a_description_that_does_not_say_how_clips_are_called_is_no_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mimii", "dcase2020"):
        (tmp_path / f"{name}.yaml").write_text((descriptions.FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    (tmp_path / "dcase2031.yaml").write_text("challenge: {based_on: dcase2020}\n")
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path)
    assert layout_names() == ["dcase2020", "mimii"]
    [clip] = parse_paths(Path("/data"), ["fan/train/normal_id_00_00000000.wav"], "auto")
    assert clip.machine_id == "id_00"
    with pytest.raises(InputError, match="there is no 'dcase2031'; choose auto or one of dcase2020, mimii"):
        parse_paths(Path("/data"), ["fan/train/normal_id_00_00000000.wav"], "dcase2031")


def test_an_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"auto or one of {', '.join(layout_names())}"):
        load_clips(touch(tmp_path, "a.wav"), "dcase1999")


def test_names_that_cannot_be_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'my fan' cannot be a folder's name"):
        load_clips(touch(tmp_path, *mimii("my fan/id_00", 2, 1)))


def test_a_sheet_with_a_missing_file(tmp_path: Path) -> None:
    sheet = touch(tmp_path, "a.wav") / "sheet.tsv"
    rows = "a.wav\tfan\tid_00\ttrain\nb.wav\tfan\tid_00\ttest\n"
    sheet.write_text("path\tmachine_type\tmachine_id\tsplit\n" + rows, encoding="utf-8")
    with pytest.raises(InputError, match=r"there is no file b\.wav"):
        load_clips(sheet)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_file_whose_name_only_looks_like_that_of_the_sheet(
    tmp_path: Path, forms: tuple[Literal["NFC", "NFD"], Literal["NFC", "NFD"]]
) -> None:
    there, written = (unicodedata.normalize(form, "März.wav") for form in forms)
    sheet = touch(tmp_path, there) / "sheet.tsv"
    sheet.write_text(f"path\tmachine_type\tmachine_id\tsplit\n{written}\tfan\tid_00\ttrain\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"there is no file {written}; one .* is there, in Unicode's form {forms[0]}"):
        load_clips(sheet)


def test_real_clips(shared_data: Path) -> None:
    clips = load_clips(shared_data / "dcase2020")
    assert Counter(clip.split for clip in clips) == {"train": 75, "test": 36}


def test_a_file_of_two_machines_is_refused_in_a_sheet(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    rows = ["path\tmachine_type\tmachine_id\tsplit", "a.wav\tfan\tid_00\ttrain", "a.wav\tfan\tid_02\ttrain"]
    (tmp_path / "sheet.tsv").write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match=r"the file a\.wav is listed for fan/id_00 and for fan/id_02; keep one"):
        load_clips(tmp_path / "sheet.tsv")


@pytest.mark.parametrize("name", [b"caf\xe9.wav", b"a\\b.wav", b"a\tb.wav", b"a\nb/c.wav", b" a.wav", b" a/b.wav"])
def test_a_name_that_cannot_stand_in_a_table_is_shown_safely(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(InputError, match=r"must be UTF-8, without control characters .*; rename it") as found:
        find_recordings(tmp_path)
    assert str(found.value).isprintable()
    str(found.value).encode()


def test_spaces_and_letters_of_other_scripts_are_names_like_others(tmp_path: Path) -> None:
    touch(tmp_path, "ポンプ\u3000正常/音 1.wav", "Lüfter\u00a02.wav", "a/ b.wav")
    assert len(find_recordings(tmp_path)) == 3


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/b.wav", "data/fan/a.wav")
    (tmp_path / "data/fan/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/fan/self").symlink_to(".")
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    assert find_recordings(tmp_path / "data") == ["fan/a.wav", "linked/b.wav"]


@pytest.mark.parametrize("name", ["b.wav", "pump"])
def test_a_link_to_nowhere_is_named(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / name).symlink_to(tmp_path / "not_mounted")
    with pytest.raises(InputError, match=f"{name}: a link to nowhere"):
        find_recordings(tmp_path)


def test_a_pipe_is_no_recording(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(InputError, match=r"a\.wav: is no file but a pipe"):
        find_recordings(tmp_path)


@pytest.mark.parametrize("second", ["sub/link.wav", "absolute"])
def test_one_recording_under_two_paths_is_refused(tmp_path: Path, second: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.wav").touch()
    (tmp_path / "sub/link.wav").symlink_to("../a.wav")
    other = str(tmp_path / "a.wav") if second == "absolute" else second
    rows = ["path\tmachine_type\tmachine_id\tsplit", "a.wav\tfan\tid_00\ttrain", f"{other}\tfan\tid_00\ttest"]
    (tmp_path / "sheet.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="are one recording; keep one of these names for it"):
        load_clips(tmp_path / "sheet.tsv")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("clips: [a\n", "is not YAML"),
        ("clips: []\nclips: []\n", "a key stands more than once"),
        ("clips: ['(?P<machine_type>[^/]+)/(?P<machine_id>.+)']\n", "split is missing; it says how"),
        ("clips: ['(']\nsplit: given\n", "clips.0: '(' is no regular expression"),
        ("clips: ['.+']\nsplit: given\n", "clips.0: '.+' does not tell the machine_type"),
    ],
)
def test_a_mistake_in_a_layout_is_named_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        datasets.load_layout("mine")
    assert str(caught.value).startswith(f"{tmp_path}/mine.yaml: ")
    assert sentence in str(caught.value)


def test_a_recording_in_two_formats_is_refused(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "fan/id_00/normal/1.wav",
        "fan/id_00/normal/2.wav",
        "fan/id_00/normal/2.flac",
        "fan/id_00/abnormal/1.wav",
    )
    says = "fan/id_00/normal/2.flac and fan/id_00/normal/2.wav are one recording in two formats"
    with pytest.raises(InputError, match=says):
        find_recordings(tmp_path)
    with pytest.raises(InputError, match=r"a\.WAV and a\.flac are one recording"):
        choose_recordings(["a.flac", "a.WAV", "b.wav"])


def test_one_recording_linked_twice_in_a_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "fan/train/normal_id_00_00000000.wav", "fan/test/anomaly_id_00_00000001.wav")
    (tmp_path / "fan/test/normal_id_00_00000002.wav").symlink_to("../train/normal_id_00_00000000.wav")
    with pytest.raises(InputError, match=r"normal_id_00_00000002\.wav and .*00000000\.wav are one recording; keep one"):
        load_clips(tmp_path)


@pytest.mark.parametrize("name", ["m" * 201, "S" + "0" * 24, "ab" * 20])
def test_names_that_files_or_snakemake_could_not_bear_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is too long, or ends in one piece again and again"):
        load_clips(touch(tmp_path, *mimii(f"{name}/id_00", 2, 1)))


def test_a_folder_of_other_formats_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "1.mp3", "b/2.m4a", ".git/3.mp3", "b/._4.mp3")
    (tmp_path / "folder.mp3").mkdir()
    assert find_unreadable(tmp_path) == ["1.mp3", "b/2.m4a"]
    with pytest.raises(InputError, match=r"not read here: 1\.mp3 and 1 more; convert to WAV or FLAC"):
        find_recordings(tmp_path)
