"""What the configuration may say, and what is said of mistakes in it."""

from __future__ import annotations

import copy
import subprocess
import sys
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from offnote import config as config_module
from offnote.config import ROOT, Settings, load_preset, preset_names, resolve
from offnote.config_files import read_files, refuse_repeated_keys, refuse_repeated_options
from offnote.errors import InputError
from snakemake.utils import update_config


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(InputError) as raised:
        resolve(config)
    return str(raised.value)


# The published baselines: what all have in common, and what differs, preset by preset.
FLOAT64_EPSILON = 2.0**-52
COMMON: dict[str, dict[str, Any]] = {
    "audio": {"sample_rate": 16000, "channel": 0},
    "features": {"n_fft": 1024, "hop_length": 512, "power": 2.0, "f_min": 0.0, "f_max": None}
    | {"mel_scale": "slaney", "mel_norm": "slaney", "epsilon": FLOAT64_EPSILON},
    "window": {"frames": 5},
    "training": {"learning_rate": 1e-3, "validation": 0.1},
}
MIMII_LAYERS = [64, 64, 8, 64, 64]
DCASE_LAYERS = [128, 128, 128, 128, 8, 128, 128, 128, 128]
DIFFERING = """
preset                 scope    n_mels  padding  log    batch_norm  initialisation  epochs  batch_size  adam_epsilon
mimii                  machine  64      reflect  add    False       keras           50      512         1e-07
dcase2020              type     128     reflect  add    True        keras           100     512         1e-07
dcase2021              type     128     reflect  clamp  True        keras           100     512         1e-07
dcase2022              type     128     zeros    clamp  True        keras           100     512         1e-07
dcase2023              type     128     zeros    clamp  True        torch           100     256         1e-08
dcase2023_mahalanobis  type     128     zeros    clamp  True        torch           100     256         1e-08
dcase2024              type     128     zeros    clamp  True        torch           100     256         1e-08
dcase2025              type     128     zeros    clamp  True        torch           100     256         1e-08
dcase2026              type     128     zeros    clamp  True        torch           100     256         1e-08
"""
COLUMNS, *ROWS = [line.split() for line in DIFFERING.split("\n") if line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0]))
def test_the_published_recipes(row: list[str]) -> None:
    settings = resolve({"preset": row[0]})["demo"]
    sections = {
        key: value for part in settings.model_dump().values() if isinstance(part, dict) for key, value in part.items()
    }
    assert row == [row[0], *(str(sections[column]) for column in COLUMNS[1:])]
    assert settings.model.hidden == (MIMII_LAYERS if row[0] == "mimii" else DCASE_LAYERS)
    second_mode = row[0] == "dcase2023_mahalanobis"
    assert settings.model.distance == ("mahalanobis_of_mean" if second_mode else "squared_error")
    for section, keys in COMMON.items():
        assert getattr(settings, section).model_dump(include=set(keys)) == keys


@pytest.mark.parametrize("name", [name for name in preset_names() if name != "mimii"])
def test_batch_normalisation_is_that_of_keras(name: str) -> None:
    model = resolve({"preset": name})["demo"].model
    assert (model.batch_norm_momentum, model.batch_norm_epsilon) == (0.01, 1e-3)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_trains_fast_in_a_tenth_or_a_fifth_of_its_epochs(name: str) -> None:
    assert resolve({"preset": name})["demo"].training.fast_share == (0.1 if name == "mimii" else 0.2)


