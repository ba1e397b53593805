"""The check of a submission: every way in which one can be wrong is found, each in its place, and all at once."""

from __future__ import annotations

import io
import os
import random
import re
import stat
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from offnote import descriptions, package_files
from offnote.challenge import load_challenge
from offnote.clips import Clip, write_clips
from offnote.errors import InputError
from offnote.meta import meta_mistakes, read_meta
from offnote.package_check import Check, check_files, check_submission, report
from offnote.package_files import SYSTEMS
from offnote.submission import pack, write_submission

from tests.submissions import TEAM, clip_names, systems
from tests.years import WHOLE

Files = dict[str, bytes]
ONE, TWO = "task2/Lastname_Institute_task2_1", "task2/Lastname_Institute_task2_2"
META = f"{ONE}/Lastname_Institute_task2_1.meta.yaml"
REPORT = f"{ONE}/Lastname_Institute_task2_1.technical_report.pdf"


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Files]:
    """Make a submission of two systems for each year, which nothing is wrong with."""
    made = {}
    for year in WHOLE:
        folder = tmp_path_factory.mktemp("good")
        written = write_submission(folder / "out", year, TEAM, systems(year, folder))
        made[year] = {path.relative_to(folder / "out").as_posix(): path.read_bytes() for path in written.files}
    return made


def check_archive(folder: Path, files: Files, year: int) -> Check:
    path = folder / "submission.zip"
    path.write_bytes(pack(files))
    return check_submission(path, year)


def said(check: Check) -> list[str]:
    return [str(finding) for finding in check.mistakes]


# What can be wrong with the files. Each change is made to a good submission, and is the one thing that is found.


def score_file(files: Files, number: int = 0, kind: str = "anomaly_score", system: str = ONE) -> str:
    return sorted(name for name in files if name.startswith(f"{system}/{kind}"))[number]


@dataclass(frozen=True)
class Tampering:
    """A change of the files, which returns the file that the check is to name, and a part of what it is to say."""

    name: str
    change: Callable[[Files], str]
    says: str
    mistakes: int = 1
    since: int = 2020


def on_rows(number: int, kind: str, edit: Callable[[bytes], bytes]) -> Callable[[Files], str]:
    def change(files: Files) -> str:
        name = score_file(files, number, kind)
        before = files[name]
        files[name] = edit(before)
        assert files[name] != before
        return name

    return change


def on_row(
    number: int, row: int, edit: Callable[[str, str], str], kind: str = "anomaly_score"
) -> Callable[[Files], str]:
    """Change one row; `edit` gets its clip and its value."""

    def change_rows(content: bytes) -> bytes:
        lines = content.decode().splitlines(keepends=True)
        lines[row - 1] = edit(*lines[row - 1].rstrip("\n").split(","))
        return "".join(lines).encode()

    return on_rows(number, kind, change_rows)


def on_text(old: str, new: str) -> Callable[[Files], str]:
    def change(files: Files) -> str:
        text = files[META].decode()
        assert len(re.findall(old, text)) > 0, old
        files[META] = re.sub(old, new, text, count=1).encode()
        return META

    return change


def on_meta(edit: Callable[[Any], Any]) -> Callable[[Files], str]:
    """Change what the description holds; `edit` gets all of it, and may return another."""

    def change(files: Files) -> str:
        meta = yaml.safe_load(files[META])
        changed = edit(meta)
        files[META] = yaml.safe_dump(meta if changed is None else changed, allow_unicode=True).encode()
        return META

    return change


def drop(name: str) -> Callable[[Files], str]:
    def change(files: Files) -> str:
        found = name if name in files else score_file(files, 0, name)
        del files[found]
        return found

    return change


def add(name: str, content: bytes = b"x") -> Callable[[Files], str]:
    def change(files: Files) -> str:
        files[name] = content
        return name

    return change


def rename(old: str, new: str, says: str = "") -> Callable[[Files], str]:
    """Rename all files in a folder that begin with `old`."""

    def change(files: Files) -> str:
        for name in [name for name in files if name.startswith(old)]:
            files[new + name.removeprefix(old)] = files.pop(name)
        return says

    return change


def first_type(meta: Any) -> Any:
    return next(iter(meta["results"]["development_dataset"].values()))


def fractions(meta: Any) -> None:
    for results in meta["results"]["development_dataset"].values():
        results.update({key: value / 100 for key, value in results.items()})


def third_system(files: Files) -> str:
    """Add a system 4, but no 3."""
    for name in [name for name in files if name.startswith(TWO)]:
        content = (
            files[name].replace(b"Lastname_Institute_task2_2", b"Lastname_Institute_task2_4")
            if "meta" in name
            else files[name]
        )
        files[name.replace("Lastname_Institute_task2_2", "Lastname_Institute_task2_4")] = content
    return ""


def other_team(files: Files) -> str:
    for name in [name for name in files if name.startswith(TWO)]:
        content = files.pop(name)
        content = (
            content.replace(b"Lastname_Institute_task2_2", b"Lastname_Another_task2_2") if "meta" in name else content
        )
        files[name.replace("Lastname_Institute_task2_2", "Lastname_Another_task2_2")] = content
    return ""


