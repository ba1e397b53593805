"""Detectors: fitted on the frames of normal clips, they score clips one by one, and go to files and back.

A fitted detector is a folder: ``model.safetensors`` holds the weights and the statistics of batch normalisation,
and with a Mahalanobis distance the covariances behind it; ``model.json`` says what they are and where they come from,
``loss.csv`` how the fit went. There is no pickle in it, and no time, host or path outside the dataset: the same inputs
give the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from offnote.cache import FeatureCache, check_settings
from offnote.cache import read as read_cache
from offnote.checkpoints import Checkpoint
from offnote.clips import Excluded
from offnote.config import BrokenClips, Model, Section, Training, Window
from offnote.device import choose, describe, set_threads
from offnote.domains import training_domains
from offnote.errors import InputError
from offnote.files import replacing
from offnote.logs import Mistakes, log
from offnote.mahalanobis import Distances, residual_covariances, residuals
from offnote.models import Autoencoder, Centred, parameter_counts, reconstruction_errors
from offnote.provenance import derive_seed, digest, versions
from offnote.scores import statistics
from offnote.stacked import fit_stacked
from offnote.status import Status
from offnote.training import (
    ClipReference,
    History,
    State,
    WindowSource,
    fit,
    held_out,
    start,
    trainable,
    window_sources,
)
from offnote.windows import context_windows, too_short
from offnote.wording import counted

FORMAT_VERSION: Literal[1] = 1
WINDOWS_PER_BLOCK = 2048
COVARIANCES = "covariances"


class HeldOutClip(Section):
    """A training clip that the fit has not seen; other machines of the scope may have one of the same path."""

    machine: str
    path: str
    start: float | None
    end: float | None


class Covariance(Section):
    """What ``model.json`` says of one of the covariances of residuals in ``model.safetensors``, in their order."""

    domain: str = Field(description="The domain of the training clips behind it; empty where they have none.")
    windows: int = Field(description="Their context windows.")
    raised: int = Field(description="Directions in which it was too small to divide by, and was raised.")


class Card(Section):
    """What ``model.json`` says of a detector."""

    format: Literal["offnote-model"] = "offnote-model"
    format_version: Literal[1] = FORMAT_VERSION
    detector: str
    window: Window
    model: Model
    training: Training
    features: dict[str, Any]
    n_mels: int
    scope: str
    seed: int
    trial: int
    inputs_sha256: list[str]
    held_out: list[HeldOutClip]
    device: dict[str, str | int]
    versions: dict[str, str]
    parameters: dict[str, int] = Field(default_factory=dict)
    covariances: list[Covariance] = Field(default_factory=list)
    epochs: int = 0
    loss: float | None = None
    validation_loss: float | None = None
    weights_sha256: str = ""
    status: str = Field("", description="Why there is no detector, in the words of the tables; empty where there is.")


@dataclass(frozen=True)
class NormalClips:
    """What a detector is fitted on: clips of opened caches, as (cache, clip) indices."""

    caches: Sequence[FeatureCache]
    fitted: Sequence[ClipReference]
    held_out: Sequence[ClipReference]


@dataclass(frozen=True)
class FitTask:
    """What one detector is made from: the clips, the settings and the seed of `card`, and where a killed fit was."""

    clips: NormalClips
    card: Card
    checkpoint: Checkpoint

    @property
    def name(self) -> str:
        """Scope and trial, as the log names them."""
        return f"{self.card.scope} trial {self.card.trial}"


class Detector(Protocol):
    """What every detector can do."""

    card: Card

    @classmethod
    def fit(cls, task: FitTask, device: torch.device) -> Self:
        """Fit a detector."""
        ...

    @classmethod
    def fit_stacked(cls, tasks: Sequence[FitTask], device: torch.device) -> list[Self]:
        """Fit a detector for each task, all with the same settings, at once."""
        ...

    def score(self, frames: NDArray[np.floating], quantiles: Sequence[float]) -> dict[str, float]:
        """Score one clip, (frames, mels), by itself: higher = more anomalous."""
        ...

    def save(self, directory: Path) -> None:
        """Write the detector's files."""
        ...

    @classmethod
    def load(cls, directory: Path, device: torch.device) -> Self:
        """Read them back."""
        ...


