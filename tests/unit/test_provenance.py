"""Seeds, hashes and versions."""

from __future__ import annotations

import platform
import subprocess
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from offnote import provenance


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a small package in place of ours: `top` imports `middle`, which imports `bottom`; `aside` stands alone."""
    (tmp_path / "top.py").write_text('"""Top."""\nfrom offnote.middle import f\n')
    (tmp_path / "middle.py").write_text("from offnote import bottom\nfrom offnote.config import Audio\nf = bottom.g\n")
    (tmp_path / "bottom.py").write_text('def g():\n    """Return one."""\n    return 1  # one\n')
    (tmp_path / "aside.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    return tmp_path


def code_hash(module: str, script: Path | None = None) -> str:
    for cached in (provenance._tree, provenance._imports, provenance._code):
        cached.cache_clear()
    return provenance.code_hash(module, script)


@pytest.fixture(autouse=True)
def _forget_the_small_package() -> object:
    yield
    code_hash("offnote.errors")


def test_code_counts_wherever_it_is_imported_from(package: Path) -> None:
    before = code_hash("offnote.top")
    (package / "bottom.py").write_text("def g():\n    return 2\n")
    assert code_hash("offnote.top") != before


def test_what_is_not_imported_does_not_count(package: Path) -> None:
    before = code_hash("offnote.top")
    (package / "aside.py").write_text("x = 2\n")
    assert code_hash("offnote.top") == before


def test_comments_docstrings_and_layout_do_not_count(package: Path) -> None:
    before = code_hash("offnote.top")
    (package / "bottom.py").write_text('def g():\n    """Give back\n    one."""\n\n    return (1)\n')
    assert code_hash("offnote.top") == before


def test_the_script_of_a_stage_counts(package: Path) -> None:
    script = package / "train.py"
    script.write_text('"""Train."""\nfrom offnote.top import f\nf()\n')
    before = code_hash("offnote.top", script)
    assert before != code_hash("offnote.top")
    script.write_text("# A remark.\nfrom offnote.top import f\n\nf()\n")
    assert code_hash("offnote.top", script) == before
    script.write_text("from offnote.top import f\n\nf(1)\n")
    assert code_hash("offnote.top", script) != before


def test_the_stages_depend_on_what_they_should() -> None:
    assert "offnote.features" in provenance._reachable("offnote.features")
    assert {"offnote.audio", "offnote.cache", "offnote.device"} <= provenance._reachable("offnote.features")
    assert {"offnote.training", "offnote.models", "offnote.windows"} <= provenance._reachable("offnote.detectors")
    assert "offnote.features" not in provenance._reachable("offnote.detectors")
    assert not {"offnote.detectors", "offnote.device"} & provenance._reachable("offnote.evaluation")


def test_seeds_are_the_same_everywhere_and_differ_by_everything() -> None:
    assert provenance.derive_seed(0, 0, "fan/id_00") == int.from_bytes(sha256(b'[0,0,"fan/id_00"]').digest()[:8]) >> 1
    seeds = {provenance.derive_seed(*parts) for parts in [(0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b")]}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert provenance.sha256_of(tmp_path / "file").startswith("ba7816bf8f01cfea")
    more_than_is_read_at_once = bytes(range(256)) * 2500 + b"tail"
    (tmp_path / "file").write_bytes(more_than_is_read_at_once)
    assert provenance.sha256_of(tmp_path / "file") == sha256(more_than_is_read_at_once).hexdigest()


def test_commit(tmp_path: Path) -> None:
    assert provenance.git_commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    (tmp_path / "file").write_text("a")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "a"], check=True)
    commit = provenance.git_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "file").write_text("b")
    assert provenance.git_commit(tmp_path) == f"{commit}-dirty"


def test_the_versions_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "LIBRARIES", ("numpy", "offnote-of-nobody"))
    found = provenance.versions()
    assert found == {"python": platform.python_version(), "numpy": np.__version__, "offnote-of-nobody": "missing"}
