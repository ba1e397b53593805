"""The recordings of DCASE Task 2 from Zenodo: downloaded, verified by the record's checksums, and unpacked.

A year has three sets, each a record on Zenodo, with a zip file for each machine type. Which record and which names,
says ``config/datasets/dcase<year>.yaml``; sizes and checksums, the record itself. A download that was cut goes on where
it was, now or at the next start: what is there lies beside the archive under the name ``<archive>.<checksum>.part``.

Files come from ``<url>/records/<record>/files/<name>``, the address of the record's web page: Zenodo's API gives
another one for the same file, which knows no ranges, so that nothing could be continued there.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import shutil
import stat
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args
from urllib.parse import quote

from offnote import __version__
from offnote.config import RecordSet, Retrieve
from offnote.descriptions import describe, name_of, path_of, years
from offnote.errors import InputError
from offnote.files import ZIP_DAMAGE, ZIP_METHODS, nearest, replacing
from offnote.logs import log, progress

# Not loaded with the Snakefile, and so by every job: it takes 0.2 s.
if TYPE_CHECKING:
    import requests

T = TypeVar("T")

SETS: tuple[RecordSet, ...] = get_args(RecordSet)
DEFAULTS = Retrieve()
ARCHIVES = "archives"
# Zenodo asks programs to name themselves, and has held back those that do not.
HEADERS = {"User-Agent": f"offnote/{__version__}", "Accept-Encoding": "identity"}
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
HASHES = ("md5", "sha1", "sha256", "sha512")
BLOCK = 2**16
MEBIBYTE = 2**20
LONGEST_PAUSE = 60.0
LONGEST_WAIT = 900.0
DOWNLOADS_OF_A_WRONG_FILE = 2


class Archive(NamedTuple):
    """A zip file of a record: one machine type of one set.

    Attributes
    ----------
    name
        Its name in the record, such as ``dev_fan.zip``.
    machine_type
        The machine type, such as ``fan``.
    part
        The set it belongs to: ``development``, ``additional_training`` or ``evaluation``.
    record
        The number of the record.
    """

    name: str
    machine_type: str
    part: RecordSet
    record: int

    @property
    def listed(self) -> str:
        """Where the list of its files is kept, once they are all there, relative to the folder of the recordings."""
        return f"{ARCHIVES}/{PurePosixPath(self.name).stem}.tsv"


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to try again.

    Attributes
    ----------
    timeout
        Seconds without a byte after which a connection is broken off.
    tries
        Tries in a row that bring nothing new before giving up.
    pause
        Seconds before the second of them; before each further one twice as many, up to a minute.
    """

    timeout: float = DEFAULTS.timeout
    tries: int = DEFAULTS.tries
    pause: float = 1.0


class Entry(NamedTuple):
    """A file as its record describes it: name, size in bytes, and checksum with its kind, as in ``md5:9e10…``."""

    name: str
    size: int
    checksum: str