class AutoencoderDetector:
    """An autoencoder of context windows; a clip's score is a statistic of its windows' reconstruction errors.

    Attributes
    ----------
    network : Autoencoder
        In evaluation mode.
    card : Card
        What ``model.json`` says.
    history : History
        Losses of the fit; empty after loading, as nothing that scores needs them.
    covariances : Tensor, (covariances, mels, mels), or None
        Of the residuals of training clips, float64 on the CPU; None where the distance is the squared error.
    """

    def __init__(
        self,
        network: Autoencoder,
        card: Card,
        history: History,
        device: torch.device,
        covariances: Tensor | None = None,
    ) -> None:
        self.network = network.to(device).eval()
        self.card = card
        self.history = history
        self.covariances = covariances
        self._device = device
        self._distances = None if covariances is None else Distances(covariances, device)

    @classmethod
    def fit(cls, task: FitTask, device: torch.device) -> Self:
        """Train an autoencoder; its seed is derived from the seed, trial and scope of the card.

        Raises
        ------
        InputError
            There is no window to train on, only one under batch normalisation, or a loss is not finite. For a
            Mahalanobis distance: a domain has too few windows, or some clips have a domain and others none.
        """
        begun = _Fit.begun(task, device)
        fit(begun.state, begun.windows, begun.validation, task.card.training, task.name, task.checkpoint.keep)
        return cls._finished([begun], [task], device)[0]

    @classmethod
    def fit_stacked(cls, tasks: Sequence[FitTask], device: torch.device) -> list[Self]:
        """Train an autoencoder for each task, all of them at once; errors are those of :meth:`fit`."""
        begun = [_Fit.begun(task, device) for task in tasks]
        fit_stacked(
            [each.state for each in begun],
            [each.windows for each in begun],
            [each.validation for each in begun],
            tasks[0].card.training,
            [task.name for task in tasks],
            [task.checkpoint.keep for task in tasks],
        )
        return cls._finished(begun, tasks, device)

    @classmethod
    def _finished(cls, fits: Sequence[_Fit], tasks: Sequence[FitTask], device: torch.device) -> list[Self]:
        for each, task in zip(fits, tasks, strict=True):
            task.checkpoint.keep(each.state, always=True)
        done = [each.finished(task.card) for each, task in zip(fits, tasks, strict=True)]
        return [cls(network, card, history, device, covariances) for network, card, history, covariances in done]

    def score(self, frames: NDArray[np.floating], quantiles: Sequence[float]) -> dict[str, float]:
        """Summarise the reconstruction errors of a clip's windows.

        A clip goes through the network alone, and a long one in blocks of fixed size, so that its score depends on no
        other clip. The Mahalanobis distance of a clip's mean residual is a single number: it is the ``mean``, and
        there are no other statistics.

        Parameters
        ----------
        frames : array, (frames, mels)
            The clip's log-mel spectrogram.
        quantiles : sequence of float
            Quantiles to give beside mean, median, standard deviation and maximum.

        Raises
        ------
        InputError
            The clip is shorter than a context window.
        """
        with torch.inference_mode():
            on_device = torch.from_numpy(frames).to(self._device).float()
            windows = context_windows(on_device, self.card.window.frames)
            blocks = (windows[first : first + WINDOWS_PER_BLOCK] for first in range(0, len(windows), WINDOWS_PER_BLOCK))
            if self._distances is None:
                errors = [reconstruction_errors(self.network, block.contiguous()) for block in blocks]
                return statistics(torch.cat(errors).cpu().numpy(), quantiles)
            wrong = (residuals(self.network, block.contiguous(), self.card.n_mels) for block in blocks)
            if self.card.model.distance == "mahalanobis_of_windows":
                distances = [self._distances.of_windows(block) for block in wrong]
                return statistics(torch.cat(distances).cpu().numpy(), quantiles)
            total = torch.stack([block.sum(dim=(0, 1)) for block in wrong]).sum(dim=0)
            return {"mean": self._distances.of_mean(total / (len(windows) * self.card.window.frames))}

    def save(self, directory: Path) -> None:
        """Write ``model.safetensors`` and ``model.json``, and ``loss.csv`` right after a fit."""
        _save(directory, self.card, _weights(self.network, self.covariances))
        if self.history.loss:
            _write_losses(directory / "loss.csv", self.history)

    @classmethod
    def load(cls, directory: Path, device: torch.device) -> Self:
        """Read ``model.safetensors`` and ``model.json``.

        Raises
        ------
        InputError
            A file is missing, damaged or of another version, or the two do not belong together.
        """
        card = read_card(directory)
        path = directory / "model.safetensors"
        try:
            content = path.read_bytes()
            weights = safetensors.torch.load(content)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{path}: the weights cannot be read ({error}); delete it, and run the same again"
            ) from error
        if hashlib.sha256(content).hexdigest() != card.weights_sha256:
            raise InputError(
                f"{path}: not the weights that model.json beside it names; delete it, and run the same again"
            )
        if _values_named_by(card) > len(content):
            raise InputError(
                f"{path}: fewer weights than the layers that model.json names; delete it, and run the same again"
            )
        network = _network(card, torch.Generator())
        expected = network.state_dict()
        if card.model.distance != "squared_error":
            expected[COVARIANCES] = torch.empty(len(card.covariances), card.n_mels, card.n_mels)
        _check_shapes(path, weights, expected)
        covariances = weights.pop(COVARIANCES, None)
        network.load_state_dict(weights)
        return cls(network, card, History(), device, covariances)


