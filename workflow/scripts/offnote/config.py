"""What the configuration may say: one class per section, the one source of its defaults, checks and documentation.

Settings are laid over each other: preset < ``config/config.yaml`` < overlays (``--configfile``) < ``--config``.
Classes here hold values and their checks, no behaviour: whatever a stage needs reaches it as one of these objects.
The commented ``config/config.yaml``, ``config/README.md`` and ``workflow/schemas/config.schema.json`` are generated
from them by :mod:`offnote.reference`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from offnote.config_files import read_file
from offnote.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
PRESETS = ROOT / "config" / "presets"

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
RESERVED_NAMES = frozenset({"cache", "compare", "all"})
DEFAULT_RUN = "demo"
DEFAULT_PRESET = "mimii"

Name = Annotated[str, Field(pattern=rf"^{NAME_PATTERN}$")]


# File systems take names of 255 bytes, and temporary files are called by longer ones than those they become.
LONGEST_NAME = 200
# Snakemake takes a name that ends in twenty times the same for the work of a rule that never ends.
REPEATING = re.compile(r"(.+?)\1{19}$")


def why_unbearable(name: str) -> str:
    """Say why files or Snakemake cannot bear a name; nothing where they can.

    Examples
    --------
    >>> why_unbearable("id_00"), why_unbearable("id_" + 20 * "0")[:46]
    ('', "'id_00000000000000000000' is too long, or ends")
    """
    if len(name) <= LONGEST_NAME and not REPEATING.search(name):
        return ""
    return f"{name!r} is too long, or ends in one piece again and again; take a name of up to {LONGEST_NAME} characters"


def _not_reserved(name: str) -> str:
    if why := why_unbearable(name):
        raise ValueError(why)
    if name in RESERVED_NAMES:
        raise ValueError(f"the name {name!r} is reserved for the workflow's own folders: choose another")
    return name


def _known_preset(name: str) -> str:
    if name not in preset_names():
        raise ValueError(f"there is no {name!r}; choose one of {', '.join(preset_names())}")
    return name


FreeName = Annotated[Name, AfterValidator(_not_reserved)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


BrokenClips = Literal["stop", "exclude"]
Precision = Literal["float32", "tf32", "bfloat16"]
RecordSet = Literal["development", "additional_training", "evaluation"]


class Section(BaseModel):
    """A part of the configuration: typed, frozen, and without room for unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read_numbers(cls, stated: Any) -> Any:
        """Read numbers that came as text: Snakemake hands on ``--config "training={epochs: 5}"`` with a text ``"5"``.

        What YAML itself takes for text, such as 1e-3, stays text and is refused.
        """
        if not isinstance(stated, Mapping):
            return stated
        texts = {key for key, field in cls.model_fields.items() if _admits_text(field.annotation)}
        return {
            key: (None if value == "null" else value) if key in texts else _reread(value)
            for key, value in stated.items()
        }


def _admits_text(annotation: Any) -> bool:
    return annotation is str or any(map(_admits_text, get_args(annotation)))