ROWS = [
    Tampering("nan", on_row(0, 2, lambda clip, value: f"{clip},nan\n"), ", row 2: 'nan' is not a finite number"),
    Tampering("infinite", on_row(0, 2, lambda clip, value: f"{clip},-inf\n"), ", row 2: '-inf' is not a finite"),
    Tampering("no number", on_row(0, 2, lambda clip, value: f"{clip},high\n"), ", row 2: 'high' is not a finite"),
    Tampering("empty value", on_row(0, 2, lambda clip, value: f"{clip},\n"), ", row 2: '' is not a finite number"),
    Tampering("three columns", on_row(0, 3, lambda clip, value: f"{clip},{value},1\n"), ", row 3: has 3 columns"),
    Tampering("one column", on_row(0, 3, lambda clip, value: f"{clip}\n"), ", row 3: has one column;"),
    Tampering("semicolon", on_row(0, 3, lambda clip, value: f"{clip};{value}\n"), ", row 3: has one column;", 2),
    Tampering(
        "header", on_rows(1, "anomaly_score", lambda rows: b"filename,value\n" + rows), ", row 1: 'value' is not a "
        "finite number; every clip needs a score; if it is a header, take it out",
    ),
    Tampering("double", on_rows(1, "anomaly_score", lambda rows: rows + rows.splitlines(True)[1]), "in row 2 already"),
    Tampering("no rows", on_rows(1, "anomaly_score", lambda rows: b""), ": lists no clip", 2),
    Tampering("line ends", on_rows(1, "anomaly_score", lambda rows: rows.replace(b"\n", b"\r\n")), ": lines must end"),
    Tampering("old line ends", on_rows(1, "anomaly_score", lambda rows: rows.replace(b"\n", b"\r")), ": lines must"),
    Tampering("cut off", on_rows(1, "anomaly_score", lambda rows: rows[:-1]), ": the last line has no end"),
    Tampering("byte order mark", on_rows(2, "anomaly_score", lambda rows: b"\xef\xbb\xbf" + rows), ": begins with a "
              "byte order mark"),
    Tampering("no UTF-8", on_rows(2, "anomaly_score", lambda rows: rows + b"\xff"), ": is not a CSV file in UTF-8", 2),
    Tampering("blank", on_rows(2, "anomaly_score", lambda rows: rows.replace(b"\n", b"\n\n", 1)), ", row 2: is blank"),
    Tampering("spaces", on_row(2, 4, lambda clip, value: f"{clip}, {value}\n"), ", row 4: has spaces around a value"),
    Tampering("blank cells", on_row(2, 4, lambda clip, value: f"{clip},{value}\n,\n"), ", row 5: is blank"),
    Tampering("no-break space", on_row(2, 4, lambda clip, value: f"{clip},\xa0{value}\n"), ", row 4: has spaces"),
    Tampering("underscores", on_row(2, 4, lambda clip, value: f"{clip},1_000\n"), ", row 4: '1_000' is not a finite"),
    Tampering("other digits", on_row(2, 4, lambda clip, value: f"{clip},\u0661\n"), ", row 4: '\u0661' is not a fin"),
    Tampering("quoted", on_row(2, 4, lambda clip, value: f'"{clip}",{value}\n'), ", row 4: has quotation marks"),
    Tampering("quote", on_row(2, 4, lambda clip, value: f'"{clip}"x,{value}\n'), ": is not a CSV file in UTF-8"),
    Tampering("no wav", on_row(2, 4, lambda clip, value: f"{clip[:-4]},{value}\n"), "is not named as a test clip", 2),
    Tampering("a path", on_row(2, 4, lambda clip, value: f"test/{clip},{value}\n"), "is not named as a test clip", 2),
    Tampering("elsewhere", on_row(2, 4, lambda clip, value: f"{clip.replace('0', '9', 1)},{value}\n"), "belongs in", 2),
]  # fmt: skip

DECISIONS = [
    Tampering("decision 2", on_row(0, 1, lambda c, v: f"{c},2\n", "decision"), ", row 1: '2' is neither 0 nor 1"),
    Tampering("decision 0.5", on_row(0, 1, lambda c, v: f"{c},0.5\n", "decision"), ", row 1: '0.5' is neither 0 nor"),
    Tampering("decision 1.0", on_row(0, 1, lambda c, v: f"{c},1.0\n", "decision"), ", row 1: '1.0' must be written"),
    Tampering("decision +1", on_row(0, 1, lambda c, v: f"{c},+1\n", "decision"), ", row 1: '+1' must be written 0"),
    Tampering("decision true", on_row(0, 1, lambda c, v: f"{c},True\n", "decision"), ", row 1: 'True' is neither 0"),
    Tampering("less decided", on_row(1, 1, lambda c, v: "", "decision"), ": has no row for the clip "),
    Tampering("more decided", on_row(1, 1, lambda c, v: f"{c},{v}\n{c.replace('.wav', '9.wav')},1\n", "decision"),
              ", row 2: there is no clip "),
    Tampering("decided twice", on_row(1, 1, lambda c, v: f"{c},0\n{c},1\n", "decision"), "stands in row 1 already"),
    Tampering("no decisions", drop("decision_result"), ": is missing"),
]  # fmt: skip

