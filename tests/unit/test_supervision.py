from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from offnote.errors import InputError
from offnote.files import lock
from offnote.supervision import VARIABLE, hold

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
from offnote.supervision import hold
hold(Path(sys.argv[1]))
subprocess.Popen([sys.executable, "-c", {JOB!r}, sys.argv[2]])
sys.stdin.readline()
"""


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
        with pytest.raises(InputError, match=f"another snakemake is at work in {tmp_path}"):
            hold(tmp_path)
        assert lock(tmp_path / ".snakemake" / "offnote.lock") is None
    command = [sys.executable, "-c", "import sys; from offnote.supervision import *; hold(Path(sys.argv[1]))"]
    subprocess.run([*command, str(tmp_path)], check=True)


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
        ("another_computer an_old_token {lock}", False),
        ("", False),
    ],
)
def test_a_job_that_starts_after_its_workflow_was_killed_ends_at_once(
    tmp_path: Path, workflow: str, is_over: bool
) -> None:
    path = tmp_path / "offnote.lock"
    path.write_text("a new token")
    environment = os.environ | {VARIABLE: workflow.format(lock=path)}
    command = [sys.executable, "-c", JOB, "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == int(is_over)
    assert ("farewell" in done.stdout, "done" in done.stdout) == (is_over, not is_over)