def _reread(value: Any) -> Any:
    if isinstance(value, list):
        return [_reread(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    return value if isinstance(read, Mapping) else read


class Dataset(Section):
    """Where the recordings are and how their paths are to be read."""

    name: FreeName = Field("demo", description="Names the dataset in `results/cache`; two datasets need two names.")
    path: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="A folder of recordings in a known layout, here or on S3 (`s3://bucket/folder`), or a sample sheet "
        "(`.tsv`). Empty: the demo set.",
    )
    layout: str = Field(
        "auto",
        description="How a folder's paths are read: the name of a file in `config/datasets`, or `auto` to find it out.",
    )
    features: str | None = Field(
        None,
        description="A folder of feature caches made elsewhere, `<machine_type>/<machine_id>.h5`, to start from "
        "without audio; `path` may then name a sample sheet with the labels.",
    )
    machines: Annotated[list[str], Field(min_length=1)] | None = Field(
        None,
        description="Take only these machines: a list such as `[fan, pump/id_00]`. `*` matches anything, and a `!` in "
        'front leaves out, as in `["!fan/id_04"]`, with quotes: all but that one. Empty: all.',
    )
    broken_clips: BrokenClips = Field(
        "stop",
        description="What happens where a clip is damaged, silent or too short: `stop` names it and ends the job, and "
        "there are no tables before it is mended; `exclude` goes on without it and lists it in `tables/excluded.csv`.",
    )

    @model_validator(mode="after")
    def _name_what_is_not_the_demo(self) -> Self:
        if self.name == "demo" and (self.path is not None or self.features is not None):
            raise ValueError("give your own dataset a name of its own: dataset.name 'demo' is the built-in demo set")
        if self.name != "demo" and self.path is None and self.features is None:
            raise ValueError("say where the recordings are: dataset.path is empty, and only the 'demo' set needs none")
        return self


class Demo(Section):
    """The built-in demo set, and how many clips each of its machines has."""

    year: int | None = Field(
        None,
        description="Make all machines of this year of the challenge, in its layout, with its domains; pair it with "
        "the preset of the year. Empty: eight machines in the layout of 2020.",
    )
    train: Positive = Field(64, description="Training clips (all normal).")
    test_normal: Positive = Field(32, description="Normal test clips.")
    test_anomaly: Positive = Field(32, description="Anomalous test clips, of several kinds and severities.")
    duration: Annotated[float, Field(ge=1.0)] = Field(10.0, description="Length of a clip in seconds.")
    seed: int = Field(0, description="The same seed makes the same clips.")


class Audio(Section):
    """How a recording becomes one channel of samples."""

    sample_rate: Annotated[int, Field(ge=2, multiple_of=2)] = Field(
        description="Samples per second that the features are made from, an even number."
    )
    channel: Annotated[int, Field(ge=0)] | Literal["mean"] = Field(
        description="The channel to use, counted from 0, or `mean` for the mean of all channels."
    )
    other_rates: Literal["resample", "refuse"] = Field(
        "resample", description="What happens to a recording of another sample rate; either way the log counts them."
    )


class Slice(Section):
    """Cutting long recordings into clips, without copying audio."""

    length: Annotated[float, Field(ge=0.01)] | None = Field(
        None,
        description="Length of a slice in seconds. Empty: a file is one clip. A shorter rest at the end is left out.",
    )
    hop: Annotated[float, Field(ge=0.01)] | None = Field(
        None, description="Seconds from the start of a slice to the start of the next. Empty: as `length`, no overlap."
    )


class Gate(Section):
    """Leaving out the stretches of a sliced recording in which the machine is off."""

    level: float | None = Field(
        None,
        description="The level (RMS of 0.1 s about their mean, in dB of full scale) at which the machine counts as on. "
        "Empty: no gate.",
    )
    hold: Annotated[float, Field(ge=0.0)] = Field(
        2.0, description="Pauses up to this many seconds, as between the strokes of a slide rail, do not count as off."
    )


class Features(Section):
    """The log-mel spectrogram."""

    n_fft: Annotated[int, Field(ge=2, le=2**20, multiple_of=2)] = Field(
        description="Samples in one frame's Fourier transform, an even number."
    )
    hop_length: Positive = Field(description="Samples from one frame to the next.")
    n_mels: Annotated[int, Field(ge=1, le=4096)] = Field(description="Mel bands: the values in one frame.")
    power: Annotated[float, Field(gt=0.0)] = Field(
        description="Exponent of the magnitude: 2 for energy, 1 for amplitude."
    )
    f_min: Annotated[float, Field(ge=0.0)] = Field(description="Lower edge of the lowest mel band in Hz.")
    f_max: Annotated[float, Field(gt=0.0)] | None = Field(
        description="Upper edge of the highest mel band in Hz. Empty: half the sample rate."
    )
    mel_scale: Literal["slaney", "htk"] = Field(description="Formula of the mel scale.")
    mel_norm: Literal["slaney"] | None = Field(
        description="`slaney`: every mel band has unit area. Empty: unit height."
    )
    padding: Literal["reflect", "zeros"] = Field(
        description="What stands before the first and after the last sample; librosa took `reflect` up to 0.8."
    )
    log: Literal["add", "clamp"] = Field(
        description="How silence is kept from log(0): `add` takes log(mel + epsilon), `clamp` log(max(mel, epsilon))."
    )
    epsilon: Annotated[float, Field(gt=0.0)] = Field(description="The epsilon of `log`.")
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="Precision of the cache; `float16` halves it and rounds by up to 0.06 dB."
    )