METADATA = [
    Tampering("no YAML", on_text("submission:", "submission: ["), ": is not YAML in UTF-8"),
    Tampering("meta no UTF-8", lambda files: add(META, b"\xff" + files[META])(files), ": is not YAML in UTF-8"),
    Tampering("too deep", add(META, 1200 * b"["), ": is not YAML in UTF-8"),
    Tampering("too large", add(META, 2**20 * b" " + b"a"), ": has 1048577 bytes, more than any description"),
    Tampering("not a date", on_text("abbreviation: .*", "abbreviation: 2024-99-99"), ": is not YAML in UTF-8"),
    Tampering("a tag", on_text("abbreviation: .*", "abbreviation: !!python/name:os.system ''"), ": is not YAML"),
    Tampering("key twice", on_text("  label:", "  label: x\n  label:"), "the key 'submission.label' stands twice"),
    Tampering("a list", add(META, b"- a\n"), ": the file: must hold the keys submission, system, results"),
    Tampering("empty", add(META, b""), ": the file: must hold the keys submission, system, results"),
    Tampering("section null", on_meta(lambda m: m.update(system=None)), ": system: must hold the keys description"),
    Tampering("no section", on_meta(lambda m: m.pop("results") and None), ": results: is missing"),
    Tampering("label", on_text("label: .*", "label: Lastname_Institute_task2_3"), "_task2_3' is not the folder's"),
    Tampering("label of another kind", on_text("label: .*", "label: 3"), "submission.label: 3 is no text"),
    Tampering("label null", on_text("label: .*", "label: !!null"), "submission.label: !!null is no text"),
    Tampering("name", on_text("  name: .*\n", ""), "submission.name: is missing"),
    Tampering("abbreviation", on_text("abbreviation: .*", "abbreviation: elevenchars"), "has 11 characters"),
    Tampering("authors", on_meta(lambda m: m["submission"].update(authors=[])), "must be a list of at least one"),
    Tampering("author a text", on_meta(lambda m: m["submission"]["authors"].append("Me")), "authors[2]: must hold"),
    Tampering("lastname", on_text("lastname: .*", "lastname: ''"), "authors[0].lastname: '' is no text"),
    Tampering("no firstname", on_meta(lambda m: m["submission"]["authors"][1].pop("firstname") and None),
              "authors[1].firstname: is missing"),
    Tampering("email", on_text("email: .*", "email: nowhere"), "authors[0].email: 'nowhere' is no address"),
    Tampering("two corresponding", on_meta(lambda m: m["submission"]["authors"][1].update(corresponding=True)),
              "submission.authors: 2 of them are corresponding; one must be"),
    Tampering("none corresponding", on_text("corresponding: true", "corresponding: false"), "0 of them are"),
    Tampering("corresponding a text", on_meta(lambda m: m["submission"]["authors"][1].update(corresponding="no")),
              "authors[1].corresponding: 'no' is neither true nor false"),
    Tampering("affiliation", on_meta(lambda m: m["submission"]["authors"][0].update(affiliation="Institute")),
              "authors[0].affiliation: must hold the keys institution, department, location"),
    Tampering("location", on_meta(lambda m: m["submission"]["authors"][0]["affiliation"].pop("location") and None),
              "authors[0].affiliation.location: is missing"),
    Tampering("unknown key", on_text("front_end:", "frontend:"), "frontend: there is no such key in the template", 2),
    Tampering("missing key", on_text("    front_end: .*\n", ""), "system.description.front_end: is missing"),
    Tampering("required null", on_text("machine_learning_method: .*", "machine_learning_method: !!null"),
              "machine_learning_method: may not be null"),
    Tampering("a number", on_text("front_end: .*", "front_end: 16"), "front_end: 16 is no text; where it is not "
              "applicable, write !!null"),
    Tampering("a truth", on_text("embeddings: .*", "embeddings: no"), "embeddings: False is no text"),
    Tampering("an empty list", on_text("embeddings: .*", "embeddings: []"), "embeddings: [] is no text"),
    Tampering("subsystems", on_text("subsystem_count: .*", "subsystem_count: three"), "'three' is no whole number"),
    Tampering("parameters", on_text("parameters: .*", "parameters: 1.5"), "total_parameters: 1.5 is no whole number"),
    Tampering("minus", on_text("parameters: .*", "parameters: -1"), "total_parameters: -1 is no whole number"),
    Tampering("parameters null", on_text("parameters: .*", "parameters: !!null"), "total_parameters: may not be null"),
    Tampering("MACs", on_text("MACS: .*", "MACS: 1 G"), "MACS: '1 G' is no whole number", since=2025),
    Tampering("data sets", on_text("datasets: .*", "datasets: AudioSet"), "must be a list of data sets", since=2022),
    Tampering("data set", on_text("datasets: .*", "datasets: [{name: AudioSet}]"), "datasets[0].url: is missing",
              since=2022),
    Tampering("source code", on_text("source_code: .*", "source_code: 1"), "system.source_code: 1 is no text"),
    Tampering("type missing", on_meta(lambda m: m["results"]["development_dataset"].pop("fan") and None),
              "development_dataset.fan: is missing"),
    Tampering("type unknown", on_meta(lambda m: m["results"]["development_dataset"].update(fann={})),
              "development_dataset.fann: there is no such key in the template"),
    Tampering("result missing", on_meta(lambda m: first_type(m).popitem() and None), ": is missing"),
    Tampering("result null", on_meta(lambda m: first_type(m).update(dict.fromkeys(list(first_type(m))[:1]))),
              ": !!null is no percentage, 0 to 100"),
    Tampering("result nan", on_text("auc(\\w*): [0-9.]+", "auc\\1: .nan"), ": nan is no percentage, 0 to 100"),
    Tampering("result huge", on_text("auc(\\w*): [0-9.]+", "auc\\1: 100.5"), ": 100.5 is no percentage, 0 to 100"),
    Tampering("fractions", on_meta(fractions), "all results are at most 1; give them in percent"),
]  # fmt: skip

