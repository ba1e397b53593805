"""The workflow on a real Slurm: every job a submission of its own, or all of them in one allocation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.runs import BY_SUBMISSIONS, LONG, SMALL, results, submit_allocation
from tests.cluster.slurm import Slurm, wait
from tests.workflow.runs import Workflow


def test_slurm_gives_gpus_few_submissions_and_the_bytes_of_a_local_run(slurm: Slurm, tmp_path: Path) -> None:
    here, there = (Workflow(tmp_path / name) for name in ("here", "there"))
    for workflow in (here, there):
        workflow.folder.mkdir()
    here.finish(SMALL)
    before = len(slurm.jobs())
    there.finish(SMALL, *BY_SUBMISSIONS)
    jobs = slurm.jobs()[before:]
    assert {job.state for job in jobs} == {"COMPLETED"}
    # Of 4 machines, 2 a job: recordings and figures in one each, features, models and scores in two each, and the clip
    # list, tables and manifest.
    assert len(jobs) == 11
    assert [job.gpus for job in jobs].count(1) == 6
    assert len(results(there)) == 4 * (3 + 2) + 7
    assert results(there) == results(here)


@pytest.mark.parametrize("out_of_time", [False, True])
def test_in_one_allocation_a_requeue_in_mid_training_changes_no_byte(
    slurm: Slurm, undisturbed: Workflow, tmp_path: Path, out_of_time: bool
) -> None:
    flow = Workflow(tmp_path)
    number = submit_allocation(slurm, flow, LONG)
    wait("no checkpoint", lambda: bool(flow.files("cache/checkpoints/*/*.safetensors")), seconds=180)
    slurm.requeue(number, by_itself=out_of_time)
    wait("not done", lambda: slurm.job(number).ended, seconds=300)
    assert slurm.job(number).state == "COMPLETED"
    assert slurm.job(number).facts["Restarts"] == "1"
    log = (flow.folder / "logs/train/small/rotor/id_00/trial_0.log").read_text()
    assert "training goes on after epoch" in log
    assert results(flow) == results(undisturbed)
    assert ("out of time" in (flow.folder / f"offnote-{number}.log").read_text()) == out_of_time
