"""A job's log holds its whole story; the screen shows one sentence."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from offnote import logs

JOB = """
import ctypes, logging, sys
from offnote.errors import InputError
from offnote.logs import job_log, log
with job_log(sys.argv[1], "features fan/id_00"):
    log.info("32 clips")
    print("printed")
    ctypes.CDLL(None).puts(b"from a C library")
    ctypes.CDLL(None).fflush(None)
    {end}
"""


def run(log: Path, end: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", JOB.format(end=end), str(log)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_everything_lands_in_the_log(tmp_path: Path) -> None:
    done = run(tmp_path / "logs" / "job.log", "pass")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = (tmp_path / "logs" / "job.log").read_text()
    for part in ("features fan/id_00 starts", "32 clips", "printed", "from a C library", "is done after"):
        assert part in text


def test_a_mistake_of_the_user_is_one_sentence_on_the_screen(tmp_path: Path) -> None:
    done = run(tmp_path / "job.log", "raise InputError('a.wav: is empty; record it again')")
    assert done.returncode == 1
    assert done.stderr == (
        f"offnote: features fan/id_00: a.wav: is empty; record it again (log: {tmp_path / 'job.log'})\n"
    )
    assert "Traceback" in (tmp_path / "job.log").read_text()
    assert logs.failures(tmp_path, since=0.0) == [done.stderr.strip().removeprefix("offnote: ")]
    assert logs.failures(tmp_path, since=time.time() + 60) == []


def test_a_list_of_mistakes_is_told_whole(tmp_path: Path) -> None:
    done = run(tmp_path / "job.log", r"raise InputError('it is wrong:\n  a.wav: is empty\n  b.wav: is too')")
    [sentence] = logs.failures(tmp_path, since=0.0)
    assert sentence == done.stderr.strip().removeprefix("offnote: ")
    assert sentence.splitlines()[1:] == ["  a.wav: is empty", f"  b.wav: is too (log: {tmp_path / 'job.log'})"]


def test_a_full_disk_leaves_room_for_the_last_words(tmp_path: Path) -> None:
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    end = (
        f"{full}\n    for number in range(90): log.info('clip %d of 90', number)\n    raise InputError('a.wav: empty')"
    )
    done = run(tmp_path / "job.log", end)
    assert done.returncode == 1
    sentence = f"features fan/id_00: a.wav: empty (log: {tmp_path / 'job.log'})"
    assert done.stderr == f"offnote: {sentence}\n"
    assert logs.failures(tmp_path, since=0.0) == [sentence]
    assert (tmp_path / "job.log").stat().st_size <= 4096


def test_any_other_error_is_named(tmp_path: Path) -> None:
    done = run(tmp_path / "job.log", "1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_killed_job_is_named_although_it_said_nothing(tmp_path: Path) -> None:
    done = run(tmp_path / "job.log", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == -signal.SIGKILL
    [sentence] = logs.failures(tmp_path, since=0.0)
    assert sentence.startswith("features fan/id_00: killed, by hand or for want of memory")
    assert str(tmp_path / "job.log") in sentence


def test_finished_jobs_and_other_logs_have_not_failed(tmp_path: Path) -> None:
    run(tmp_path / "job.log", "pass")
    (tmp_path / "empty.log").touch()
    (tmp_path / "other.log").write_text("a remark\n")
    assert logs.failures(tmp_path, since=0.0) == []


def test_long_steps_show_a_count(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    seconds = iter([0.0, 2.0, 6.0, 7.0, 8.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    with caplog.at_level("INFO", logger="offnote"):
        assert list(logs.progress("abc", 3, "clips")) == ["a", "b", "c"]
    assert caplog.messages == ["clips: 2 of 3 after 6 s", "clips: 3 of 3, all after 8 s"]
