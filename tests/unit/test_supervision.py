from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest
from offnote import supervision
from offnote.errors import InputError
from offnote.files import lock
from offnote.supervision import VARIABLE, glimpse, hold, hold_results

JOB = """
import sys, time
from offnote.supervision import end_with_workflow
end_with_workflow(lambda: print("farewell", flush=True))
print("started", flush=True)
time.sleep(float(sys.argv[1]))
print("done", flush=True)
"""

# Holds the folder, starts a job that outlives it if nothing is done about it, and waits for a line on its input.
HOLDER = f"""
import subprocess, sys
from pathlib import Path
from offnote.supervision import glimpse, hold
hold(Path(sys.argv[1]), glimpse(Path(sys.argv[1])))
subprocess.Popen([sys.executable, "-c", {JOB!r}, sys.argv[2]])
sys.stdin.readline()
"""


def test_results_that_two_folders_share_by_links_have_one_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "PATIENCE_SECONDS", 0.2)
    hold_results([tmp_path / "a/results", tmp_path / "a/results/cache"])
    (tmp_path / "b").mkdir()
    (tmp_path / "b/results").symlink_to(tmp_path / "a/results")
    with pytest.raises(InputError, match=rf"another snakemake is at work in {tmp_path}/a/results;"):
        hold_results([tmp_path / "b/results"])
    (tmp_path / "c/results").mkdir(parents=True)
    (tmp_path / "c/results/cache").symlink_to(tmp_path / "a/results/cache")
    with pytest.raises(InputError, match=rf"another snakemake is at work in {tmp_path}/a/results/cache;"):
        hold_results([tmp_path / "c/results", tmp_path / "c/results/cache"])
    (tmp_path / "d").symlink_to(tmp_path / "no disk")
    with pytest.raises(InputError, match=rf"{tmp_path}/d: a link to nowhere"):
        hold_results([tmp_path / "d"])
    assert not (tmp_path / "no disk").exists()


@contextmanager
def held(folder: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Start a process that holds `folder`, and a job of its own that takes so many seconds."""
    command = [sys.executable, "-c", HOLDER, str(folder), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "started\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_a_folder_is_held_by_one_process_until_it_dies(tmp_path: Path) -> None:
    with held(tmp_path, 60):
        assert glimpse(tmp_path) is None
        with pytest.raises(InputError, match=f"another snakemake is at work in {tmp_path}"):
            hold(tmp_path, "")
        assert lock(tmp_path / ".snakemake" / "offnote.lock") is None
    with held(tmp_path, 0.0):
        pass


def test_a_plan_made_while_another_workflow_was_at_work_is_worth_nothing(tmp_path: Path) -> None:
    before = glimpse(tmp_path)
    with held(tmp_path, 60):
        during = glimpse(tmp_path)
    for seen in (before, during):
        with pytest.raises(InputError, match=r"was at work in .* while this one made its plan; run the same again"):
            hold(tmp_path, seen)


def test_a_start_waits_for_the_jobs_of_a_killed_workflow(tmp_path: Path) -> None:
    with held(tmp_path, 0.0):
        pass
    seen = glimpse(tmp_path)
    with (tmp_path / ".snakemake" / "offnote.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        Timer(1.0, file.close).start()
        command = [sys.executable, "-c", "import sys; from offnote.supervision import *; hold(Path('.'), sys.argv[1])"]
        subprocess.run([*command, str(seen)], cwd=tmp_path, check=True)


@pytest.mark.parametrize("attempt", range(5))
def test_a_job_ends_though_the_next_workflow_waits_at_the_door(tmp_path: Path, attempt: int) -> None:
    waiting = (
        "import sys, time; from offnote.files import *; path = Path(sys.argv[1])\nwhile lock(path) is None: pass\n"
    )
    waiting += "path.write_text('the next'); time.sleep(60)"
    with held(tmp_path, 60) as holder:
        command = [sys.executable, "-c", waiting, str(tmp_path / ".snakemake" / "offnote.lock")]
        with subprocess.Popen(command) as following:
            time.sleep(0.5)
            holder.kill()
            assert holder.stdout is not None
            assert holder.stdout.read() == "farewell\n"
            following.kill()


def test_a_job_ends_when_its_workflow_is_killed(tmp_path: Path) -> None:
    with held(tmp_path, 60) as holder:
        holder.kill()
        assert holder.stdout is not None
        # The end of the output is that of the last process that has it: the job's.
        assert holder.stdout.read() == "farewell\n"


def test_a_job_whose_workflow_lives_is_done(tmp_path: Path) -> None:
    with held(tmp_path, 0.5) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "done\n"


@pytest.mark.parametrize(
    ("workflow", "is_over"),
    [
        (f"{platform.node()} an_old_token {{lock}}", True),
        (f"{platform.node()} an_old_token {{lock}}.gone", True),
        ("another_computer an_old_token {lock}", True),
        ("another_computer the_newest_token {lock}", False),
        ("", False),
    ],
)
def test_a_job_that_starts_after_its_workflow_was_killed_ends_at_once(
    tmp_path: Path, workflow: str, is_over: bool
) -> None:
    path = tmp_path / "offnote.lock"
    path.write_text("the_newest_token")
    new = lock(path)
    assert new is not None
    environment = os.environ | {VARIABLE: workflow.format(lock=path)}
    command = [sys.executable, "-c", JOB, "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == int(is_over)
    assert ("farewell" in done.stdout, "done" in done.stdout) == (is_over, not is_over)
    os.close(new)