class _InterruptedError(Exception):
    """A try came to nothing, and another one may do better, after `wait` seconds where the server said how many."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def planned_folder(settings: Retrieve) -> Path:
    """Return the folder that the recordings of a configuration go to.

    Examples
    --------
    >>> planned_folder(Retrieve(year=2024))
    PosixPath('data/dcase2024')
    """
    return Path(settings.folder).expanduser() if settings.folder else default_folder(settings.year or 0)


def planned_archives(settings: Retrieve, *, asked: bool) -> dict[str, Archive]:
    """Return the archives that a configuration asks for, by name without suffix; none where it names no year.

    Parameters
    ----------
    settings
        The section ``retrieve``.
    asked
        Whether there must be some, as somebody wants to download them.

    Raises
    ------
    InputError
        The year is missing, or as for :func:`archives_of`.

    Examples
    --------
    >>> list(planned_archives(Retrieve(year=2024, sets=["development"], machines=["fan"]), asked=True))
    ['dev_fan']
    """
    if settings.year is None:
        if asked:
            raise InputError('retrieve.year: say which year to download, as in --config "retrieve={year: 2024}"')
        return {}
    found = archives_of(settings.year, settings.sets, settings.machines)
    return {Path(archive.listed).stem: archive for archive in found}


def archives_of(year: int, sets: Sequence[RecordSet] = SETS, machines: Sequence[str] | None = None) -> list[Archive]:
    """List the archives of a year.

    Parameters
    ----------
    year
        The year of the challenge.
    sets
        Which of its sets.
    machines
        Take only these machine types; None for all. One that is in some of the sets only is taken from those.

    Raises
    ------
    InputError
        There is no such year, or no such machine type in these sets.

    Examples
    --------
    >>> [archive.name for archive in archives_of(2024, machines=["fan", "3DPrinter"])]
    ['dev_fan.zip', 'eval_data_3DPrinter_train_r2.zip', 'eval_data_3DPrinter_test.zip']
    """
    if year not in years():
        raise InputError(f"retrieve.year: there is no {year}; choose one of {', '.join(map(str, years()))}")
    described = describe(name_of(year))
    parts = [part for part in SETS if part in sets and part in described.records]
    if not parts:
        raise InputError(f"{path_of(name_of(year))}: records: there is none yet of {', '.join(sets)}")
    archives = []
    for part in parts:
        record = described.records[part]
        for machine_type in described.machines[described.machine_set(part)]:
            name = record.exceptions.get(machine_type, record.archives.format(machine_type=machine_type))
            archives.append(Archive(name, machine_type, part, record.record))
    known = list(dict.fromkeys(archive.machine_type for archive in archives))
    for machine_type in machines or []:
        if machine_type not in known:
            raise InputError(
                f"retrieve.machines: {year} has no {machine_type!r} in {', '.join(sets)}; "
                f"the machine types there are {', '.join(known)}"
            )
    return [archive for archive in archives if machines is None or archive.machine_type in machines]


def retrieve(
    year: int,
    folder: Path | None = None,
    *,
    sets: Sequence[RecordSet] = SETS,
    machines: Sequence[str] | None = None,
    url: str = DEFAULTS.url,
    keep_archives: bool = False,
    patience: Patience | None = None,
) -> Path:
    """Download a year's recordings and unpack them; what is there already is not downloaded again.

    Parameters
    ----------
    year
        The year of the challenge.
    folder
        Where the recordings go, each set in a folder of its own; None for ``data/dcase<year>``.
    sets, machines
        As for :func:`archives_of`.
    url
        Zenodo, or a mirror with the same addresses.
    keep_archives
        Keep the zip files once they are unpacked.
    patience
        How long to wait for the server, and how often to try again; None for the defaults.

    Returns
    -------
    Path
        The folder, to be named as ``dataset.path``.

    Raises
    ------
    InputError
        As for :func:`archives_of` and :func:`retrieve_archive`.

    Examples
    --------
    >>> retrieve(2024, sets=["development"], machines=["fan"])  # doctest: +SKIP
    PosixPath('data/dcase2024')
    """
    folder = default_folder(year) if folder is None else folder
    for archive in archives_of(year, sets, machines):
        if not (folder / archive.listed).exists():
            retrieve_archive(archive, folder, url=url, keep_archives=keep_archives, patience=patience)
    return folder


def default_folder(year: int) -> Path:
    """Return where a year's recordings go unless another folder is named."""
    return Path("data", name_of(year))


def retrieve_archive(
    archive: Archive,
    folder: Path,
    *,
    url: str = DEFAULTS.url,
    keep_archives: bool = False,
    patience: Patience | None = None,
) -> Path:
    """Download one archive, or what is missing of it, verify it, and unpack it.

    Parameters
    ----------
    archive
        Which one; see :func:`archives_of`.
    folder, url, keep_archives, patience
        As for :func:`retrieve`.

    Returns
    -------
    Path
        The list of its files: a table with the columns ``path`` (relative to `folder`), ``size`` and ``crc32``,
        written when all of them are there.

    Raises
    ------
    InputError
        The record has no such file; the server does not answer, or sends something else; the file is no zip file, or
        not one that can be unpacked safely; another file is in the way; the disk is full.
    """
    patience = patience or Patience()
    path = folder / ARCHIVES / archive.name
    with _session() as session:
        entry = _find_entry(session, url, archive, patience)
        log.info("%s: %d bytes, %s, of record %d", entry.name, entry.size, entry.checksum, archive.record)
        if path.exists():
            _check_archive(path, entry)
        else:
            address = f"{url.rstrip('/')}/records/{archive.record}/files/{quote(archive.name)}"
            _download(session, address, path, entry, patience)
    listed = folder / archive.listed
    members = unpack(path, folder / archive.part)
    with replacing(listed) as temporary:
        rows = [f"{archive.part}/{name}\t{size}\t{crc:08x}\n" for name, size, crc in members]
        temporary.write_text("".join(["path\tsize\tcrc32\n", *rows]), encoding="utf-8")
    if not keep_archives:
        path.unlink()
    return listed