class Window(Section):
    """The context window: what the autoencoder sees at once."""

    frames: Annotated[int, Field(ge=1, le=10_000)] = Field(
        description="Neighbouring frames side by side in one training vector."
    )


class Model(Section):
    """The detector."""

    detector: Literal["autoencoder"] = Field(
        "autoencoder", description="What is fitted on normal clips and scores new ones."
    )
    scope: Literal["machine", "type", "set"] = Field(
        description="One model for each `machine` ID, for each machine `type`, or for the whole `set`."
    )
    hidden: list[Annotated[int, Field(ge=1, le=100_000)]] = Field(
        description="Widths of the hidden layers, the bottleneck among them.", min_length=1
    )
    batch_norm: bool = Field(description="Batch normalisation after each hidden layer, before its ReLU.")
    batch_norm_momentum: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        description="Weight of the newest batch in the running statistics (torch's sense; Keras writes 1 minus this)."
    )
    batch_norm_epsilon: Annotated[float, Field(gt=0.0)] = Field(description="Added to the variance before its root.")
    initialisation: Literal["keras", "torch"] = Field(
        description="`keras`: Glorot-uniform weights and zero biases. `torch`: torch's own for a linear layer."
    )
    distance: Literal["squared_error", "mahalanobis_of_mean", "mahalanobis_of_windows"] = Field(
        "squared_error",
        description="How far a clip lies from what the network makes of it. `squared_error`: for each context window, "
        "the mean squared difference. The others weigh differences by how they vary in the training clips of each "
        "domain, and take the nearest domain: `mahalanobis_of_mean` for the clip's mean difference, as the published "
        "code of DCASE 2023 does; `mahalanobis_of_windows` for each window, another reading of its description.",
    )
    threads: Positive = Field(
        1,
        description="Torch threads of training and scoring. Part of the recipe: another number changes last digits.",
    )


class Training(Section):
    """Fitting the autoencoder."""

    epochs: Positive = Field(description="Passes over the training windows.")
    batch_size: Positive = Field(description="Windows in one step.")
    learning_rate: Annotated[float, Field(gt=0.0)] = Field(
        description="Adam's step size; with the `fast` schedule it rises above that, and falls to nothing."
    )
    adam_epsilon: Annotated[float, Field(gt=0.0)] = Field(description="Adam's epsilon (Keras 1.0e-7, torch 1.0e-8).")
    validation: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        description="Share of each machine's training clips, whole ones, held out: the validation loss, percentiles "
        "and `conformal` thresholds come from them."
    )
    fast_share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        description="The share of the epochs that the `fast` schedule takes."
    )
    schedule: Literal["published", "fast"] = Field(
        "published",
        description="`published`: all `epochs`, at a constant `learning_rate`. `fast`: a share of the epochs "
        "(`fast_share`), on windows that are centred, at a rate that rises above `learning_rate`, then falls "
        "to nothing; docs/speed.md says what it costs in AUC.",
    )
    stacked: bool = Field(
        False,
        description="Train the models of a job (`jobs.machines`) at once, as one stacked model: many small ones keep a "
        "GPU busy that way; a CPU may take twice as long. Each comes out as by itself but for its last digits, which "
        "depend on what goes together.",
    )
    precision: Precision = Field(
        "float32",
        description="What the matrix products of training are computed in, of float32 weights: `tf32` on a GPU since "
        "Ampere (elsewhere as `float32`), `bfloat16` everywhere, though a CPU without instructions for it takes many "
        "times as long. Scores are computed in float32 whatever it is.",
    )
    trials: Positive = Field(1, description="Models trained per scope, each with a seed of its own.")
    memory: Annotated[float, Field(gt=0.0)] = Field(
        4096.0,
        description="MiB of features to keep on the device; a larger scope is streamed, its order shuffled by blocks.",
    )


