"""Writing a submission: what is written passes the check, reads back the same, and has the same bytes every time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from offnote.challenge import load_challenge
from offnote.config import Submission
from offnote.errors import InputError
from offnote.files import replacing
from offnote.meta import package_of, read_meta, render_meta
from offnote.official import evaluate
from offnote.package_check import check_submission
from offnote.score_folders import read_folder, scan_rows
from offnote.submission import pack, require_stated, results_in_percent, write_submission

from tests.score_folders import make_labelled
from tests.submissions import REPORT, TEAM, clip_names, measured, system, systems
from tests.years import INFERRED, YEARS


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("count", [1, 4])
def test_what_is_written_passes_the_check(tmp_path: Path, year: int, count: int) -> None:
    written = write_submission(tmp_path / "out", year, TEAM, systems(year, tmp_path, count))
    labels = [f"Lastname_Institute_task2_{number}" for number in range(1, count + 1)]
    challenge = load_challenge(year)
    tables = len(challenge.evaluated()) * (2 if challenge.decisions else 1)
    for path in (written.archive, tmp_path / "out", tmp_path / "out/task2"):
        check = check_submission(path, year)
        assert (check.mistakes, check.warnings) == ([], [])
        assert (check.systems, check.tables) == (labels, count * tables)
    for label in labels:
        check = check_submission(tmp_path / "out/task2" / label, year)
        assert (check.mistakes, check.warnings, check.systems) == ([], [], [label])
    assert len(written.files) == count * (tables + 2)
    assert written.warnings == []


@pytest.mark.parametrize("year", YEARS)
def test_scores_and_decisions_read_back_the_same(tmp_path: Path, year: int) -> None:
    one = system(year)
    write_submission(tmp_path, year, TEAM, [one])
    challenge = load_challenge(year)
    folder = tmp_path / "task2/Lastname_Institute_task2_1"
    for section, scores in one.scores.items():
        rows, _ = scan_rows((folder / challenge.name(challenge.scores, section)).read_bytes())
        assert {clip: row.value for clip, row in rows.items()} == dict(scores)
        if challenge.decisions:
            rows, _ = scan_rows((folder / challenge.name(challenge.decisions, section)).read_bytes(), binary=True)
            assert {clip: row.value == 1 for clip, row in rows.items()} == dict(one.decisions[section])
    assert len(list(folder.glob("decision*"))) == (len(one.scores) if challenge.decisions else 0)


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=6))
def test_every_float_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    folder = tmp_path_factory.mktemp("out")
    one = system(2026)
    section = next(iter(one.scores))
    scores = dict(zip(clip_names(2026, section), values, strict=True))
    write_submission(folder, 2026, TEAM, [replace(one, scores={**one.scores, section: scores})])
    path = folder / f"task2/Lastname_Institute_task2_1/anomaly_score_{section.machine_type}_section_00_test.csv"
    rows, mistakes = scan_rows(path.read_bytes())
    assert mistakes == []
    assert np.array([rows[clip].value for clip in scores]).tobytes() == np.array(values).tobytes()


def test_numbers_of_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    one = system(2026)
    scores = {part: {clip: np.float64(value) for clip, value in rows.items()} for part, rows in one.scores.items()}
    decisions: Any = {
        part: {clip: np.bool_(value) for clip, value in rows.items()} for part, rows in one.decisions.items()
    }
    results = {
        name: {key: np.float64(value) for key, value in row.items()} for name, row in measured(2026).results.items()
    }
    counts = measured(2026, results=results, total_parameters=np.int64(269992), macs=np.int64(1_000_000))
    write_submission(tmp_path / "plain", 2026, TEAM, [one])
    write_submission(
        tmp_path / "numpy", 2026, TEAM, [replace(one, scores=scores, decisions=decisions, measured=counts)]
    )
    assert archive(tmp_path / "plain").read_bytes() == archive(tmp_path / "numpy").read_bytes()


@pytest.mark.parametrize("year", YEARS)
def test_meta_has_the_keys_of_the_year_in_their_order(tmp_path: Path, year: int) -> None:
    write_submission(tmp_path, year, TEAM, [system(year)])
    text = (tmp_path / "task2/Lastname_Institute_task2_1/Lastname_Institute_task2_1.meta.yaml").read_text(
        encoding="utf-8"
    )
    meta = yaml.safe_load(text)
    description = [
        "input_sampling_rate", "data_augmentation", "front_end", "acoustic_features", "embeddings",
        "machine_learning_method", "aggregation_method", "ensemble_method_subsystem_count", "decision_making",
        "external_data_usage", "development_data_usage",
        *(["domain_adaptation_method"] if year >= 2021 else []),
        *(["domain_generalization_method", "attribute_usage"] if year >= 2022 else []),
    ]  # fmt: skip
    assert list(meta) == ["submission", "system", "results"]
    assert list(meta["submission"]) == ["label", "name", "abbreviation", "authors"]
    assert list(meta["submission"]["authors"][0]) == ["lastname", "firstname", "email", "corresponding", "affiliation"]
    assert list(meta["submission"]["authors"][0]["affiliation"]) == ["institution", "department", "location"]
    datasets = ["external_datasets"] if year >= 2022 else []
    assert list(meta["system"]) == ["description", "complexity", *datasets, "source_code"]
    assert list(meta["system"]["description"]) == description
    assert list(meta["system"]["complexity"]) == ["total_parameters", *(["MACS"] if year >= 2025 else [])]
    results = {
        2020: ["averaged_auc", "averaged_pauc"],
        2021: ["harmonic_mean_auc", "harmonic_mean_pauc"],
        2022: ["harmonic_mean_auc_source", "harmonic_mean_auc_target", "harmonic_mean_pauc"],
        2025: ["auc_source", "auc_target", "pauc"],
    }
    keys = results[max(known for known in results if known <= year)]
    assert [list(row) for row in meta["results"]["development_dataset"].values()] == [keys] * len(
        load_challenge(year).machines["development"]
    )
    assert meta["results"]["development_dataset"] == measured(year).results
    assert "front_end: !!null" in text
    assert (f"The template of {year} was not seen" in text) == (year in INFERRED)


def test_what_is_stated_goes_before_what_was_measured(tmp_path: Path) -> None:
    stated = {"name": "yes", "abbreviation": "1e3", "front_end": ["a, b", "c: d"], "source_code": None,
              "external_datasets": [{"name": "AudioSet", "url": "https://example.org"}],
              "embeddings": 'line\nline "quoted" # no comment', "total_parameters": 7}  # fmt: skip
    team = TEAM | {"front_end": "for all", "attribute_usage": "for all"}
    several = measured(
        2024, seeds=[3, 4, 5], combination="average", sampling_rates=[16000, 22050], front_end="measured"
    )
    write_submission(tmp_path, 2024, team, [system(2024, stated=stated, measured=several), system(2024, 2)])
    path = tmp_path / "task2/Lastname_Institute_task2_1/Lastname_Institute_task2_1.meta.yaml"
    meta = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert (meta["submission"]["name"], meta["submission"]["abbreviation"]) == ("yes", "1e3")
    found = meta["system"]["description"]
    assert found["front_end"] == stated["front_end"]
    assert found["embeddings"] == stated["embeddings"]
    assert found["input_sampling_rate"] == "16 kHz, 22.05 kHz"
    assert (found["ensemble_method_subsystem_count"], found["decision_making"]) == (3, "average")
    assert meta["system"]["external_datasets"] == stated["external_datasets"]
    assert meta["system"]["source_code"] is None
    assert "# Trained with the seeds 3, 4, 5.\n" in path.read_text(encoding="utf-8")
    second = yaml.safe_load(Path(str(path).replace("task2_1", "task2_2")).read_text(encoding="utf-8"))
    assert meta["system"]["complexity"]["total_parameters"] == 7
    assert second["system"]["complexity"]["total_parameters"] != 7
    assert second["system"]["description"]["front_end"] == "for all"
    assert second["system"]["description"]["attribute_usage"] == "for all"


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_text_reads_back_the_same(text: str) -> None:
    meta = {"submission": {"name": text, "front_end": [text, text]}, text: [{"a": text, "b": None}]}
    assert read_meta(render_meta(meta, load_challenge(2022)).encode("utf-8")) == meta


def backwards(values: Mapping[Any, Any]) -> dict[Any, Any]:
    return dict(reversed(list(values.items())))


def archive(folder: Path) -> Path:
    return folder / "Lastname_Institute_task2.zip"


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    made = systems(2025, tmp_path)
    first = write_submission(tmp_path / "first", 2025, TEAM, made)
    # Another order of everything whose order says nothing, another time, another mask for permissions.
    turned = [
        replace(
            one,
            stated=backwards(one.stated),
            scores={part: backwards(rows) for part, rows in backwards(one.scores).items()},
            decisions=backwards(one.decisions),
        )
        for one in made
    ]
    before = os.umask(0o077)
    try:
        second = write_submission(tmp_path / "second", 2025, backwards(TEAM), turned)
    finally:
        os.umask(before)
    assert first.archive.read_bytes() == second.archive.read_bytes()
    assert first.checksums.read_bytes() == second.checksums.read_bytes()


def test_a_changed_score_changes_the_bytes(tmp_path: Path) -> None:
    one = system(2025)
    section, scores = next(iter(one.scores.items()))
    clip = next(iter(scores))
    moved = {**one.scores, section: {**scores, clip: float(np.nextafter(scores[clip], 9))}}
    first = write_submission(tmp_path / "first", 2025, TEAM, [one])
    second = write_submission(tmp_path / "second", 2025, TEAM, [replace(one, scores=moved)])
    assert first.archive.read_bytes() != second.archive.read_bytes()


def test_a_file_that_somebody_edited_is_not_overwritten(tmp_path: Path) -> None:
    [meta] = [path for path in write_submission(tmp_path, 2025, TEAM, [system(2025)]).files if path.suffix == ".yaml"]
    generated = meta.read_text(encoding="utf-8")
    edited = f"{generated}# by hand\n"
    meta.write_text(edited, encoding="utf-8")
    other = system(2025, stated={"name": "Other", "abbreviation": "AE"})
    with pytest.raises(InputError, match=r"meta\.yaml: is not of this submission, nor as an earlier one left it"):
        write_submission(tmp_path, 2025, TEAM, [other])
    assert meta.read_text(encoding="utf-8") == edited
    meta.write_text(generated, encoding="utf-8")
    write_submission(tmp_path, 2025, TEAM, [other])
    assert "name: Other" in meta.read_text(encoding="utf-8")


def test_after_an_interruption_any_submission_can_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three, four = (
        system(2025, stated={"name": name, "abbreviation": "AE"}) for name in ("One", "Two", "Three", "Four")
    )
    write_submission(tmp_path, 2025, TEAM, [one])
    written: list[Path] = []
    allowed = 5

    @contextmanager
    def killed_on_the_way(path: Path) -> Iterator[Path]:
        if len(written) == allowed:
            raise KeyboardInterrupt
        written.append(path)
        with replacing(path) as temporary:
            yield temporary

    with monkeypatch.context() as patch:
        patch.setattr("offnote.submission.replacing", killed_on_the_way)
        with pytest.raises(KeyboardInterrupt):
            write_submission(tmp_path, 2025, TEAM, [two])
        allowed += 1
        with pytest.raises(KeyboardInterrupt):
            write_submission(tmp_path, 2025, TEAM, [three])
    [meta] = tmp_path.rglob("*.meta.yaml")
    assert "name: Two" in meta.read_text(encoding="utf-8")
    # As a power cut may leave it.
    (tmp_path / ".SHA256SUMS.coming").write_bytes((tmp_path / ".SHA256SUMS.coming").read_bytes() + b"\xff\xfe\0")
    write_submission(tmp_path, 2025, TEAM, [four])
    assert "name: Four" in meta.read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"Lastname_Institute_task2.zip", "SHA256SUMS", "task2"}


def test_the_archive_says_nothing_of_the_machine_that_made_it() -> None:
    packed = pack({"task2/b.csv": b"a.wav,0.5\n", "task2/a.csv": b""})
    # Fixed for good: it may differ on no system, and with no release of Python or zlib.
    assert hashlib.sha256(packed).hexdigest() == "3339bb00aab43a15158caa8ff2c586f4f92e3733ea4ebbb168c098155761f32b"
    assert pack({"task2/a.csv": b"", "task2/b.csv": b"a.wav,0.5\n"}) == packed


def test_the_archive_holds_the_files_of_the_folder(tmp_path: Path) -> None:
    written = write_submission(tmp_path / "out", 2022, TEAM, systems(2022, tmp_path))
    with zipfile.ZipFile(written.archive) as packed:
        members = packed.infolist()
        names = [member.filename for member in members]
        assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
        assert names == sorted(names) == [path.relative_to(tmp_path / "out").as_posix() for path in written.files]
        assert [packed.read(name) for name in names] == [path.read_bytes() for path in written.files]


def test_the_checksums_are_those_of_the_files(tmp_path: Path) -> None:
    written = write_submission(tmp_path / "out", 2023, TEAM, systems(2023, tmp_path))
    with written.checksums.open() as stream:
        done = subprocess.run(
            ["sha256sum", "--check", "--strict", "--quiet"], stdin=stream, cwd=tmp_path / "out", check=False
        )
    assert done.returncode == 0
    names = [line.split("  ")[1] for line in written.checksums.read_text().splitlines()]
    assert names == sorted([written.archive.name, *(str(path.relative_to(tmp_path / "out")) for path in written.files)])


def test_an_older_submission_is_replaced_but_nothing_else_is_touched(tmp_path: Path) -> None:
    made = systems(2026, tmp_path)
    first = write_submission(tmp_path / "out", 2026, TEAM, made)
    before = first.archive.read_bytes()
    second = write_submission(
        tmp_path / "out", 2026, TEAM, [made[0], replace(made[1], stated={**made[1].stated, "name": "New"})]
    )
    assert second.archive.read_bytes() != before
    assert check_submission(tmp_path / "out", 2026).mistakes == []


def test_what_an_older_submission_had_besides_is_taken_away(tmp_path: Path) -> None:
    made = systems(2026, tmp_path)
    beside = {f"Lastname_Institute_task2_{number}.manifest.json": b"{}" for number in (1, 2)}
    write_submission(tmp_path / "out", 2026, TEAM, made, beside)
    (tmp_path / "out/notes.txt").write_text("mine")
    write_submission(tmp_path / "out", 2026, TEAM | {"lastname": "Other"}, made[:1], {})
    write_submission(tmp_path / "fresh", 2026, TEAM | {"lastname": "Other"}, made[:1], {})
    assert (tmp_path / "out/notes.txt").read_text() == "mine"
    (tmp_path / "out/notes.txt").unlink()
    assert everything(tmp_path / "out") == everything(tmp_path / "fresh")


def everything(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder; a folder is named without content."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.mark.parametrize("change", ["changed", "added", "without checksums"])
def test_what_somebody_put_there_is_neither_taken_away_nor_sent(tmp_path: Path, change: str) -> None:
    made = systems(2026, tmp_path)
    write_submission(tmp_path / "out", 2026, TEAM, made)
    second = tmp_path / "out/task2/Lastname_Institute_task2_2"
    if change == "changed":
        (second / "Lastname_Institute_task2_2.meta.yaml").write_text("mine")
    elif change == "added":
        (second / "Lastname_Institute_task2_2.meta.yaml.old").write_text("mine")
    else:
        (tmp_path / "out/SHA256SUMS").unlink()
    before = everything(tmp_path / "out")
    with pytest.raises(
        InputError, match=r"Lastname_Institute_task2_2\S+: is not of this submission, nor as an earlier"
    ):
        write_submission(tmp_path / "out", 2026, TEAM, made[:1])
    assert everything(tmp_path / "out") == before


STATED: dict[str, Any] = {
    "year": 2025,
    "lastname": "Lastname",
    "institute": "Institute",
    "authors": TEAM["authors"],
    "name": "Autoencoder",
    "abbreviation": "AE",
}


def refusal(year: int, **systems: dict[str, Any]) -> list[str]:
    """Return what is said of the sections `submission` of some runs, line by line."""
    sections = {name: Submission(**STATED | changes) for name, changes in systems.items()}
    try:
        require_stated(load_challenge(year), sections)
    except InputError as error:
        return str(error).splitlines()
    return []


def test_a_name_that_cannot_stand_is_told_among_the_other_mistakes() -> None:
    text = "\n".join(refusal(2024, ae={"lastname": "X Y", "institute": None, "abbreviation": "ABCDEFGHIJKL"}))
    for mistake in ("submission.lastname: is 'X Y'", "submission.institute: is not stated", "submission.abbreviation:"):
        assert mistake in text


@pytest.mark.parametrize("year", YEARS)
def test_what_is_stated_in_full_is_taken_before_anything_is_measured(tmp_path: Path, year: int) -> None:
    (tmp_path / "report.pdf").write_bytes(REPORT)
    described = {key: "x" for key, key_of in package_of(load_challenge(year)).description.items()
                 if key_of.since <= year and key_of.kind == "text"}  # fmt: skip
    mine = {"description": described, "technical_report": str(tmp_path / "report.pdf"), "source_code": "x"}
    assert refusal(year, ae=mine) == []
    assert refusal(year, ae={}, other={"abbreviation": "AE2"}) == []


@pytest.mark.parametrize(
    ("year", "changes", "says"),
    [
        (2025, {"name": None}, "submission.name: is missing"),
        (2025, {"abbreviation": None}, "submission.abbreviation: is missing"),
        (2025, {"abbreviation": "A" * 11}, "submission.abbreviation: 'AAAAAAAAAAA' has 11 characters; 10 are allowed"),
        (2025, {"authors": None}, "submission.authors: is missing"),
        (2025, {"authors": TEAM["authors"][1:]}, "submission.authors: 0 of them are corresponding; one must be"),
        (2025, {"authors": [TEAM["authors"][0] | {"emial": "a@b"}]}, "submission.authors[0].emial: there is no"),
        (2025, {"description": {"front_ned": "x"}}, "submission.description.front_ned: there is no such key in 2025; "
                                                    "did you mean 'front_end'?"),
        (2025, {"description": {"name": "x"}}, "submission.description.name: there is no such key in 2025"),
        (2025, {"description": {"front_end": 3}}, "submission.description.front_end: 3 is no text"),
        (2025, {"description": {"MACS": "x"}}, "submission.description.MACS: 'x' is no whole number, 0 or more"),
        (2020, {"description": {"attribute_usage": "x"}}, "submission.description.attribute_usage: there is no such"),
        (2025, {"source_code": " "}, "submission.source_code: ' ' is no text"),
        (2025, {"external_datasets": [{"name": "A"}]}, "submission.external_datasets[0].url: is missing"),
        (2021, {"external_datasets": []}, "submission.external_datasets: there is no such key in 2021; leave it empty"),
        (2025, {"technical_report": "no.pdf"}, "submission.technical_report: no.pdf cannot be read (No such file or"),
        (2025, {"technical_report": "Makefile"}, "submission.technical_report: Makefile is no PDF file; leave it"),
    ],
)  # fmt: skip
def test_what_would_be_wrong_is_said_by_the_key_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, year: int, changes: dict[str, Any], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Makefile").touch()
    [line] = refusal(year, ae=changes)
    assert line.startswith(f"the submission would be wrong: {says}")


def test_what_is_wrong_with_several_systems_is_listed_once(tmp_path: Path) -> None:
    authors = [TEAM["authors"][0] | {"email": "nowhere"}]
    found = refusal(2025, ae={"authors": authors}, two={"authors": authors, "name": None}, three={"abbreviation": "A3"})
    assert found == [
        "the submission would be wrong:",
        "  run ae: submission.authors[0].email: 'nowhere' is no address",
        "  run two: submission.authors[0].email: 'nowhere' is no address",
        "  run two: submission.name: is missing",
        "  submission.abbreviation: 'AE' is that of 2 systems; give each its own",
    ]
    both = refusal(2025, ae={"authors": authors}, two={"authors": authors, "abbreviation": "A2"})
    assert both == ["the submission would be wrong: submission.authors[0].email: 'nowhere' is no address"]


def test_without_a_technical_report_the_check_asks_for_it(tmp_path: Path) -> None:
    written = write_submission(tmp_path, 2026, TEAM, [system(2026)])
    assert [str(finding) for finding in written.warnings] == [
        "task2/Lastname_Institute_task2_1/Lastname_Institute_task2_1.technical_report.pdf: "
        "the technical report is missing; add it before you send the submission"
    ]


def test_results_come_from_an_evaluation_of_the_development_set(tmp_path: Path) -> None:
    challenge = load_challenge(2022)
    types = evaluate(make_labelled(tmp_path, 2022), 2022).types
    by_type = {row["machine_type"]: row for row in types}
    whole = [by_type.get(name, types[0]) | {"machine_type": name} for name in challenge.machines["development"]]
    found = results_in_percent(whole, challenge)
    assert list(found) == list(challenge.machines["development"])
    expected = 100 * by_type["fan"]["harmonic_mean"]["auc_source"]
    assert found["fan"]["harmonic_mean_auc_source"] == pytest.approx(expected, abs=1e-9)
    write_submission(tmp_path / "out", 2022, TEAM, [system(2022, measured=measured(2022, results=found))])
    with pytest.raises(InputError, match="there are no results of ToyTrain, bearing, gearbox, slider, valve; a"):
        results_in_percent(types, challenge)


@pytest.mark.parametrize("year", YEARS)
def test_each_result_is_a_figure_that_the_year_has(year: int) -> None:
    challenge = load_challenge(year)
    means = {f"{mean}_mean": dict.fromkeys(challenge.figures, 0.25) for mean in ("arithmetic", "harmonic")}
    types = [{"machine_type": name} | means for name in challenge.machines["development"]]
    assert {value for row in results_in_percent(types, challenge).values() for value in row.values()} == {25.0}


def test_scores_that_are_written_can_be_evaluated(tmp_path: Path) -> None:
    one = system(2023)
    write_submission(tmp_path, 2023, TEAM, [one])
    labels = tmp_path / "ground_truth_data"
    labels.mkdir()
    for section, scores in one.scores.items():
        rows = "".join(f"{clip},{number % 2}\n" for number, clip in enumerate(scores))
        (labels / f"ground_truth_{section.machine_type}_section_00_test.csv").write_text(rows)
        domains = tmp_path / "ground_truth_domain" / f"ground_truth_{section.machine_type}_section_00_test.csv"
        domains.parent.mkdir(exist_ok=True)
        domains.write_text("".join(f"{clip},{number // 3}\n" for number, clip in enumerate(scores)))
    found = read_folder(tmp_path / "task2/Lastname_Institute_task2_1", load_challenge(2023), tmp_path)
    assert [part.section for part in found] == list(one.scores)


@pytest.mark.parametrize(
    ("team", "changes", "message"),
    [
        ({"lastname": "Nächster"}, {}, "submission.lastname: is 'Nächster'; it is a part of the submission's name"),
        ({"institute": "a/../b"}, {}, "submission.institute: is 'a/../b'"),
        ({"institute": ""}, {}, "submission.institute: is not stated"),
        ({"front_and": "x"}, {}, "front_and: there is no such key in 2025; did you mean 'front_end'?"),
        ({}, {"stated": {"lastname": "Other"}}, "lastname: there is no such key in 2025"),
        ({}, {"stated": {"name": "A", "abbreviation": "A" * 11}}, "has 11 characters; 10 are allowed"),
        ({}, {"stated": {"abbreviation": "A"}}, "submission.name: !!null is no text"),
        ({"authors": []}, {}, "submission.authors: must be a list of at least one author"),
        ({"authors": TEAM["authors"][1:]}, {}, "submission.authors: 0 of them are corresponding; one must be"),
        ({}, {"stated": {"name": "A", "abbreviation": "A", "technical_report": "no.pdf"}}, "no.pdf cannot be read"),
        ({}, {"scores": {}}, "anomaly_score_AutoTrash_section_00_test.csv: is missing"),
        ({}, {"decisions": {}}, "decision_result_AutoTrash_section_00_test.csv: is missing"),
        ({}, {"measured": measured(2025, results={})}, "results.development_dataset.ToyCar: is missing"),
        ({}, {"measured": measured(2025, sampling_rates=[])}, "input_sampling_rate: '' is no text"),
        ({}, {"measured": measured(2025, total_parameters=-1)}, "total_parameters: -1 is no whole number"),
    ],
)  # fmt: skip
def test_what_would_be_wrong_is_not_written(
    tmp_path: Path, team: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as raised:
        write_submission(tmp_path / "out", 2025, TEAM | team, [system(2025, **changes)])
    assert message in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_not_written(tmp_path: Path, value: float) -> None:
    one = system(2026)
    section, scores = next(iter(one.scores.items()))
    broken = {**one.scores, section: dict.fromkeys(scores, value)}
    with pytest.raises(InputError, match=r"row 1: '\w+' is not a finite number.* \(likewise rows 2 to 6\)"):
        write_submission(tmp_path, 2026, TEAM, [replace(one, scores=broken)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [0.5, 2, -1])
def test_a_decision_that_is_none_is_not_written(tmp_path: Path, value: float) -> None:
    one = system(2026)
    section, scores = next(iter(one.scores.items()))
    broken: Any = {**one.decisions, section: dict.fromkeys(scores, value)}
    with pytest.raises(InputError, match=f"the decision on the clip section_00_0000.wav is {value}; it must be 0 or 1"):
        write_submission(tmp_path, 2026, TEAM, [replace(one, decisions=broken)])


@pytest.mark.parametrize("count", [0, 5])
def test_a_team_sends_one_to_four_systems(tmp_path: Path, count: int) -> None:
    with pytest.raises(InputError, match=f"has {count} systems; a team may send one to 4"):
        write_submission(tmp_path, 2026, TEAM, [system(2026)] * count)


def test_writing_needs_no_torch() -> None:
    code = "import sys; import offnote.submission; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
