"""The challenge's yearly formats: how score files, decision files and ground truth are called, and what they hold.

The facts of a year stand under the key ``challenge`` of its file in ``config/datasets``, so that a new year is a new
file and no new code. A score or decision file holds one section (in 2021: one domain of a section) and has two columns
without a header: the clip's name, and its score or its decision (1 = anomaly). Rows are matched by name everywhere.

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
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError, model_validator

from offnote.clips import NUMBER, Machine
from offnote.config import NAME_PATTERN, Settings
from offnote.descriptions import (
    Described,
    MachineSet,
    RegularExpression,
    describe,
    mistake_in,
    name_of,
    path_of,
    stated_challenge,
    with_fields,
    years,
)
from offnote.errors import InputError
from offnote.wording import first_of, printable

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MACHINE_ID_PATTERN = r"[a-z]+_\d{2}"

DECISION_MEASURES = frozenset({"precision", "recall", "f1_score"})
"""What needs decisions; the other measures need scores."""

FileName = Annotated[str, with_fields("machine_type", "machine_id", "domain")]
ClipName = Annotated[str, with_fields("machine_type", "machine_id", "number", "domain", "label", "attributes")]


class Figure(Described):
    """One figure of a year's results: a measure, and the clips that it is taken over.

    Attributes
    ----------
    measure
        ``f1_ev`` is explained at :func:`offnote.official.f1_ev`.
    domain
        Only clips of this domain count; empty for both.
    normal
        Only normal clips of this domain count, but the anomalies of both.
    """

    measure: Literal["auc", "pauc", "precision", "recall", "f1_score", "f1_ev"]
    domain: str = ""
    normal: str = ""


class OfficialScore(Described):
    """The official score: which mean, of which figures, over all sections."""

    mean: Literal["arithmetic", "harmonic"]
    of: tuple[str, ...]


class GroundTruth(Described):
    """Where the evaluators keep the labels.

    Attributes
    ----------
    labels
        A table for each score file: folder and name, with the fields of the score files' names.
    domains
        The same for the domains; empty where names tell them.
    list
        The one file with the labels of all machines, which 2020 has instead.
    """

    labels: FileName = ""
    domains: FileName = ""
    list: str = ""


class Key(Described):
    """A key of a system's description in ``meta.yaml``.

    Attributes
    ----------
    means
        What it tells; it stands above the key as a comment.
    kind
        ``text``, or several in a list; or ``count``, a whole number.
    required
        It may not be null, as every other key may where it is not applicable.
    since
        The first year that has it.
    """

    means: str
    kind: Literal["text", "count"] = "text"
    required: bool = False
    since: int = 0


class Result(Described):
    """A result of a machine type in ``meta.yaml``, in percent: which mean over its sections, of which figure."""

    mean: Literal["arithmetic", "harmonic"]
    figure: str


class Package(Described):
    """What a submission holds beside its score and decision files.

    Attributes
    ----------
    clip
        Regular expression for the name of a test clip of the evaluation set, which tells no label.
    clip_name
        Such a name, with the fields ``{machine_id}``, ``{number}`` and perhaps ``{domain}``.
    description, complexity
        The keys of these two sections of ``meta.yaml``, of all years, in the template's order.
    external_datasets
        The first year that lists the data of others that were used.
    results
        The keys of each machine type's results, in the template's order.
    inferred_from
        The year whose template the keys are of, where the year's own was not seen.
    """

    clip: RegularExpression
    clip_name: ClipName
    description: dict[str, Key]
    complexity: dict[str, Key]
    external_datasets: int
    results: dict[str, Result]
    inferred_from: int | None = None


class DemoNames(Described):
    """What the clips of the demo set in the shape of this year are called, and what is in them.

    Attributes
    ----------
    train, test
        Paths of training clips, and of test clips that tell their label, with the fields ``{machine_type}``,
        ``{machine_id}``, ``{number}`` and perhaps ``{domain}``, ``{label}`` and ``{attributes}``.
    supplemental
        The same of supplemental clips; empty where a year has none.
    hide_attributes
        Whether the clips of some machine types do not tell their attributes.
    channels
        Of a clip: one microphone, or two.
    """

    train: ClipName
    test: ClipName
    supplemental: ClipName = ""
    hide_attributes: bool = False
    channels: int = 1


class Section(NamedTuple):
    """What one score file covers: a machine's section, or where a year parts the domains one domain of it."""

    machine_type: str
    machine_id: str
    domain: str = ""

    @property
    def number(self) -> str:
        """The section's two digits."""
        return self.machine_id[-2:]

    @property
    def order(self) -> tuple[str, str, str]:
        """The place in every table: by type, by domain, by number."""
        return self.machine_type, self.domain, self.machine_id


