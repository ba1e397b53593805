"""What files in config/datasets may say, and how a mistake in one is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from offnote import descriptions
from offnote.challenge import load_challenge
from offnote.descriptions import describe, names, path_of, stated_challenge, years
from offnote.errors import InputError
from offnote.package_check import check_submission
from offnote.retrieve import archives_of

PATTERN = r"clips: ['(?P<machine_type>[^/]+)/(?P<machine_id>.+)']"
RECORD = "{record: 7, archives: 'dev_{machine_type}.zip'}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of descriptions with that of one year."""
    (tmp_path / "dcase2022.yaml").write_text(path_of("dcase2022").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path)
    return tmp_path


def test_a_young_year_without_an_evaluation_set_has_nothing_to_send(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = "machines: {development: {fan: [section_00]}, evaluation: {}}\nchallenge: {based_on: dcase2022}\n"
    (folder / "dcase2035.yaml").write_text(text, encoding="utf-8")
    system = tmp_path_factory.mktemp("package") / "Lastname_Institute_task2_1"
    system.mkdir()
    with pytest.raises(InputError, match=r"dcase2035\.yaml: machines\.evaluation is empty"):
        check_submission(system, 2035)


def test_every_file_is_a_description() -> None:
    for name in names():
        assert describe(name).description, name
        assert describe(name).clips, name


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("descripton: a year", "descripton: Extra inputs"),
        ("clips: '([a-z]+)'", "clips: Input should be a valid tuple"),
        ("clips: [1]\nsplit: given", "clips.0: 1 is no text"),
        (PATTERN, "split is missing"),
        (f"{PATTERN}\nsplit: even", "split: Input should be 'given' or 'first_normals'"),
        ("machines: {developement: {fan: [id_00]}}", "machines.developement.[key]: Input should be 'development'"),
        ("machines: {development: {fan: id_00}}", "machines.development.fan: Input should be a valid tuple"),
        ("records: {development: {archives: a.zip}}", "records.development.record: Field required"),
        ("records: {development: {record: 7}}", "records.development.archives: Field required"),
        (f"records: {{evaluation: {RECORD}}}", "machines.evaluation is missing; records.evaluation is about them"),
        (
            "machines: {development: {fan: [id_00, id_01]}, evaluation: {fan: [id_01]}}",
            "machines: fan has id_01 in both sets; a machine is of one of them",
        ),
        (
            "records: {development: {record: 7, archives: 'dev_{machine_typ}.zip'}}",
            "records.development.archives: 'dev_{machine_typ}.zip' has a field {machine_typ}",
        ),
        ("challenge: {package: null}", "challenge.package: Input should be a valid dictionary"),
        ("challenge: {demo: null}", "challenge.demo: Input should be a valid dictionary"),
        ("challenge: [dcase2022]", "challenge: Input should be a valid dictionary"),
        ("challenge: {based_on: dcase2021}", "challenge.based_on: there is no 'dcase2021'; choose one of dcase2022"),
        ("challenge: {based_on: dcase2031}", "challenge.based_on: leads back to this file, over dcase2031"),
        ("challenge: {package: {based_on: dcase2031}}", "challenge.based_on: leads back to this file, over dcase2031"),
        ("challenge: {package: {based_on: dcase2032}}", "challenge.package.based_on: dcase2032 says nothing of a"),
        ("challenge: {based_on: dcase2022, clip: '(['}", "challenge.clip: '([' is no regular expression"),
        (
            "challenge: {based_on: dcase2022, scores: 'a_{type}.csv'}",
            "challenge.scores: 'a_{type}.csv' has",
        ),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(folder: Path, text: str, mistake: str) -> None:
    (folder / "dcase2031.yaml").write_text(text, encoding="utf-8")
    (folder / "dcase2032.yaml").write_text("challenge: {scores: a.csv}", encoding="utf-8")
    with pytest.raises(InputError) as raised:
        load_challenge.__wrapped__(2031)
    assert str(raised.value).startswith(f"{folder}/dcase2031.yaml: ")
    assert mistake in str(raised.value)


def test_a_long_way_round_is_noticed_too(folder: Path) -> None:
    (folder / "dcase2031.yaml").write_text("challenge: {based_on: dcase2032}")
    (folder / "dcase2032.yaml").write_text("challenge: {package: {based_on: dcase2031}}")
    with pytest.raises(InputError, match=r"dcase2031\.yaml: .*leads back to this file, over dcase2031, dcase2032"):
        stated_challenge("dcase2031")


def test_what_is_stated_lies_over_what_it_is_based_on(folder: Path) -> None:
    text = "challenge: {based_on: dcase2022, max_fpr: 0.2, package: {based_on: dcase2022, inferred_from: 2022}}"
    (folder / "dcase2031.yaml").write_text(text)
    above, below = stated_challenge("dcase2031"), stated_challenge("dcase2022")
    assert above.pop("max_fpr") == 0.2
    assert above["package"].pop("inferred_from") == 2022
    assert above == {key: value for key, value in below.items() if key != "max_fpr"}
    assert years() == [2022, 2031]


def test_archives_of_a_year_whose_machines_are_not_known_yet(folder: Path) -> None:
    (folder / "dcase2031.yaml").write_text(
        f"machines: {{development: {{fan: [section_00]}}, evaluation: {{}}}}\nrecords: {{development: {RECORD}}}"
    )
    assert [archive.name for archive in archives_of(2031)] == ["dev_fan.zip"]
