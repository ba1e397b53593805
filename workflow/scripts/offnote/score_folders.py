"""Folders of scores in a year's names, anyone's, and the ground truth that they are judged by: read, matched, written.

A score or decision file holds one section (in 2021: one domain of a section) and has two columns without a header: the
clip's name, and its score or its decision (1 = anomaly). Rows are matched by name everywhere.

Whoever evaluates stops at the first mistake (:func:`read_folder`); whoever checks a submission lists them all. Both
read a table by :func:`scan_rows` and compare two of them by :func:`mismatches`, which find every mistake.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from offnote.challenge import MACHINE_ID_PATTERN, Challenge, Section, load_challenge
from offnote.clips import NUMBER, Machine
from offnote.descriptions import years
from offnote.errors import InputError
from offnote.wording import first_of, printable

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Row(NamedTuple):
    """A row of a table: where it stands, counted from 1, and its number."""

    line: int
    value: float


class Mistake(NamedTuple):
    """What is wrong with a table: in which row, counted from 1; 0 for the whole file.

    Mistakes of one kind, such as ``number``, say the same of different rows.
    """

    line: int
    kind: str
    text: str


class Truth(NamedTuple):
    """The ground truth of one section: its file, 1 for each anomaly; where told, each clip's domain, and its row."""

    path: Path
    labels: Mapping[str, Row]
    domains: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class LabelledSection:
    """The scores of one section's test clips beside what is known about them.

    Attributes
    ----------
    section : Section
    path : Path
        The score file.
    clips : tuple of str
        Names, sorted, so that no figure depends on the order of rows.
    anomalous : bool array, (clips,)
    domains : array of str, (clips,)
        Empty where the year knows none.
    scores : float64 array, (clips,)
        Higher = more anomalous.
    decisions : bool array, (clips,), or None
        True where the system calls the clip an anomaly; None where no decisions are given.
    """

    section: Section
    path: Path
    clips: tuple[str, ...]
    anomalous: BoolArray
    domains: npt.NDArray[np.str_]
    scores: FloatArray
    decisions: BoolArray | None


def read_folder(folder: Path, challenge: Challenge, labels: Path | None = None) -> list[LabelledSection]:
    """Read the scores and decisions of one system, with the labels of its clips.

    Parameters
    ----------
    folder
        Holds a score file for each section, and for all or none of them a decision file; files with other names do not
        count, unless they begin as these do.
    challenge
        The year in whose names the files are.
    labels
        The evaluators' ground truth: one of their tables, the folder of them or the folder above; for 2020 their list.
        Without it the names of the clips must tell the labels.

    Returns
    -------
    list of LabelledSection
        In the order of :attr:`Section.order`.

    Raises
    ------
    InputError
        Something is missing, doubled, left over or no number; the message names the file, and the row where it has one.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    scores = _find(folder, challenge, challenge.scores)
    if not scores:
        hint = _other_years(folder, challenge) or f"; they are named {challenge.scores}"
        raise InputError(f"{folder}: holds no score file of {challenge.year}{hint}")
    decisions = _find(folder, challenge, challenge.decisions) if challenge.decisions else {}
    _refuse_unknown_sections(challenge, scores)
    _require_pairs(folder, challenge, scores, decisions)
    _require_whole_machines(folder, challenge, scores)
    truths = None if labels is None else _read_truths(labels, challenge)
    if truths is not None:
        _require_truths(folder, challenge, scores, truths)
    return [
        _read_section(section, scores[section], decisions.get(section), challenge, truths[section] if truths else None)
        for section in sorted(scores, key=lambda section: section.order)
    ]


def absent_files(challenge: Challenge, sections: Sequence[Section]) -> list[str]:
    """List the score files that would make the sets that `sections` are of complete.

    Examples
    --------
    >>> absent_files(load_challenge(2026), [Section("Sander", "section_00"), Section("ToyDrone", "section_00")])[:1]
    ['anomaly_score_BlowerDustCollector_section_00_test.csv']
    """
    absent = []
    for kind in challenge.machines:
        wanted = [section for machine in challenge.machines_of(kind) for section in challenge.files_of(machine)]
        if set(wanted) & set(sections):
            absent += [challenge.name(challenge.scores, section) for section in wanted if section not in sections]
    return sorted(absent)


def _find(folder: Path, challenge: Challenge, template: str) -> dict[Section, Path]:
    found = {}
    for path in sorted(folder.iterdir()):
        if section := challenge.parse(path.name, template):
            found[section] = path
        elif challenge.owns(path.name, template):
            hint = _other_years(folder, challenge) or "; rename it, or take it out of the folder"
            raise InputError(f"{path}: is not named as the files of {challenge.year} are, {template}{hint}")
    return found


def _other_years(folder: Path, challenge: Challenge) -> str:
    """Name the years whose names the folder's score files have, for the end of a sentence."""
    names = [path.name for path in folder.iterdir() if challenge.owns(path.name, challenge.scores)]
    fitting = [str(year) for year in years() if names and all(map(load_challenge(year).parse, names))]
    return f"; all score files are named as in {', '.join(fitting)}, so try --year {fitting[0]}" if fitting else ""


