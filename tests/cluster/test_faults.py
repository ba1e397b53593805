"""What befalls jobs, nodes and Snakemake on a cluster: in the end the scores of an undisturbed run, byte for byte."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster.runs import BY_SUBMISSIONS, LONG, results, start
from tests.cluster.slurm import Job, Slurm, processes_of, wait
from tests.workflow.runs import Workflow

# Every third submission fails, as where a controller has too much to do.
FLAKY_SBATCH = """\
#!/bin/bash
count=$(($(cat {folder}/count 2>/dev/null || echo 0) + 1))
echo "$count" > {folder}/count
if [ $((count % 3)) = 0 ]; then
    echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
    exit 1
fi
exec {sbatch} "$@"
"""


def running(slurm: Slurm, since: int, log: str) -> Job | None:
    """Return the running job whose log lies in a folder of Snakemake's of this name."""
    jobs = [job for job in slurm.jobs()[since:] if job.state == "RUNNING" and f"/{log}/" in job.facts["StdOut"]]
    return jobs[0] if jobs else None


def await_training(slurm: Slurm, since: int, flow: Workflow) -> Job:
    """Wait for a training that has something to lose, and return its job."""
    wait("no checkpoint", lambda: bool(flow.files("cache/checkpoints/*/*.safetensors")), seconds=240)
    job = running(slurm, since, "rule_train")
    assert job is not None
    return job


def end_of(snakemake: subprocess.Popen[bytes]) -> int:
    """Wait for Snakemake, and return its exit status."""
    return snakemake.wait(timeout=500)


def test_submissions_that_fail_a_killed_worker_and_a_dead_node_need_nobody(
    slurm: Slurm, undisturbed: Workflow, tmp_path: Path
) -> None:
    flow, programs, since = Workflow(tmp_path / "flow"), tmp_path / "programs", len(slurm.jobs())
    for folder in (flow.folder, programs):
        folder.mkdir()
    sbatch = subprocess.run(["which", "sbatch"], capture_output=True, text=True, check=True).stdout.strip()
    (programs / "sbatch").write_text(FLAKY_SBATCH.format(folder=programs, sbatch=sbatch))
    (programs / "sbatch").chmod(0o755)
    snakemake = start(flow, LONG, programs)
    wait("no features", lambda: running(slurm, since, "rule_features") is not None, seconds=240)
    features = running(slurm, since, "rule_features")
    assert features is not None
    wait("no worker", lambda: bool(workers_of(features, "features")), seconds=60)
    os.kill(workers_of(features, "features")[0], signal.SIGKILL)
    training = await_training(slurm, since, flow)
    node = training.facts["NodeList"]
    slurm.kill_node(node)
    try:
        assert end_of(snakemake) == 0, (flow.folder / "screen.txt").read_text()
    finally:
        slurm.start_node(node)
    assert "Socket timed out" in (flow.folder / "screen.txt").read_text()
    log = (flow.folder / "logs/train/small/rotor/id_00/trial_0.log").read_text()
    assert "training goes on after epoch" in log
    assert results(flow) == results(undisturbed)


def test_after_too_little_memory_and_a_killed_snakemake_the_same_command_carries_on(
    slurm: Slurm, undisturbed: Workflow, tmp_path: Path
) -> None:
    flow, since = Workflow(tmp_path), len(slurm.jobs())
    done = flow.run(LONG, *BY_SUBMISSIONS, "--retries", "0", "--set-resources", "train:mem_mb=100")
    assert done.returncode == 1
    assert slurm.jobs()[-1].facts["ExitCode"] == "0:9"
    assert not list((flow.folder / "results/small").rglob("*.csv"))
    snakemake = start(flow, LONG)
    training = await_training(slurm, since, flow)
    snakemake.kill()
    snakemake.wait()
    wait("the job outlives its Snakemake", lambda: slurm.job(training.number).state != "RUNNING")
    flow.finish(LONG, *BY_SUBMISSIONS)
    assert results(flow) == results(undisturbed)


def test_a_job_past_its_time_limit_needs_nobody_and_a_second_snakemake_is_refused(
    slurm: Slurm, undisturbed: Workflow, tmp_path: Path
) -> None:
    flow, since = Workflow(tmp_path), len(slurm.jobs())
    snakemake = start(flow, LONG, options=["--set-resources", "train:runtime=1"])
    training = await_training(slurm, since, flow)
    # It hangs, as where a file system does not answer.
    for pid in workers_of(training, "train"):
        os.kill(pid, signal.SIGSTOP)
    second = flow.run(LONG, *BY_SUBMISSIONS)
    assert second.returncode == 1
    assert "another snakemake is at work in" in second.stdout + second.stderr
    assert end_of(snakemake) == 0, (flow.folder / "screen.txt").read_text()
    assert slurm.job(training.number).state == "TIMEOUT"
    log = (flow.folder / "logs/train/small/rotor/id_00/trial_0.log").read_text()
    assert "training goes on after epoch" in log
    assert results(flow) == results(undisturbed)


def test_after_a_full_disk_the_same_command_carries_on(slurm: Slurm, undisturbed: Workflow, tmp_path: Path) -> None:
    flow = Workflow(tmp_path)
    with small_disk(flow.folder / "results") as resize:
        flow.finish(LONG, "--until", "features")
        used = sum(path.stat().st_blocks for path in (flow.folder / "results").rglob("*")) // 2
        # Room for half a checkpoint.
        resize(f"{used + 400}k")
        done = flow.run(LONG, *BY_SUBMISSIONS, "--retries", "0")
        assert done.returncode == 1
        assert "No space left on device" in done.stdout + done.stderr
        assert not list((flow.folder / "results/small").rglob("*.*"))
        resize("1g")
        flow.finish(LONG, *BY_SUBMISSIONS)
        assert results(flow) == results(undisturbed)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[str], None]]:
    """Mount a disk in memory at a folder, and give a function that changes its size; Slurm's jobs see it too."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(folder)], check=True)

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def workers_of(job: Job, stage: str) -> list[int]:
    """Return the processes of a job that do the work of a stage."""
    found = []
    for pid in processes_of(job.number):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(part.endswith(f".{stage}.py".encode()) for part in command):
            found.append(pid)
    return found