def test_every_preset_stands_in_the_table() -> None:
    assert sorted(row[0] for row in ROWS) == preset_names()


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
        ({"training": {"epochs": None}}, "training.epochs: is empty; give it a value, or leave the key out"),
        ({"audio": {"channel": None}}, "audio.channel: is empty; give it a value, or leave the key out"),
        ({"run": 2024}, 'run: 2024 is no text to YAML; write it in quotes: "2024"'),
        ({"run": date(2024, 5, 1)}, 'run: 2024-05-01 is no text to YAML; write it in quotes: "2024-05-01"'),
        ({"training": {"epochs": 2.5}}, "training.epochs: must be a whole number (not 2.5)"),
        ({"training": {"epochs": 10.0}}, "training.epochs: must be a whole number (not 10.0): write 10"),
        ({"training": {"epochs": "15e-1"}}, "training.epochs: '15e-1' is text, not a number; write a whole number"),
        ({"seed": "1" + "0" * 19 + "1e0"}, "write 100000000000000000001"),
        ({"gate": {"level": "-.5"}}, "gate.level: '-.5' is text, not a number; YAML reads it so: write -0.5"),
        ({"audio": {"channel": "left"}}, "audio.channel: 'left' is text"),
        ({"audio": {"sample_rate": None}}, "audio.sample_rate: "),
        ({"features": {"f_max": 9000.0}}, "features.f_max must not be above half of audio.sample_rate"),
        ({"features": {"f_min": 8000.0}}, "features.f_min must be below features.f_max"),
        ({"gate": {"level": -40.0}}, "set slice.length too"),
        ({"run": "cache"}, "run: the name 'cache' is reserved"),
        ({"run": "../elsewhere"}, "run: "),
        ({"preset": "mimi"}, "preset: there is no 'mimi'; choose one of dcase2020"),
        ({"preset": ["mimii"]}, "preset: Input should be a valid string"),
        ({"sed": 1, "colour": "red"}, "colour: unknown key; the keys here are run, preset, seed"),
        ({"colour": "red"}, "retrieve, submission, runs"),
        ({"rnus": {"b": {}}}, "rnus: unknown key; did you mean 'runs'?"),
        ({"preset": "mimi", "training": {"epochs": 0}}, "training.epochs: "),
        ({"model": {"hidden": [64, 0, "a"]}}, "model.hidden[1]: Input should be greater than or equal to 1 (not 0)\n"),
        ({"model": {"hidden": [64, 0, "a"]}}, "model.hidden[2]: 'a' is text, not a number"),
        ({"model": {"hidden": []}}, "model.hidden: an empty list takes nothing; leave the key out, or name"),
        ({"dataset": {"machines": []}}, "dataset.machines: an empty list takes nothing; leave the key out, or name"),
        ({"scores": {"quantiles": [0.5, 2]}}, "scores.quantiles[1]: "),
        ({"audio": {"channel": "left"}}, "is text, not a number, or Input should be 'mean'"),
        ({"dataset": {"name": "pump"}}, "dataset: say where the recordings are"),
        ({"dataset": {"path": "/data"}}, "dataset: give your own dataset a name of its own"),
        ({"dataset": {"name": "pump", "path": ""}}, "dataset.path: "),
        ({"slice": {"length": 1.0e-5}}, "slice.length: "),
        ({"training": {"batch_size": 1}, "model": {"batch_norm": True}}, "training.batch_size must be 2 or more"),
        ({"runs": ["b"]}, "runs: must map the name of a run"),
        ({"runs": {"b": 3}}, "runs.b: must hold the keys that differ"),
        ({"runs": {"demo": {"seed": 1}}}, "runs: the name 'demo' is already"),
        ({"runs": {"b": {"run": "c"}}}, "runs.b.run: a further run is named by its key, here 'b': leave `run` out"),
        ({"runs": {"b": {"colour": 1}}}, "runs.b.colour: unknown key; the keys here are preset, seed"),
        ({"runs": {"cache": {}}}, "runs.cache: the name 'cache' is reserved"),
        ({"runs": {"b": {"preset": "mimi"}}}, "runs.b.preset: there is no 'mimi'"),
        ({"runs": {"b": {"gate": {"level": -40.0}}}}, "runs.b: slice.hop and gate.level shape slices"),
        ({"slice": {"length": 0.1}}, "slice.length 0.1 s is shorter than a context window: it gives 4 frames, and "),
    ],
)
def test_mistakes_are_named(config: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(config)


def advice_on(config: str) -> str:
    """Return the number that the refusal of a configuration says to write."""
    return refusal(yaml.safe_load(config)).rpartition("write ")[2]


def test_text_that_no_float_holds_gets_no_advice() -> None:
    for text in ("1e400", "inf", "nan", "four"):
        assert refusal({"training": {"learning_rate": text}}).endswith(f"{text!r} is text, not a number")
        assert refusal({"training": {"epochs": text}}).endswith(f"{text!r} is text, not a number")


NUMBER_FORMS = (
    "{}",
    "{}e-9",
    "{}e-3",
    "{}E5",
    "{}e+4",
    "{}E0",
    "{}.e3",
    "{}.0e20",
    "{}e21",
    ".{}e7",
    "-{}e2",
    "-.{}",
    "'{}'",
)


@given(st.integers(1, 9999), st.sampled_from(NUMBER_FORMS))
def test_a_float_is_taken_as_it_stands_or_as_the_refusal_says_to_write_it(digits: int, form: str) -> None:
    text = form.format(digits)
    config = "{{slice: {{length: 1.0}}, gate: {{level: {}}}}}"
    try:
        settings = resolve(yaml.safe_load(config.format(text)))
    except InputError:
        settings = resolve(yaml.safe_load(config.format(advice_on(config.format(text)))))
    assert settings["demo"].gate.level == float(text.strip("'"))


@given(st.integers(1, 9999), st.sampled_from(NUMBER_FORMS))
def test_a_whole_number_is_taken_as_it_stands_or_as_the_refusal_says_to_write_it(digits: int, form: str) -> None:
    text = form.format(digits)
    number = Decimal(text.strip("'"))
    config = yaml.safe_load(f"seed: {text}")
    with suppress(InputError):
        assert resolve(config)["demo"].seed == number
        return
    if number == int(number):
        assert resolve(yaml.safe_load(f"seed: {advice_on(f'seed: {text}')}"))["demo"].seed == number
    else:
        assert "a whole number" in refusal(config)


def test_all_mistakes_are_said_at_once() -> None:
    assert refusal({"training": {"epoch": 3}, "model": {"treads": 1}}).count("unknown key") == 2


def test_every_mistake_of_every_run_is_said_with_its_name() -> None:
    runs = {"b": {"training": {"epochs": 0, "batch_size": 0}}, "c": {"trainig": {}}, "d": {"seed": 3}}
    assert refusal({"runs": runs}).splitlines()[1:] == [
        "  runs.b.training.epochs: Input should be greater than or equal to 1 (not 0)",
        "  runs.b.training.batch_size: Input should be greater than or equal to 1 (not 0)",
        "  runs.c.trainig: unknown key; did you mean 'training'?",
    ]


def test_a_mistake_that_runs_take_over_is_said_once() -> None:
    shared = {"training": {"epochs": 0}, "gate": {"level": -40.0}, "audio": {"channel": "left"}}
    runs = {"b": {"seed": 1}, "c": {"training": {"epochs": 0}}, "d": {"training": {"epochs": 5}}}
    said = refusal(shared | {"preset": "mimi", "runs": runs})
    assert [line.split(": ")[0].strip() for line in said.splitlines()[1:]] == [
        "preset",
        "audio.channel",
        "training.epochs",
        "runs.c.training.epochs",
    ]


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        ("training:\n  epochs: 3\nseed: 1\ntraining:\n  epochs: 4\n", "training (lines 1 and 4)"),
        ("runs:\n  b: {model: {hidden: [3],\n    hidden: [4]}}\n", "runs.b.model.hidden (lines 2 and 3)"),
        ("seed: 1\n'seed': 2\nseed: 3\n", "seed (lines 1 and 2 and 3)"),
        ('{\n\t"seed": 1,\n\t"seed": 2\n}\n', "seed (lines 2 and 3)"),
        ("- {a: 1, a: 2}\n", "a (lines 1 and 1)"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str, repeated: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as raised:
        refuse_repeated_keys(path)
    assert str(path) in str(raised.value)
    assert f"count: {repeated}; keep" in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: {x: 1}\nb: {x: 1}\nc: [{x: 1}, {x: 2}]\n",
        "a: &shared {x: 1}\nb: &more {y: 1}\nc:\n  <<: *shared\n  <<: *more\n",
        "a: &self [*self]\n",
        "a: [\n",
    ],
)
def test_what_repeats_no_key_is_taken(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    refuse_repeated_keys(path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config", "training={epochs: 2, epochs: 3}"], "count: training.epochs; keep one of each"),
        (["-n", "--config", "seed=1", "device=cpu", "seed=2", "--cores", "1"], "count: seed; keep one of each"),
        (["-C", "training={epochs: 2}", "training={'epochs': 3, trials: 1}"], "count: training.epochs; keep"),
        (["--config", "runs={b: {seed: 1}, b: {device: cpu}}", "seed=1", "seed=1"], "count: runs.b, seed; keep"),
        (["--config", "seed=1", "-n", "--config", "device=cpu"], "--config: stands more than once"),
    ],
)
def test_what_the_command_line_states_twice_is_refused(arguments: list[str], sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        refuse_repeated_options(arguments)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--cores", "1", "--configfile", "a.yaml", "--config"],
        ["--config", "training={epochs: 2}", "training={trials: 2}", "model={threads: 2}", "-n", "seed=1"],
        ["--config", "runs={b: {seed: 1}, c: {seed: 1}}", "device=[", "seed=", "word", "model=", "--", "all"],
    ],
)
def test_a_command_line_that_states_nothing_twice_is_taken(arguments: list[str]) -> None:
    refuse_repeated_options(arguments)