def _refuse_unknown_sections(challenge: Challenge, scores: Mapping[Section, Path]) -> None:
    """Refuse a section that a machine type of the year does not have; unknown types may have any."""
    for section, path in scores.items():
        known = challenge.sections_of(section.machine_type)
        if known and section.machine_id not in known:
            raise InputError(
                f"{path}: {section.machine_type} has no {section.machine_id} in {challenge.year}, only "
                f"{', '.join(sorted(known))}; is it another year?"
            )


def _require_pairs(
    folder: Path, challenge: Challenge, scores: Mapping[Section, Path], decisions: Mapping[Section, Path]
) -> None:
    """Refuse a score file without its decision file, where others have one, and the other way round."""
    kinds = ((scores, decisions, challenge.decisions), (decisions, scores, challenge.scores))
    for here, there, template in kinds:
        for section in sorted(here.keys() - there.keys()) if decisions else ():
            missing = folder / challenge.name(template, section)
            raise InputError(f"{missing}: is missing, though {here[section].name} is there")


def _require_whole_machines(folder: Path, challenge: Challenge, scores: Mapping[Section, Path]) -> None:
    """Refuse a folder that lacks a section of a machine type or a domain of a section, though others are there.

    A system may be judged on some machine types or some sections only; then what it leaves out, it leaves out for all.
    """
    present = {section.machine_id for section in scores}
    machines = {section.machine for section in scores}
    for types in challenge.machines.values():
        for machine_type in {machine.machine_type for machine in machines} & types.keys():
            known = {Machine(machine_type, machine_id) for machine_id in types[machine_type]}
            if known & machines:
                machines |= {machine for machine in known if machine.machine_id in present}
    wanted = {section for machine in machines for section in challenge.files_of(machine)}
    for section in sorted(wanted - scores.keys()):
        missing = folder / challenge.name(challenge.scores, section)
        others = sorted(path.name for other, path in scores.items() if other.machine_type == section.machine_type)
        raise InputError(f"{missing}: is missing, though {others[0]} is there")


def _require_truths(
    folder: Path, challenge: Challenge, scores: Mapping[Section, Path], truths: Mapping[Section, Truth]
) -> None:
    """Refuse a score file without ground truth, and ground truth without a score file."""
    for section in sorted(truths.keys() - scores.keys()):
        missing = folder / challenge.name(challenge.scores, section)
        raise InputError(f"{missing}: is missing, though {truths[section].path} has labels for it")
    for section in sorted(scores.keys() - truths.keys()):
        raise InputError(
            f"{scores[section]}: the ground truth has no labels for it; take the file out of the folder, or leave "
            "--labels away where the names of the clips tell the labels"
        )