FILES = [
    Tampering("no meta", drop(META), ": is missing"),
    Tampering("no scores", drop("anomaly_score"), ": is missing"),
    Tampering("no PDF", add(REPORT, b"<html>"), ": is no PDF file"),
    Tampering("stray file", add(f"{ONE}/notes.txt"), ": does not belong into a submission; take it out"),
    Tampering("stray scores", add(f"{ONE}/anomaly_score_fan_section_99_test.csv"), ": is of no section of the evaluat"),
    Tampering(
        "stray meta",
        add(f"{ONE}/Lastname_Institute_task2_2.meta.yaml"),
        ": must be called Lastname_Institute_task2_1.meta.yaml",
    ),
    Tampering(
        "stray report", add(f"{ONE}/report.technical_report.pdf"), ": must be called Lastname_Institute_task2_1.techni"
    ),
    Tampering("hidden file", add(f"{ONE}/.DS_Store"), ": does not belong into a submission"),
    Tampering("beside the systems", add("task2/readme.txt"), ": does not belong there: every file"),
    Tampering("beside task2", add("__MACOSX/task2/._x"), ": does not belong there: every file"),
    Tampering("below a system", add(f"{ONE}/old/scores.txt"), ": does not belong there: every file"),
    Tampering("no system", add("task2/old/x.txt"), ": does not belong there: every file"),
    Tampering(
        "label 5",
        rename(TWO, "task2/Lastname_Institute_task2_5", "task2/Lastname_Institute_task2_5"),
        ": is not named <Last",
        5,
    ),
    Tampering(
        "label", rename(TWO, "task2/Lastname_task2_2", "task2/Lastname_task2_2"), ": is not named <Lastname>_", 5
    ),
    Tampering("gap", third_system, "the systems are numbered 1, 2, 4; count them from 1, without a gap", 3),
    Tampering(
        "teams",
        other_team,
        "the systems are of several teams, Lastname_Another, Lastname_Institute; a submission is",
        3,
    ),
]

ALONE = ("label", "label 5", "gap", "teams", "less decided", "more decided", "no scores", "no decisions")
"""What touches many files, or is only found where the other file of a section is whole."""

TAMPERINGS = [*ROWS, *[Tampering(t.name, t.change, t.says, t.mistakes, 2021) for t in DECISIONS], *METADATA, *FILES]


@pytest.mark.parametrize("year", WHOLE)
def test_nothing_is_wrong_with_a_good_submission(good: dict[int, Files], tmp_path: Path, year: int) -> None:
    check = check_archive(tmp_path, good[year], year)
    assert (said(check), check.warnings, len(check.systems)) == ([], [], 2)
    assert check_files(good[year], year) == check


@pytest.mark.parametrize(
    ("year", "tampering"),
    [
        pytest.param(year, tampering, id=f"{year}-{tampering.name}")
        for tampering in TAMPERINGS
        for year in WHOLE
        # Of the templates, 2023's and 2024's are 2022's.
        if year >= tampering.since and not (tampering in METADATA and year in (2023, 2024))
    ],
)
def test_whatever_is_wrong_is_found_in_its_place(
    good: dict[int, Files], tmp_path: Path, year: int, tampering: Tampering
) -> None:
    several = tampering.name in ("label", "label 5", "gap", "teams")
    files = {name: content for name, content in good[year].items() if several or name.startswith(ONE)}
    place = tampering.change(files)
    found = said(check_archive(tmp_path, files, year))
    assert any(line.startswith(place) and tampering.says in line for line in found), found
    # Nothing else is made of it: a clip that is wrong on one side of two files may be missing on the other.
    assert len(found) <= tampering.mistakes + (tampering in ROWS and tampering.mistakes == 2), found


@pytest.mark.parametrize("year", WHOLE)
def test_much_that_is_wrong_is_all_listed(good: dict[int, Files], tmp_path: Path, year: int) -> None:
    chosen = ["nan", "three columns", "header", "line ends", "byte order mark", "spaces", "abbreviation", "email",
              "none corresponding", "a number", "subsystems", "parameters", "result huge", "no PDF", "stray file",
              "beside the systems", "beside task2"]  # fmt: skip
    files = dict(good[year])
    expected = [(t.change(files), t.says) for t in TAMPERINGS if t.name in chosen]
    assert len(expected) == len(chosen)
    found = said(check_archive(tmp_path, files, year))
    for place, says in expected:
        assert any(line.startswith(place) and says in line for line in found), (place, says, found)
    assert len(found) == len(chosen)


@pytest.mark.parametrize("seed", range(30))
def test_any_mistakes_are_found_together(good: dict[int, Files], seed: int) -> None:
    """Change some files at a time, each in one way, so that no change undoes another."""
    generator = random.Random(seed)
    year = generator.choice(WHOLE)
    files = dict(good[year])
    touched: set[str] = set()
    expected = []
    for tampering in generator.sample([t for t in TAMPERINGS if year >= t.since and t.name not in ALONE], 20):
        changed = dict(good[year])
        place = tampering.change(changed)
        names = {name for name in {*changed, *good[year]} if changed.get(name) != good[year].get(name)}
        if names & touched:
            continue
        touched |= names
        for name in names:
            files[name] = changed.get(name, b"")
        files = {name: content for name, content in files.items() if name not in names or name in changed}
        expected.append((place, tampering.says))
    found = said(check_files(files, year))
    assert len(expected) > 2
    for place, says in expected:
        assert any(line.startswith(place) and says in line for line in found), (place, says, found)


