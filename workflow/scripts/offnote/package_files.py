"""The files of a submission, in a folder or a zip archive of whomever: read, and nothing more than that.

What cannot be read, or may not lie there, is told in findings. Nothing of an archive is unpacked, and in a folder no
link to another folder is followed; a link to a file stands for that file.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from offnote.errors import InputError
from offnote.files import ZIP_DAMAGE, ZIP_METHODS
from offnote.wording import printable

ROOT = "task2"
SYSTEMS = 4
"""Systems that a team may send."""
LABEL = re.compile(rf"(?P<team>[A-Za-z0-9-]+_[A-Za-z0-9-]+)_{ROOT}_(?P<number>[1-{SYSTEMS}])")
LABEL_FORM = f"<Lastname>_<Institute>_{ROOT}_<1 to {SYSTEMS}>"
META, REPORT = ".meta.yaml", ".technical_report.pdf"

LARGEST = 2**26
"""Bytes of a file that is still read; none of a submission comes near."""

PIECE = 2**16
"""Bytes that are inflated at once."""

MOST = 2**28
"""Bytes of all files together that are still read."""

READ = (META, REPORT, ".csv")
"""How the names end of all that a submission holds; nothing else is read."""


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
        return printable(f"{self.place}{row}: {self.text}{more}" if self.place else self.text)


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


@dataclass
class Content:
    """The files and folders of a submission, named as in the archive, and what was wrong while they were read.

    A file is None where it could not be read, or was not because it does not belong there. `whole` is False where there
    is one system only. `room` is left of what is read of all files together.
    """

    files: dict[str, bytes | None] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    mistakes: list[Finding] = field(default_factory=list)
    whole: bool = True
    room: int = field(default_factory=lambda: MOST)

    def complain(self, name: str, text: str) -> None:
        """Tell what is wrong with a file, which so counts as not read."""
        self.files[name] = None
        self.mistakes.append(Finding(name, text))

    def has_room(self, name: str, size: int) -> bool:
        """Make room for a file that is to be read, or tell that it is too large."""
        if size > LARGEST:
            self.complain(name, f"has {size} bytes, more than any file of a submission; take it out")
        elif size > self.room:
            self.complain(
                name, f"is not read: no submission has more than {MOST} bytes in all; take out what is not of it"
            )
        else:
            self.room -= size
            return True
        return False


def read_folder(path: Path) -> Content:
    """Read the folder ``task2``, one that holds it, or the folder of one system.

    Raises
    ------
    InputError
        It is none of these.
    """
    resolved = path.resolve()
    content = Content()
    if (resolved / ROOT).is_dir():
        resolved = resolved / ROOT
    if resolved.name == ROOT:
        above = ROOT
    elif LABEL.fullmatch(resolved.name) or any(is_of_a_system(entry.name) for entry in resolved.iterdir()):
        above, content.whole = f"{ROOT}/{resolved.name}", False
    else:
        raise InputError(
            f"{path}: is neither a folder {ROOT} nor the folder of a system, {LABEL_FORM}, nor a zip archive"
        )
    content.folders.add(above)
    for parent, folders, files in os.walk(resolved):
        folders.sort()
        inner = "/".join((above, *Path(parent).relative_to(resolved).parts))
        links = {name for name in folders if Path(parent, name).is_symlink()}
        content.folders |= {f"{inner}/{name}" for name in folders if name not in links}
        for name in sorted(links):
            content.complain(f"{inner}/{name}", "is a link to a folder; put the folder itself in its place")
        for name in sorted(files):
            _read_file(Path(parent) / name, f"{inner}/{name}", content)
    return content


def is_of_a_system(name: str) -> bool:
    """Tell whether a file is called as one of a system."""
    return name.endswith((META, ".csv"))


def _read_file(path: Path, name: str, content: Content) -> None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            content.complain(name, "is no plain file; take it out")
        elif not name.endswith(READ):
            content.files[name] = None
        elif content.has_room(name, status.st_size):
            content.files[name] = path.read_bytes()
    except OSError as error:
        content.complain(name, f"cannot be read ({error.strerror})")


def read_archive(path: Path) -> Content:
    """Read a zip archive; its files get the names that they would have if it were packed rightly.

    Raises
    ------
    InputError
        There is no such file, or it may not be read.
    """
    content = Content()
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


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, content: Content) -> None:
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
    elif member.compress_type not in ZIP_METHODS:
        content.complain(name, "is packed by an unusual method; pack it as zip programs do by themselves (deflate)")
    elif content.has_room(name, member.file_size):
        try:
            # What does not belong there is read too, for it may be what is damaged, but it is not kept. In pieces, for
            # what hides its size is inflated whole otherwise.
            with archive.open(member) as stream:
                read = b"".join(iter(lambda: stream.read(PIECE), b""))
            content.files[name] = read if name.endswith(READ) else None
        except ZIP_DAMAGE as error:
            content.complain(name, f"is damaged in the archive ({error}); pack it again")


def _leads_out(name: str) -> bool:
    r"""Tell whether a member's name is absolute, leaves its folder, or means different things to different programs.

    >>> [name for name in ("task2/a", "task2/", "/a", "a/../b", "C:a", "a\\b", "a//b", "a\n") if _leads_out(name)]
    ['/a', 'a/../b', 'C:a', 'a\\b', 'a//b', 'a\n']
    """
    parts = name.removesuffix("/").split("/")
    return not name.isprintable() or "\\" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts)


def _with_root(content: Content) -> Content:
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
    moved = Content(whole=content.whole, mistakes=[Finding("", text)])

    def move(name: str) -> str:
        if not old:
            return f"{ROOT}/{name}"
        return ROOT + name.removeprefix(old) if f"{name}/".startswith(f"{old}/") else name

    moved.files = {move(name): read for name, read in content.files.items()}
    moved.folders = {move(name) for name in content.folders if not old.startswith(f"{name}/")}
    moved.mistakes += [replace(finding, place=move(finding.place)) for finding in content.mistakes]
    return moved
