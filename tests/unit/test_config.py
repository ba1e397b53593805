"""What the configuration may say, and what is said of mistakes in it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from offnote.config import Settings, load_preset, preset_names, resolve
from offnote.errors import InputError


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(InputError) as raised:
        resolve(config)
    return str(raised.value)


def test_the_published_recipes() -> None:
    mimii = resolve({})["demo"]
    assert (mimii.features.n_mels, mimii.window.frames, mimii.model.scope) == (64, 5, "machine")
    assert (mimii.training.epochs, mimii.training.batch_size) == (50, 512)
    assert mimii.model.hidden == [64, 64, 8, 64, 64]
    dcase = {year: resolve({"preset": f"dcase{year}"})["demo"] for year in range(2020, 2027)}
    assert {settings.model.scope for settings in dcase.values()} == {"type"}
    assert {settings.features.n_mels for settings in dcase.values()} == {128}
    assert [settings.features.padding for settings in dcase.values()] == 2 * ["reflect"] + 5 * ["zeros"]
    assert [settings.features.log for settings in dcase.values()] == ["add"] + 6 * ["clamp"]
    assert [settings.model.initialisation for settings in dcase.values()] == 3 * ["keras"] + 4 * ["torch"]
    assert [settings.training.batch_size for settings in dcase.values()] == 3 * [512] + 4 * [256]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_says_a_whole_recipe(name: str) -> None:
    assert resolve({"preset": name})["demo"].preset == name
    assert load_preset(name)["model"]["scope"] in ("machine", "type")


def test_what_is_stated_wins_over_the_preset_and_the_rest_stays() -> None:
    settings = resolve({"preset": "dcase2020", "model": {"scope": "machine"}})["demo"]
    assert settings.model.scope == "machine"
    assert settings.model.batch_norm is True


def test_an_empty_section_changes_nothing() -> None:
    assert resolve({"training": None, "evaluate": None}) == resolve({})


def test_further_runs_state_what_differs() -> None:
    runs = resolve({"run": "a", "training": {"epochs": 7}, "runs": {"b": {"seed": 1}, "c": {"preset": "dcase2021"}}})
    assert list(runs) == ["a", "b", "c"]
    assert [runs[name].training.epochs for name in "abc"] == [7, 7, 7]
    assert [runs[name].seed for name in "abc"] == [0, 1, 0]
    assert runs["c"].features.n_mels == 128


def test_numbers_from_the_command_line_come_as_text() -> None:
    settings = resolve({"training": {"epochs": "5"}, "model": {"hidden": ["16", "4", "16"]}, "audio": {"channel": "3"}})
    assert settings["demo"].training.epochs == 5
    assert settings["demo"].model.hidden == [16, 4, 16]
    assert settings["demo"].audio.channel == 3


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"training": {"epoch": 3}}, "training.epoch: unknown key; did you mean 'epochs'?"),
        ({"trainig": {}}, "trainig: unknown key; did you mean 'training'?"),
        (
            {"training": {"learning_rate": "1e-3"}},
            "training.learning_rate: '1e-3' is text, not a number; YAML reads it so",
        ),
        ({"training": "{'learning_rate': 0.5}"}, "is text, not a section"),
        ({"training": 3}, "training: "),
        ({"training": {"epochs": 0}}, "training.epochs: Input should be greater than or equal to 1"),
        ({"training": {"epochs": True}}, "training.epochs: "),
        ({"training": {"epochs": 2.5}}, "training.epochs: "),
        ({"audio": {"channel": "left"}}, "audio.channel: 'left' is text"),
        ({"audio": {"sample_rate": None}}, "audio.sample_rate: "),
        ({"features": {"f_max": 9000.0}}, "features.f_max must not be above half of audio.sample_rate"),
        ({"features": {"f_min": 8000.0}}, "features.f_min must be below features.f_max"),
        ({"gate": {"level": -40.0}}, "set slice.length too"),
        ({"run": "cache"}, "run: the name 'cache' is reserved"),
        ({"run": "../elsewhere"}, "run: "),
        ({"preset": "mimi"}, "preset: there is no 'mimi'; choose one of dcase2020"),
        ({"preset": ["mimii"]}, "preset: there is no"),
        ({"dataset": {"name": "pump"}}, "dataset: say where the recordings are"),
        ({"dataset": {"path": "/data"}}, "dataset: give your own dataset a name of its own"),
        ({"runs": ["b"]}, "runs: must map the name of a run"),
        ({"runs": {"demo": {"seed": 1}}}, "runs: the name 'demo' is already"),
    ],
)
def test_mistakes_are_named(config: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(config)


def test_all_mistakes_are_said_at_once() -> None:
    assert refusal({"training": {"epoch": 3}, "model": {"treads": 1}}).count("unknown key") == 2


TEXTS = st.text("aeä1.-{}[]:' ", max_size=5)


@given(
    st.dictionaries(
        st.sampled_from([*Settings.model_fields, "runs", "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=3),
            max_leaves=5,
        ),
        max_size=3,
    )
)
def test_any_configuration_is_taken_or_refused(config: dict[str, Any]) -> None:
    with suppress(InputError):
        assert all(isinstance(settings, Settings) for settings in resolve(config).values())