@dataclass(frozen=True)
class _Fit:
    """A fit of an autoencoder that is under way."""

    state: State
    windows: WindowSource
    validation: WindowSource
    domains: tuple[list[str], NDArray[np.int64]] | None
    generator: torch.Generator

    @classmethod
    def begun(cls, task: FitTask, device: torch.device) -> Self:
        clips, card = task.clips, task.card
        parts, size = [clips.fitted, clips.held_out], card.window.frames
        windows, validation = window_sources(clips.caches, parts, size, device, card.training.memory)
        if windows.windows < 1 + card.model.batch_norm:
            found = counted(windows.windows, "training window")
            raise InputError(f"{card.scope}: has {found}, which is too few; add training clips")
        log.info("%s: %d training windows, %d held out", card.scope, windows.windows, validation.windows)
        domains = None if card.model.distance == "squared_error" else _domains_of_windows(clips, card)
        generator = torch.Generator().manual_seed(derive_seed(card.seed, card.trial, card.scope))
        network = trainable(_network(card, generator).to(device), windows, card.training)
        state = start(network, card.training, generator)
        task.checkpoint.restore(state)
        return cls(state, windows, validation, domains, generator)

    def finished(self, card: Card) -> tuple[Autoencoder, Card, History, Tensor | None]:
        """Return the network, what is now known of it, its history, and the covariances of its residuals."""
        network = self.state.network
        if isinstance(network, Centred):
            network = network.plain()
        card = _with_outcome(card, network, self.state.history)
        if self.domains is None:
            return network, card, self.state.history, None
        names, numbers = self.domains
        covariances = residual_covariances(
            network, self.windows, numbers, card.n_mels, card.training.batch_size, self.generator
        )
        card = card.model_copy(update={"covariances": _about_covariances(card.scope, covariances, names, numbers)})
        return network, card, self.state.history, covariances


DETECTORS: dict[str, type[Detector]] = {"autoencoder": AutoencoderDetector}


@dataclass(frozen=True)
class Scope:
    """A scope to fit a detector to.

    Attributes
    ----------
    name : str
        ``<machine_type>/<machine_id>``, either of which may be ``all``.
    trial : int
        Which of its models.
    caches : sequence of Path
        The feature caches of its machines, ``<machine_type>/<machine_id>.h5``.
    directory : Path
        Where ``model.safetensors``, ``model.json`` and ``loss.csv`` go.
    """

    name: str
    trial: int
    caches: Sequence[Path]
    directory: Path