@pytest.mark.parametrize("at_fault", ["config/config.yaml", "overlay.yaml"])
def test_snakemake_refuses_a_key_that_stands_twice_and_names_its_files(tmp_path: Path, at_fault: str) -> None:
    (tmp_path / "config").mkdir()
    for name in ("config/config.yaml", "overlay.yaml"):
        (tmp_path / name).write_text("seed: 1\n" * (2 if name == at_fault else 1))
    said = dry_run(tmp_path)
    assert f"{at_fault}: a key stands more than once, and only the last would count: seed (lines 1 and 2)" in said
    assert "\nconfiguration: config/config.yaml, overlay.yaml\n" in said


def test_snakemake_names_the_configuration_of_the_checkout(tmp_path: Path) -> None:
    (tmp_path / "overlay.yaml").write_text("seed: 1\n")
    said = dry_run(tmp_path, "--config", "seed=x")
    assert f"\nconfiguration: {ROOT}/config/config.yaml, overlay.yaml, --config\n" in said


def test_snakemake_refuses_what_its_command_line_states_twice(tmp_path: Path) -> None:
    (tmp_path / "overlay.yaml").write_text("seed: 1\n")
    for options in (["training={epochs: 2, epochs: 3}"], ["training={epochs: 2}", "training={epochs: 3}"]):
        said = dry_run(tmp_path, "--config", *options)
        assert "--config: a key stands more than once, and only the last would count: training.epochs;" in said
    assert "--config: stands more than once" in dry_run(tmp_path, "--config", "seed=1", "--config", "seed=2")


