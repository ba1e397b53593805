"""Whether a submission is complete and well-formed for its year: everything that is wrong with it, not just the first.

A submission is a zip archive of one folder ``task2`` with a folder for each system. Whatever form it lies in, zip or
folder, its files are named here as they are in the archive.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from offnote.challenge import Challenge, Package, Section, load_challenge, require_set
from offnote.clips import NUMBER, read_clips
from offnote.datasets import find_recordings, load_layout
from offnote.descriptions import name_of, years
from offnote.errors import InputError
from offnote.meta import meta_mistakes, package_of, read_meta
from offnote.package_files import (
    LABEL,
    LABEL_FORM,
    META,
    REPORT,
    ROOT,
    SYSTEMS,
    Content,
    Finding,
    is_of_a_system,
    read_archive,
    read_folder,
)
from offnote.score_folders import Mistake, Row, mismatches, scan_rows
from offnote.wording import counted, first_of

PDF = b"%PDF-"

FileMap = Mapping[str, bytes]


@dataclass
class Check:
    """What was found in a submission.

    Attributes
    ----------
    year : int
        The year that it was checked for.
    systems : list of str
        The folders that were taken for systems.
    tables : int
        Score and decision files that were read.
    mistakes, warnings : list of Finding
        What must be mended, and what may be as it should be.
    compared : bool
        Whether the rows of all files were compared with recordings: a clip that every file leaves out goes unseen
        without.
    """

    year: int
    systems: list[str] = field(default_factory=list)
    tables: int = 0
    mistakes: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    compared: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the findings as one plain object."""
        return {"ok": not self.mistakes} | asdict(self)


def check_submission(path: Path, year: int, clips: Path | None = None) -> Check:
    """Check a submission, or one system of it.

    Parameters
    ----------
    path
        The zip archive, the folder ``task2`` or one that holds it, or the folder of one system.
    year
        Such as 2022.
    clips
        The recordings of the evaluation set, a folder or a clip list (``.tsv``): then every test clip needs its row.

    Raises
    ------
    InputError
        There is no such year or path, the year's evaluation set is not known yet, the folder is none of these, or
        `clips` holds no test clip of the year.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     system = Path(folder) / "Lastname_Institute_task2_1"
    ...     system.mkdir()
    ...     found = check_submission(system, 2020)
    >>> print(found.mistakes[1])
    task2/Lastname_Institute_task2_1/anomaly_score_ToyCar_id_05.csv: is missing
    """
    challenge = load_challenge(year)
    require_set(challenge, "evaluation")
    package = package_of(challenge)
    wanted = {} if clips is None else _list_clips(clips, challenge, package)
    check = _check(read_folder(path) if path.is_dir() else read_archive(path), challenge, package, wanted)
    if absent := [" ".join(filter(None, part)) for part in challenge.evaluated() if wanted and part not in wanted]:
        text = f"{clips} holds no test clip of {', '.join(absent)}, so nothing was compared there"
        check.warnings.append(Finding("", text))
    check.compared = clips is not None and not absent
    return check


def check_files(files: FileMap, year: int) -> Check:
    """Check a submission that is not written yet.

    Parameters
    ----------
    files
        What each file holds, by its name in the archive.
    year
        Such as 2022.
    """
    challenge = load_challenge(year)
    require_set(challenge, "evaluation")
    return _check(Content({**files}), challenge, package_of(challenge), {})


def report(name: str, check: Check) -> Iterator[str]:
    """Yield the lines that tell a person what was found."""
    yield f"{name}, as a submission to DCASE {check.year} Task 2"
    yield from (f"BAD  {finding}" for finding in check.mistakes)
    yield from (f"note {finding}" for finding in check.warnings)
    found = f"{counted(len(check.systems), 'system')}, {counted(check.tables, 'score or decision file')}: "
    # Without all recordings, a clip that every file leaves out goes unseen.
    untold = "whether every clip is there, --clips with all recordings tells"
    good = "complete and well-formed" if check.compared else f"well-formed; {untold}"
    wrong = counted(len(check.mistakes), "mistake") if check.mistakes else good
    yield f"{'BAD ' if check.mistakes else 'ok  '} {found}{wrong}" + (
        f", {counted(len(check.warnings), 'note')}" if check.warnings else ""
    )


