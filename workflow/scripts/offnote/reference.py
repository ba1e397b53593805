"""Everything that is written down about the configuration, generated from the classes that check it.

``make reference`` writes the files anew; a test fails when they differ from what the classes say.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from offnote.config import DEFAULT_PRESET, DEFAULT_RUN, PRESETS, ROOT, Section, Settings, preset_names, resolve
from offnote.config_files import read_file
from offnote.errors import InputError
from offnote.files import replacing

SCHEMA = "workflow/schemas/config.schema.json"
CONFIGURATION = "config/config.yaml"
FURTHER_RUNS = "Further runs: each a name and the keys that differ"


def generated_files() -> dict[str, str]:
    """Return the text of every generated file, by its path in the repository.

    Examples
    --------
    >>> sorted(generated_files())
    ['config/README.md', 'config/config.yaml', 'workflow/schemas/config.schema.json']
    """
    return {
        CONFIGURATION: _config_yaml(),
        "config/README.md": _readme(),
        SCHEMA: json.dumps(_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def write_files(root: Path = ROOT) -> list[Path]:
    """Write the generated files into a checkout, and return what was left as it is: it holds its user's settings."""
    left = []
    for name, text in generated_files().items():
        if name == CONFIGURATION and holds_own_settings(root / name):
            left.append(root / name)
            continue
        with replacing(root / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return left


def holds_own_settings(path: Path) -> bool:
    """Tell whether a ``config.yaml`` says anything else than the generated one, comments aside."""
    try:
        return bool(read_file(path) != yaml.safe_load(_config_yaml()))
    except InputError:
        return path.exists()


def _config_yaml() -> str:
    opening = f"""\
# yaml-language-server: $schema=../{SCHEMA}
#
# What a run does. A key left out takes the value of the preset, the published recipe; below stand those of the preset
# `{DEFAULT_PRESET}`. To change one, remove the # before it and the # before its section's name, and leave the
# spaces as they are. Every key is explained in config/README.md.

run: {DEFAULT_RUN}
preset: {DEFAULT_PRESET}
"""
    return "\n".join([opening, *_commented_sections()])


def _commented_sections() -> Iterator[str]:
    values = resolve({})[DEFAULT_RUN].model_dump()
    for name, field in Settings.model_fields.items():
        if name in ("run", "preset"):
            continue
        if not isinstance(values[name], dict):
            yield f"#{name}: {_yaml(values[name])}"
            continue
        yield f"\n# {_first_line(field.annotation)}\n#{name}:"
        yield from (f"#  {key}: {_yaml(value)}" for key, value in values[name].items())
    yield f"\n# {FURTHER_RUNS} from those above."
    yield "#runs:\n#  longer:\n#    training:\n#      epochs: 100\n"


def _readme() -> str:
    lines = [
        "# Configuration",
        "",
        "*Generated from the classes in `workflow/scripts/offnote/config.py` by `make reference`.*",
        "",
        *_wrapped(
            "A run's settings are laid over each other: the preset, a published recipe in `config/presets`; then "
            "`config/config.yaml`; then overlays, each an experiment's file in `config/exp`, with "
            "`--configfile config/exp/NAME.yaml`; then the command line, as in "
            '`--config run=longer "training={epochs: 100}"`. What a file does not say, the one below it says. An '
            "unknown key, a key stated twice in one file, a number that YAML reads as text (`1e-3`: write `1.0e-3`) "
            "and a value out of range are refused by name before anything starts."
        ),
        "",
        *_wrapped(
            "`runs` names further runs of the same workflow, each with the keys that differ: "
            "`runs: {longer: {training: {epochs: 100}}}`. Feature caches are shared by all runs that agree on the "
            "sections `audio`, `slice`, `gate` and `features`."
        ),
        "",
        "Where the default is *preset*, the value is the preset's.",
        "",
        "| key | default | what it says |",
        "|---|---|---|",
        *_rows("", Settings),
        f"| `runs` | none | {FURTHER_RUNS}. |",
        "",
    ]
    for name, field in Settings.model_fields.items():
        if section := _section(field):
            lines += [f"## {name}", "", _first_line(section), ""]
            lines += ["| key | default | what it says |", "|---|---|---|", *_rows(f"{name}.", section), ""]
    lines += ["## Presets", "", "| preset | recipe | source |", "|---|---|---|", *_preset_rows(), ""]
    return "\n".join(lines)


def _rows(prefix: str, section: type[Section]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if not _section(field):
            default = "*preset*" if field.is_required() else f"`{_yaml(field.default)}`"
            yield f"| `{prefix}{name}` | {default} | {field.description}{_choices(field)} |"


def _choices(field: FieldInfo) -> str:
    """List the words a key may be, unless its description names them."""
    words = [word for word in getattr(field.annotation, "__args__", ()) if isinstance(word, str)]
    if all(f"`{word}`" in (field.description or "") for word in words):
        return ""
    return " One of " + ", ".join(f"`{word}`" for word in words) + "."


def _preset_rows() -> Iterator[str]:
    for name in preset_names():
        content = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
        yield f"| `{name}` | {content['description']} | {content['source']} |"


def _schema() -> dict[str, Any]:
    """Return the JSON schema that editors check and complete config.yaml with: any key may be left to the preset."""
    schema = Settings.model_json_schema()
    for part in [schema, *schema["$defs"].values()]:
        part.pop("required", None)
    schema["properties"]["runs"] = {
        "description": f"{FURTHER_RUNS}.",
        "type": "object",
        "additionalProperties": {"type": "object"},
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _section(field: FieldInfo) -> type[Section] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _first_line(section: Any) -> str:
    return str(section.__doc__).splitlines()[0]


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    for path in write_files():
        sys.stderr.write(f"{path}: left as it is, for it holds settings of your own; all others were written anew\n")