class Challenge(Described):
    r"""What a year's files are called and hold, and how they are judged.

    Attributes
    ----------
    year
        Such as 2022.
    scores, decisions
        File names, with the fields ``{machine_type}``, ``{machine_id}`` and perhaps ``{domain}``; decisions are empty
        where a year has none.
    clip
        Regular expression for the name of a test clip that tells its label.
    ground_truth
        Where the evaluators keep the labels of the evaluation set.
    domains
        Their names, in the order of the numbers that the ground truth has for them.
    max_fpr
        The false positive rate up to which pAUC looks.
    figures
        The figures of each section by name, in the order of their columns.
    official_score
        None where the year has none for a single system.
    first_shot
        Machine types of the evaluation set are new, and no setting may be tuned for one of them: all need the same.
    machines
        The machine IDs of each machine type, by set (development, evaluation).
    package
        What a submission holds; None where the year's file does not say.
    demo
        What the clips of a demo set of the year are called; None where the year's file does not say.

    Examples
    --------
    >>> challenge = load_challenge(2022)
    >>> challenge.parse("anomaly_score_fan_section_03_test.csv")
    Section(machine_type='fan', machine_id='section_03', domain='')
    >>> challenge.name(challenge.decisions, Section("fan", "section_03"))
    'decision_result_fan_section_03_test.csv'
    """

    year: int
    scores: FileName
    decisions: FileName = ""
    clip: RegularExpression
    ground_truth: GroundTruth
    domains: tuple[str, ...] = ()
    max_fpr: float
    figures: dict[str, Figure]
    official_score: OfficialScore | None = None
    first_shot: bool = False
    machines: dict[MachineSet, dict[str, tuple[str, ...]]]
    package: Package | None = None
    demo: DemoNames | None = None

    @model_validator(mode="after")
    def _check_what_is_named(self) -> Self:
        """Refuse a figure of an unknown domain, and an official score or a result of an unknown figure."""
        domains = {name for figure in self.figures.values() for name in (figure.domain, figure.normal) if name}
        figures = set(self.official_score.of) if self.official_score else set()
        figures |= {result.figure for result in self.package.results.values()} if self.package else set()
        strangers = sorted((domains - set(self.domains)) | (figures - self.figures.keys()))
        if strangers:
            raise ValueError(f"there is no domain or figure {strangers[0]!r}")
        return self

    def name(self, template: str, section: Section) -> str:
        """Return the name of a section's file."""
        return template.format(**section._asdict())

    def parse(self, name: str, template: str = "") -> Section | None:
        """Return which section a file is of, by default a score file; None where its name is another."""
        found = self._pattern(template or self.scores).fullmatch(name)
        return Section(**found.groupdict()) if found else None

    def owns(self, name: str, template: str) -> bool:
        """Tell whether a file's name begins with the template's first words, in whatever case, however it goes on.

        Examples
        --------
        >>> challenge = load_challenge(2026)
        >>> [challenge.owns(name, challenge.scores) for name in ("Anomaly_Scores.CSV", "result.csv")]
        [True, False]
        """
        return name.casefold().startswith(template.partition("{")[0].rstrip("_"))

    def files_of(self, machine: Machine) -> list[Section]:
        """List the sections that a machine has a score file for: one, or one for each domain."""
        return [Section(*machine, domain) for domain in (self.domains if "{domain}" in self.scores else ("",))]

    def evaluated(self) -> list[Section]:
        """List the sections of the evaluation set, each of which a submission has a score file for, in their order."""
        types = self.machines.get("evaluation", {})
        machines = [Machine(name, machine_id) for name, ids in types.items() for machine_id in ids]
        return sorted((part for machine in machines for part in self.files_of(machine)), key=lambda part: part.order)

    def holds(self, kind: MachineSet, machine: Machine) -> bool:
        """Tell whether a machine is of the ``development`` or the ``evaluation`` set."""
        return machine.machine_id in self.machines.get(kind, {}).get(machine.machine_type, ())

    def sections_of(self, machine_type: str) -> set[str]:
        """Return the machine IDs of a machine type, of whichever set; none where the year does not know it."""
        return {machine_id for types in self.machines.values() for machine_id in types.get(machine_type, ())}

    def of_the_year(self, keys: Mapping[str, Key]) -> dict[str, Key]:
        """Return those keys of ``meta.yaml`` that the year has."""
        return {name: key for name, key in keys.items() if key.since <= self.year}

    @property
    def file(self) -> str:
        """The file that describes the year, for messages."""
        return f"config/datasets/{name_of(self.year)}.yaml"

    @property
    def lists_external_datasets(self) -> bool:
        """Tell whether ``meta.yaml`` lists the data of others that were used."""
        return self.package is not None and self.year >= self.package.external_datasets

    def _pattern(self, template: str) -> re.Pattern[str]:
        fields = {
            "machine_type": NAME_PATTERN,
            "machine_id": MACHINE_ID_PATTERN,
            "domain": "|".join(map(re.escape, self.domains)),
        }
        parts = re.split(r"\{(\w+)\}", template)
        return re.compile("".join(f"(?P<{p}>{fields[p]})" if i % 2 else re.escape(p) for i, p in enumerate(parts)))


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
    """The ground truth of one section: its file, 1 for each anomaly, and each clip's domain where it is told."""

    path: Path
    labels: Mapping[str, Row]
    domains: Mapping[str, str]


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


