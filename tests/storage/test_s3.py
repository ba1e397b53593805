"""Recordings and results on S3, by Snakemake's plugin, and what goes wrong there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.storage.s3 import BUCKET, DEMO, RECORDINGS, Storage, computers, from_folder, outcome, to_storage
from tests.workflow.runs import Workflow, copy_code

STORED = f"s3://{BUCKET}/plant"


def test_results_of_recordings_on_this_computer(storage: Storage, here: Workflow, workflow: Workflow) -> None:
    screen = workflow.finish(from_folder(str(here.folder / RECORDINGS)), *to_storage("local_audio"))
    assert "Tables: results/small/tables" in screen
    assert "| rotor/id_00 |" in screen
    assert outcome(storage.files("local_audio")) == outcome(here.files("small/**/*.*"))
    assert not list(workflow.folder.glob("results/small"))


def test_results_of_the_demo_set_which_is_made_there(storage: Storage, workflow: Workflow) -> None:
    workflow.finish(DEMO, *to_storage("demo"))
    assert "results/small/tables/summary.md" in storage.files("demo")
    assert workflow.planned(DEMO, *to_storage("demo")) == {}


def test_recordings_are_read_from_there_and_a_replaced_one_is_noticed(
    storage: Storage, here: Workflow, workflow: Workflow
) -> None:
    storage.put(here.folder / RECORDINGS, "replaced")
    configuration = from_folder(f"s3://{BUCKET}/replaced")
    workflow.finish(configuration)
    assert outcome(workflow.files("small/**/*.*")) == outcome(here.files("small/**/*.*"))
    assert workflow.planned(configuration) == {}
    # Nothing of the recordings stays behind.
    assert not list(workflow.folder.glob("**/*.wav"))
    other = next((here.folder / RECORDINGS / "rotor/test").glob("*.wav"))
    storage.bucket.Object("replaced/rotor/train/normal_id_00_00000000.wav").upload_file(other)
    assert workflow.planned(configuration)["features"] == 1


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the code: what is sent to other computers must lie below the folder that Snakemake runs in."""
    return copy_code(tmp_path_factory.mktemp("checkout"))


def test_jobs_on_computers_that_share_no_disk(storage: Storage, here: Workflow, checkout: Path, tmp_path: Path) -> None:
    flow = Workflow(checkout)
    (checkout / "overlay.yaml").write_text(yaml.safe_dump(from_folder(STORED)), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", *computers(tmp_path), *to_storage("apart")]
    command += ["--configfile", "overlay.yaml", "--config", "device=cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=flow.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcome(storage.files("apart")) == outcome(here.files("small/**/*.*"))
    assert len(list((tmp_path / "nodes").iterdir())) == 7


def start(workflow: Workflow, *options: str) -> subprocess.Popen[bytes]:
    command = workflow.command(from_folder(STORED), *options, cores=1)
    with (workflow.folder / "screen.txt").open("wb") as screen:
        return subprocess.Popen(command, stdout=screen, stderr=screen, cwd=workflow.folder, start_new_session=True)


def wait_for(storage: Storage, prefix: str, ending: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until an object is there, whose name ends so."""
    while not any(item.key.endswith(ending) for item in storage.bucket.objects.filter(Prefix=f"{prefix}/")):
        assert process.poll() is None
        time.sleep(0.1)


def test_after_a_kill_the_same_command_carries_on(storage: Storage, here: Workflow, workflow: Workflow) -> None:
    process = start(workflow, *to_storage("killed"))
    wait_for(storage, "killed", ".h5", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert "results/small/tables/machines.csv" not in storage.files("killed")
    again = start(workflow, *to_storage("killed"))
    assert again.wait() == 0, (workflow.folder / "screen.txt").read_text(encoding="utf-8")
    assert outcome(storage.files("killed")) == outcome(here.files("small/**/*.*"))


def test_after_the_storage_was_away_the_same_command_carries_on(
    storage: Storage, here: Workflow, workflow: Workflow
) -> None:
    process = start(workflow, *to_storage("away"))
    wait_for(storage, "away", ".h5", process)
    storage.stop()
    try:
        assert process.wait() == 1
        screen = (workflow.folder / "screen.txt").read_text(encoding="utf-8")
        refused = workflow.run(from_folder(STORED), *to_storage("away"))
    finally:
        storage.start()
    assert "s3://sounds/away" in screen
    assert refused.returncode == 1
    assert f"dataset.path: {STORED} cannot be listed (Could not connect" in refused.stderr
    again = start(workflow, *to_storage("away"))
    assert again.wait() == 0, (workflow.folder / "screen.txt").read_text(encoding="utf-8")
    assert outcome(storage.files("away")) == outcome(here.files("small/**/*.*"))


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (f"s3://{BUCKET}/nothing", "holds no recordings (.flac, .ogg, .wav); name a folder above them"),
        ("s3://no-such-bucket/plant", "cannot be listed (An error occurred (NoSuchBucket)"),
    ],
)
def test_a_folder_that_is_not_there_is_named(storage: Storage, workflow: Workflow, path: str, sentence: str) -> None:
    done = workflow.run(from_folder(path))
    assert done.returncode == 1
    assert f"dataset.path: {path} {sentence}" in done.stderr


def test_a_broken_clip_there_is_named(storage: Storage, here: Workflow, workflow: Workflow) -> None:
    storage.put(here.folder / RECORDINGS, "broken")
    storage.bucket.Object("broken/rotor/train/normal_id_00_00000003.wav").put(Body=b"RIFF")
    done = workflow.run(from_folder(f"s3://{BUCKET}/broken"), *to_storage("of_broken"))
    assert done.returncode == 1
    last = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("offnote: ")][-1]
    assert "broken/rotor/train/normal_id_00_00000003.wav: " in last
    assert not outcome(storage.files("of_broken"))