def _read_section(
    section: Section, path: Path, decision_path: Path | None, challenge: Challenge, truth: Truth | None
) -> LabelledSection:
    scores = _read_rows(path)
    if truth is None:
        known = {clip: _read_name(path, row.line, clip, section, challenge) for clip, row in scores.items()}
    else:
        _match(path, scores, truth.path, truth.labels)
        known = {clip: _read_truth(clip, section, challenge, truth) for clip in truth.labels}
    decisions = None
    if decision_path is not None:
        decisions = _read_rows(decision_path, binary=True)
        _match(decision_path, decisions, path, scores)
    clips = tuple(sorted(scores))
    return LabelledSection(
        section,
        path,
        clips,
        np.array([known[clip][0] for clip in clips], dtype=bool),
        np.array([known[clip][1] for clip in clips], dtype=str),
        np.array([scores[clip].value for clip in clips]),
        None if decisions is None else np.array([decisions[clip].value == 1.0 for clip in clips], dtype=bool),
    )


def _match(path: Path, rows: Mapping[str, Row], other: Path, wanted: Mapping[str, Row]) -> None:
    """Refuse two files that do not have the same clips."""
    _refuse(path, mismatches(rows, wanted, str(other)))


def mismatches(rows: Mapping[str, Row], wanted: Mapping[str, Row], other: str) -> list[Mistake]:
    """Find the rows of a table whose clips are not in the table `other`, and tell of the clips that only that one has.

    Examples
    --------
    >>> mismatches({"a.wav": Row(1, 0.5)}, {}, "decisions.csv")[0].text
    'there is no clip a.wav in decisions.csv; both must list the same clips'
    """
    found = [
        Mistake(row.line, "stranger", f"there is no clip {printable(clip)} in {other}; both must list the same clips")
        for clip, row in rows.items()
        if clip not in wanted
    ]
    missing = [clip for clip in wanted if clip not in rows]
    if missing:
        named = first_of([printable(clip) for clip in missing])
        text = f"has no row for the clip {named}; {other}, row {wanted[missing[0]].line}, has one"
        found.append(Mistake(0, "missing", text))
    return found


def _refuse(path: Path, mistakes: Sequence[Mistake]) -> None:
    """Raise the first mistake that was found in a file, if any."""
    if mistakes:
        line, _, text = mistakes[0]
        raise InputError(f"{path}, row {line}: {text}" if line else f"{path}: {text}")


def _read_name(path: Path, line: int, clip: str, section: Section, challenge: Challenge) -> tuple[bool, str]:
    """Return from the name of a clip whether it is anomalous, and its domain."""
    where = f"{path}, row {line}"
    found = re.fullmatch(challenge.clip, clip)
    if not found:
        raise InputError(
            f"{where}: {clip!r} is not named as a labelled test clip of {challenge.year}; where names do not tell the "
            "labels, give the ground truth with --labels"
        )
    groups = found.groupdict(default="")
    domain = groups.get("domain", "")
    if groups["machine_id"] != section.machine_id or section.domain not in ("", domain):
        raise InputError(
            f"{where}: the clip {clip} belongs into another file than that of {' '.join(filter(None, section))}"
        )
    return groups["label"] == "anomaly", domain


def _read_truth(clip: str, section: Section, challenge: Challenge, truth: Truth) -> tuple[bool, str]:
    """Return from the ground truth whether a clip is anomalous, and its domain; its name may not say otherwise."""
    label, domain = truth.labels[clip], _domain_of(clip, section, challenge, truth)
    where = f"{truth.path}, row {label.line}"
    anomalous = label.value == 1.0
    if re.fullmatch(challenge.clip, clip):
        named_anomalous, named_domain = _read_name(truth.path, label.line, clip, section, challenge)
        if named_anomalous != anomalous:
            told = "an anomaly" if anomalous else "normal"
            raise InputError(f"{where}: the clip {clip} is {told} here, and its name says otherwise; mend the table")
        if named_domain != domain:
            _, where = truth.domains.get(clip, (domain, where))
            raise InputError(
                f"{where}: the clip {clip} is of the {domain} domain here, and its name says otherwise; mend the table"
            )
    return anomalous, domain


