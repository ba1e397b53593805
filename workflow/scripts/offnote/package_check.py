"""Whether a submission is complete and well-formed for its year: everything that is wrong with it, not just the first.

A submission is a zip archive of one folder ``task2`` with a folder for each system. Whatever form it lies in, zip or
folder, its files are named here as they are in the archive.
"""

from __future__ import annotations

import math
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from offnote.challenge import (
    Challenge,
    Mistake,
    Package,
    Row,
    Section,
    load_challenge,
    mismatches,
    scan_rows,
)
from offnote.clips import NUMBER, read_clips
from offnote.datasets import find_recordings, load_layout
from offnote.descriptions import years
from offnote.errors import InputError
from offnote.files import ZIP_DAMAGE
from offnote.meta import meta_mistakes, package_of, read_meta
from offnote.wording import counted

ROOT = "task2"
LABEL = re.compile(r"(?P<team>[A-Za-z0-9-]+_[A-Za-z0-9-]+)_task2_(?P<number>[1-4])")
LABEL_FORM = "<Lastname>_<Institute>_task2_<1 to 4>"
META, REPORT = ".meta.yaml", ".technical_report.pdf"
PDF = b"%PDF-"

SYSTEMS = 4
"""Systems that a team may send."""

LARGEST = 2**26
"""Bytes of a file that is still read; none of a submission comes near."""

READ = (META, REPORT, ".csv")
"""How the names end of all that a submission holds; nothing else is read."""