class Scores(Section):
    """What is kept of the window errors of a clip, beside mean, median, standard deviation and maximum."""

    quantiles: list[Fraction] = Field([0.75, 0.9, 0.99], description="Quantiles of the window errors.")


class Evaluate(Section):
    """From scores to tables. Changing these reruns no training."""

    aggregator: str = Field(
        "mean", description="The statistic of the window errors that is the clip's score: a column of the score files."
    )
    max_fpr: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.1,
        description="pAUC is the area up to this false positive rate, standardised after McClish as scikit-learn does.",
    )
    threshold: Literal["conformal", "gamma"] = Field(
        "conformal",
        description="How the threshold of an alarm is chosen: `conformal` from held-out normal clips "
        "(`training.validation`), which on average keeps the false-alarm rate it states; `gamma`, as the baselines of "
        "2021 and 2022, by a distribution fitted to the clips that were trained on: more new normal clips than stated "
        "then raise an alarm.",
    )
    false_alarm_rate: Fraction = Field(
        0.1, description="The share of normal clips that may raise an alarm; the baselines take 0.1."
    )
    resamples: Annotated[int, Field(ge=0, le=100_000)] = Field(
        1000, description="Bootstrap resamples behind an interval; 0 for none."
    )
    confidence: Fraction = Field(0.95, description="Coverage of the bootstrap intervals.")
    seed: int = Field(0, description="Seed of the bootstrap.")


class Jobs(Section):
    """How the work is cut into jobs. Changes no result."""

    machines: Positive = Field(
        1,
        description="Machines one job works through, one after the other. Changing it does finished jobs again; so "
        "does, for all machines of a job, a change of one of them or of the list of machines.",
    )
    checkpoint_seconds: Annotated[int, Field(ge=0)] = Field(
        60, description="Seconds of training after which the next epoch's end is kept on disk, to go on from if killed."
    )


class Retrieve(Section):
    """Which recordings of DCASE Task 2 `snakemake retrieve` downloads from Zenodo."""

    year: int | None = Field(None, description="The challenge's year, 2020 or later. Empty: nothing to download.")
    sets: Annotated[list[RecordSet], Field(min_length=1)] = Field(
        ["development", "additional_training", "evaluation"],
        description="The sets to download: any of `development`, `additional_training` and `evaluation`.",
    )
    machines: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="Download only these machine types: a list such as `[fan, ToyCar]`. Empty: all."
    )
    folder: Annotated[str, Field(pattern=r"^[^{}]+$")] | None = Field(
        None, description="Where the recordings go; name it as `dataset.path`. Empty: `data/dcase<year>`."
    )
    url: Annotated[str, Field(pattern=r"^https?://[^/]")] = Field(
        "https://zenodo.org", description="The server: Zenodo, or a mirror with the same addresses."
    )
    keep_archives: bool = Field(False, description="Keep the zip files once they are unpacked.")
    timeout: Annotated[float, Field(gt=0.0)] = Field(
        60.0, description="Seconds without a byte from the server after which a download is broken off and continued."
    )
    tries: Positive = Field(8, description="Tries in a row that bring nothing new before a download is given up.")