def _domain_of(clip: str, section: Section, challenge: Challenge, truth: Truth) -> str:
    """Return a clip's domain: the file's, the ground truth's, or what the clip's name says."""
    if section.domain or not challenge.domains:
        return section.domain
    if clip in truth.domains:
        return truth.domains[clip][0]
    found = re.fullmatch(challenge.clip, clip)
    if not found:
        raise InputError(
            f"{truth.path}, row {truth.labels[clip].line}: nothing tells the domain of {clip}; put the evaluators' "
            f"folder {Path(challenge.ground_truth.domains).parent} beside that of the labels"
        )
    return found["domain"]


def _read_truths(path: Path, challenge: Challenge) -> dict[Section, Truth]:
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder with labels")
    if challenge.ground_truth.list:
        return _read_list(path / challenge.ground_truth.list if path.is_dir() else path)
    pattern = Path(challenge.ground_truth.labels)
    folder = path / pattern.parent if (path / pattern.parent).is_dir() else path
    tables = sorted(folder.iterdir()) if folder.is_dir() else [path]
    found = {}
    for table in tables:
        if section := challenge.parse(table.name, pattern.name):
            labels = _read_rows(table, binary=True)
            found[section] = Truth(table, labels, _read_domains(table, labels, section, challenge))
    if not found:
        raise InputError(f"{path}: holds no ground truth of {challenge.year}; its tables are named {pattern}")
    return found


def _read_domains(
    table: Path, labels: Mapping[str, Row], section: Section, challenge: Challenge
) -> dict[str, tuple[str, str]]:
    """Read the table of domains that belongs to a table of labels; nothing where there is none."""
    if not challenge.ground_truth.domains:
        return {}
    path = table.parent.parent / challenge.name(challenge.ground_truth.domains, section)
    if not path.exists():
        return {}
    rows = _read_rows(path, binary=True)
    # What it leaves out, names may tell.
    _refuse(path, [mistake for mistake in mismatches(rows, labels, str(table)) if mistake.kind == "stranger"])
    return {clip: (challenge.domains[int(row.value)], f"{path}, row {row.line}") for clip, row in rows.items()}