def unpack(archive: Path, target: Path) -> list[tuple[str, int, int]]:
    """Unpack a zip file; every file is put in its place whole, and none in the place of another.

    Nothing is written before all names have been looked at: none may lead out of `target` (an absolute path, a drive,
    ``..``, a backslash) or be a link, and no file may be there already with another content. Those that are there with
    the same content stay as they are.

    Parameters
    ----------
    archive
        The zip file.
    target
        The folder to unpack it in, made where missing.

    Returns
    -------
    list of tuple
        Name, size and CRC-32 of every file, in the order of the zip file.

    Raises
    ------
    InputError
        The zip file is damaged or not safe, another file is in the way, or there is no room for what it states.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     archive = Path(folder, "dev_fan.zip")
    ...     with zipfile.ZipFile(archive, "w") as file:
    ...         file.writestr("fan/train/a.wav", b"RIFF")
    ...     unpack(archive, Path(folder, "development"))
    ...     Path(folder, "development/fan/train/a.wav").read_bytes()
    [('fan/train/a.wav', 4, 110600796)]
    b'RIFF'
    """
    try:
        with zipfile.ZipFile(archive) as file:
            _refuse_unsafe(archive, file.infolist())
            members = [member for member in file.infolist() if not member.is_dir()]
            missing = [member for member in members if not _is_there(archive, member, target)]
            _require_room(target, sum(member.file_size for member in missing), f"the files of {archive.name}")
            for member in progress(missing, len(missing), f"unpacked of {archive.name}"):
                with (
                    file.open(member) as source,
                    replacing(target / _path_of(member)) as temporary,
                    temporary.open("wb") as stream,
                ):
                    shutil.copyfileobj(source, stream, MEBIBYTE)
    except ZIP_DAMAGE as error:
        # Of the disk's errors, only what comes of looking for something before the first byte.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise InputError(
            f"{archive}: cannot be unpacked ({error}); take it away and run the same again, and if that does not help, "
            "ask those who published it"
        ) from error
    return [(str(_path_of(member)), member.file_size, member.CRC) for member in members]


def _session() -> requests.Session:
    import requests

    session = requests.Session()
    session.headers.update(HEADERS)
    return session


def _find_entry(session: requests.Session, url: str, archive: Archive, patience: Patience) -> Entry:
    entries = _read_record(session, url, archive.record, patience)
    if archive.name not in entries:
        raise InputError(
            f"record {archive.record} has no {archive.name}; it holds {', '.join(sorted(entries)) or 'nothing'}: "
            "set the right name below `records` in the year's file in config/datasets"
        )
    entry = entries[archive.name]
    if entry.checksum.partition(":")[0] not in HASHES:
        raise InputError(
            f"record {archive.record} states {entry.checksum} for {entry.name}, a checksum of a kind that is not known "
            f"here; these are {', '.join(HASHES)}"
        )
    return entry


def _read_record(session: requests.Session, url: str, number: int, patience: Patience) -> dict[str, Entry]:
    address = f"{url.rstrip('/')}/api/records/{number}"

    def read() -> Any:
        with _answer(session, address, patience) as response:
            return response.json()

    content = _until_it_works(read, address, patience)
    try:
        entries = [Entry(str(file["key"]), int(file["size"]), str(file["checksum"])) for file in content["files"]]
        for entry in entries:
            # The checksum names files here, too.
            if entry.size < 0 or not re.fullmatch(r"\w+:[0-9a-f]+", entry.checksum):
                raise ValueError(entry)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{address}: is not a record of Zenodo with a list of files; check retrieve.url, and the proxy if there is "
            "one"
        ) from error
    return {entry.name: entry for entry in entries}