def _check(content: Content, challenge: Challenge, package: Package, clips: Mapping[Section, frozenset[str]]) -> Check:
    check = Check(challenge.year, mistakes=content.mistakes)
    systems: dict[str, dict[str, bytes | None]] = {}
    for folder in sorted(content.folders):
        if folder.startswith(f"{ROOT}/") and folder.count("/") == 1 and LABEL.fullmatch(folder.split("/")[1]):
            systems[folder] = {}
    for name in sorted(content.files):
        folder, _, file = name.rpartition("/")
        if folder.startswith(f"{ROOT}/") and folder.count("/") == 1:
            systems.setdefault(folder, {})[file] = content.files[name]
    # A folder that is called otherwise is a system only where it holds something of one.
    systems = {
        folder: files
        for folder, files in systems.items()
        if LABEL.fullmatch(folder.split("/")[1]) or any(map(is_of_a_system, files))
    }
    check.systems = [folder.split("/")[1] for folder in systems]
    _check_team(content, check, challenge)
    first: dict[Section, tuple[str, Mapping[str, Row]]] = {}
    for folder, files in systems.items():
        _System(folder, files, challenge, package, clips, first, check).examine()
    inside = {f"{folder}/{file}" for folder, files in systems.items() for file in files}
    for name in sorted(content.files.keys() - inside):
        if not any(finding.place == name for finding in check.mistakes):
            check.mistakes.append(Finding(name, _stray(name)))
    known = {ROOT, *systems}
    for folder in sorted(content.folders - known):
        if not any(name.startswith(f"{folder}/") for name in (*content.files, *content.folders)):
            check.mistakes.append(Finding(folder, "is an empty folder that does not belong there; take it out"))
    return check


def _stray(name: str) -> str:
    where = "in the folder of a system" if name.count("/") == 2 else f"in a folder {ROOT}/{LABEL_FORM}"
    return f"does not belong there: every file of a submission lies {where}; take it out"


def _check_team(content: Content, check: Check, challenge: Challenge) -> None:
    found = [match for match in map(LABEL.fullmatch, check.systems) if match]
    teams = sorted({match["team"] for match in found})
    numbers = [int(match["number"]) for match in found]

    def say(text: str) -> None:
        check.mistakes.append(Finding("", text))

    if not check.systems and not content.mistakes:
        say(f"the submission holds no system; each has a folder {ROOT}/{LABEL_FORM}")
    if len(check.systems) > SYSTEMS:
        say(f"the submission holds {len(check.systems)} systems; a team may send {SYSTEMS}")
    if len(teams) > 1:
        say(f"the systems are of several teams, {', '.join(teams)}; a submission is of one")
    elif content.whole and sorted(numbers) != list(range(1, len(numbers) + 1)):
        stated = ", ".join(map(str, sorted(numbers)))
        say(f"the systems are numbered {stated}; count them from 1, without a gap")
    if fitting := _fitting_years(content.files, challenge):
        say(f"the score files are named as those of {fitting}; is it another year?")


def _fitting_years(files: Iterable[str], challenge: Challenge) -> str:
    """Name other years whose evaluation sets the score files are of, where they are not of this one's."""
    names = {name.rpartition("/")[2] for name in files}
    names = {name for name in names if challenge.owns(name, challenge.scores)}
    fitting = []
    for year in years():
        other = load_challenge(year)
        own = {other.name(other.scores, section) for section in other.evaluated()}
        if names and names <= own:
            fitting.append(year)
    return "" if challenge.year in fitting else ", ".join(map(str, fitting))