def fit_scopes(
    scopes: Sequence[Scope],
    *,
    window: Window,
    model: Model,
    training: Training,
    seed: int,
    device: str,
    require_gpu: bool,
    broken_clips: BrokenClips = "stop",
    checkpoints: Path | None = None,
    checkpoint_seconds: float = 60.0,
    code: str = "",
) -> list[Checkpoint]:
    """Fit the detectors of some scopes, and write their files: at once with ``training.stacked``, else one by one.

    Where broken clips are excluded, or a gate leaves out what it takes for silence, and no training clip is left,
    ``model.json`` says so, and the others are empty: the machines of the scope stand in the tables with that status,
    and hold up no other.

    Parameters
    ----------
    scopes : sequence of Scope
        What to fit to.
    window, model, training
        Sections of the configuration.
    seed : int
        What the random numbers are derived from, with trial and name of the scope. The clips held out of a machine
        depend on the machine's name in place of the scope's, so that models of one machine, its type and the set hold
        out the same.
    device, require_gpu, broken_clips
        As in the configuration. A clip shorter than a context window is broken too.
    checkpoints : Path, optional
        A folder for checkpoints; a fit that was killed goes on from its last one.
    checkpoint_seconds : float
        Time between two of them.
    code : str
        A hash of the code: a checkpoint of other code is not gone on from.

    Returns
    -------
    list of Checkpoint
        The last of each fit, for the caller to discard when the files written here are sure to stay.

    Raises
    ------
    InputError
        The caches do not fit together, there is nothing to train on, or the training fails. Of scopes that are fitted
        one by one, the others are fitted first, and the message names all that is wrong.
    """
    set_threads(model.threads)
    chosen_device = choose(device, require_gpu)
    kind = DETECTORS[model.detector]

    def task_of(scope: Scope, opened: Sequence[FeatureCache]) -> FitTask:
        clips = _normal_clips(opened, training.validation, seed, scope, window.frames, broken_clips)
        card = Card(
            detector=model.detector,
            window=window,
            model=model,
            training=training,
            features=opened[0].settings,
            n_mels=opened[0].n_mels,
            scope=scope.name,
            seed=seed,
            trial=scope.trial,
            inputs_sha256=[cache.inputs_sha256 for cache in opened],
            held_out=[_held_out_clip(opened[cache], clip) for cache, clip in clips.held_out],
            device=describe(chosen_device),
            versions=versions(),
        )
        path = _checkpoint_path(checkpoints, card, scope.caches, code)
        return FitTask(clips, card, Checkpoint(path, checkpoint_seconds))

    def fit_each(tasks: Sequence[FitTask]) -> Sequence[Detector]:
        return [kind.fit(task, chosen_device) for task in tasks]

    def fit_at_once(tasks: Sequence[FitTask]) -> Sequence[Detector]:
        return kind.fit_stacked(tasks, chosen_device)

    groups, fit_group = ([scopes], fit_at_once) if training.stacked else ([[scope] for scope in scopes], fit_each)
    mistakes = Mistakes()
    kept: list[Checkpoint] = []
    for group in groups:
        with mistakes.gathered(), ExitStack() as stack:
            opened = [[stack.enter_context(read_cache(path)) for path in scope.caches] for scope in group]
            begun = [(task_of(scope, caches), scope.directory) for scope, caches in zip(group, opened, strict=True)]
            to_fit = [(task, directory) for task, directory in begun if task.clips.fitted]
            if to_fit:
                fitted = fit_group([task for task, _ in to_fit])
                for detector, (_, directory) in zip(fitted, to_fit, strict=True):
                    detector.save(directory)
            for task, directory in begun:
                if not task.clips.fitted:
                    _save_without_training_clips(task.card, directory)
            kept += [task.checkpoint for task, _ in begun]
    mistakes.report()
    return kept


def train(scopes: Sequence[Scope], **settings: Any) -> None:
    """Fit the scopes of a job, see :func:`fit_scopes` for the settings, and discard their checkpoints."""
    # Not one by one: where the job is killed, Snakemake takes all of its models away.
    for checkpoint in fit_scopes(scopes, **settings):
        checkpoint.discard()


def fit_scope(caches: Sequence[Path], directory: Path, *, trial: int, scope: str, **settings: Any) -> Checkpoint:
    """Fit the detector of one scope and trial: see :func:`fit_scopes` for the settings."""
    return fit_scopes([Scope(scope, trial, caches, directory)], **settings)[0]