class Submission(Section):
    """DCASE Task 2: the official figures of a run, and what `snakemake submission` sends.

    `year`, `systems`, `lastname`, `institute` and `authors` are said once for all runs; the others may differ.
    """

    year: int | None = Field(
        None,
        description="The challenge's year, 2020 or later: the run is judged as its evaluators do. Empty: neither "
        "official figures nor a submission.",
    )
    systems: Annotated[list[FreeName], Field(min_length=1, max_length=4)] | None = Field(
        None, description="The runs that are sent, up to four, in the order of their numbers. Empty: every run."
    )
    trial: Annotated[int, Field(ge=0)] | Literal["mean"] = Field(
        "mean", description="Whose scores are sent: those of one trial, counted from 0, or the `mean` over all trials."
    )
    lastname: str | None = Field(None, description="Last name of the corresponding author, in the folder's name.")
    institute: str | None = Field(None, description="Short name of the institute, in the folder's name.")
    authors: list[dict[str, Any]] | None = Field(
        None,
        description="A list, each with `lastname`, `firstname`, `email` and `affiliation` (`institution`, `location`, "
        "perhaps `department`), and one with `corresponding: true`.",
    )
    name: str | None = Field(None, description="Name of the system.")
    abbreviation: str | None = Field(None, description="The same in at most ten characters.")
    technical_report: str | None = Field(None, description="A PDF file. Empty: it is added later.")
    source_code: str | None = Field(None, description="Address of the code.")
    external_datasets: list[dict[str, Any]] | None = Field(
        None, description="Data of others that were used, a list, each with `name` and `url`."
    )
    description: dict[str, Any] = Field(
        {},
        description="Keys of `system.description` and `system.complexity` in `meta.yaml` that are to say something "
        "else than is filled in.",
    )


class Settings(Section):
    """Everything a run does, said in full."""

    run: FreeName = Field(DEFAULT_RUN, description="Names the results: `results/<run>/`.")
    preset: Annotated[str, AfterValidator(_known_preset)] = Field(
        DEFAULT_PRESET, description="The published recipe to start from: a file in `config/presets`."
    )
    seed: int = Field(0, description="Seed of the training: the same seed trains the same models.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where features, training and scoring run.")
    require_gpu: bool = Field(False, description="Stop where there is no GPU, rather than fall back to the CPU.")
    dataset: Dataset = Dataset()
    demo: Demo = Demo()
    audio: Audio
    slice: Slice = Slice()
    gate: Gate = Gate()
    features: Features
    window: Window
    model: Model
    training: Training
    scores: Scores = Scores()
    evaluate: Evaluate = Evaluate()
    jobs: Jobs = Jobs()
    retrieve: Retrieve = Retrieve()
    submission: Submission = Submission()

    @model_validator(mode="after")
    def _check_what_belongs_together(self) -> Self:
        nyquist = self.audio.sample_rate / 2
        if (self.features.f_max or nyquist) > nyquist:
            raise ValueError(f"features.f_max must not be above half of audio.sample_rate, {nyquist:g} Hz")
        if self.features.f_min >= (self.features.f_max or nyquist):
            raise ValueError("features.f_min must be below features.f_max")
        if self.device == "cpu" and self.require_gpu:
            raise ValueError("device is 'cpu' and require_gpu is true: set one of the two")
        if self.slice.length is None and (self.slice.hop is not None or self.gate.level is not None):
            raise ValueError("slice.hop and gate.level shape slices: set slice.length too")
        if self.slice.length is not None:
            frames = 1 + round(self.slice.length * self.audio.sample_rate) // self.features.hop_length
            if frames < self.window.frames:
                raise ValueError(
                    f"slice.length {self.slice.length:g} s is shorter than a context window: it gives {frames} frames, "
                    f"and window.frames is {self.window.frames}; make slices longer"
                )
        if self.model.batch_norm and self.training.batch_size == 1:
            raise ValueError("training.batch_size must be 2 or more where model.batch_norm is true")
        if isinstance(self.submission.trial, int) and self.submission.trial >= self.training.trials:
            raise ValueError(
                f"submission.trial is {self.submission.trial}, and training.trials is {self.training.trials}"
            )
        return self


