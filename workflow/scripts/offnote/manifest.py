"""The manifest of a run: what somebody needs in order to make it again, and to see that it came out the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from offnote import __version__, cache
from offnote.config import ROOT, Settings
from offnote.errors import InputError
from offnote.files import replacing
from offnote.provenance import derive_seed, differences, git_commit, sha256_of, versions


def write_manifest(
    settings: Settings,
    *,
    clips: Path,
    caches: Sequence[Path],
    models: Sequence[Path],
    scores: Sequence[Path],
    tables: Sequence[Path],
    stages: Mapping[str, str],
    root: Path,
    config: Path,
    manifest: Path,
) -> None:
    """Write the resolved configuration of a run, and its manifest.

    The manifest names no host and no time: on the same type of CPU or GPU, a run from the same recordings,
    configuration and commit writes the same manifest.

    Parameters
    ----------
    settings
        The run's settings, in full.
    clips
        The clip list.
    caches, models, scores, tables
        The run's files. The JSON files among models and scores tell the device and the libraries that made their
        neighbours.
    stages
        Hash of the code behind each stage.
    root
        The folder that the manifest's paths are relative to; files elsewhere keep theirs.
    config, manifest
        What to write: YAML and JSON.

    Raises
    ------
    InputError
        A model was trained with other settings, or scores are of another model.
    """
    _check_models(settings, models, scores)
    stated = settings.model_dump()
    with replacing(config) as temporary:
        temporary.write_text(yaml.safe_dump(stated, sort_keys=False, allow_unicode=True), encoding="utf-8")
    content = {
        "offnote": __version__,
        "git_commit": git_commit(ROOT),
        "versions": {
            "models": _each_once("versions", models),
            "scores": _each_once("versions", scores),
            "manifest": versions(),
        },
        "code": dict(stages),
        "config": stated,
        "devices": _each_once("device", [*models, *scores]),
        "seeds": {_name(path.parent, root): _seed(_read(path)) for path in models if path.name == "model.json"},
        "inputs": {_name(path, root): _inputs(path) for path in caches},
        "sha256": {_name(path, root): sha256_of(path) for path in [clips, *models, *scores, *tables]},
    }
    with replacing(manifest) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_models(settings: Settings, models: Sequence[Path], scores: Sequence[Path]) -> None:
    """Make sure that models and scores are those of the settings: Snakemake knows it by its records alone."""
    wanted = settings.model_dump(mode="json", include={"window", "model", "training", "seed"})
    del wanted["training"]["trials"]
    again = "Snakemake's records of it are lost; run the same again with --forceall"
    weights = set()
    for path in models:
        if path.name == "model.json":
            model = _read(path)
            weights.add(model["weights_sha256"])
            if other := differences({key: model[key] for key in wanted}, wanted):
                raise InputError(f"{path}: trained with other settings: {'; '.join(other)}. {again}")
    for path in scores:
        if path.suffix == ".json" and _read(path)["model"] not in weights:
            raise InputError(f"{path}: the scores of another model than any of this run. {again}")


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _seed(model: Mapping[str, Any]) -> int:
    return derive_seed(model["seed"], model["trial"], model["scope"])


def _each_once(key: str, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what the JSON files among `paths` say under a key, each different value once."""
    told: list[dict[str, Any]] = []
    for path in paths:
        value = _read(path)[key] if path.suffix == ".json" else None
        if value is not None and value not in told:
            told.append(value)
    return told


def _inputs(path: Path) -> dict[str, Any]:
    with cache.read(path) as cached:
        return {"clips": len(cached.entries), "sha256": cached.inputs_sha256}