def _checkpoint_path(folder: Path | None, card: Card, caches: Sequence[Path], code: str) -> Path | None:
    """Name the checkpoint after everything the fit depends on: settings, seed, clips, features, device and code."""
    if folder is None:
        return None
    # A cache of another program may tell no hashes of its recordings; the time of its last change stands in for them.
    changed = [path.stat().st_mtime_ns for path in caches]
    key = digest([card.model_dump(mode="json", exclude={"training": {"trials"}}), changed, code])
    return folder / key[:12] / "state.safetensors"


def load_detector(directory: Path, device: torch.device) -> Detector:
    """Load the detector in `directory`, of whatever kind its ``model.json`` names.

    Raises
    ------
    InputError
        The files are not those of a detector known here.
    """
    kind = read_card(directory).detector
    if kind not in DETECTORS:
        raise InputError(f"{directory / 'model.json'}: detector {kind!r} is none of {', '.join(DETECTORS)}")
    return DETECTORS[kind].load(directory, device)


def read_card(directory: Path) -> Card:
    """Read and check ``model.json``.

    Raises
    ------
    InputError
        It is missing, no JSON, of another format or version, or incomplete.
    """
    path = directory / "model.json"
    try:
        return Card.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: the model cannot be read ({error.strerror}); train it first") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "file"
        raise InputError(
            f"{path}: not a model this program can read: {key}: {first['msg']}; delete it, and run the same again"
        ) from error


def usable_clips(
    cache: FeatureCache, clips: Iterable[int], size: int, broken_clips: BrokenClips
) -> tuple[list[int], list[Excluded]]:
    """Part clips of a cache into those to use, as indices, and those shorter than a context window of `size` frames.

    Raises
    ------
    InputError
        One is too short, and broken clips are to stop the work.
    """
    usable, excluded = [], []
    for clip in clips:
        entry = cache.entries[clip]
        reason = too_short(int(cache.offsets[clip + 1] - cache.offsets[clip]), size)
        if not reason:
            usable.append(clip)
            continue
        if broken_clips == "stop":
            raise InputError(
                f"{cache.path}: clip {entry}: {reason}. To go on without such clips, set dataset.broken_clips: exclude"
            )
        log.warning("broken: %s: %s", entry, reason)
        excluded.append(Excluded(entry, reason))
    return usable, excluded


def _normal_clips(
    caches: Sequence[FeatureCache],
    fraction: float,
    seed: int,
    scope: Scope,
    size: int,
    broken_clips: BrokenClips,
) -> NormalClips:
    if not caches:
        raise InputError(f"{scope.name}: no feature cache to train on; check dataset.machines")
    fitted: list[ClipReference] = []
    unseen: list[ClipReference] = []
    for number, cache in enumerate(caches):
        check_settings(cache, caches[0].settings)
        if cache.n_mels != caches[0].n_mels:
            raise InputError(f"{cache.path}: {cache.n_mels} mel bands, and {caches[0].path} has {caches[0].n_mels}")
        training = [clip for clip, entry in enumerate(cache.entries) if entry.split == "train"]
        usable, _ = usable_clips(cache, training, size, broken_clips)
        seed_of_machine = derive_seed(seed, scope.trial, cache.machine)
        chosen = set(held_out([cache.entries[clip] for clip in usable], fraction, seed_of_machine))
        for place, clip in enumerate(usable):
            (unseen if place in chosen else fitted).append((number, clip))
    return NormalClips(caches, fitted, unseen)


def _held_out_clip(cache: FeatureCache, clip: int) -> HeldOutClip:
    entry = cache.entries[clip]
    return HeldOutClip(machine=cache.machine, path=entry.path, start=entry.start, end=entry.end)


def _network(card: Card, generator: torch.Generator) -> Autoencoder:
    return Autoencoder(card.window.frames * card.n_mels, card.model, generator)


def _with_outcome(card: Card, network: Autoencoder, history: History) -> Card:
    validation_loss = history.validation_loss[-1]
    outcome = {
        "parameters": parameter_counts(network),
        "epochs": len(history.loss),
        "loss": history.loss[-1],
        "validation_loss": None if math.isnan(validation_loss) else validation_loss,
    }
    return card.model_copy(update=outcome)