def _download(session: requests.Session, address: str, path: Path, entry: Entry, patience: Patience) -> None:
    """Bring a file to `path`, verified; what there is of it meanwhile stands beside it."""
    digits = entry.checksum.rpartition(":")[2]
    # Named by the checksum: should the record have another file by then, nothing of the old one is continued.
    part = path.with_name(f"{path.name}.{digits[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in range(DOWNLOADS_OF_A_WRONG_FILE):
            _require_room(path.parent, entry.size - _size(part), entry.name)
            _complete(session, address, part, entry, patience)
            found = _checksum(part, entry.checksum)
            if found == entry.checksum:
                _put_in_place(part, path)
                return
            part.unlink()
            log.warning("%s: %s, download %d has %s", entry.name, entry.checksum, number + 1, found)
    except OSError as error:
        raise InputError(
            f"{part}: cannot be written ({error.strerror}); make room, or mend the folder, and run the same again: it "
            "goes on from there"
        ) from error
    raise InputError(
        f"{address}: was downloaded {DOWNLOADS_OF_A_WRONG_FILE} times with another checksum than its record states, "
        f"{entry.checksum} wanted and {found} found; run the same again later, or choose another server in retrieve.url"
    )


def _complete(session: requests.Session, address: str, part: Path, entry: Entry, patience: Patience) -> None:
    """Download what is missing of a file, over as many connections as it takes."""
    tags: dict[str, str] = {}

    def go_on() -> None:
        have = _size(part)
        if have == entry.size:
            return
        headers = {"Range": f"bytes={have}-", **tags} if have else {}
        with _answer(session, address, patience, headers) as response:
            if "ETag" in response.headers and not response.headers["ETag"].startswith("W/"):
                tags["If-Range"] = response.headers["ETag"]
            start = _start_of(response, have, entry, part)
            with part.open("r+b" if part.exists() else "wb") as stream:
                stream.truncate(start)
                stream.seek(start)
                if start:
                    log.info("%s: goes on at byte %d", entry.name, start)
                mebibytes = math.ceil((entry.size - start) / MEBIBYTE)
                for _ in progress(_received(response, stream, entry), mebibytes, f"MiB of {entry.name}"):
                    pass
        if _size(part) < entry.size:
            raise _InterruptedError(f"ended after {_size(part)} of {entry.size} bytes")

    if _size(part) > entry.size:
        part.unlink()
    part.touch()
    _until_it_works(go_on, address, patience, lambda: _size(part))


def _start_of(response: requests.Response, have: int, entry: Entry, part: Path) -> int:
    """Return at which byte the answer starts: where it was asked to, or at the beginning.

    Raises
    ------
    _InterruptedError
        It is not the file that the record speaks of.
    """
    if response.status_code != HTTPStatus.OK:
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if said and int(said[1]) == have and said[2] in ("*", str(entry.size)):
            return have
        part.unlink()
        sent = response.headers.get("Content-Range", "no range")
        raise _InterruptedError(f"sends {sent} where the bytes from {have} on were asked for")
    length = response.headers.get("Content-Length", str(entry.size))
    if length != str(entry.size):
        raise _InterruptedError(f"sends {length} bytes, and the record states {entry.size}")
    return 0


def _received(response: requests.Response, stream: IO[bytes], entry: Entry) -> Iterator[None]:
    """Write what comes in to a file, and yield after every mebibyte."""
    written = 0
    for block in response.iter_content(BLOCK):
        if stream.tell() + len(block) > entry.size:
            raise _InterruptedError(f"sends more than the {entry.size} bytes that the record states")
        stream.write(block)
        written += len(block)
        if written >= MEBIBYTE:
            written -= MEBIBYTE
            yield
    if written:
        yield


@contextmanager
def _answer(
    session: requests.Session, address: str, patience: Patience, headers: Mapping[str, str] | None = None
) -> Iterator[requests.Response]:
    """Ask for an address, and give the answer where it is a good one.

    Raises
    ------
    _InterruptedError
        The connection failed, at whatever moment, or the server is busy.
    InputError
        Another try would end alike.
    """
    import requests

    try:
        with session.get(address, headers=headers, stream=True, timeout=patience.timeout) as response:
            _refuse(address, response)
            yield response
    except requests.exceptions.SSLError as error:
        # A connection that is cut is such an error too.
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise _InterruptedError(str(error)) from error
        raise InputError(
            f"{address}: its certificate is not trusted ({error}); if a proxy reads along, name its certificates in "
            "the environment variable REQUESTS_CA_BUNDLE"
        ) from error
    except requests.exceptions.JSONDecodeError as error:
        raise InputError(f"{address}: answers no JSON; check retrieve.url, and the proxy if there is one") from error
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise InputError(f"{address}: cannot be asked for ({error}); check retrieve.url and the proxy") from error
    except requests.RequestException as error:
        raise _InterruptedError(str(error)) from error


def _refuse(address: str, response: requests.Response) -> None:
    said = f"{response.status_code} {response.reason}"
    if response.status_code in BUSY:
        wait = _retry_after(response.headers.get("Retry-After", ""))
        if wait is not None and wait > LONGEST_WAIT:
            raise InputError(f"{address}: the server answers {said}, and to come back in {wait:.0f} s; do so")
        raise _InterruptedError(f"the server answers {said}", wait)
    if response.status_code not in (
        HTTPStatus.OK,
        HTTPStatus.PARTIAL_CONTENT,
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    ):
        raise InputError(
            f"{address}: the server answers {said}; check retrieve.url, and the number below `records` in the year's "
            "file in config/datasets"
        )


def _retry_after(text: str) -> float | None:
    """Return the seconds that a server asks to wait, which it may say as a number or as a date."""
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _until_it_works(
    attempt: Callable[[], T], address: str, patience: Patience, reached: Callable[[], int] = lambda: 0
) -> T:
    """Try again and again, and give up when the last tries in a row all got no further than those before.

    Parameters
    ----------
    attempt
        What to try.
    address
        Where, for the log.
    patience
        How often, and after which pauses.
    reached
        How far the tries have come, in bytes.
    """
    furthest = reached()
    failures = 0
    while True:
        try:
            return attempt()
        except _InterruptedError as error:
            failures = 1 if reached() > furthest else failures + 1
            furthest = max(furthest, reached())
            if failures >= patience.tries:
                raise InputError(
                    f"{address}: {failures} tries in a row came to nothing, at last: {error}; check the network, and "
                    "run the same again: it goes on from there"
                ) from error
            backoff = min(patience.pause * 2 ** (failures - 1), LONGEST_PAUSE)
            wait = max(backoff, error.wait or 0.0)
            log.warning("%s: %s; once more in %.0f s", address, error, wait)
            time.sleep(wait)


def _check_archive(path: Path, entry: Entry) -> None:
    found = _checksum(path, entry.checksum)
    if found != entry.checksum:
        raise InputError(
            f"{path}: has another checksum than its record states, {entry.checksum} wanted and {found} found; "
            "move it elsewhere and run the same again"
        )
    log.info("%s: is there already, with the right checksum", path)


def _checksum(path: Path, wanted: str) -> str:
    """Return a file's checksum, of the kind that is `wanted`."""
    kind = wanted.partition(":")[0]
    with path.open("rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()}"


def _put_in_place(part: Path, path: Path) -> None:
    """Give a whole file its final name; not by `replacing`, whose temporary a kill would leave to be cleared."""
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    part.replace(path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _require_room(folder: Path, wanted: int, what: str) -> None:
    free = shutil.disk_usage(nearest(folder)).free
    if wanted > free:
        raise InputError(
            f"{folder}: {what} need {_gigabytes(wanted)} and there are {_gigabytes(free)} free; make room, or name "
            "another folder in retrieve.folder"
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"


def _refuse_unsafe(archive: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse names that lead out of the folder, or that only look like a file's."""
    if not all(member.filename for member in members):
        # zipfile itself stumbles over one.
        raise InputError(f"{archive}: will not be unpacked, as it holds something without a name")
    counts = Counter(_path_of(member) for member in members)
    files = {_path_of(member) for member in members if not member.is_dir()}
    for member in members:
        if reason := _why_unsafe(member, counts, files):
            raise InputError(f"{archive}: will not be unpacked, as it holds {member.orig_filename!r}, {reason}")


def _path_of(member: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(member.filename)


def _why_unsafe(member: zipfile.ZipInfo, counts: Mapping[PurePosixPath, int], files: Collection[PurePosixPath]) -> str:
    # zipfile cuts a name short at a zero byte: only the original shows it.
    name, path = member.orig_filename, _path_of(member)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if "\\" in name or not name.isprintable():
        return "with a backslash or a control character in its name"
    if path.is_absolute() or re.match("[A-Za-z]:", name):
        return "an absolute path"
    if ".." in path.parts:
        return "a path that leads out of its folder"
    if kind not in (0, stat.S_IFDIR if member.is_dir() else stat.S_IFREG):
        return "a link, or something else that is no file"
    if member.compress_type not in ZIP_METHODS:
        return "which is packed by an unusual method"
    if counts[path] > 1 or any(parent in files for parent in path.parents):
        return "in whose place it holds something else too"
    return ""


def _is_there(archive: Path, member: zipfile.ZipInfo, target: Path) -> bool:
    """Tell whether a member was unpacked before; refuse where another file is in its place."""
    path = target / _path_of(member)
    if not path.is_symlink() and not path.exists():
        return False
    if path.is_file() and path.stat().st_size == member.file_size and _crc(path) == member.CRC:
        return True
    raise InputError(
        f"{path}: is there already, and is not that of {archive.name}; move it elsewhere and run the same again"
    )


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as stream:
        while block := stream.read(MEBIBYTE):
            crc = zlib.crc32(block, crc)
    return crc