@dataclass(frozen=True)
class _System:
    """One system of a submission, to be examined.

    `first` has the score file of each section that was read first, and its rows: all systems list the same clips.
    """

    folder: str
    files: Mapping[str, bytes | None]
    challenge: Challenge
    package: Package
    clips: Mapping[Section, frozenset[str]]
    first: dict[Section, tuple[str, Mapping[str, Row]]]
    check: Check

    @property
    def label(self) -> str:
        return self.folder.rpartition("/")[2]

    def say(self, file: str, text: str, rows: Iterable[int] = ()) -> None:
        self.check.mistakes.append(Finding(f"{self.folder}/{file}", text, tuple(rows)))

    def examine(self) -> None:
        if not LABEL.fullmatch(self.label):
            text = f"is not named {LABEL_FORM}, where the names are of letters, digits and hyphens; rename it"
            self.check.mistakes.append(Finding(self.folder, text))
        self.examine_meta()
        self.examine_report()
        templates = [template for template in (self.challenge.scores, self.challenge.decisions) if template]
        known = {self.label + META, self.label + REPORT}
        for section in self.challenge.evaluated():
            names = [self.challenge.name(template, section) for template in templates]
            known.update(names)
            self.examine_tables(section, names)
        for file in sorted(self.files.keys() - known):
            if not any(finding.place == f"{self.folder}/{file}" for finding in self.check.mistakes):
                self.say(file, self.explain_stranger(file))

    def explain_stranger(self, file: str) -> str:
        for template in filter(None, (self.challenge.scores, self.challenge.decisions)):
            if self.challenge.owns(file, template):
                return f"is of no section of the evaluation set of {self.challenge.year}; rename it, or take it out"
        for end in (META, REPORT):
            if file.endswith(end):
                return f"must be called {self.label}{end}; rename it, or take it out"
        return "does not belong into a submission; take it out"

    def examine_meta(self) -> None:
        file = self.label + META
        if file not in self.files:
            self.say(file, "is missing")
        elif (content := self.files[file]) is not None:
            try:
                meta = read_meta(content)
            except InputError as error:
                self.say(file, str(error))
                return
            for text in meta_mistakes(meta, self.label, self.challenge):
                self.say(file, text)

    def examine_report(self) -> None:
        file = self.label + REPORT
        content = self.files.get(file)
        if file not in self.files:
            text = "the technical report is missing; add it before you send the submission"
            self.check.warnings.append(Finding(f"{self.folder}/{file}", text))
        elif content is not None and not content.startswith(PDF):
            self.say(file, "is no PDF file")

    def examine_tables(self, section: Section, names: Sequence[str]) -> None:
        """Examine the score file of a section, and its decision file where the year has one."""
        tables: dict[str, dict[str, Row]] = {}
        for file in names:
            if file not in self.files:
                self.say(file, "is missing")
            elif (content := self.files[file]) is not None:
                self.check.tables += 1
                rows, mistakes = scan_rows(content, binary=file != names[0])
                # A row without a number whose clip has no clip's name may be a header: nothing else is made of it.
                rows = {clip: row for clip, row in rows.items() if self.named(clip) or not math.isnan(row.value)}
                if not any(mistake.kind == "unreadable" for mistake in mistakes):
                    tables[file] = rows
                    mistakes += form_mistakes(content, binary=file != names[0])
                    mistakes += self.name_mistakes(rows, section) if len(tables) == 1 else []
                    mistakes += self.clip_mistakes(rows, section)
                self.group(file, mistakes)
        if len(tables) == 2:
            (scores, own), (decisions, others) = tables.items()
            self.group(decisions, mismatches(others, own, scores))
        if names[0] in tables and section not in self.clips:
            place, known = self.first.setdefault(section, (f"{self.label}/{names[0]}", tables[names[0]]))
            self.group(names[0], mismatches(tables[names[0]], known, place))

    def group(self, file: str, mistakes: Sequence[Mistake]) -> None:
        """Say each kind of mistake once, with all its rows."""
        for kind in dict.fromkeys(mistake.kind for mistake in mistakes):
            found = sorted(mistake for mistake in mistakes if mistake.kind == kind)
            rows = (mistake.line for mistake in found if mistake.line)
            self.say(file, found[0].text, rows)

    def named(self, clip: str) -> dict[str, str]:
        """Read the name of a test clip; nothing where it is none."""
        found = re.fullmatch(self.package.clip, clip)
        return found.groupdict(default="") if found else {}

    def name_mistakes(self, rows: Mapping[str, Row], section: Section) -> Iterator[Mistake]:
        for clip, row in rows.items():
            groups = self.named(clip)
            if not groups:
                text = f"{clip!r} is not named as a test clip of the evaluation set of {self.challenge.year}"
                yield Mistake(row.line, "name", text)
            elif (groups["machine_id"], groups.get("domain", "")) != section[1:]:
                text = f"the clip {clip} belongs into another file than that of {' '.join(filter(None, section))}"
                yield Mistake(row.line, "elsewhere", text)

    def clip_mistakes(self, rows: Mapping[str, Row], section: Section) -> Iterator[Mistake]:
        """Compare the rows with the recordings, where these are given."""
        if section not in self.clips:
            return
        wanted = self.clips[section]
        if missing := sorted(wanted - rows.keys()):
            yield Mistake(0, "clip missing", f"has no row for the test clip {first_of(missing)}")
        for clip, row in rows.items():
            if clip not in wanted:
                text = f"there is no recording {clip} of {' '.join(filter(None, section))} among the given clips"
                yield Mistake(row.line, "no recording", text)