def test_a_clip_without_a_number_is_missed_in_the_other_file_all_the_same(good: dict[int, Files]) -> None:
    files = dict(good[2026])
    on_row(0, 2, lambda clip, value: f"{clip},nan\n")(files)
    on_row(0, 2, lambda clip, value: "", "decision")(files)
    scores, decisions = score_file(files), score_file(files, kind="decision")
    assert said(check_files(files, 2026)) == [
        f"{scores}, row 2: 'nan' is not a finite number; every clip needs a score",
        f"{decisions}: has no row for the clip section_00_0001.wav; {scores.rpartition('/')[2]}, row 2, has one",
    ]


def test_rows_of_one_kind_are_told_together(good: dict[int, Files]) -> None:
    files = dict(good[2026])
    name = score_file(files)
    rows = files[name].decode().splitlines()
    for number in (1, 3, 4, 5):
        rows[number] = rows[number].split(",")[0] + ",nan"
    rows[2] = rows[2] + ",1"
    files[name] = "\n".join([*rows, ""]).encode()
    check = check_files(files, 2026)
    assert said(check) == [
        f"{name}, row 2: 'nan' is not a finite number; every clip needs a score (likewise rows 4 to 6)",
        f"{name}, row 3: has 3 columns; it must have a clip's name and a number",
    ]
    assert [finding["rows"] for finding in check.as_json()["mistakes"]] == [(2, 4, 5, 6), (3,)]


@pytest.mark.parametrize(
    ("year", "asked", "fitting"),
    [(2021, 2022, "2021"), (2024, 2025, "2024"), (2020, 2026, "2020"), (2022, 2021, "2022")],
)
def test_another_year_is_recognised(good: dict[int, Files], year: int, asked: int, fitting: str) -> None:
    found = said(check_files(good[year], asked))
    assert f"the score files are named as those of {fitting}; is it another year?" in found


def test_keys_of_a_template_that_was_not_seen_are_said_to_be_inferred(good: dict[int, Files]) -> None:
    for year, end in ((2025, "template"), (2026, "template (inferred from 2025's template)")):
        files = dict(good[year])
        on_text("  name: ", "  nam: ")(files)
        assert any(
            line.endswith(f"there is no such key in the {end}; did you mean 'name'?")
            for line in said(check_files(files, year))
        )


def test_a_year_that_does_not_say_what_a_submission_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (descriptions.FOLDER / "dcase2022.yaml").read_text().partition("  # What a submission holds.")[0]
    (tmp_path / "dcase2033.yaml").write_text(text)
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path)
    with pytest.raises(
        InputError, match=r"dcase2033.yaml: does not say what a submission holds; add challenge.package"
    ):
        check_submission(tmp_path, 2033)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("figure: auc_source", "figure: auc_sauce", "there is no domain or figure 'auc_sauce'"),
        ("kind: count", "kind: counts", "kind: Input should be 'text' or 'count'"),
        ("external_datasets: 2022", "external_dataset: 2022", "external_dataset"),
    ],
)
def test_a_wrong_description_of_a_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    text = (descriptions.FOLDER / "dcase2022.yaml").read_text().replace(old, new)
    (tmp_path / "dcase2034.yaml").write_text(text)
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path)
    with pytest.raises(InputError, match=f"dcase2034.yaml: challenge.*{message}"):
        load_challenge(2034)


