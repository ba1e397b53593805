"""Downloads from a server on this computer that cuts, stalls, lies and asks to wait, and zip files of all kinds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from offnote import descriptions
from offnote.challenge import load_challenge
from offnote.config import Retrieve
from offnote.descriptions import years
from offnote.errors import InputError
from offnote.files import LEFTOVER
from offnote.retrieve import (
    BLOCK,
    SETS,
    Archive,
    Patience,
    archives_of,
    planned_archives,
    retrieve,
    retrieve_archive,
    unpack,
)
from pydantic import ValidationError

from tests.years import WHOLE
from tests.zenodo import Answer, Zenodo, cut, good, other, reset, serving, stall, status, tag, whole, zipped

FAN = Archive("dev_fan.zip", "fan", "development", 7)
HURRY = Patience(timeout=5.0, tries=3, pause=0.01)
CLIPS = {f"fan/train/section_00_source_train_normal_{number:04d}.wav": bytes([number]) * 100_000 for number in range(9)}
ZIP = zipped(CLIPS)


@pytest.fixture
def zenodo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zenodo]:
    """Return a server that holds one archive of 900 kB."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Zenodo({7: {"dev_fan.zip": ZIP, "dev_valve.zip": b"", "LICENSE.txt": b"free"}})) as server:
        yield server


def fetch(zenodo: Zenodo, folder: Path, *, keep: bool = False, patience: Patience = HURRY) -> Path:
    return retrieve_archive(FAN, folder, url=zenodo.url, keep_archives=keep, patience=patience)


def unpacked(folder: Path) -> dict[str, bytes]:
    below = folder / "development"
    return {path.relative_to(below).as_posix(): path.read_bytes() for path in below.rglob("*") if path.is_file()}


def ranges(zenodo: Zenodo) -> list[str]:
    return [headers.get("Range", "") for _, headers in zenodo.downloads()]


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "archives").glob("*.part"))


# What is there to download


def records(year: int) -> dict[str, Any]:
    """Read what a year's file says of each set; of a young year not all are there yet."""
    content = yaml.safe_load(descriptions.path_of(f"dcase{year}").read_text(encoding="utf-8"))
    found: dict[str, Any] = content["records"]
    return found


@pytest.mark.parametrize("year", years())
def test_every_year_names_an_archive_for_each_machine_type_of_each_set(year: int) -> None:
    machines = load_challenge(year).machines
    archives = archives_of(year)
    for part in SETS if year in WHOLE else records(year):
        expected = machines["development" if part == "development" else "evaluation"]
        assert [archive.machine_type for archive in archives if archive.part == part] == list(expected)
    assert len({archive.record for archive in archives}) == (3 if year in WHOLE else len(records(year)))
    assert len({archive.listed for archive in archives}) == len(archives)


def test_records_differ_from_year_to_year() -> None:
    of_years = [{archive.record for archive in archives_of(year)} for year in years()]
    assert sum(map(len, of_years)) == len(set().union(*of_years)) >= 3 * len(WHOLE)


def test_of_a_young_year_what_there_is_is_retrieved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path)
    (tmp_path / "dcase2031.yaml").write_text(
        "machines: {development: {fan: [section_00]}, evaluation: {}}\n"
        "records: {development: {record: 7, archives: 'dev_{machine_type}.zip'}}\n"
    )
    assert [archive.name for archive in archives_of(2031)] == ["dev_fan.zip"]
    with pytest.raises(InputError, match=r"dcase2031.yaml: records: there is none yet of evaluation"):
        archives_of(2031, ["evaluation"])


def test_exceptions_name_archives_that_there_are_machines_for() -> None:
    for year in years():
        for said in records(year).values():
            names = {archive.name for archive in archives_of(year)}
            assert set(said.get("exceptions", {}).values()) <= names