def _read_list(path: Path) -> dict[Section, Truth]:
    """Read the list of 2020: a line with the machine type alone, then `name,original name,label` for its clips."""
    found: dict[Section, Truth] = {}
    tables: dict[Section, dict[str, Row]] = {}
    machine_type = ""
    try:
        lines = list(_cells(_read_bytes(path)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: {_no_table(error)}") from error
    for line, cells in lines:
        if len(cells) == 1:
            machine_type = cells[0]
            continue
        machine_id = re.search(MACHINE_ID_PATTERN, cells[0])
        if len(cells) != 3 or not machine_type or not machine_id:
            raise InputError(f"{path}, row {line}: must be a machine type, or a clip, its original name and its label")
        section = Section(machine_type, machine_id[0])
        _refuse(path, _add(line, tables.setdefault(section, {}), cells[0], cells[2], True))
        found[section] = Truth(path, tables[section], {})
    if not found:
        raise InputError(f"{path}: lists no clip")
    return found


def _read_rows(path: Path, binary: bool = False) -> dict[str, Row]:
    """Read a table of clips and numbers, by clip; `binary` admits 0 and 1 only."""
    rows, mistakes = scan_rows(_read_bytes(path), binary)
    _refuse(path, mistakes)
    return rows


def ground_truth_files(
    challenge: Challenge, truths: Mapping[Section, Mapping[str, tuple[bool, str]]]
) -> dict[str, str]:
    r"""Return ground truth as the year's evaluators publish it, by name: :func:`read_folder` reads it back.

    Parameters
    ----------
    challenge
        The year.
    truths
        For each section, whether a clip is an anomaly, and its domain, by the clip's name.

    Examples
    --------
    >>> ground_truth_files(load_challenge(2020), {Section("fan", "id_01"): {"id_01_00000000.wav": (True, "")}})
    {'eval_data_list.csv': 'fan\nid_01_00000000.wav,anomaly_id_01_00000000.wav,1\n'}
    """
    truth, files = challenge.ground_truth, {}
    if truth.list:
        by_type: dict[str, list[str]] = {}
        for section, clips in sorted(truths.items()):
            rows = by_type.setdefault(section.machine_type, [section.machine_type])
            rows += [
                f"{clip},{'anomaly' if anomalous else 'normal'}_{clip},{int(anomalous)}"
                for clip, (anomalous, _) in sorted(clips.items())
            ]
        return {truth.list: "".join(f"{row}\n" for rows in by_type.values() for row in rows)}
    for section, clips in truths.items():
        ordered = sorted(clips.items())
        labels = "".join(f"{clip},{int(anomalous)}\n" for clip, (anomalous, _) in ordered)
        files[challenge.name(truth.labels, section)] = labels
        if truth.domains:
            domains = "".join(f"{clip},{challenge.domains.index(domain)}\n" for clip, (_, domain) in ordered)
            files[challenge.name(truth.domains, section)] = domains
    return files


def scan_rows(content: bytes, binary: bool = False) -> tuple[dict[str, Row], list[Mistake]]:
    r"""Read a table of clips and numbers, and find everything that is wrong with its rows.

    Parameters
    ----------
    content
        A CSV file: a clip's name and a number in each row.
    binary
        Whether only 0 and 1 are numbers here.

    Returns
    -------
    dict of str to Row
        By clip; NaN where there is no finite number.
    list of Mistake
        In the order of rows.

    Examples
    --------
    >>> rows, mistakes = scan_rows(b"a.wav,0.5\nb.wav,high\na.wav,1\n")
    >>> list(rows), [mistake.line for mistake in mistakes]
    (['a.wav', 'b.wav'], [2, 3])
    """
    rows: dict[str, Row] = {}
    mistakes: list[Mistake] = []
    try:
        for line, cells in _cells(content):
            if len(cells) == 2:
                mistakes += _add(line, rows, cells[0], cells[1], binary)
            else:
                count = "one column" if len(cells) == 1 else f"{len(cells)} columns"
                text = f"has {count}; it must have a clip's name and a number"
                mistakes.append(Mistake(line, "columns", text))
                rows.setdefault(cells[0], Row(line, math.nan))
    except (UnicodeDecodeError, csv.Error) as error:
        mistakes.append(Mistake(0, "unreadable", _no_table(error)))
    if not rows and not mistakes:
        mistakes.append(Mistake(0, "empty", "lists no clip"))
    return rows, mistakes


def _add(line: int, rows: dict[str, Row], clip: str, text: str, binary: bool) -> list[Mistake]:
    """Add a row, and return what is wrong with it."""
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    is_word = re.fullmatch(r"[^\W\d]+", text) and text.lower() not in ("nan", "inf", "infinity")
    header = "; if it is a header, take it out" if line == 1 and is_word else ""
    mistakes = []
    if binary and value not in (0.0, 1.0):
        mistakes.append(Mistake(line, "number", f"{text!r} is neither 0 nor 1{header}"))
    elif not math.isfinite(value):
        mistakes.append(Mistake(line, "number", f"{text!r} is not a finite number; every clip needs a score{header}"))
    if clip in rows:
        again = f"the clip {clip} stands in row {rows[clip].line} already; keep one of them"
        mistakes.append(Mistake(line, "double", again))
    rows.setdefault(clip, Row(line, value if math.isfinite(value) else math.nan))
    return mistakes


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _cells(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not blank, each with its line."""
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    for cells in reader:
        if any(cells):
            yield reader.line_num, [cell.strip() for cell in cells]


def _no_table(error: Exception) -> str:
    return f"is not a CSV file in UTF-8 ({error})"
