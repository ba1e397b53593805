"""The yearly formats: names, tables, ground truth, and every way in which a folder of scores can be wrong."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from offnote import descriptions
from offnote.challenge import Section, load_challenge
from offnote.clips import Machine
from offnote.descriptions import years
from offnote.errors import InputError
from offnote.score_folders import absent_files, read_folder

from tests.score_folders import clip_names, edit, make_labelled, make_unlabelled, sections_of, write_table
from tests.years import WHOLE, YEARS


def test_every_year_is_described() -> None:
    assert years() == list(YEARS)
    assert set(range(2020, 2027)) <= set(WHOLE)


@pytest.mark.parametrize("year", YEARS)
def test_names_are_written_and_read_back(year: int) -> None:
    challenge = load_challenge(year)
    machines = [Machine(name, i) for types in challenge.machines.values() for name, ids in types.items() for i in ids]
    assert len(machines) > 10 or year not in WHOLE
    for template in filter(None, (challenge.scores, challenge.decisions)):
        for machine in machines:
            for section in challenge.files_of(machine):
                assert challenge.parse(challenge.name(template, section), template) == section


@pytest.mark.parametrize(
    ("year", "name", "section"),
    [
        (2020, "anomaly_score_ToyConveyor_id_01.csv", ("ToyConveyor", "id_01", "")),
        (2021, "anomaly_score_fan_section_03_source_test.csv", ("fan", "section_03", "source")),
        (2021, "anomaly_score_fan_section_03_target_test.csv", ("fan", "section_03", "target")),
        (2022, "anomaly_score_bearing_section_05_test.csv", ("bearing", "section_05", "")),
        (2024, "anomaly_score_3DPrinter_section_00_test.csv", ("3DPrinter", "section_00", "")),
        (2026, "anomaly_score_my_own_machine_section_00_test.csv", ("my_own_machine", "section_00", "")),
    ],
)
def test_names_of_score_files(year: int, name: str, section: tuple[str, str, str]) -> None:
    assert load_challenge(year).parse(name) == section


@pytest.mark.parametrize("year", YEARS)
def test_names_of_other_files_are_none_of_the_years(year: int) -> None:
    names = ["result.csv", "anomaly_score_fan.csv", "xanomaly_score_fan_id_00.csv", "anomaly_score_fan_id_00.csv.bak"]
    assert [load_challenge(year).parse(name) for name in names] == [None] * 4


@pytest.mark.parametrize("year", YEARS)
def test_clip_names_tell_labels_and_domains(tmp_path: Path, year: int) -> None:
    for section in read_folder(make_labelled(tmp_path, year), load_challenge(year)):
        assert [("anomaly" in clip) for clip in section.clips] == section.anomalous.tolist()
        told = ["source" if "source" in clip else "target" if "target" in clip else "" for clip in section.clips]
        assert told == section.domains.tolist()
        assert (section.decisions is None) == (year == 2020)


@pytest.mark.parametrize("year", YEARS)
def test_scores_and_decisions_stay_with_their_clips(tmp_path: Path, year: int) -> None:
    make_labelled(tmp_path, year)
    for section in read_folder(tmp_path, load_challenge(year)):
        stated = dict(line.split(",") for line in section.path.read_text().splitlines())
        assert {clip: float(score) for clip, score in stated.items()} == dict(
            zip(section.clips, section.scores.tolist(), strict=True)
        )
        if section.decisions is not None:
            assert section.decisions.tolist() == (section.scores > 0.5).tolist()


@given(seed=st.integers(0, 2**32))
def test_the_order_of_rows_changes_nothing(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = make_labelled(tmp_path_factory.mktemp("scores"), 2023)
    challenge = load_challenge(2023)
    before = read_folder(folder, challenge)
    for path in folder.iterdir():
        edit(path, lambda lines: random.Random(seed).sample(lines, len(lines)))
    for old, new in zip(before, read_folder(folder, challenge), strict=True):
        assert old.clips == new.clips
        assert old.decisions is not None
        for name in ("anomalous", "domains", "scores", "decisions"):
            np.testing.assert_array_equal(getattr(old, name), getattr(new, name))


def test_line_ends_blank_lines_spaces_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "anomaly_score_fan_id_00.csv").write_bytes(
        b"\xef\xbb\xbfnormal_id_00_00000000.wav, 1.5\r\n\r\nanomaly_id_00_00000000.wav,2e-3 \r\n"
    )
    [section] = read_folder(tmp_path, load_challenge(2020))
    assert section.clips == ("anomaly_id_00_00000000.wav", "normal_id_00_00000000.wav")
    assert section.scores.tolist() == [0.002, 1.5]


def test_other_files_in_the_folder_do_not_count(tmp_path: Path) -> None:
    make_labelled(tmp_path, 2022)
    (tmp_path / "result.csv").write_text("nonsense\n")
    (tmp_path / "Lastname_Institute_task2_1.meta.yaml").touch()
    assert len(read_folder(tmp_path, load_challenge(2022))) == 6


def test_the_files_that_a_whole_set_would_have_are_named() -> None:
    challenge = load_challenge(2020)
    machines = [Machine(name, i) for name, ids in challenge.machines["evaluation"].items() for i in ids]
    sections = [section for machine in machines for section in challenge.files_of(machine)]
    assert absent_files(challenge, sections) == []
    assert absent_files(challenge, sections[1:]) == [challenge.name(challenge.scores, sections[0])]
    assert absent_files(challenge, [Section("my-machine", "id_00")]) == []


# What can be wrong. Each change is made to a whole and good folder of 2022; the message names the file, and the row.

SCORES = "anomaly_score_fan_section_01_test.csv"
DECISIONS = "decision_result_fan_section_01_test.csv"
FIRST = "section_01_source_test_normal_0000_spd_0V_noAttribute.wav"


def drop_first(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith(FIRST)]


def set_first(text: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [f"{FIRST},{text}", *drop_first(lines)]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (SCORES, set_first("nan"), f"{SCORES}, row 1: 'nan' is not a finite number"),
        (SCORES, set_first("inf"), f"{SCORES}, row 1: 'inf' is not a finite number"),
        (SCORES, set_first(""), f"{SCORES}, row 1: '' is not a finite number"),
        (SCORES, set_first("high"), f"{SCORES}, row 1: 'high' is not a finite number"),
        (SCORES, set_first("1,2"), f"{SCORES}, row 1: has 3 columns"),
        (SCORES, lambda lines: ["filename,value", *lines], f"{SCORES}, row 1: 'value' is not a finite number"),
        (SCORES, lambda lines: [*drop_first(lines), f"{FIRST},1", f"{FIRST},2"], f"{SCORES}, row 21: the clip {FIRST} "
         "stands in row 20 already"),
        (SCORES, lambda lines: [*lines, FIRST.replace("0000", "0099") + ",1"], "has no row for the clip "),
        (SCORES, lambda lines: [*lines, "noise.wav,1"], f"{SCORES}, row 21: 'noise.wav' is not named as a "),
        (SCORES, lambda lines: [*lines, FIRST.replace("test", "train") + ",1"], f"{SCORES}, row 21: "),
        (SCORES, lambda lines: [FIRST.replace("section_01", "section_02") + ",1", *lines], "belongs into another file"),
        (SCORES, drop_first, f"{DECISIONS}, row "),
        (SCORES, lambda lines: [], f"{SCORES}: lists no clip"),
        (DECISIONS, set_first("0.5"), f"{DECISIONS}, row 1: '0.5' is neither 0 nor 1"),
        (DECISIONS, drop_first, f"{DECISIONS}: has no row for the clip {FIRST}"),
        (DECISIONS, lambda lines: [*lines, lines[3]], f"{DECISIONS}, row 21: the clip"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named(
    tmp_path: Path, name: str, change: Callable[[list[str]], list[str]], message: str
) -> None:
    edit(make_labelled(tmp_path, 2022) / name, change)
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        read_folder(tmp_path, load_challenge(2022))
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    ("year", "name"),
    [
        (2020, "anomaly_score_pump_id_04.csv"),
        (2021, "anomaly_score_fan_section_01_target_test.csv"),
        (2021, "decision_result_fan_section_01_source_test.csv"),
        (2022, "anomaly_score_ToyCar_section_02_test.csv"),
        (2022, "decision_result_ToyCar_section_02_test.csv"),
        (2024, "decision_result_my-machine_section_00_test.csv"),
        (2026, "anomaly_score_fan_section_00_test.csv"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, year: int, name: str) -> None:
    (make_labelled(tmp_path, year) / name).unlink()
    with pytest.raises(InputError, match=f"{re.escape(str(tmp_path / name))}: is missing"):
        read_folder(tmp_path, load_challenge(year))


@pytest.mark.parametrize("year", [2021, 2022])
def test_a_missing_section_is_named_without_decisions_too(tmp_path: Path, year: int) -> None:
    make_labelled(tmp_path, year, decisions=False)
    section = sections_of(year)[-1]
    challenge = load_challenge(year)
    (tmp_path / challenge.name(challenge.scores, section)).unlink()
    with pytest.raises(InputError, match=f"{section.machine_id}.*: is missing"):
        read_folder(tmp_path, challenge)


def test_the_ids_of_machine_types_may_differ_as_they_do_in_2020(tmp_path: Path) -> None:
    for machine_type, ids in load_challenge(2020).machines["development"].items():
        for machine_id in ids:
            section = Section(machine_type, machine_id)
            rows = dict.fromkeys(clip_names(2020, section), 1.0)
            write_table(tmp_path / f"anomaly_score_{machine_type}_{machine_id}.csv", rows)
    assert len(read_folder(tmp_path, load_challenge(2020))) == 23


@pytest.mark.parametrize(
    "name",
    [
        "anomaly_score_fan_section_1_test.csv",
        "anomaly_score_fan_section_00_test.CSV",
        "anomaly_score_fan_section_00_test.csv.txt",
        "anomaly_scores_fan_section_00_test.csv",
        "Anomaly_score_fan_section_00_test.csv",
        "decision_result_fan_section_00_test.tsv",
    ],
)
def test_a_file_with_a_wrong_name_is_not_passed_over(tmp_path: Path, name: str) -> None:
    make_labelled(tmp_path, 2024)
    (tmp_path / name).write_text("a,1\n")
    with pytest.raises(InputError, match=f"{re.escape(name)}: is not named as the files of 2024"):
        read_folder(tmp_path, load_challenge(2024))


@pytest.mark.parametrize(("year", "asked"), [(2020, 2023), (2021, 2020), (2022, 2021), (2021, 2022)])
def test_another_years_names_are_recognised(tmp_path: Path, year: int, asked: int) -> None:
    make_labelled(tmp_path, year)
    with pytest.raises(InputError, match=f"named as in {year}.*, so try --year {year}"):
        read_folder(tmp_path, load_challenge(asked))


def test_a_section_that_the_year_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"section_01_test\.csv: ToyCar has no section_01 in 2023, only section_00; is it"
    ):
        read_folder(make_labelled(tmp_path, 2022), load_challenge(2023))


def test_a_folder_without_scores_and_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no score file of 2022; they are named anomaly_score_"):
        read_folder(tmp_path, load_challenge(2022))
    with pytest.raises(InputError, match="is not a folder"):
        read_folder(tmp_path / "nowhere", load_challenge(2022))


def test_a_year_that_there_is_not() -> None:
    with pytest.raises(InputError, match="there is no year 2019 here; choose one of 2020, 2021"):
        load_challenge(2019)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (make_labelled(tmp_path, 2020) / "anomaly_score_fan_id_00.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a CSV file in UTF-8"):
        read_folder(tmp_path, load_challenge(2020))


# Ground truth, in the evaluators' own formats.


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("below", ["", "inner"])
def test_labels_from_the_ground_truth(tmp_path: Path, year: int, below: str) -> None:
    system, truth = make_unlabelled(tmp_path, year)
    inner = "eval_data_list.csv" if year == 2020 else "ground_truth_data"
    sections = read_folder(system, load_challenge(year), truth / inner if below else truth)
    assert len(sections) == len(sections_of(year))
    for section in sections:
        numbers = section.scores.astype(int)
        assert section.anomalous.tolist() == [number % 2 == 1 for number in numbers]
        if year == 2020:
            assert set(section.domains) == {""}
        elif year == 2021:
            assert set(section.domains) == {section.section.domain}
        else:
            assert section.domains.tolist() == ["target" if number >= 10 else "source" for number in numbers]


def test_one_table_may_be_given(tmp_path: Path) -> None:
    system, truth = make_unlabelled(tmp_path, 2023)
    for path in system.glob("*ToyCar*"):
        path.unlink()
    for path in system.glob("*my-machine*"):
        path.unlink()
    table = truth / "ground_truth_data" / "ground_truth_fan_section_00_test.csv"
    [section] = read_folder(system, load_challenge(2023), table)
    assert section.section.machine_type == "fan"
    assert set(section.domains) == {"source", "target"}


def test_domains_from_the_names_where_the_ground_truth_has_none(tmp_path: Path) -> None:
    system = make_labelled(tmp_path / "system", 2022, decisions=False)
    for path in system.iterdir():
        clips = [line.split(",")[0] for line in path.read_text().splitlines()]
        name = path.name.replace("anomaly_score", "ground_truth")
        write_table(tmp_path / "labels" / name, {clip: int("anomaly" in clip) for clip in clips})
    challenge = load_challenge(2022)
    told = read_folder(system, challenge, tmp_path / "labels")
    assert [s.domains.tolist() for s in told] == [s.domains.tolist() for s in read_folder(system, challenge)]


@pytest.mark.parametrize(
    ("kind", "says"), [("data", "(an anomaly|normal)"), ("domain", "of the (source|target) domain")]
)
def test_ground_truth_and_names_may_not_contradict(tmp_path: Path, kind: str, says: str) -> None:
    system = make_labelled(tmp_path / "system", 2022, decisions=False)
    for path in system.iterdir():
        clips = [line.split(",")[0] for line in path.read_text().splitlines()]
        name = path.name.replace("anomaly_score", "ground_truth")
        values = {
            "data": [int("anomaly" in clip) for clip in clips],
            "domain": [int("target" in clip) for clip in clips],
        }
        values[kind][-1] = 1 - values[kind][-1]
        for table, column in values.items():
            write_table(tmp_path / f"ground_truth_{table}" / name, dict(zip(clips, column, strict=True)))
    where = rf"ground_truth_{kind}/ground_truth_\S+\.csv, row \d+"
    with pytest.raises(InputError, match=rf"{where}: the clip section_\S+ is {says} here, and its name says otherwise"):
        read_folder(system, load_challenge(2022), tmp_path)


def test_without_ground_truth_the_names_must_tell(tmp_path: Path) -> None:
    system, _ = make_unlabelled(tmp_path, 2024)
    with pytest.raises(InputError, match=r"row 1: 'section_00_0000\.wav' is not named as .* with --labels"):
        read_folder(system, load_challenge(2024))


def break_scores(system: Path, truth: Path) -> None:
    edit(system / "anomaly_score_fan_section_00_test.csv", lambda lines: lines[1:])


def add_scores(system: Path, truth: Path) -> None:
    edit(system / "anomaly_score_fan_section_00_test.csv", lambda lines: [*lines, "section_00_0020.wav,1"])


def drop_scores(system: Path, truth: Path) -> None:
    (system / "anomaly_score_fan_section_00_test.csv").unlink()


def drop_truth(system: Path, truth: Path) -> None:
    (truth / "ground_truth_data" / "ground_truth_fan_section_00_test.csv").unlink()


def break_truth(system: Path, truth: Path) -> None:
    edit(
        truth / "ground_truth_data" / "ground_truth_fan_section_00_test.csv", lambda lines: [lines[0] + "2", *lines[1:]]
    )


def break_domains(system: Path, truth: Path) -> None:
    edit(truth / "ground_truth_domain" / "ground_truth_fan_section_00_test.csv", lambda lines: lines[1:])


def add_domain(system: Path, truth: Path) -> None:
    edit(truth / "ground_truth_domain" / "ground_truth_fan_section_00_test.csv", lambda lines: [*lines, "x.wav,1"])


def drop_all_truth(system: Path, truth: Path) -> None:
    for path in (truth / "ground_truth_data").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (break_scores, r"fan_section_00_test\.csv: has no row for the clip section_00_0000\.wav; .*, row 1, has one"),
        (add_scores, r"fan_section_00_test\.csv, row 21: there is no clip section_00_0020\.wav in .*ground_truth_fan"),
        (drop_scores, r"anomaly_score_fan_section_00_test\.csv: is missing, though .*ground_truth_fan"),
        (drop_truth, r"anomaly_score_fan_section_00_test\.csv: the ground truth has no labels for it"),
        (break_truth, r"ground_truth_fan_section_00_test\.csv, row 1: '02' is neither 0 nor 1"),
        (break_domains, r"ground_truth_fan_section_00_test\.csv, row 1: nothing tells the domain of section_00_0000"),
        (add_domain, r"ground_truth_domain/ground_truth_fan_section_00_test\.csv, row 21: there is no clip x\.wav in"),
        (drop_all_truth, r"holds no ground truth of 2025; its tables are named"),
    ],
)
def test_wrong_ground_truth_is_named(tmp_path: Path, change: Callable[[Path, Path], None], message: str) -> None:
    system, truth = make_unlabelled(tmp_path, 2025)
    change(system, truth)
    with pytest.raises(InputError, match=message):
        read_folder(system, load_challenge(2025), truth)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id_00_00000000.wav,normal_id_00_00000000.wav,0\n", "row 1: must be a machine type"),
        ("fan\nid_00_00000000.wav,0\n", "row 2: must be a machine type"),
        ("fan\nnoise.wav,noise.wav,0\n", "row 2: must be a machine type"),
        ("fan\nid_00_00000000.wav,a,0\nid_00_00000000.wav,a,0\n", "row 3: the clip .* stands in row 2 already"),
        ("fan\nid_00_00000000.wav,a,nan\n", "row 2: 'nan' is neither 0 nor 1"),
        ("fan\n", "lists no clip"),
        (None, "there is no such file or folder"),
    ],
)
def test_a_wrong_list_of_2020(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "eval_data_list.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        read_folder(make_labelled(tmp_path / "system", 2020), load_challenge(2020), path)
    assert str(path) in str(raised.value)


# A new year is a new file.


def test_a_new_year_is_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in descriptions.FOLDER.glob("dcase202[23].yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    text = "machines: {development: {lathe: [room_00]}}\nchallenge: {based_on: dcase2023, max_fpr: 0.2}\n"
    (tmp_path / "dcase2031.yaml").write_text(text)
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path)
    challenge = load_challenge(2031)
    assert challenge.max_fpr == 0.2
    assert challenge.figures == load_challenge(2023).figures
    assert years() == [2022, 2023, 2031]
    assert absent_files(challenge, [Section("lathe", "room_00")]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("challenge: {based_on: dcase2022, score: a}\n", "challenge.score: "),
        ("challenge: {based_on: dcase2022, domains: [near, far]}\n", "there is no domain or figure 'source'"),
        ("challenge: {based_on: dcase2022, official_score: {mean: harmonic, of: [auc]}}\n", "domain or figure 'auc'"),
        ("description: nothing more\n", "challenge.scores: Field required"),
    ],
)
def test_a_wrong_description_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    (tmp_path / "dcase2022.yaml").write_text((descriptions.FOLDER / "dcase2022.yaml").read_text())
    (tmp_path / "dcase2032.yaml").write_text(text)
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path)
    with pytest.raises(InputError, match=f"dcase2032.yaml: .*{re.escape(message)}"):
        load_challenge(2032)