def form_mistakes(content: bytes, binary: bool = False) -> Iterator[Mistake]:
    r"""Find what a reader of score files forgives, but the form does not allow.

    Parameters
    ----------
    content
        A score or decision file.
    binary
        Whether it is a decision file.

    Examples
    --------
    >>> [mistake.text for mistake in form_mistakes(b"a.wav,1\r\nb.wav, 2\n\n")]
    ['lines must end with \\n alone, not with \\r\\n', 'has spaces around a value', 'is blank']
    """
    if content.startswith(b"\xef\xbb\xbf"):
        yield Mistake(0, "mark", "begins with a byte order mark; save it as UTF-8 without one")
    if b"\r" in content:
        yield Mistake(0, "ends", "lines must end with \\n alone, not with \\r\\n")
    if content and not content.endswith((b"\n", b"\r")):
        yield Mistake(0, "cut", "the last line has no end; is the file cut off?")
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode("utf-8-sig", errors="replace").split("\n")
    for number, line in enumerate(lines[:-1], start=1):
        cells = line.split(",")
        if not any(cell.strip() for cell in cells):
            yield Mistake(number, "blank", "is blank")
        elif '"' in line:
            yield Mistake(number, "quotes", "has quotation marks; write name and number without")
        elif any(cell != cell.strip() for cell in cells):
            yield Mistake(number, "spaces", "has spaces around a value")
        elif binary and NUMBER.fullmatch(cells[-1]) and float(cells[-1]) in (0, 1) and cells[-1] not in ("0", "1"):
            yield Mistake(number, "digit", f"{cells[-1]!r} must be written 0 or 1")


def _list_clips(path: Path, challenge: Challenge, package: Package) -> dict[Section, frozenset[str]]:
    """List the test clips of each section of the evaluation set among recordings; the others do not count."""
    sections = set(challenge.evaluated())
    found: dict[Section, set[str]] = {}
    for machine_type, machine_id, name in _test_clips(path, challenge):
        match = re.fullmatch(package.clip, name)
        groups = match.groupdict(default="") if match else {}
        section = Section(machine_type, machine_id or groups.get("machine_id", ""), groups.get("domain", ""))
        if match and section in sections:
            found.setdefault(section, set()).add(name)
    if not found:
        raise InputError(f"{path}: holds no test clip of the evaluation set of {challenge.year}; is it another year?")
    return {section: frozenset(names) for section, names in found.items()}


def _test_clips(path: Path, challenge: Challenge) -> Iterator[tuple[str, str, str]]:
    """Yield machine type, machine ID where it is known, and name of what may be test clips."""
    if path.is_dir():
        types = challenge.machines.get("evaluation", {})
        layout, above = load_layout(name_of(challenge.year)), path.absolute()
        for name in find_recordings(path):
            # A supplemental clip may be called exactly as a test clip is; the folder that it lies in tells them apart.
            read = layout.parse(name, above.as_posix())
            if read is None or read.split == "test":
                parts = (*above.parts, *name.split("/"))
                # The innermost folder counts that is called as a machine type is.
                machine_type = next((part for part in reversed(parts[:-1]) if part in types), "")
                yield machine_type, "", parts[-1]
    elif path.suffix == ".tsv" and path.is_file():
        for clip in read_clips(path):
            if clip.split == "test":
                yield clip.machine_type, clip.machine_id, clip.path.rpartition("/")[2]
    else:
        raise InputError(f"{path}: is neither a folder of recordings nor a clip list (.tsv)")
