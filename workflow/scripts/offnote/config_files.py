"""Configuration files: YAML or JSON, laid over each other, with no key that is lost because it stands there twice."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from offnote.errors import InputError

MOST_VALUES = 100_000
"""Values of a configuration file: a thousand times those of the longest one can think of."""


def read_files(paths: Sequence[Path]) -> dict[str, Any]:
    """Read configuration files and lay each over those before it, as Snakemake does with ``--configfile``.

    Raises
    ------
    InputError
        A file cannot be read, is not YAML or JSON, has no keys, or states a key twice.
    """
    config: dict[str, Any] = {}
    for path in paths:
        config = _lay_over(config, read_file(path))
    return config


def refuse_repeated_keys(path: Path) -> None:
    r"""Refuse a configuration file that states a key twice: of the two, YAML and JSON keep the last without a word.

    What cannot be read again, such as a pipe that Snakemake has emptied, is taken for good.

    Raises
    ------
    InputError
        Names the file, the keys and their lines.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "config.yaml"
    ...     _ = path.write_text("seed: 1\nseed: 2\n")
    ...     try:
    ...         refuse_repeated_keys(path)
    ...     except InputError as error:
    ...         print(str(error).removeprefix(folder))
    /config.yaml: a key stands more than once, and only the last would count: seed (lines 1 and 2); keep one of each
    """
    if not path.is_file():
        return
    # YAML takes JSON too, but for tabs between its parts.
    text = path.read_text(encoding="utf-8").replace("\t", " ")
    with suppress(yaml.YAMLError):
        if repeated := repeated_keys(text):
            named = ", ".join(f"{name} (lines {' and '.join(map(str, lines))})" for name, lines in repeated.items())
            raise InputError(
                f"{name_files([path])}: a key stands more than once, and only the last would count: {named}; "
                "keep one of each"
            )


def refuse_repeated_options(arguments: Sequence[str]) -> None:
    """Refuse Snakemake's arguments where what stands at `--config` would be lost without a word.

    Snakemake keeps the last of two options `--config`, and of a key that one of them states twice. It has dropped the
    others before a Snakefile is read: only the arguments themselves still tell.

    Parameters
    ----------
    arguments
        The arguments of Snakemake's process, without its name.

    Raises
    ------
    InputError
        Names the keys.

    Examples
    --------
    >>> refuse_repeated_options(["-n", "--config", "training={epochs: 2}", "training={trials: 3}", "--cores", "1"])
    >>> refuse_repeated_options(["--config", "training={epochs: 2, epochs: 3}"])
    Traceback (most recent call last):
      ...
    offnote.errors.InputError: --config: a key stands more than once, and only the last would count: training.epochs; \
keep one of each
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", "-C", nargs="*", action="append", default=[])
    options = parser.parse_known_args(arguments)[0].config
    if len(options) > 1:
        raise InputError(
            "--config: stands more than once, and only the last would count; write all keys behind one, "
            'as in --config seed=1 "training={epochs: 5}"'
        )
    repeated: dict[str, None] = {}
    stated: set[str] = set()
    for option in options:
        for entry in option:
            key, _, value = entry.partition("=")
            with suppress(yaml.YAMLError):
                node = yaml.compose(value.strip("'\""), Loader=yaml.BaseLoader)
                repeated |= dict.fromkeys(name for name, _ in _repeated(node, f"{key}.", set()))
                # Sections that are stated in parts lose nothing: Snakemake lays one part over the other.
                leaves = set(_leaves(node, key))
                repeated |= dict.fromkeys(sorted(leaves & stated))
                stated |= leaves
    if repeated:
        raise InputError(
            f"--config: a key stands more than once, and only the last would count: {', '.join(repeated)}; "
            "keep one of each"
        )


def name_files(paths: Iterable[Path]) -> str:
    """Name configuration files, those below the current folder relative to it.

    Examples
    --------
    >>> name_files([Path("config/config.yaml"), Path.cwd() / "longer.yaml", Path("/elsewhere/config.yaml")])
    'config/config.yaml, longer.yaml, /elsewhere/config.yaml'
    """
    folder = Path.cwd()
    return ", ".join(str(path.relative_to(folder) if path.is_relative_to(folder) else path) for path in paths)


def read_file(path: Path) -> Mapping[str, Any]:
    """Read a file of keys and values, in YAML or JSON.

    Raises
    ------
    InputError
        Names the file, and the line where it is neither, or a key that it states twice.
    """
    try:
        content = _parse(path.read_text(encoding="utf-8"))
        too_large = _size(content, {}) > MOST_VALUES
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InputError(f"{path}: is not YAML ({line}{error.problem})") from error
    # A value such as the day 2026-02-30, or nothing for a number, ends PyYAML in any of these.
    except (ValueError, yaml.YAMLError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: is not YAML, or has values that are none ({error})") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: has no keys at its top level; write at least one, such as `run: demo`")
    if too_large:
        raise InputError(f"{path}: stands for more than {MOST_VALUES} values, or for itself; write fewer aliases (*)")
    refuse_repeated_keys(path)
    return content


def _size(value: Any, known: dict[int, int]) -> int:
    """Count the values that a value consists of: aliases make many of few, and endless ones of themselves."""
    if id(value) not in known:
        known[id(value)] = MOST_VALUES + 1  # until it is known: it may hold itself
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        known[id(value)] = 1 + sum(_size(each, known) for each in inner)
    return known[id(value)]


def _parse(text: str) -> Any:
    """Parse JSON or else YAML, in Snakemake's order: a number such as 1e-3 is one to JSON and text to YAML."""
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def _lay_over(below: Any, above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `above` over `below` as Snakemake does, where an empty value hides what lies below it."""
    merged = dict(below) if isinstance(below, Mapping) else {}
    for key, value in above.items():
        merged[key] = _lay_over(merged.get(key), value) if isinstance(value, Mapping) else value
    return merged


def repeated_keys(text: str) -> dict[str, list[int]]:
    r"""Return each key that a YAML text states more than once in one mapping, with its lines.

    Raises
    ------
    yaml.YAMLError
        The text is not YAML.

    Examples
    --------
    >>> repeated_keys("training:\n  epochs: 2\n  epochs: 3\n")
    {'training.epochs': [2, 3]}
    """
    return dict(_repeated(yaml.compose(text, Loader=yaml.SafeLoader), "", set()))


def _repeated(node: yaml.Node | None, above: str, seen: set[int]) -> Iterator[tuple[str, list[int]]]:
    """Yield each key that a mapping holds twice, with its lines. `seen` ends the loop of an alias of itself."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item, above, seen)
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, list[int]] = {}
        for key, value in node.value:
            name = f"{above}{key.value}"
            # Two merge keys (<<) lose nothing.
            if not key.tag.endswith(":merge"):
                lines.setdefault(name, []).append(key.start_mark.line + 1)
            yield from _repeated(value, f"{name}.", seen)
        yield from ((name, each) for name, each in lines.items() if len(each) > 1)


def _leaves(node: yaml.Node | None, name: str) -> Iterator[str]:
    """Yield the name of each key below `name` that holds no further keys."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _leaves(value, f"{name}.{key.value}")
    else:
        yield name