FileMap = Mapping[str, bytes]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or that somebody should look at.

    Attributes
    ----------
    place
        The file or folder, as the archive names it; empty for the submission as a whole.
    text
        What is wrong, and what to do.
    rows
        The rows of which that is true, counted from 1; the text speaks of the first.
    """

    place: str
    text: str
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        row = f", row {self.rows[0]}" if self.rows else ""
        more = f" (likewise {_name_rows(self.rows[1:])})" if len(self.rows) > 1 else ""
        return f"{self.place}{row}: {self.text}{more}" if self.place else self.text


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
        Whether the rows were compared with the recordings: a clip that every file leaves out goes unseen without.
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


@dataclass
class _Content:
    """The files and folders of a submission, named as in the archive, and what was wrong while they were read.

    A file is None where it could not be read, or was not because it does not belong there. `whole` is False where there
    is one system only.
    """

    files: dict[str, bytes | None] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    mistakes: list[Finding] = field(default_factory=list)
    whole: bool = True

    def complain(self, name: str, text: str) -> None:
        self.files[name] = None
        self.mistakes.append(Finding(name, text))


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
        There is no such year or path, the folder is none of these, or `clips` holds no test clip of the year.

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
    package = package_of(challenge)
    wanted = {} if clips is None else _list_clips(clips, challenge, package)
    check = _check(_read_folder(path) if path.is_dir() else _read_archive(path), challenge, package, wanted)
    if absent := [" ".join(filter(None, part)) for part in challenge.evaluated() if wanted and part not in wanted]:
        text = f"{clips} holds no test clip of {', '.join(absent)}, so nothing was compared there"
        check.warnings.append(Finding("", text))
    check.compared = clips is not None
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
    return _check(_Content({**files}), challenge, package_of(challenge), {})


def report(name: str, check: Check) -> Iterator[str]:
    """Yield the lines that tell a person what was found."""
    yield f"{name}, as a submission to DCASE {check.year} Task 2"
    yield from (f"BAD  {finding}" for finding in check.mistakes)
    yield from (f"note {finding}" for finding in check.warnings)
    found = f"{counted(len(check.systems), 'system')}, {counted(check.tables, 'score or decision file')}: "
    # Without the recordings, a clip that every file leaves out goes unseen.
    good = "complete and well-formed" if check.compared else "well-formed; whether every clip is there, --clips tells"
    wrong = counted(len(check.mistakes), "mistake") if check.mistakes else good
    yield f"{'BAD ' if check.mistakes else 'ok  '} {found}{wrong}" + (
        f", {counted(len(check.warnings), 'note')}" if check.warnings else ""
    )


def _name_rows(rows: Sequence[int]) -> str:
    """Name rows, those that follow each other by the first and last of them.

    >>> _name_rows([3]), _name_rows([3, 5, 6, 7, 9])
    ('row 3', 'rows 3, 5 to 7, 9')
    """
    spans: list[list[int]] = []
    for row in rows:
        if spans and row == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], row]
        else:
            spans.append([row])
    return f"row{'s' * (len(rows) > 1)} {', '.join(' to '.join(map(str, span)) for span in spans)}"


# Reading what lies there.


def _read_folder(path: Path) -> _Content:
    resolved = path.resolve()
    content = _Content()
    if (resolved / ROOT).is_dir():
        resolved = resolved / ROOT
    if resolved.name == ROOT:
        above = ROOT
    elif LABEL.fullmatch(resolved.name) or any(_is_of_a_system(entry.name) for entry in resolved.iterdir()):
        above, content.whole = f"{ROOT}/{resolved.name}", False
    else:
        raise InputError(
            f"{path}: is neither a folder {ROOT} nor the folder of a system, {LABEL_FORM}, nor a zip archive"
        )
    content.folders.add(above)
    for parent, folders, files in os.walk(resolved, followlinks=True):
        folders.sort()
        inner = "/".join((above, *Path(parent).relative_to(resolved).parts))
        content.folders |= {f"{inner}/{name}" for name in folders}
        for name in sorted(files):
            _read_file(Path(parent) / name, f"{inner}/{name}", content)
    return content


def _is_of_a_system(name: str) -> bool:
    return name.endswith((META, ".csv"))


def _read_file(path: Path, name: str, content: _Content) -> None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            content.complain(name, "is no plain file; take it out")
        elif status.st_size > LARGEST:
            content.complain(name, _too_large(status.st_size))
        else:
            content.files[name] = path.read_bytes() if name.endswith(READ) else None
    except OSError as error:
        content.complain(name, f"cannot be read ({error.strerror})")


def _too_large(size: int) -> str:
    return f"has {size} bytes, more than any file of a submission; take it out"


def _read_archive(path: Path) -> _Content:
    content = _Content()
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    with stream:
        try:
            members = (archive := zipfile.ZipFile(stream)).infolist()
        except ZIP_DAMAGE as error:
            text = f"the file is no zip archive, or a damaged one ({error}); pack it again"
            content.mistakes.append(Finding("", text))
            return content
        for member in members:
            _read_member(archive, member, content)
    return _with_root(content)


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, content: _Content) -> None:
    name = member.filename.rstrip("/")
    if _leads_out(member.filename):
        text = "its name could lead out of the folder that it is unpacked in; use plain names below task2"
        content.mistakes.append(Finding(repr(member.filename), text))
    elif member.is_dir():
        content.folders.add(name)
    elif name in content.files:
        content.mistakes.append(Finding(name, "stands in the archive more than once; keep one of them"))
    elif member.flag_bits & 0x1:
        content.complain(name, "is encrypted; pack it without a password")
    elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        content.complain(name, "is no plain file; put the file itself into the archive")
    elif member.file_size > LARGEST:
        content.complain(name, _too_large(member.file_size))
    else:
        try:
            # What does not belong there is read too, for it may be what is damaged, but it is not kept.
            read = archive.read(member)
            content.files[name] = read if name.endswith(READ) else None
        except ZIP_DAMAGE as error:
            content.complain(name, f"is damaged in the archive ({error}); pack it again")


def _leads_out(name: str) -> bool:
    r"""Tell whether a member's name is absolute, leaves its folder, or means different things to different programs.

    >>> [name for name in ("task2/a", "task2/", "/a", "a/../b", "C:a", "a\\b", "a//b") if _leads_out(name)]
    ['/a', 'a/../b', 'C:a', 'a\\b', 'a//b']
    """
    parts = name.removesuffix("/").split("/")
    return "\\" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts)


def _with_root(content: _Content) -> _Content:
    """Name everything as if it lay in the folder ``task2``, where it does not but it is clear what does."""
    names = [name.split("/") for name in (*content.files, *content.folders)]
    if not names or any(parts[0] == ROOT for parts in names):
        return content
    above = next((parts[: parts.index(ROOT)] for parts in names if ROOT in parts), None)
    if above is not None:
        old = f"{'/'.join(above)}/{ROOT}"
        text = f"the folder {ROOT} lies in {'/'.join(above)}; it must stand at the top of the archive"
    elif any(LABEL.fullmatch(parts[0]) for parts in names):
        old = ""
        text = f"there is no folder {ROOT}; the folders of the systems must stand in one"
    elif old := next((parts[0] for parts in names if len(parts) > 1 and LABEL.fullmatch(parts[1])), ""):
        text = f"the folder {old} at the top of the archive must be called {ROOT}; rename it"
    else:
        return content
    moved = _Content(whole=content.whole, mistakes=[Finding("", text)])

    def move(name: str) -> str:
        if not old:
            return f"{ROOT}/{name}"
        return ROOT + name.removeprefix(old) if f"{name}/".startswith(f"{old}/") else name

    moved.files = {move(name): read for name, read in content.files.items()}
    moved.folders = {move(name) for name in content.folders if not old.startswith(f"{name}/")}
    moved.mistakes += [replace(finding, place=move(finding.place)) for finding in content.mistakes]
    return moved


# Judging it.


def _check(content: _Content, challenge: Challenge, package: Package, clips: Mapping[Section, frozenset[str]]) -> Check:
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
        if LABEL.fullmatch(folder.split("/")[1]) or any(map(_is_of_a_system, files))
    }
    check.systems = [folder.split("/")[1] for folder in systems]
    _check_team(content, check, challenge)
    for folder, files in systems.items():
        _System(folder, files, challenge, package, clips, check).examine()
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


def _check_team(content: _Content, check: Check, challenge: Challenge) -> None:
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
    """One system of a submission, to be examined."""

    folder: str
    files: Mapping[str, bytes | None]
    challenge: Challenge
    package: Package
    clips: Mapping[Section, frozenset[str]]
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
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            yield Mistake(0, "clip missing", f"has no row for the test clip {missing[0]}{more}")
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


# The clips of the evaluation set.


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
        layout, above = load_layout(f"dcase{challenge.year}"), path.absolute()
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