def resolve(config: Mapping[str, Any]) -> dict[str, Settings]:
    """Turn what the configuration files say into the settings of each run.

    Parameters
    ----------
    config
        The merged content of ``config/config.yaml``, its overlays and ``--config``. Its key ``runs`` may hold further
        runs, each a name and what differs: ``{"longer": {"training": {"epochs": 100}}}``.

    Returns
    -------
    dict
        Run name to settings: the run of the file itself first, then those of ``runs``.

    Raises
    ------
    InputError
        One line for each key that is unknown, missing or of the wrong kind, those of further runs with the run's name.

    Examples
    --------
    >>> runs = resolve({"run": "short", "training": {"epochs": 2}})
    >>> runs["short"].training.epochs, runs["short"].window.frames
    (2, 5)
    """
    own = {key: value for key, value in config.items() if key != "runs"}
    settings, errors = _validate(own)
    runs, lines = [settings], _explain_all(errors, [*Settings.model_fields, "runs"])
    further, further_lines = _further_runs(config)
    lines += further_lines
    inherited = {_identity(error) for error in errors}
    for name, changes in further.items():
        settings, found = _validate(_merge(_merge(own, changes), {"run": name}))
        new = [error for error in found if _identity(error) not in inherited or _states(changes, error)]
        lines += _explain_all(new, [key for key in Settings.model_fields if key != "run"], f"runs.{name}")
        runs.append(settings)
    if lines:
        raise InputError("\n  ".join(["the configuration is not valid:", *lines]))
    return {settings.run: settings for settings in runs if settings is not None}


def preset_names() -> list[str]:
    """List the presets, the files in ``config/presets``."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


@cache
def load_preset(name: str) -> Mapping[str, Any]:
    """Read a preset: its sections, laid over those of the preset it is `based_on`.

    Raises
    ------
    ValueError
        There is no preset of that name.

    Examples
    --------
    >>> load_preset("mimii")["features"]["n_mels"]
    64
    """
    _known_preset(name)
    path = PRESETS / f"{name}.yaml"
    content = read_file(path)
    if "based_on" in content and content["based_on"] not in {*preset_names()} - {name}:
        raise InputError(f"{path}: based_on: there is no other preset {content['based_on']!r}")
    recipe = {key: value for key, value in content.items() if key not in ("description", "source", "based_on")}
    return _merge(load_preset(content["based_on"]), recipe) if "based_on" in content else recipe


def _further_runs(config: Mapping[str, Any]) -> tuple[dict[Any, Mapping[str, Any]], list[str]]:
    """Return what differs in each run of `runs`, and a line for each that cannot be one."""
    stated = config.get("runs") or {}
    if not isinstance(stated, Mapping):
        return {}, ["runs: must map the name of a run to the keys that differ"]
    own = config.get("run", DEFAULT_RUN)
    lines = []
    for name, changes in stated.items():
        if not isinstance(changes, Mapping | None):
            lines.append(f"runs.{name}: must hold the keys that differ, as in {{seed: 1}} (not {changes!r})")
        elif changes and "run" in changes:
            lines.append(f"runs.{name}.run: a further run is named by its key, here {name!r}: leave `run` out")
        if name == own:
            lines.append(f"runs: the name {name!r} is already that of the file's own run")
    return {name: changes or {} for name, changes in stated.items() if isinstance(changes, Mapping | None)}, lines


def _validate(stated: Mapping[str, Any]) -> tuple[Settings | None, list[ErrorDetails]]:
    """Return the settings of one run, or None and what is wrong with them."""
    preset = stated.get("preset")
    # Beside a preset that there is not, the other mistakes are found all the same.
    recipe = load_preset(preset if isinstance(preset, str) and preset in preset_names() else DEFAULT_PRESET)
    try:
        return Settings.model_validate(_merge(recipe, stated)), []
    except ValidationError as error:
        return None, error.errors()


def _identity(error: ErrorDetails) -> tuple[object, ...]:
    return error["loc"], error["type"], error["msg"]


def _states(changes: Mapping[str, Any], error: ErrorDetails) -> bool:
    """Tell whether the changes of a run make a mistake themselves, rather than take it over from the file's own run."""
    value: Any = changes
    for part in error["loc"]:
        if not isinstance(value, Mapping):
            return True
        if part not in value:
            return False
        value = value[part]
    # A section as a whole is wrong where its keys do not fit together, those that are taken over among them.
    return not (isinstance(value, Mapping) and error["type"] == "value_error")


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `above` over `below`, section by section; a section that is named but empty changes nothing."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(below.get(key), Mapping) and (value is None or isinstance(value, Mapping)):
            merged[key] = _merge(below[key], value or {})
        else:
            merged[key] = value
    return {key: value for key, value in merged.items() if not (value is None and _is_section(key))}