@cache
def load_challenge(year: int) -> Challenge:
    """Read the description of a year.

    Raises
    ------
    InputError
        There is none.

    Examples
    --------
    >>> load_challenge(2021).official_score.of
    ('auc', 'pauc')
    """
    if year not in years():
        raise InputError(f"there is no year {year} here; choose one of {', '.join(map(str, years()))}")
    name = name_of(year)
    try:
        return Challenge(year=year, machines=describe(name).machines, **stated_challenge(name))
    except ValidationError as error:
        raise mistake_in(path_of(name), error, ("challenge",)) from error


def challenge_of(settings: Settings) -> Challenge:
    """Return the year that a run takes part in.

    Raises
    ------
    InputError
        ``submission.year`` is empty, or there is no such year.
    """
    if settings.submission.year is None:
        raise InputError('submission.year: say for which year, as in --config "submission={year: 2024}"')
    try:
        return load_challenge(settings.submission.year)
    except InputError as error:
        raise InputError(f"submission.year: {error}") from None


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
    for types in challenge.machines.values():
        machines = [Machine(name, machine_id) for name, ids in types.items() for machine_id in ids]
        wanted = [section for machine in machines for section in challenge.files_of(machine)]
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
    machines = {Machine(section.machine_type, section.machine_id) for section in scores}
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
        known = {
            clip: (row.value == 1.0, _domain_of(clip, section, challenge, truth)) for clip, row in truth.labels.items()
        }
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


def _domain_of(clip: str, section: Section, challenge: Challenge, truth: Truth) -> str:
    """Return a clip's domain: the file's, the ground truth's, or what the clip's name says."""
    if section.domain or not challenge.domains:
        return section.domain
    if clip in truth.domains:
        return truth.domains[clip]
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


def _read_domains(table: Path, labels: Mapping[str, Row], section: Section, challenge: Challenge) -> dict[str, str]:
    """Read the table of domains that belongs to a table of labels; nothing where there is none."""
    if not challenge.ground_truth.domains:
        return {}
    path = table.parent.parent / challenge.name(challenge.ground_truth.domains, section)
    if not path.exists():
        return {}
    rows = _read_rows(path, binary=True)
    # What it leaves out, names may tell.
    _refuse(path, [mistake for mistake in mismatches(rows, labels, str(table)) if mistake.kind == "stranger"])
    return {clip: challenge.domains[int(row.value)] for clip, row in rows.items()}


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