def _save_without_training_clips(card: Card, directory: Path) -> None:
    status = Status.NO_USABLE_TRAINING_CLIPS
    log.warning("%s: %s", card.scope, status)
    _save(directory, card.model_copy(update={"status": status}), safetensors.torch.save({}))
    _write_losses(directory / "loss.csv", History())


def _save(directory: Path, card: Card, weights: bytes) -> None:
    with replacing(directory / "model.safetensors") as temporary:
        temporary.write_bytes(weights)
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    content = card.model_dump(mode="json", exclude={"training": {"trials"}})
    with replacing(directory / "model.json") as temporary:
        temporary.write_text(
            json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def _weights(network: Autoencoder, covariances: Tensor | None) -> bytes:
    tensors = {name: tensor.cpu().clone() for name, tensor in network.state_dict().items()}
    return safetensors.torch.save(tensors if covariances is None else {**tensors, COVARIANCES: covariances})


def _domains_of_windows(clips: NormalClips, card: Card) -> tuple[list[str], NDArray[np.int64]]:
    """Return the domains, and which of them each window of the fit belongs to, in the order of a window source."""
    entries = {clip: clips.caches[clip[0]].entries[clip[1]] for clip in sorted([*clips.fitted, *clips.held_out])}
    names = training_domains(list(entries.values()), card.scope)
    numbers, windows = [], []
    for cache, clip in sorted(clips.fitted):
        offsets = clips.caches[cache].offsets
        numbers.append(names.index(entries[cache, clip].domain))
        windows.append(int(offsets[clip + 1] - offsets[clip]) - card.window.frames + 1)
    domain_of_window = np.repeat(np.array(numbers, dtype=np.int64), windows)
    for number, name in enumerate(names):
        if (domain_of_window == number).sum() < 2:
            raise InputError(
                f"{card.scope}: the clips{_of_domain(name)} that are trained on have fewer than two context windows, "
                "too few for a covariance; add such clips, set training.validation: 0 so that none is held out, or set "
                "model.distance: squared_error"
            )
    return names, domain_of_window


def _about_covariances(
    scope: str, covariances: Tensor, names: Sequence[str], domain_of_window: NDArray[np.int64]
) -> list[Covariance]:
    counts = np.bincount(domain_of_window).tolist()
    for name, covariance in zip(names, covariances, strict=True):
        if not covariance.any():
            raise InputError(
                f"{scope}: what the network gets wrong is the same in all training windows{_of_domain(name)}, so no "
                "Mahalanobis distance can be made of it; look at these recordings, or set model.distance: squared_error"
            )
    raised = Distances(covariances, torch.device("cpu")).raised
    for name, windows, directions in zip(names, counts, raised, strict=True):
        log.info("%s: covariance of %d windows%s", scope, windows, _of_domain(name))
        if directions:
            log.warning(
                "%s: the %d training windows%s are too few or too alike for a covariance of %d mel bands: in %d "
                "directions they say nothing, and whatever lies there counts as far away",
                scope,
                windows,
                _of_domain(name),
                len(covariances[0]),
                directions,
            )
    return [Covariance(domain=row[0], windows=row[1], raised=row[2]) for row in zip(names, counts, raised, strict=True)]


def _of_domain(name: str) -> str:
    return f" of the domain {name!r}" if name else ""


def _values_named_by(card: Card) -> int:
    """Return how many values the layers and covariances have at least, of four bytes each, before room is made."""
    inputs = card.window.frames * card.n_mels
    layers = sum(width * following for width, following in pairwise([inputs, *card.model.hidden, inputs]))
    return layers + len(card.covariances) * card.n_mels**2


def _check_shapes(path: Path, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name in sorted(found.keys() | expected.keys()):
        shapes = [tuple(tensors[name].shape) if name in tensors else "missing" for tensors in (found, expected)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{path}: {name} is {shapes[0]}, and by model.json {shapes[1]}; delete it, and run the same again"
            )


def _write_losses(path: Path, history: History) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", "loss", "validation_loss"])
        for epoch, losses in enumerate(zip(history.loss, history.validation_loss, strict=True), start=1):
            writer.writerow([epoch, *("" if math.isnan(loss) else repr(loss) for loss in losses)])