def _is_section(key: str) -> bool:
    field = Settings.model_fields.get(key)
    return field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, Section)


def _explain_all(errors: Iterable[ErrorDetails], keys: Sequence[str], above: str = "") -> list[str]:
    """Say in a sentence for each wrong key how it is wrong; a key with alternatives has one error for each of them.

    Parameters
    ----------
    errors
        What is wrong with the settings of one run.
    keys
        The keys that may stand beside the sections.
    above
        Where the settings stand in the configuration.
    """
    sentences: dict[str, list[str]] = {}
    for error in errors:
        sentences.setdefault(_place(error["loc"], above), []).append(_explain(error, keys))
    return [f"{place}: {', or '.join(dict.fromkeys(messages))}" for place, messages in sentences.items()]


def _place(location: Sequence[int | str], above: str) -> str:
    """Name a key, or an element of its list. What else pydantic appends tells apart the alternatives of one key."""
    # The name of a further run is the key it stands under.
    keys = [] if above and location == ("run",) else [str(part) for part in location[:2]]
    element = f"[{location[2]}]" if len(location) > 2 and isinstance(location[2], int) else ""
    return (".".join([above, *keys] if above else keys) or "settings") + element


def _explain(error: ErrorDetails, keys: Sequence[str]) -> str:
    value, kind, location = error["input"], error["type"], error["loc"]
    if kind == "extra_forbidden":
        return f"unknown key{_did_you_mean(location, keys)}"
    if value is None and kind != "value_error":
        return "is empty; give it a value, or leave the key out"
    if kind == "string_type" and isinstance(value, int | float | date):
        return f'{value} is no text to YAML; write it in quotes: "{value}"'
    if kind == "missing":
        return "neither the preset nor the configuration says it"
    if isinstance(value, str) and kind.startswith("model_"):
        return (
            f'{value!r} is text, not a section; on the command line write --config "{location[0]}={{<key>: <value>}}"'
        )
    if isinstance(value, str) and kind in ("float_type", "int_type"):
        return f"{value!r} is text, not a number{_number_hint(value, whole=kind == 'int_type')}"
    if isinstance(value, float) and kind == "int_type":
        return f"must be a whole number (not {value!r})" + (f": write {int(value)}" if value.is_integer() else "")
    if kind == "too_short":
        return "an empty list takes nothing; leave the key out, or name at least one"
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    return f"{error['msg']} (not {value!r})" if isinstance(value, str | int | float) else error["msg"]


def _number_hint(text: str, *, whole: bool) -> str:
    """Show how to write a number that YAML took for text, as it does where 1e-3 lacks a point and 1.0e3 a sign."""
    try:
        number = float(text)
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    if whole:
        # A float would round long numbers.
        exact = Decimal(text)
        return f"; YAML reads it so: write {int(exact)}" if exact == int(exact) else "; write a whole number"
    digits, letter, exponent = repr(number).partition("e")
    return f"; YAML reads it so: write {digits if '.' in digits else f'{digits}.0'}{letter}{exponent}"


def _did_you_mean(location: Sequence[int | str], keys: Sequence[str]) -> str:
    section = Settings.model_fields[str(location[0])].annotation if len(location) > 1 else None
    if isinstance(section, type) and issubclass(section, Section):
        keys = list(section.model_fields)
    close = difflib.get_close_matches(str(location[-1]), keys, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; the keys here are {', '.join(keys)}"
