"""Where a result comes from: seeds, hashes of inputs and code, versions."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
LIBRARIES = (
    "torch",
    "torchaudio",
    "numpy",
    "scikit-learn",
    "opencv-python-headless",
    "h5py",
    "soundfile",
    "safetensors",
    "snakemake",
)


def canonical_json(value: Any) -> str:
    """Write `value` as JSON in one way only: sorted keys, no spaces, UTF-8, no NaN.

    Examples
    --------
    >>> canonical_json({"b": [1, 2.5], "a": None})
    '{"a":null,"b":[1,2.5]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, in hex.

    Examples
    --------
    >>> digest([])[:12]
    '4f53cda18c2b'
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, hashlib.sha256).hexdigest()


def derive_seed(seed: int, trial: int, name: str) -> int:
    """Return the seed of one trial of one scope: 63 bits of a SHA-256, the same on every machine.

    Examples
    --------
    >>> derive_seed(0, 0, "fan/id_00") != derive_seed(0, 1, "fan/id_00")
    True
    """
    return int(digest([seed, trial, name])[:16], 16) >> 1


def code_hash(module: str, script: Path | None = None) -> str:
    """Return a hash of the code that a stage runs: `module` and every module of the package it imports, and theirs.

    `script`, where there is one, counts too: the file that calls the module.

    Comments, docstrings and layout do not count, so that mending a sentence retrains nothing. The configuration module
    does not count either: its values reach a stage as parameters.

    Examples
    --------
    >>> code_hash("offnote.windows") == code_hash("offnote.windows")
    True
    """
    code = {name: _code(name) for name in sorted(_reachable(module))}
    if script is not None:
        code["script"] = _plain(ast.parse(script.read_text(encoding="utf-8")))
    return digest(code)[:12]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries whose numbers may end up in the results, or ``missing``."""
    return {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def git_commit(folder: Path) -> str | None:
    """Return the commit checked out at `folder`, with ``-dirty`` where tracked files differ; None outside git."""
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def _reachable(module: str) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_imports(name))
    return found


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module.removeprefix('offnote.')}.py").read_text(encoding="utf-8"))


@cache
def _imports(module: str) -> frozenset[str]:
    """Return the package's modules that `module` imports, wherever in its code."""
    named = {name for node in ast.walk(_tree(module)) for name in _named_in(node)}
    return frozenset(name for name in named if name != "offnote.config" and _is_module(name))


def _named_in(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _is_module(name: str) -> bool:
    package, _, module = name.partition(".")
    return package == "offnote" and module.isidentifier() and (PACKAGE / f"{module}.py").is_file()


@cache
def _code(module: str) -> str:
    return _plain(_tree(module))


def _plain(tree: ast.Module) -> str:
    """Write code without comments and docstrings, in one layout."""
    tree = ast.parse(ast.unparse(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def differences(there: Mapping[str, Any], here: Mapping[str, Any], *, stated_only: bool = False) -> list[str]:
    """Say in which keys two nested settings differ.

    Parameters
    ----------
    there, here
        The settings, as JSON values.
    stated_only
        Compare only keys that both state.

    Examples
    --------
    >>> differences({"audio": {"channel": 0}}, {"audio": {"channel": "mean"}, "seed": 1})
    ['audio.channel is 0 there and "mean" here', 'seed is missing there and 1 here']
    """
    one, other = _flat(there), _flat(here)
    keys = one.keys() & other.keys() if stated_only else one.keys() | other.keys()
    pairs = [(key, one.get(key, "missing"), other.get(key, "missing")) for key in sorted(keys)]
    return [f"{key} is {found} there and {wanted} here" for key, found, wanted in pairs if found != wanted]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the values by their whole names, as JSON."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: canonical_json(value)}
    return flat
