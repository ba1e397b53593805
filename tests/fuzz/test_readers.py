"""Whatever a file holds, its reader says what is wrong with it, or takes it: it neither crashes, hangs, nor runs it.

`make fuzz` tries many more cases than `make test`.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from offnote.errors import InputError

from tests.fuzz.readers import READERS, cached, read_cache, read_zip
from tests.fuzz.sandbox import only_reads

CASES = int(os.environ.get("CASES", "60"))
MEMORY = 4 * 2**30
"""What a case may take besides what the process has."""
SECONDS = 120
"""A case that takes longer ends the tests, with a traceback of where it hangs."""

PIECES = [
    *(bytes([byte]) for byte in (0, 9, 10, 13, 32, 34, 44, 45, 58, 91, 93, 123, 125, 127, 128, 255)),
    b"nan", b"-inf", b"1e999", b"1_0", b"9" * 30, b"-1", b"true", b"null", b"~", b"../", b"/etc/passwd", b"\\",
    b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xef\xbb\xbf", "ü\u2028".encode(), b"[" * 200, b"{" * 200,
    b"!!python/object/apply:os.system ['true']", b"&a [*a, *a]", b"<<: *b", b"\n\n", b"\t\t\t\t",
    b"&a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c]",
]  # fmt: skip

# Where a change begins: at a share of the file, or, as all depends on headers, at one of its first bytes.
Place = float | int
Change = tuple[str, Place, int, bytes]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "remove", "cut", "double", "swap"]),
        st.floats(0, 1) | st.integers(0, 63),
        st.integers(1, 64),
        st.sampled_from(PIECES) | st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def changed(content: bytes, changes: list[Change]) -> bytes:
    for kind, place, length, piece in changes:
        at = min(place, len(content)) if isinstance(place, int) else round(place * len(content))
        if kind == "set":
            content = content[:at] + piece + content[at + len(piece) :]
        elif kind == "insert":
            content = content[:at] + piece + content[at:]
        elif kind == "remove":
            content = content[:at] + content[at + length :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "double":
            content = content[: at + length] + content[at:]
        else:
            content = content[at:] + content[:at]
    return content


@pytest.fixture(scope="module", autouse=True)
def warmed_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Read good files once, so that what is imported at the first use is not taken for the running of a file's code."""
    for name, reader in READERS.items():
        folder = tmp_path_factory.mktemp(name)
        reader.make(folder)
        reader.read(folder)


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Iterator[dict[str, int]]:
    """Count the cases, for the end of the tests."""
    counts = {"taken": 0, "refused": 0}
    yield counts
    record_property("cases", counts)


@contextmanager
def within(more: int) -> Iterator[None]:
    """Let the block ask for so much memory, and no more, besides what the process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def read(folder: Path, reader: Callable[[Path], object], counts: dict[str, int]) -> None:
    """Read what lies in a folder, which may be refused by one sentence and by nothing else."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        # What numpy has to say of overflows is no fault of a reader's.
        with only_reads(folder), within(MEMORY), warnings.catch_warnings(action="ignore"):
            reader(folder)
        counts["taken"] += 1
    except InputError:
        counts["refused"] += 1
    finally:
        faulthandler.cancel_dump_traceback_later()


some = settings(max_examples=CASES, suppress_health_check=list(HealthCheck), print_blob=True)


@pytest.mark.parametrize("name", READERS)
def test_bytes_of_a_file_are_changed(tmp_path: Path, told: dict[str, int], name: str) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    READERS[name].make(folder)
    good = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    @some
    @given(path=st.sampled_from(list(good)), changes=CHANGES)
    def case(path: Path, changes: list[Change]) -> None:
        path.write_bytes(changed(good[path], changes))
        try:
            read(folder, READERS[name].read, told)
        finally:
            path.write_bytes(good[path])
            shutil.rmtree(folder / "unpacked", ignore_errors=True)

    case()


ARRAYS = st.builds(
    lambda kind, shape, seed: np.random.default_rng(seed).integers(-3, 99, shape).astype(kind),
    st.sampled_from(["f4", "f8", "i8", "u1", "S5", "c8", "bool"]),
    st.sampled_from([(), (0,), (1,), (8,), (9,), (72, 4), (8, 4), (2, 2, 2)]),
    st.integers(0, 9),
)


def test_what_a_feature_cache_holds_is_changed(tmp_path: Path, told: dict[str, int]) -> None:
    """Each checksum of HDF5 is right, and the content is not."""
    folder = tmp_path / "files"
    folder.mkdir()
    path = cached(folder)
    good = path.read_bytes()
    with h5py.File(path) as file:
        names = [*file.attrs, "frames", *(f"clips/{name}" for name in file["clips"]), "excluded", "excluded/path"]

    @some
    @given(name=st.sampled_from(names), value=st.none() | st.text(max_size=9) | st.floats() | ARRAYS)
    def case(name: str, value: str | float | np.ndarray | None) -> None:
        path.write_bytes(good)
        with h5py.File(path, "r+") as file:
            place = file.attrs if name in file.attrs else file
            if name in place:
                del place[name]
            if value is not None and "\0" not in str(value):
                place[name] = value
        read(folder, read_cache, told)

    case()


NAMES = st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "C:", "\\", "..\\..", "fan", "a.wav", "ü", "~", "nul\0", "a" * 300, " "]),
    min_size=1,
    max_size=4,
).map("/".join)


def test_names_in_a_download_are_hostile(tmp_path: Path, told: dict[str, int]) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    kinds = [stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, 0]

    @some
    @given(members=st.lists(st.tuples(NAMES, st.sampled_from(kinds), st.binary(max_size=9)), max_size=4))
    def case(members: list[tuple[str, int, bytes]]) -> None:
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(folder / "dev_fan.zip", "w") as archive:
            for name, kind, content in members:
                member = zipfile.ZipInfo(name)
                member.external_attr = (kind | 0o644) << 16
                archive.writestr(member, content)
        try:
            read(folder, read_zip, told)
            assert {path.name for path in tmp_path.iterdir()} == {"files"}
            assert {path.name for path in folder.iterdir()} <= {"dev_fan.zip", "unpacked"}
            assert not any(path.is_symlink() for path in folder.rglob("*"))
        finally:
            shutil.rmtree(folder / "unpacked", ignore_errors=True)

    case()


def test_every_reader_takes_what_it_is_given(tmp_path: Path) -> None:
    """Without this, a reader that refuses everything would pass."""
    for name, reader in READERS.items():
        folder = tmp_path / name
        folder.mkdir()
        reader.make(folder)
        with only_reads(folder):
            reader.read(folder)


def test_the_watch_sees_what_it_is_there_for(tmp_path: Path) -> None:
    for wrong in (
        lambda: os.system("true"),
        lambda: (tmp_path / "outside").write_text("x"),
        lambda: exec("1"),
        lambda: (tmp_path / "folder").mkdir(),
    ):
        with pytest.raises(AssertionError), only_reads(tmp_path / "inside"):
            wrong()
    (tmp_path / "inside").mkdir()
    with only_reads(tmp_path / "inside"):
        (tmp_path / "inside/file").write_text("x")
