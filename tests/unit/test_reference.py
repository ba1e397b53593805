"""What is written down about the configuration says what the classes say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from offnote.config import ROOT, Section, Settings, resolve
from offnote.reference import generated_files, holds_own_settings, write_files


@pytest.mark.parametrize("name", sorted(generated_files()))
def test_the_committed_file_is_the_generated_one(name: str) -> None:
    if name == "config/config.yaml" and holds_own_settings(ROOT / name):
        pytest.skip("config/config.yaml says what its user wants, not what the presets do")
    assert (ROOT / name).read_text(encoding="utf-8") == generated_files()[name], "run `make reference`"


@pytest.mark.parametrize("text", ["run: mine\n", "run: demo\npreset: mimii\nseed: 1\n", "run: [\n"])
def test_own_settings_are_never_overwritten(tmp_path: Path, text: str) -> None:
    for name in generated_files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("# Outdated.\nrun: demo\npreset: mimii\n", encoding="utf-8")
    assert write_files(tmp_path) == []
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in generated_files()} == generated_files()
    (tmp_path / "config/config.yaml").write_text(text, encoding="utf-8")
    assert write_files(tmp_path) == [tmp_path / "config/config.yaml"]
    assert (tmp_path / "config/config.yaml").read_text(encoding="utf-8") == text


def test_the_commented_keys_are_keys_at_their_values() -> None:
    text = re.sub(r"(?m)^#(?! \S|$)", "", generated_files()["config/config.yaml"])
    config = yaml.safe_load(text)
    assert config.pop("runs") == {"longer": {"training": {"epochs": 100}}}
    assert resolve(config) == resolve({})


def test_every_key_is_explained() -> None:
    text = generated_files()["config/README.md"]
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        keys = kind.model_fields if isinstance(kind, type) and issubclass(kind, Section) else {"": field}
        for key, inner in keys.items():
            assert f"| `{name}.{key}`".replace(".`", "`") in text
            assert inner.description


def test_the_schema_asks_for_nothing_and_knows_every_section() -> None:
    schema = json.loads(generated_files()["workflow/schemas/config.schema.json"])
    assert set(schema["properties"]) == set(Settings.model_fields) | {"runs"}
    assert '"required"' not in generated_files()["workflow/schemas/config.schema.json"]
