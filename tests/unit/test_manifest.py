"""The manifest names everything that a run was made from, and nothing that differs between two equal runs."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from offnote import cache
from offnote.cache import CachedClip
from offnote.clips import Entry
from offnote.config import ROOT, Settings, resolve
from offnote.errors import InputError
from offnote.manifest import write_manifest
from offnote.provenance import derive_seed, git_commit, versions

DEVICE = {"type": "cpu", "capability": "AVX2", "threads": 1, "torch": "2.14.1"}
OLD = {"torch": "2.14.1", "numpy": "2.0.0"}


def written(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    root: Path = Path(),
    trained: Settings | None = None,
    scored: str = "a1",
) -> dict[str, Any]:
    """Write a manifest over small files of the real formats, which are named from `root`, and read it."""
    made_with = (trained or settings).model_dump(mode="json", include={"window", "model", "training", "seed"})
    del made_with["training"]["trials"]
    folder.mkdir()
    monkeypatch.chdir(folder)
    clip = CachedClip(Entry("a.wav", "train"), "0" * 64, 4, np.ones((4, 2), np.float32))
    cache.write(Path("fan/id_00.h5"), [clip], {}, n_mels=2)
    Path("model").mkdir()
    model = {"trial": 1, "scope": "fan/id_00", "device": DEVICE, "versions": OLD, "weights_sha256": "a1"}
    Path("model/model.json").write_text(json.dumps(model | made_with))
    Path("scores.json").write_text(json.dumps({"device": DEVICE | {"threads": 2}, "versions": OLD, "model": scored}))
    for name in ("clips.tsv", "model/model.safetensors", "scores.csv", "machines.csv"):
        Path(name).write_text(name)
    write_manifest(
        settings,
        clips=root / "clips.tsv",
        caches=[root / "fan/id_00.h5"],
        models=[root / "model/model.json", root / "model/model.safetensors"],
        scores=[root / "scores.csv", root / "scores.json"],
        tables=[root / "machines.csv"],
        stages={"train": "abc"},
        root=root,
        config=Path("config.yaml"),
        manifest=Path("manifest.json"),
    )
    content: dict[str, Any] = json.loads(Path("manifest.json").read_text(encoding="utf-8"))
    return content


def test_it_says_what_the_run_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [settings] = resolve(
        {"run": "pumps", "training": {"epochs": 3}, "dataset": {"name": "mine", "path": "/data/ä"}}
    ).values()
    content = written(tmp_path / "first", monkeypatch, settings)
    assert content["sha256"]["scores.csv"] == hashlib.sha256(b"scores.csv").hexdigest()
    assert content["seeds"] == {"model": derive_seed(settings.seed, 1, "fan/id_00")}
    assert content["devices"] == [DEVICE, DEVICE | {"threads": 2}]
    assert content["inputs"]["fan/id_00.h5"]["clips"] == 1
    assert content["git_commit"] == git_commit(ROOT)
    assert content["code"] == {"train": "abc"}
    assert content["versions"] == {"models": [OLD], "scores": [OLD], "manifest": versions()}
    assert {"torch", "numpy", "python"} <= versions().keys()
    stated = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
    assert resolve(stated) == {"pumps": settings}


def test_models_of_other_settings_get_no_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [settings] = resolve({}).values()
    [other] = resolve({"training": {"learning_rate": 0.01}}).values()
    sentence = r"model\.json: trained with other settings: training\.learning_rate is 0\.01 there and 0\.001 here"
    with pytest.raises(InputError, match=sentence):
        written(tmp_path / "first", monkeypatch, settings, trained=other)
    with pytest.raises(InputError, match=r"scores\.json: the scores of another model than any of this run"):
        written(tmp_path / "second", monkeypatch, settings, scored="b2")
    assert not Path("manifest.json").exists()


def test_equal_runs_in_two_folders_write_the_same_and_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [settings] = resolve({}).values()
    first = written(tmp_path / "first", monkeypatch, settings)
    assert written(tmp_path / "second", monkeypatch, settings) == first
    text = json.dumps(first)
    assert str(tmp_path) not in text
    assert socket.gethostname() not in text


def test_paths_are_those_below_the_results_wherever_these_are_laid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where Snakemake lays copies of what is in a storage."""
    [settings] = resolve({}).values()
    plain = written(tmp_path / "plain", monkeypatch, settings)
    copies = written(tmp_path / "copies", monkeypatch, settings, root=tmp_path / "copies")
    assert copies == plain