def test_a_description_that_grows_without_end_is_shown_in_part() -> None:
    """A few hundred bytes of aliases stand for more values than there is time to write down."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 15)]
    text = "\n".join([*lines, "submission: {label: *a14, name: *a14, abbreviation: x, authors: []}"])
    mistakes = list(meta_mistakes(read_meta(text.encode()), "x", load_challenge(2024)))
    assert "submission.name: [[...], [...], [...], [...], [...], [...], ...] is no text" in mistakes


# Archives.


def write_archive(path: Path, files: Files, more: Callable[[zipfile.ZipFile], None] = lambda archive: None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        more(archive)
    return path


@pytest.mark.parametrize(
    "name", ["/etc/x.csv", "../x.csv", "task2/../../x.csv", "C:/x.csv", "task2\\x.csv", "task2//x.csv"]
)
def test_members_that_lead_out_of_their_folder(good: dict[int, Files], tmp_path: Path, name: str) -> None:
    path = write_archive(tmp_path / "a.zip", good[2026], lambda archive: archive.writestr(name, "x"))
    assert said(check_submission(path, 2026)) == [
        f"{name!r}: its name could lead out of the folder that it is unpacked in; use plain names below task2"
    ]


def test_members_that_stand_twice(good: dict[int, Files], tmp_path: Path) -> None:
    def again(archive: zipfile.ZipFile) -> None:
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(META, "x")

    path = write_archive(tmp_path / "a.zip", good[2026], again)
    assert said(check_submission(path, 2026)) == [f"{META}: stands in the archive more than once; keep one of them"]


def test_members_that_are_links(good: dict[int, Files], tmp_path: Path) -> None:
    files = dict(good[2026])
    del files[REPORT]
    link = zipfile.ZipInfo(REPORT)
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    path = write_archive(tmp_path / "a.zip", files, lambda archive: archive.writestr(link, "/etc/passwd"))
    assert said(check_submission(path, 2026)) == [f"{REPORT}: is no plain file; put the file itself into the archive"]


def test_a_small_archive_of_large_files_is_not_read_whole(
    good: dict[int, Files], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_files, "MOST", 2**20)
    large = {f"{ONE}/large{number}.csv": bytes(2**18) for number in range(10)}
    found = said(check_submission(write_archive(tmp_path / "a.zip", large | good[2026]), 2026))
    assert sum("is not read: no submission has more than 1048576 bytes in all" in line for line in found) >= 6


def test_a_name_cannot_act_upon_the_screen(good: dict[int, Files], tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.zip", good[2026] | {"task2/\x1b[2J\nok   complete": b""})
    [found] = said(check_submission(path, 2026))
    assert found.startswith(r"'task2/\x1b[2J\nok   complete': its name could lead out")
    files = dict(good[2026])
    name = score_file(files, 0, "decision_result")
    files[name] += b"\x1b[2J.wav,1\n"
    assert all(line.isprintable() for line in said(check_files(files, 2026)))


def test_members_that_are_encrypted(good: dict[int, Files], tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.zip", good[2026])
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo(META).header_offset
    content[offset + 6] |= 1
    # The flags stand eight bytes into an entry of the directory, whose name begins at 46.
    content[content.rindex(META.encode()) - 46 + 8] |= 1
    path.write_bytes(content)
    assert said(check_submission(path, 2026)) == [f"{META}: is encrypted; pack it without a password"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_inflate_all_at_once_are_refused(good: dict[int, Files], tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in good[2026].items():
            archive.writestr(name, content, method if name == META else zipfile.ZIP_DEFLATED)
    [line] = said(check_submission(path, 2026))
    assert line.startswith(f"{META}: is packed by an unusual method; pack it as zip programs do")


def test_what_hides_its_size_is_not_inflated_whole(good: dict[int, Files], tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.zip", dict(good[2026]) | {META: bytes(200_000_000)})
    content = path.read_bytes()
    path.write_bytes(content.replace((200_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    tracemalloc.start()
    try:
        [line] = said(check_submission(path, 2026))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert line.startswith(f"{META}: is damaged in the archive (Bad CRC-32")
    assert peak < 20_000_000


def test_a_number_too_long_to_be_written_is_no_crash(good: dict[int, Files]) -> None:
    files = dict(good[2026])
    files[META] = re.sub(rb"label: .*", b"label: 0x" + b"f" * 5000, files[META], count=1)
    assert f"{META}: submission.label: a number of thousands of digits is no text" in said(check_files(files, 2026))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_members(good: dict[int, Files], tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in good[2026].items():
            archive.writestr(name, content)
    assert said(check_submission(path, 2026)) == []
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(META)
    damaged = bytearray(path.read_bytes())
    middle = member.header_offset + 30 + len(META) + member.compress_size // 2
    damaged[middle] ^= 0xFF
    path.write_bytes(damaged)
    [line] = said(check_submission(path, 2026))
    assert line.startswith(f"{META}: is damaged in the archive (")


def test_a_damaged_stray_member_is_told_once(good: dict[int, Files], tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.zip", {**good[2026], "task2/notes.txt": b"hello"})
    path.write_bytes(path.read_bytes().replace(b"hello", b"hullo"))
    [line] = said(check_submission(path, 2026))
    assert line.startswith("task2/notes.txt: is damaged in the archive (Bad CRC-32")


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all", None])
def test_what_is_no_archive(good: dict[int, Files], tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(pack(good[2026])[:-100] if content is None else content)
    [line] = said(check_submission(path, 2026))
    assert line.startswith("the file is no zip archive, or a damaged one (")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_damage_of_an_archive_stops_the_check(
    good: dict[int, Files], tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    generator = random.Random(seed)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", generator.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name in list(good[2026])[:6]:
            archive.writestr(name, good[2026][name][:200])
    content = bytearray(stream.getvalue())
    start = generator.choice([0, len(content) - 600])
    for _ in range(generator.randint(1, 6)):
        content[generator.randrange(start, len(content))] = generator.randrange(256)
    path = tmp_path_factory.mktemp("damaged") / "a.zip"
    path.write_bytes(content[: generator.choice([len(content), generator.randrange(len(content))])])
    assert said(check_submission(path, 2026))


def test_a_member_that_is_far_too_large_is_not_read(good: dict[int, Files], tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in good[2026].items():
            archive.writestr(name, content)
        with archive.open("task2/zeros.bin", "w") as stream:
            for _ in range(65):
                stream.write(bytes(2**20))
    assert said(check_submission(path, 2026)) == [
        "task2/zeros.bin: has 68157440 bytes, more than any file of a submission; take it out"
    ]


@pytest.mark.parametrize(
    ("above", "message"),
    [
        ("", "there is no folder task2; the folders of the systems must stand in one"),
        ("mine/task2/", "the folder task2 lies in mine; it must stand at the top of the archive"),
        ("Task2/", "the folder Task2 at the top of the archive must be called task2; rename it"),
    ],
)
def test_an_archive_with_task2_elsewhere_is_examined_all_the_same(
    good: dict[int, Files], tmp_path: Path, above: str, message: str
) -> None:
    files = {above + name.removeprefix("task2/"): content for name, content in good[2026].items()}
    assert said(check_submission(write_archive(tmp_path / "a.zip", files), 2026)) == [message]
    name = next(name for name in files if "anomaly_score" in name)
    files[name] = files[name].replace(b".wav", b".mp3", 1)
    found = said(check_submission(write_archive(tmp_path / "a.zip", files), 2026))
    assert found[0] == message
    assert found[1].startswith(f"{ONE}/anomaly_score_")


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.zip", {"photos/1.jpg": b"x"})
    assert [line.split(":")[0] for line in said(check_submission(path, 2026))] == [
        "the submission holds no system; each has a folder task2/<Lastname>_<Institute>_task2_<1 to 4>", "photos/1.jpg"
    ]  # fmt: skip
    assert said(check_submission(write_archive(tmp_path / "b.zip", {}), 2026))[0].startswith("the submission holds no")


def test_folders_in_an_archive(good: dict[int, Files], tmp_path: Path) -> None:
    def folders(archive: zipfile.ZipFile) -> None:
        for name in ("task2/", f"{ONE}/", "task2/empty/", f"{ONE}/old/"):
            archive.writestr(name, "")

    path = write_archive(tmp_path / "a.zip", good[2026], folders)
    text = "is an empty folder that does not belong there; take it out"
    assert said(check_submission(path, 2026)) == [f"{ONE}/old: {text}", f"task2/empty: {text}"]


def test_more_systems_than_a_team_may_send(good: dict[int, Files]) -> None:
    files = {
        name.replace("Lastname_Institute_task2_1", f"Lastname_{team}_task2_{number}"): content
        for name, content in good[2026].items()
        if name.startswith(ONE)
        for team, number in (("Institute", 1), ("Institute", 2), ("Institute", 3), ("Institute", 4), ("Another", 1))
    }
    assert f"the submission holds 5 systems; a team may send {SYSTEMS}" in said(check_files(files, 2026))


# Folders.


def unpack(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_a_folder_is_examined_as_an_archive_is(good: dict[int, Files], tmp_path: Path) -> None:
    files = dict(good[2023])
    for tampering in (ROWS[0], DECISIONS[-1], METADATA[10], *FILES[3:7]):
        tampering.change(files)
    folder = unpack(tmp_path / "out", files)
    expected = said(check_archive(tmp_path, files, 2023))
    assert len(expected) == 7
    assert said(check_submission(folder, 2023)) == said(check_submission(folder / "task2", 2023)) == expected
    assert said(check_submission(folder / ONE, 2023)) == expected
    assert said(check_submission(folder / TWO, 2023)) == []


def test_the_folder_that_one_stands_in(good: dict[int, Files], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(unpack(tmp_path, good[2026]) / ONE)
    assert (check_submission(Path(), 2026).systems, said(check_submission(Path(), 2026))) == (
        ["Lastname_Institute_task2_1"],
        [],
    )


def test_links_empty_folders_and_what_is_no_file(good: dict[int, Files], tmp_path: Path) -> None:
    folder = unpack(tmp_path / "out", good[2026])
    (folder / META).rename(tmp_path / "elsewhere.yaml")
    (folder / META).symlink_to(tmp_path / "elsewhere.yaml")
    (folder / ONE / "dangling.csv").symlink_to("nowhere")
    (folder / TWO / "empty").mkdir()
    os.mkfifo(folder / TWO / "pipe.csv")
    assert said(check_submission(folder, 2026)) == [
        f"{ONE}/dangling.csv: cannot be read (No such file or directory)",
        f"{TWO}/pipe.csv: is no plain file; take it out",
        f"{TWO}/empty: is an empty folder that does not belong there; take it out",
    ]


def test_a_folder_that_leads_back_to_itself(good: dict[int, Files], tmp_path: Path) -> None:
    folder = unpack(tmp_path / "out", good[2026])
    for name in ("a", "b"):
        (folder / ONE / name).symlink_to(folder / ONE)
    assert said(check_submission(folder, 2026)) == [
        f"{ONE}/{name}: is a link to a folder; put the folder itself in its place" for name in ("a", "b")
    ]


def test_an_empty_folder_of_a_system_lacks_everything(tmp_path: Path) -> None:
    (tmp_path / ONE).mkdir(parents=True)
    found = said(check_submission(tmp_path, 2026))
    assert len(found) == 11
    assert all(line.endswith(": is missing") for line in found)


def test_a_folder_that_is_none_of_a_submission(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is neither a folder task2 nor the folder of a system"):
        check_submission(tmp_path, 2026)
    with pytest.raises(InputError, match=r"nowhere.zip: cannot be read \(No such file"):
        check_submission(tmp_path / "nowhere.zip", 2026)
    with pytest.raises(InputError, match="there is no year 2019 here"):
        check_submission(tmp_path, 2019)


# The recordings, where they are given.


def record(folder: Path, year: int) -> Path:
    """Make empty files that are called as the recordings of the evaluation set are, and others that do not count."""
    names = load_challenge(year).demo
    assert names is not None
    for section in load_challenge(year).evaluated():
        test = f"{section.domain}_test" if section.domain else "test"
        for clip in clip_names(year, section):
            path = folder / "eval_data" / section.machine_type / test / clip
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (folder / "eval_data" / section.machine_type / "train").mkdir(exist_ok=True)
        (folder / "eval_data" / section.machine_type / "train" / "section_00_source_train_normal_0000.wav").touch()
        if names.supplemental:
            supplemental = folder / "eval_data" / section.machine_type / "supplemental/section_00_0099.wav"
            supplemental.parent.mkdir(exist_ok=True)
            supplemental.touch()  # Called as a test clip is, and none.
    return folder


def list_clips(path: Path, year: int) -> Path:
    clips = [
        Clip(f"{section.machine_type}/{clip}", section.machine_type, section.machine_id, "test")
        for section in load_challenge(year).evaluated()
        for clip in clip_names(year, section)
    ]
    write_clips(path, clips)
    return path


@pytest.mark.parametrize("year", WHOLE)
@pytest.mark.parametrize("form", ["folder", "list"])
def test_every_test_clip_needs_its_row(good: dict[int, Files], tmp_path: Path, year: int, form: str) -> None:
    clips = record(tmp_path / "sounds", year) if form == "folder" else list_clips(tmp_path / "clips.tsv", year)
    path = tmp_path / "submission.zip"
    path.write_bytes(pack(good[year]))
    check = check_submission(path, year, clips)
    assert (said(check), check.warnings) == ([], [])
    files = {name: content for name, content in good[year].items() if not name.startswith(TWO)}
    kinds = ["anomaly_score", "decision_result"] if year > 2020 else ["anomaly_score"]
    for kind in kinds:
        less, more = score_file(files, 1, kind), score_file(files, 2, kind)
        files[less] = b"".join(files[less].splitlines(keepends=True)[1:])
        files[more] += re.sub(rb"\d\d\.wav", b"77.wav", files[more].splitlines(keepends=True)[0])
    path.write_bytes(pack(files))
    assert said(check_submission(path, year)) == []
    found = said(check_submission(path, year, clips))
    assert len(found) == 2 * len(kinds)
    assert sum("has no row for the test clip" in line for line in found) == len(kinds)
    assert sum("row 7: there is no recording" in line for line in found) == len(kinds)


def test_machines_without_recordings_are_told(good: dict[int, Files], tmp_path: Path) -> None:
    folder = record(tmp_path / "sounds", 2026)
    for path in (folder / "eval_data/Sander/test").iterdir():
        path.unlink()
    check = check_submission(unpack(tmp_path / "out", good[2026]), 2026, folder)
    assert said(check) == []
    assert not check.compared
    assert list(report("out", check))[-1].endswith("every clip is there, --clips with all recordings tells, 1 note")
    assert [str(finding) for finding in check.warnings] == [
        f"{folder} holds no test clip of Sander section_00, so nothing was compared there"
    ]


def test_all_systems_list_the_same_clips(good: dict[int, Files]) -> None:
    files = dict(good[2024])
    tables = [score_file(files, 2, kind, TWO) for kind in ("anomaly_score", "decision_result")]
    for name in tables:
        files[name] = b"".join(files[name].splitlines(keepends=True)[1:])
    [found] = said(check_files(files, 2024))
    assert found.startswith(f"{tables[0]}: has no row for the clip section_00_")
    assert found.endswith(f"; {score_file(files, 2).removeprefix('task2/')}, row 1, has one")


def test_recordings_of_one_machine_may_be_given(good: dict[int, Files], tmp_path: Path) -> None:
    folder = record(tmp_path / "sounds", 2026)
    check = check_submission(unpack(tmp_path / "out", good[2026]), 2026, folder / "eval_data/Sander/test")
    assert said(check) == []
    assert "BlowerDustCollector section_00, SewingMachine section_00, ToothBrush" in str(check.warnings[0])


@pytest.mark.parametrize("what", ["other year", "no folder", "no recordings"])
def test_recordings_that_are_of_no_use(good: dict[int, Files], tmp_path: Path, what: str) -> None:
    clips = tmp_path / "sounds"
    message = "sounds: is neither a folder of recordings nor a clip list"
    if what == "other year":
        record(clips, 2020)
        message = "sounds: holds no test clip of the evaluation set of 2026; is it another year?"
    elif what == "no recordings":
        clips.mkdir()
        message = "sounds: no recordings"
    with pytest.raises(InputError, match=message):
        check_submission(unpack(tmp_path / "out", good[2026]), 2026, clips)


def test_the_report_is_for_people(good: dict[int, Files]) -> None:
    files = dict(good[2026])
    check = check_files(files, 2026)
    assert list(report("a.zip", check)) == [
        "a.zip, as a submission to DCASE 2026 Task 2",
        "ok   2 systems, 20 score or decision files: "
        "well-formed; whether every clip is there, --clips with all recordings tells",
    ]
    check.compared = True
    assert list(report("a.zip", check))[1] == "ok   2 systems, 20 score or decision files: complete and well-formed"
    del files[REPORT]
    files["task2/x"] = b""
    assert list(report("a.zip", check_files(files, 2026)))[1:] == [
        "BAD  task2/x: does not belong there: every file of a submission lies in a folder "
        "task2/<Lastname>_<Institute>_task2_<1 to 4>; take it out",
        f"note {REPORT}: the technical report is missing; add it before you send the submission",
        "BAD  2 systems, 20 score or decision files: 1 mistake, 1 note",
    ]
