"""Profiles for engines that are not here: Snakemake accepts them, and jobs ask in the engine's own words."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

import pytest
from offnote.config import ROOT

from tests.cluster.runs import RESULTS, SMALL
from tests.profiles import asked_by, assert_misspelt_is_refused, dry_run
from tests.workflow.runs import Workflow

# What a training on a GPU asks for, and a job that needs none, in the words of each engine.
WORDS = {
    "lsf": ("lsf_extra=-gpu num=1", "lsf_extra"),
    "sge": ("gpu=1", "gpu"),
    "htcondor": ("request_gpus=1", "request_gpus"),
    "slurm": ("gpu=1", "gpu"),
}


@pytest.mark.parametrize("engine", WORDS)
def test_jobs_ask_for_gpus_in_the_words_of_the_engine(code: Path, tmp_path: Path, engine: str) -> None:
    done = dry_run(code, tmp_path, code / "profiles" / engine)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = asked_by(done.stdout)
    wanted, word = WORDS[engine]
    for rule in ("features", "train", "score"):
        assert f", {wanted}," in asked[rule]
        assert ", require_gpu=true" in asked[rule]
    assert f", {word}=" not in asked["evaluate"]
    assert ", mem_mb=2000" in asked["evaluate"]
    assert ("htcondor_request_mem_mb=2000" in asked["evaluate"]) == (engine == "htcondor")


def test_where_no_gpu_is_to_be_used_none_is_asked_for(code: Path, tmp_path: Path) -> None:
    options = ["--config", "device=cpu", "require_gpu=false"]
    done = dry_run(code, tmp_path, code / "profiles/lsf", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gpu_as=lsf_extra" in done.stdout
    assert ", lsf_extra=" not in done.stdout


@pytest.mark.parametrize("engine", WORDS)
def test_a_misspelt_setting_of_a_profile_is_refused(code: Path, tmp_path: Path, engine: str) -> None:
    assert_misspelt_is_refused(code, tmp_path, engine)


QSUB = """#!/bin/bash
# Notes what a job asks for, runs it, and keeps the books, as SGE would.
number=$(($(ls "$SGE" | wc -l) + 1))
mkdir "$SGE/$number" || exit 1
echo "$@" > "$SGE/$number/asked"
script="${@: -1}"
(bash "$script" > "$SGE/$number/log" 2>&1; echo "exit_status $?" > "$SGE/$number/books.part"
 mv "$SGE/$number/books.part" "$SGE/$number/books") > /dev/null 2>&1 &
echo $number
"""
QSTAT = '#!/bin/bash\n[ -d "$SGE/$2" ] && [ ! -f "$SGE/$2/books" ]\n'
QACCT = '#!/bin/bash\ncat "$SGE/$2/books"\n'


def test_a_pretended_sge_gives_the_bytes_of_a_local_run(tmp_path: Path) -> None:
    programs, books = tmp_path / "programs", tmp_path / "books"
    programs.mkdir()
    books.mkdir()
    for name, text in (("qsub", QSUB), ("qstat", QSTAT), ("qacct", QACCT), ("qdel", "#!/bin/bash\n")):
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(stat.S_IRWXU)
    flow, local = Workflow(tmp_path / "sge"), Workflow(tmp_path / "local")
    for folder in (flow.folder, local.folder):
        folder.mkdir()
    # The commands of the profile are found from the checkout that a user starts in.
    (flow.folder / "profiles").symlink_to(ROOT / "profiles")
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        patch.setenv("SGE", str(books))
        options = ["--workflow-profile", str(ROOT / "profiles/sge"), "--config", "require_gpu=false"]
        flow.finish(SMALL, *options, "--seconds-between-status-checks", "1", "--latency-wait", "5")
    local.finish(SMALL)
    asked = [(job / "asked").read_text(encoding="utf-8") for job in sorted(books.iterdir())]
    assert sum("-l gpu=1" in words for words in asked) == 6
    assert all(re.search(r"-pe smp \d+ .*-l h_rt=\d+ -l mem_free=\d+M", words) for words in asked)
    for pattern in RESULTS:
        assert flow.files(pattern) == local.files(pattern)
        assert flow.files(pattern)