def dry_run(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-n", "--configfile", "overlay.yaml"]
    done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "WorkflowError" in said
    return said


def test_files_are_laid_over_each_other_as_snakemake_does(tmp_path: Path) -> None:
    below: dict[str, Any] = {
        "run": "a",
        "seed": 1,
        "training": {"epochs": 3, "batch_size": 4},
        "model": {"hidden": [3]},
        "device": "cpu",
    }
    above: dict[str, Any] = {"training": {"epochs": 5}, "model": None, "device": {"odd": {}}, "gate": {"hold": 1.0}}
    for name, config in {"below": below, "above": above}.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    expected = copy.deepcopy(below)
    update_config(expected, above)
    assert read_files([tmp_path / "below.yaml", tmp_path / "above.yaml"]) == expected


@pytest.mark.parametrize(
    "stated", [{"run": "a" * 20}, {"dataset": {"name": "b" * 201}}, {"runs": {"c" * 20: {}}}], ids=str
)
def test_names_that_files_or_snakemake_could_not_bear_are_refused(stated: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is too long, or ends in one piece again and again"):
        resolve(stated)


# Each line stands for nine times as many values as the one above.
ALIASES = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 20)
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n", "has no keys at its top level"),
        ("word\n", "has no keys at its top level"),
        ("# nothing\n", "has no keys at its top level"),
        ("training: [\n", "is not YAML (line 2: "),
        ("a: \0\n", "is not YAML, or has values that are none ("),
        ("run: 2026-02-30\n", "is not YAML, or has values that are none (day is out of range for month"),
        ("seed: !!int ''\n", "is not YAML, or has values that are none ("),
        ("seed: !!bool x\n", "is not YAML, or has values that are none ("),
        (f"seed: {'9' * 5000}\n", "is not YAML, or has values that are none ("),
        (f"run: {'[' * 20_000}\n", "is not YAML, or has values that are none ("),
        ("runs: &a {x: *a}\n", "stands for more than 100000 values, or for itself"),
        (ALIASES, "stands for more than 100000 values, or for itself"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as raised:
        read_files([path])
    assert f"{path}: {sentence}" in str(raised.value)


def test_a_json_file_is_read_as_json(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{\n\t"training": {"learning_rate": 1e-3}\n}\n')
    assert read_files([path]) == {"training": {"learning_rate": 0.001}}


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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("training: {epochs: 1", "is not YAML"),
        ("seed: 1\nseed: 2\n", "a key stands more than once"),
        ("based_on: mimi\n", "based_on: there is no other preset 'mimi'"),
        ("based_on: mine\n", "based_on: there is no other preset 'mine'"),
    ],
)
def test_a_mistake_in_a_preset_is_named_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    monkeypatch.setattr(config_module, "PRESETS", tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        config_module.load_preset.__wrapped__("mine")
    assert str(caught.value).startswith(f"{tmp_path}/mine.yaml: ")
    assert sentence in str(caught.value)