def test_sets_and_machines_are_chosen_and_mistakes_named() -> None:
    chosen = archives_of(2026, ["development", "evaluation"], ["ToyCar", "Sander"])
    assert [(archive.name, archive.record) for archive in chosen] == [
        ("dev_ToyCar_r2.zip", 19336329),
        ("eval_data_Sander_test.zip", 20437238),
    ]
    with pytest.raises(InputError, match=r"retrieve\.machines: 2024 has no 'Fan' in development; .* are ToyCar, ToyTr"):
        archives_of(2024, ["development"], ["Fan"])
    with pytest.raises(InputError, match=r"retrieve\.year: there is no 2019; choose one of 2020, 2021, .*2026"):
        archives_of(2019)
    with pytest.raises(InputError, match=r'retrieve\.year: say which year to download, as in --config "retrieve={year'):
        planned_archives(Retrieve(), asked=True)
    assert planned_archives(Retrieve(), asked=False) == {}


# Downloads


def test_an_archive_is_downloaded_verified_unpacked_and_listed(zenodo: Zenodo, tmp_path: Path) -> None:
    listed = fetch(zenodo, tmp_path)
    assert unpacked(tmp_path) == CLIPS
    header, *rows = listed.read_text(encoding="utf-8").splitlines()
    assert header == "path\tsize\tcrc32"
    assert [row.split("\t")[0] for row in rows] == [f"development/{name}" for name in CLIPS]
    assert all((tmp_path / row.split("\t")[0]).stat().st_size == int(row.split("\t")[1]) for row in rows)
    assert sorted(path.name for path in (tmp_path / "archives").iterdir()) == ["dev_fan.tsv"]
    assert all(headers["User-Agent"].startswith("offnote/") for _, headers in zenodo.asked)


def test_an_archive_may_be_kept(zenodo: Zenodo, tmp_path: Path) -> None:
    fetch(zenodo, tmp_path, keep=True)
    assert (tmp_path / "archives" / "dev_fan.zip").read_bytes() == ZIP


def test_a_year_is_downloaded_once(zenodo: Zenodo, tmp_path: Path) -> None:
    for archive in archives_of(2024, machines=["fan"]):
        zenodo.records[archive.record] = {archive.name: ZIP}
    for _ in range(2):
        assert retrieve(2024, tmp_path, machines=["fan"], url=zenodo.url + "/", patience=HURRY) == tmp_path
    assert len(zenodo.asked) == 2
    assert unpacked(tmp_path) == CLIPS


