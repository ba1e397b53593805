"""A half-written file never carries the final name."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from offnote.errors import InputError
from offnote.files import clear_leftovers, replacing


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "below" / "model.json"
    with replacing(target) as temporary:
        temporary.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.suffix == ".json"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "scores.csv"
    target.write_text("old")
    with suppress(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "replaced") as temporary:
        temporary.touch()
    assert (tmp_path / "replaced").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"file/scores\.csv: cannot be written \(File exists\)"),
        replacing(tmp_path / "file" / "scores.csv"),
    ):
        pass


def test_a_full_disk_is_named_and_what_was_read_is_not_blamed_on_it(tmp_path: Path) -> None:
    def fail(number: int) -> None:
        with replacing(tmp_path / "scores.csv"):
            raise OSError(number, os.strerror(number), "elsewhere")

    with pytest.raises(InputError, match=r"scores\.csv: cannot be written \(No space left on device\)"):
        fail(errno.ENOSPC)
    with pytest.raises(OSError, match="elsewhere"):
        fail(errno.EIO)
    assert list(tmp_path.iterdir()) == []


def test_only_what_killed_jobs_left_is_cleared(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in ("id_00.h5", ".hidden", ".id_00.h5", "below/.a.part.h5")]
    left = [tmp_path / name for name in (".id_00.ab_3xyz9.part.h5", "below/.trial_0.abcdefgh.part.csv")]
    (tmp_path / "below").mkdir()
    for path in [*kept, *left]:
        path.touch()
    assert sorted(clear_leftovers(tmp_path)) == sorted(left)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in left)


def test_what_replacing_leaves_when_killed_is_cleared(tmp_path: Path) -> None:
    for name in ("scores.csv", "no_suffix", "model.safetensors"):
        with replacing(tmp_path / name) as temporary:
            copy = temporary.read_bytes()
            (tmp_path / "left").mkdir(exist_ok=True)
            (tmp_path / "left" / temporary.name).write_bytes(copy)
    assert len(clear_leftovers(tmp_path / "left")) == 3


def test_the_data_is_on_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")
    synced = []

    def sync(descriptor: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), path.read_text()))

    monkeypatch.setattr(os, "fsync", sync)
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert synced == [(str(temporary), "old"), (str(tmp_path), "new")]


def test_a_killed_process_leaves_no_final_file(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from offnote.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "scores.csv")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "scores.csv").exists()
