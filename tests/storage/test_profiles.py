"""Profiles for engines in a cloud: Snakemake accepts them, and jobs ask in the engine's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.profiles import asked_by, assert_misspelt_is_refused, dry_run
from tests.storage.s3 import BUCKET, Storage

# What a training on a GPU asks for, and what a job that needs none, in the words of each engine.
WORDS = {
    "kubernetes": (["gpu=1", "gpu_manufacturer=nvidia"], "gpu"),
    "aws-batch": (["_gpus=1"], "_gpus"),
    "google-batch": (["nvidia_gpu=1", "googlebatch_cpu_milli=1000"], "nvidia_gpu"),
}


@pytest.mark.parametrize("engine", WORDS)
def test_jobs_ask_for_gpus_in_the_words_of_the_engine(
    storage: Storage, code: Path, tmp_path: Path, engine: str
) -> None:
    assert storage.port
    done = dry_run(code, tmp_path, code / "profiles" / engine, "--default-storage-prefix", f"s3://{BUCKET}/{engine}")
    assert done.returncode == 0, done.stdout + done.stderr
    asked = asked_by(done.stdout)
    wanted, word = WORDS[engine]
    for rule in ("features", "train", "score"):
        for words in (*wanted, "require_gpu=true"):
            assert f", {words}" in asked[rule]
    assert f", {word}=" not in asked["evaluate"]
    assert ("googlebatch_memory=2000" in asked["evaluate"]) == (engine == "google-batch")


@pytest.mark.parametrize("engine", WORDS)
def test_a_misspelt_setting_of_a_profile_is_refused(code: Path, tmp_path: Path, engine: str) -> None:
    assert_misspelt_is_refused(code, tmp_path, engine)