def test_a_cut_download_goes_on_where_it_was(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.next_for("dev_fan.zip", cut(300_000), cut(300_000))
    fetch(zenodo, tmp_path)
    assert unpacked(tmp_path) == CLIPS
    # At a cut, a block that is not yet whole is lost.
    assert len(ZIP) <= zenodo.sent < len(ZIP) + 2 * BLOCK
    assert ranges(zenodo)[0] == ""
    assert all(re.fullmatch(r"bytes=\d{6}-", said) for said in ranges(zenodo)[1:])
    assert [headers.get("If-Range") for _, headers in zenodo.downloads()] == [None, tag(ZIP), tag(ZIP)]


def test_cuts_do_not_count_as_long_as_there_is_progress(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.next_for("dev_fan.zip", *(7 * [cut(120_000)]))
    fetch(zenodo, tmp_path, patience=Patience(tries=2, pause=0.01))
    assert unpacked(tmp_path) == CLIPS


def test_a_killed_download_goes_on_at_the_next_start(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.next_for("dev_fan.zip", stall(500_000))
    code = (
        "import sys; from pathlib import Path; from offnote.retrieve import Archive, retrieve_archive\n"
        f"retrieve_archive(Archive{tuple(FAN)!r}, Path(sys.argv[1]), url=sys.argv[2])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), zenodo.url])
    until = time.monotonic() + 30
    while not (found := parts(tmp_path)) or found[0].stat().st_size < 400_000:
        assert time.monotonic() < until
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    [part] = parts(tmp_path)
    assert not LEFTOVER.fullmatch(part.name)
    have = part.stat().st_size
    fetch(zenodo, tmp_path)
    assert ranges(zenodo)[1:] == [f"bytes={have}-"]
    assert unpacked(tmp_path) == CLIPS


def test_a_server_that_knows_no_ranges_sends_it_all_again(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.next_for("dev_fan.zip", cut(300_000), whole)
    fetch(zenodo, tmp_path)
    assert unpacked(tmp_path) == CLIPS
    assert zenodo.sent == 300_000 + len(ZIP)


def test_a_server_that_sends_another_range_is_asked_for_all(zenodo: Zenodo, tmp_path: Path) -> None:
    def elsewhere(answer: Answer) -> None:
        answer.send_from(10, ZIP, len(ZIP))

    zenodo.next_for("dev_fan.zip", cut(300_000), elsewhere)
    fetch(zenodo, tmp_path)
    assert unpacked(tmp_path) == CLIPS
    assert ranges(zenodo)[2] == ""


def test_a_server_that_has_less_than_what_is_here_is_asked_for_all(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.next_for("dev_fan.zip", cut(300_000), status(416, {"Content-Range": "bytes */1000"}))
    fetch(zenodo, tmp_path)
    assert unpacked(tmp_path) == CLIPS
    assert ranges(zenodo)[2] == ""


def test_a_file_that_changes_meanwhile_is_begun_anew(zenodo: Zenodo, tmp_path: Path) -> None:
    def change(answer: Answer) -> None:
        zenodo.records[7]["dev_fan.zip"] = ZIP
        good(answer)

    zenodo.checksums["dev_fan.zip"] = f"md5:{hashlib.md5(ZIP).hexdigest()}"
    zenodo.records[7]["dev_fan.zip"] = bytes(len(ZIP))
    zenodo.next_for("dev_fan.zip", cut(300_000), change)
    fetch(zenodo, tmp_path)
    assert unpacked(tmp_path) == CLIPS
    assert ranges(zenodo)[1] != ""
    assert zenodo.sent == 300_000 + len(ZIP)


def test_what_there_is_of_another_file_is_not_continued(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.next_for("dev_fan.zip", cut(300_000), cut(0), cut(0))
    with pytest.raises(InputError, match="3 tries in a row came to nothing"):
        fetch(zenodo, tmp_path)
    assert parts(tmp_path)[0].stat().st_size > 200_000
    zenodo.records[7]["dev_fan.zip"] = zipped({"fan/train/new.wav": bytes(500_000)})
    fetch(zenodo, tmp_path)
    assert ranges(zenodo)[-1] == ""
    assert unpacked(tmp_path) == {"fan/train/new.wav": bytes(500_000)}


def test_a_stalled_download_is_broken_off_and_goes_on(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.next_for("dev_fan.zip", stall(300_000))
    fetch(zenodo, tmp_path, patience=Patience(timeout=0.5, tries=2, pause=0.01))
    assert len(zenodo.downloads()) == 2
    assert ranges(zenodo)[1].startswith("bytes=")
    assert unpacked(tmp_path) == CLIPS


def test_a_record_that_stalls_or_is_cut_is_read_again(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.next_for("7", stall(10), cut(10), status(502))
    fetch(zenodo, tmp_path, patience=Patience(timeout=0.5, tries=4, pause=0.01))
    assert unpacked(tmp_path) == CLIPS


def test_a_busy_server_is_given_the_time_it_asks_for(zenodo: Zenodo, tmp_path: Path) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    zenodo.next_for("7", status(429, {"Retry-After": "1"}))
    zenodo.next_for("dev_fan.zip", status(503, {"Retry-After": date}), status(503, {"Retry-After": "soon"}))
    zenodo.next_for("dev_fan.zip", status(503, {"Retry-After": "\u00b2"}))
    started = time.monotonic()
    fetch(zenodo, tmp_path, patience=Patience(tries=4, pause=0.0))
    assert 2.0 <= time.monotonic() - started < 8.0
    assert unpacked(tmp_path) == CLIPS


def test_a_server_that_asks_for_hours_is_left_alone(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.next_for("dev_fan.zip", status(429, {"Retry-After": "7200"}))
    with pytest.raises(InputError, match=r"answers 429 Too Many Requests, and to come back in 7200 s"):
        fetch(zenodo, tmp_path)
    assert len(zenodo.downloads()) == 1


def test_a_server_that_never_comes_back_is_given_up(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.next_for("dev_fan.zip", *(9 * [status(503)]))
    with pytest.raises(
        InputError, match=r"dev_fan\.zip: 3 tries in a row came to nothing, at last: .* 503 Service Una"
    ):
        fetch(zenodo, tmp_path)
    assert len(zenodo.downloads()) == 3


def test_no_server_at_all_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InputError, match=r"Connection refused.*check the network"):
        retrieve_archive(FAN, tmp_path, url="http://127.0.0.1:1", patience=HURRY)
    with pytest.raises(InputError, match="cannot be asked for"):
        retrieve_archive(FAN, tmp_path, url="ftp://127.0.0.1", patience=HURRY)


def test_a_record_that_is_not_there_is_named(zenodo: Zenodo, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/api/records/8: the server answers 404 Not Found; check retrieve\.url"):
        retrieve_archive(FAN._replace(record=8), tmp_path, url=zenodo.url, patience=HURRY)
    zenodo.next_for("dev_fan.zip", status(404))
    with pytest.raises(InputError, match=r"/records/7/files/dev_fan\.zip: the server answers 404"):
        fetch(zenodo, tmp_path)


def test_a_name_that_the_record_lacks_is_named_with_those_it_has(zenodo: Zenodo, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"record 7 has no dev_fan_r2\.zip; it holds LICENSE\.txt, dev_fan\.zip, dev_v"
    ):
        retrieve_archive(FAN._replace(name="dev_fan_r2.zip"), tmp_path, url=zenodo.url, patience=HURRY)
    assert zenodo.downloads() == []


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Log in first</html>",
        b'{"status": 403}',
        b'{"files": [{"key": "dev_fan.zip"}]}',
        b'{"files": [{"key": "dev_fan.zip", "size": 1, "checksum": "md5:/../../evil"}]}',
        b'{"files": [{"key": "dev_fan.zip", "size": -1, "checksum": "md5:00"}]}',
        b"[]",
    ],
)
def test_what_is_no_record_is_refused(zenodo: Zenodo, tmp_path: Path, body: bytes) -> None:
    zenodo.next_for("7", other(body))
    with pytest.raises(InputError, match=r"answers no JSON|is not a record of Zenodo with a list of files"):
        fetch(zenodo, tmp_path)


def test_a_wrong_checksum_is_told_and_nothing_good_is_lost(zenodo: Zenodo, tmp_path: Path) -> None:
    mine = tmp_path / "development/fan/train/mine.wav"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    zenodo.next_for("dev_fan.zip", other(bytes(len(ZIP))), other(bytes(len(ZIP))))
    wanted, found = (hashlib.md5(content).hexdigest() for content in (ZIP, bytes(len(ZIP))))
    with pytest.raises(InputError, match=f"downloaded 2 times .* md5:{wanted} wanted and md5:{found} found"):
        fetch(zenodo, tmp_path)
    assert unpacked(tmp_path) == {"fan/train/mine.wav": b"mine"}
    assert not (tmp_path / FAN.listed).exists()
    fetch(zenodo, tmp_path)
    assert unpacked(tmp_path) == CLIPS | {"fan/train/mine.wav": b"mine"}


def test_a_wrong_byte_is_mended_by_another_download(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.next_for("dev_fan.zip", other(ZIP[:-1] + b"?"))
    fetch(zenodo, tmp_path)
    assert unpacked(tmp_path) == CLIPS


def test_a_checksum_of_an_unknown_kind_is_named(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.checksums["dev_fan.zip"] = "crc7:12"
    with pytest.raises(InputError, match=r"record 7 states crc7:12 for dev_fan\.zip, a checksum of a kind that is not"):
        fetch(zenodo, tmp_path)
    assert zenodo.downloads() == []


@pytest.mark.parametrize("body", [ZIP[:1000], ZIP + b"more"])
def test_another_size_than_the_records_is_refused(zenodo: Zenodo, tmp_path: Path, body: bytes) -> None:
    zenodo.next_for("dev_fan.zip", *(3 * [other(body)]))
    with pytest.raises(InputError, match=f"sends {len(body)} bytes, and the record states {len(ZIP)}"):
        fetch(zenodo, tmp_path)


def test_more_than_was_announced_is_not_taken(zenodo: Zenodo, tmp_path: Path) -> None:
    def endless(answer: Answer) -> None:
        answer.send_response(200)
        answer.end_headers()
        answer.wfile.write(ZIP + ZIP)
        answer.close_connection = True

    zenodo.next_for("dev_fan.zip", *(3 * [endless]))
    with pytest.raises(InputError, match=f"sends more than the {len(ZIP)} bytes that the record states"):
        fetch(zenodo, tmp_path)
    assert all(part.stat().st_size <= len(ZIP) for part in parts(tmp_path))


def test_an_archive_that_is_there_is_used_if_it_is_the_right_one(zenodo: Zenodo, tmp_path: Path) -> None:
    path = tmp_path / "archives" / "dev_fan.zip"
    path.parent.mkdir()
    path.write_bytes(ZIP[:-1])
    with pytest.raises(InputError, match=r"dev_fan\.zip: has another checksum than its record states, md5:.* wanted"):
        fetch(zenodo, tmp_path)
    assert path.read_bytes() == ZIP[:-1]
    path.write_bytes(ZIP)
    fetch(zenodo, tmp_path)
    assert zenodo.downloads() == []
    assert unpacked(tmp_path) == CLIPS


def test_a_proxy_is_found_in_the_environment(zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, zenodo.url)
    retrieve_archive(FAN, tmp_path, url="http://zenodo.invalid", patience=HURRY)
    assert unpacked(tmp_path) == CLIPS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a certificate for this computer, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here to make a certificate with")
    path = tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-keyout", path, "-out", f"{path}.public"], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.public").read_text())
    return path


def test_an_encrypted_connection_goes_on_too_and_needs_a_certificate_that_is_trusted(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(Zenodo({7: {"dev_fan.zip": ZIP}}), context) as zenodo:
        with pytest.raises(InputError, match=r"its certificate is not trusted .* REQUESTS_CA_BUNDLE"):
            fetch(zenodo, tmp_path)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        zenodo.next_for("dev_fan.zip", cut(300_000), reset(300_000))
        fetch(zenodo, tmp_path)
    assert unpacked(tmp_path) == CLIPS
    assert len(zenodo.downloads()) == 3


def test_an_archive_larger_than_the_disk_is_not_begun(zenodo: Zenodo, tmp_path: Path) -> None:
    size = 10**18
    description = {"files": [{"key": "dev_fan.zip", "size": size, "checksum": "md5:00"}]}
    zenodo.next_for("7", other(json.dumps(description).encode()))
    with pytest.raises(InputError, match=r"archives: dev_fan\.zip need 1e\+09 GB and there are .* GB free; make room"):
        fetch(zenodo, tmp_path)
    assert zenodo.downloads() == []


def test_a_disk_that_fills_up_is_named_and_the_download_goes_on(zenodo: Zenodo, tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from offnote.retrieve import Archive, retrieve_archive\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
        f"retrieve_archive(Archive{tuple(FAN)!r}, Path(sys.argv[1]), url=sys.argv[2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), zenodo.url], capture_output=True, text=True, check=False
    )
    assert re.search(r"InputError: .*dev_fan\.zip\..*\.part: cannot be written \(File too large\)", done.stderr)
    [part] = parts(tmp_path)
    assert part.stat().st_size == 400_000
    fetch(zenodo, tmp_path)
    assert ranges(zenodo)[1:] == ["bytes=400000-"]
    assert unpacked(tmp_path) == CLIPS


# Unpacking


def member(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    # The constructor would change names as they are not to be changed here.
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    return info


HOSTILE: dict[str, tuple[list[zipfile.ZipInfo], str]] = {
    "absolute": ([member("/tmp/offnote_evil.wav")], "an absolute path"),
    "above": ([member("fan/../../evil.wav")], "a path that leads out of its folder"),
    "nameless": ([member("")], "something without a name"),
    "above_at_once": ([member("../evil.wav")], "a path that leads out of its folder"),
    "drive": ([member("C:/evil.wav")], "an absolute path"),
    "backslash": ([member("..\\evil.wav")], "with a backslash or a control character in its name"),
    "link": ([member("fan/evil", stat.S_IFLNK | 0o777)], "a link, or something else that is no file"),
    "device": ([member("fan/evil", stat.S_IFIFO | 0o666)], "a link, or something else that is no file"),
    "control": ([member("fan/evil\n.wav")], "with a backslash or a control character in its name"),
    "twice": ([member("fan/a.wav"), member("./fan//a.wav")], "in whose place it holds something else too"),
    "file_as_folder": ([member("fan/a"), member("fan/a/b.wav")], "in whose place it holds something else too"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_before_anything_is_written(tmp_path: Path, kind: str) -> None:
    members, sentence = HOSTILE[kind]
    archive = tmp_path / "outer" / "hostile.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("fan/train/good.wav", b"good")
        for info in members:
            file.writestr(info, b"../../evil.wav")
    with pytest.raises(InputError, match=rf"hostile\.zip: will not be unpacked, as it holds .*{sentence}"):
        unpack(archive, tmp_path / "outer" / "target")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]
    assert not Path("/tmp/offnote_evil.wav").exists()


def test_a_name_cut_short_by_a_zero_byte_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "hostile.zip"
    archive.write_bytes(zipped({"fan/a.wavX.txt": b"evil"}).replace(b"a.wavX.txt", b"a.wav\0.txt"))
    with pytest.raises(InputError, match="control character"):
        unpack(archive, tmp_path / "target")


def test_harmless_oddities_are_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "odd.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.mkdir("fan")
        file.writestr(member("./fan/train/a b.wav"), b"1")
        file.writestr(member("fan//train/ü.wav", stat.S_IFREG | 0o600), b"2")
        file.writestr(member("fan/empty.csv"), b"")
    assert [name for name, *_ in unpack(archive, tmp_path / "target")] == [
        "fan/train/a b.wav",
        "fan/train/ü.wav",
        "fan/empty.csv",
    ]
    assert (tmp_path / "target/fan/train/ü.wav").read_bytes() == b"2"


def test_files_that_are_there_stay_and_are_never_replaced(tmp_path: Path) -> None:
    archive = tmp_path / "fan.zip"
    archive.write_bytes(ZIP)
    first, second, *_ = (tmp_path / "target" / name for name in CLIPS)
    first.parent.mkdir(parents=True)
    first.write_bytes(next(iter(CLIPS.values())))
    os.utime(first, (1e9, 1e9))
    second.write_bytes(b"another recording")
    with pytest.raises(
        InputError, match=r"0001\.wav: is there already, and is not that of fan\.zip; move it elsewhere"
    ):
        unpack(archive, tmp_path / "target")
    assert sorted(first.parent.iterdir()) == [first, second]
    assert second.read_bytes() == b"another recording"
    second.unlink()
    unpack(archive, tmp_path / "target")
    assert first.stat().st_mtime == 1e9
    assert len(list(first.parent.iterdir())) == len(CLIPS)


def test_a_link_or_a_folder_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    archive = tmp_path / "fan.zip"
    archive.write_bytes(zipped({"fan/a.wav": b"new"}))
    path = tmp_path / "target/fan/a.wav"
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is there already"):
        unpack(archive, tmp_path / "target")
    assert not (tmp_path / "nowhere").exists()
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="is there already"):
        unpack(archive, tmp_path / "target")


def forged(stated: int, content: bytes) -> bytes:
    """Return a zip file that states another size than its one file has."""
    whole = zipped({"fan/a.wav": content}, zipfile.ZIP_DEFLATED)
    end = whole.rindex(b"PK\x01\x02")
    size = len(content).to_bytes(4, "little")
    return whole[:end] + whole[end:].replace(size, stated.to_bytes(4, "little"), 1)


def test_a_bomb_that_states_its_size_finds_no_room(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    name = b"fan/a.wav"
    # The sizes of a file of 2^60 bytes stand in an extra field.
    small = zipped({name.decode(): b"x"})
    end = small.rindex(b"PK\x01\x02")
    entry, rest = bytearray(small[end : small.rindex(b"PK\x05\x06")]), bytearray(small[small.rindex(b"PK\x05\x06") :])
    extra = (1).to_bytes(2, "little") + (8).to_bytes(2, "little") + (2**60).to_bytes(8, "little")
    entry[24:28] = b"\xff" * 4
    entry[30:32] = len(extra).to_bytes(2, "little")
    entry += extra
    rest[12:16] = len(entry).to_bytes(4, "little")
    archive.write_bytes(small[:end] + entry + rest)
    with pytest.raises(InputError, match=r"the files of bomb\.zip need 1\.15e\+09 GB and there are"):
        unpack(archive, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_bomb_that_hides_its_size_is_stopped_at_it(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    archive.write_bytes(forged(1000, bytes(50_000_000)))
    with pytest.raises(InputError, match=r"bomb\.zip: cannot be unpacked \(Bad CRC-32 for file 'fan/a\.wav'\)"):
        unpack(archive, tmp_path / "target")
    assert [path for path in (tmp_path / "target").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_inflate_all_at_once_are_refused(tmp_path: Path, method: int) -> None:
    archive = tmp_path / "bomb.zip"
    archive.write_bytes(zipped({"fan/a.wav": bytes(1000)}, method))
    with pytest.raises(InputError, match=r"bomb\.zip: .*fan/a\.wav.*packed by an unusual method"):
        unpack(archive, tmp_path / "target")


def test_an_encrypted_archive_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "secret.zip"
    content = bytearray(zipped({"fan/a.wav": b"x"}))
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"secret\.zip: cannot be unpacked \(.*password required"):
        unpack(archive, tmp_path / "target")


def damaged(intact: bytes) -> Iterator[bytes]:
    """Return a zip file cut short, or with a wrong byte, in many places."""
    generator = random.Random(0)
    for _ in range(50):
        yield intact[: generator.randrange(len(intact))]
        yield flip(intact, generator.randrange(len(intact)), generator.randrange(1, 256))
        # In the last bytes stand the names, sizes and places of the files.
        yield flip(intact, -generator.randrange(1, 300), generator.randrange(1, 256))


def flip(whole: bytes, place: int, value: int) -> bytes:
    content = bytearray(whole)
    content[place] ^= value
    return bytes(content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_damaged_archive_is_named_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    files = {f"fan/train/{number}.wav": random.Random(number).randbytes(200) for number in range(4)}
    intact = zipped(files, zipfile.ZIP_DEFLATED)
    refused = 0
    for number, content in enumerate(damaged(intact)):
        archive, target = tmp_path / f"{number}.zip", tmp_path / f"{number}"
        archive.write_bytes(content)
        with contextlib.suppress(InputError):
            unpack(archive, target)
            refused -= 1
        refused += 1
        for path in target.rglob("*"):
            # A flipped bit in a name may make another name of it, but the content is whole.
            assert path.is_dir() or path.read_bytes() in files.values(), number
    assert refused > 100


def test_what_is_no_zip_file_at_all_is_named(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.records[7]["dev_fan.zip"] = b"no zip file at all"
    with pytest.raises(InputError, match=r"dev_fan\.zip: cannot be unpacked \(File is not a zip file\); take it away"):
        fetch(zenodo, tmp_path)


def test_an_unpacking_that_was_killed_goes_on(zenodo: Zenodo, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from offnote import retrieve\n"
        "copy, count = retrieve.shutil.copyfileobj, 0\n"
        "def copy_or_die(*arguments):\n"
        "    global count; count += 1\n"
        "    if count == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    copy(*arguments)\n"
        "retrieve.shutil.copyfileobj = copy_or_die\n"
        f"retrieve.retrieve_archive(retrieve.Archive{tuple(FAN)!r}, Path(sys.argv[1]), url=sys.argv[2])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), zenodo.url], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / FAN.listed).exists()
    whole_ones = {name: content for name, content in unpacked(tmp_path).items() if not Path(name).name.startswith(".")}
    assert len(whole_ones) == 4
    assert all(CLIPS[name] == content for name, content in whole_ones.items())
    fetch(zenodo, tmp_path)
    assert len(zenodo.downloads()) == 1
    assert CLIPS.items() <= unpacked(tmp_path).items()


def test_settings_are_those_of_the_section() -> None:
    settings: dict[str, Any] = {"year": "2024", "keep_archives": "true", "machines": ["3DPrinter"], "timeout": "5"}
    section = Retrieve(**settings)
    assert (section.year, section.keep_archives, section.timeout) == (2024, True, 5)
    assert list(planned_archives(section, asked=True)) == ["eval_data_3DPrinter_train_r2", "eval_data_3DPrinter_test"]


@pytest.mark.parametrize(
    "wrong", [{"sets": ["dev"]}, {"sets": []}, {"machines": []}, {"url": "zenodo.org"}, {"folder": "data/{year}"}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Retrieve.model_validate(wrong)
