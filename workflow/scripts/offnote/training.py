"""Fitting a network to the context windows of normal clips: where the windows come from, and the loop over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from offnote.cache import FeatureCache
from offnote.clips import Entry
from offnote.config import Training
from offnote.cuda_graphs import Step, at_one_launch
from offnote.device import products_in
from offnote.errors import InputError
from offnote.gradients import gradient_of
from offnote.logs import progress
from offnote.models import Autoencoder, Centred, reconstruction_errors
from offnote.schedules import epochs_of, learning_rate
from offnote.windows import gather, window_starts

VALIDATION_BATCH = 1024
CLIPS_PER_READ = 64
MEBIBYTE = 2**20

ClipReference = tuple[int, int]
"""A clip of several caches: which cache, and which of its clips."""


def held_out(entries: Sequence[Entry], fraction: float, seed: int) -> list[int]:
    """Choose the training clips of a machine that the fit does not see.

    Whole recordings are held out, so that overlapping slices of one are never on both sides. Of one so long that half
    of it would be too much, as an hour cut into slices beside some of ten seconds, or that it is most of all, a stretch
    is held out instead: neighbouring slices, from a place drawn at random; only slices at its two ends may overlap the
    others. Long and short recordings are held out by their shares.

    Parameters
    ----------
    entries : sequence of Entry
        The machine's clips, slices in the order of time; only those of split ``train`` can be chosen.
    fraction : float
        Share of the clips to hold out, as near as whole recordings come to it: at least one clip, if there are two and
        `fraction` is not 0; never all.
    seed : int
        The same seed chooses the same clips.

    Returns
    -------
    list of int
        Indices into `entries`, ascending.

    Examples
    --------
    >>> held_out([Entry(f"{i}.wav", "train") for i in range(10)], 0.2, seed=0)
    [1, 4]
    >>> held_out([Entry("hour.wav", "train", "", 10.0 * i, 10.0 * i + 10) for i in range(10)], 0.2, seed=0)
    [8, 9]
    """
    recordings: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        if entry.split == "train":
            recordings.setdefault(entry.path, []).append(index)
    units = list(recordings.values())
    total = sum(map(len, units))
    wanted = 0 if fraction == 0 else min(max(1, round(fraction * total)), max(0, total - 1))
    if wanted == 0:
        return []
    generator = torch.Generator().manual_seed(seed)
    # Half of a long one would be more than is to be held out, or all of it most of what there is.
    longest = min(2 * wanted, total // 2)
    long, short = ([u for u in units if len(u) > longest], [u for u in units if len(u) <= longest])
    of_long = round(wanted * sum(map(len, long)) / total)
    most = total - 1 - of_long
    return sorted(_stretches(long, of_long, generator) + _whole(short, wanted - of_long, most, generator))


def _stretches(units: Sequence[Sequence[int]], wanted: int, generator: torch.Generator) -> list[int]:
    """Choose so many clips, of each recording its share, side by side."""
    if wanted == 0:
        return []
    shares = [wanted * len(unit) // sum(map(len, units)) for unit in units]
    if left := wanted - sum(shares):
        for unit in torch.randperm(len(units), generator=generator).tolist()[:left]:
            shares[unit] += 1
    chosen: list[int] = []
    for unit, share in zip(units, shares, strict=True):
        if share:
            first = int(torch.randint(len(unit) - share + 1, (1,), generator=generator))
            chosen += unit[first : first + share]
    return chosen


def _whole(units: Sequence[Sequence[int]], wanted: int, most: int, generator: torch.Generator) -> list[int]:
    """Choose recordings in a random order, each of which is wanted by half at least, and not more clips than `most`."""
    chosen: list[int] = []
    for place in torch.randperm(len(units), generator=generator).tolist():
        unit = units[place]
        if len(chosen) + len(unit) / 2 <= wanted and len(chosen) + len(unit) <= most:
            chosen += unit
    return chosen


class WindowSource:
    """The context windows of some clips, in batches: from features kept on the device, or streamed block by block.

    Features are kept in the precision of the cache, and only a batch at a time is turned into windows.

    Parameters
    ----------
    caches : sequence of FeatureCache
        Opened caches with equal feature settings.
    clips : sequence of (cache, clip)
        The clips, as indices.
    size : int
        Frames in a context window.
    device : torch.device
        Where batches are handed out.
    block_bytes : int or None
        Features to have on the device at once; None keeps all of them there. One clip is never divided.

    Attributes
    ----------
    windows : int
        How many windows a pass hands out.
    inputs : int
        Values in a window.
    size : int
        Frames in a window.
    device : torch.device
        Where they are.
    dtype : torch.dtype
        What they are handed out in: float32.
    resident : (Tensor, Tensor) or None
        The features that are kept on the device, (frames, mels), and the first frame of each window in them.
    """

    def __init__(
        self,
        caches: Sequence[FeatureCache],
        clips: Sequence[ClipReference],
        size: int,
        device: torch.device,
        block_bytes: int | None = None,
    ) -> None:
        self._caches = caches
        self.size = size
        self.inputs = size * caches[0].n_mels
        self.device = device
        self.dtype = torch.float32
        self._block_bytes = block_bytes
        self._clips = sorted(clips)
        self.windows = self._windows_in(self._clips)
        self.resident = None if block_bytes is not None else self._load(self._clips)

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """Hand out every window exactly once, as (batch, size * mels).

        The last batch of a block may be smaller; a single window that is left over joins others, since batch
        normalisation cannot normalise one.

        Parameters
        ----------
        batch_size : int
            Windows in a batch.
        generator : torch.Generator, optional
            Shuffles the windows, on the CPU whatever the device, so that every device sees the same order. Streamed,
            it shuffles the clips and then the windows of each block. None: the order of the clips.
        """
        for frames, starts in self.parts(batch_size, generator):
            yield gather(frames, starts, self.size).to(self.dtype)

    def parts(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Hand out the batches of :meth:`batches` as features and the first frames of windows in them."""
        for frames, starts in self._blocks(generator):
            order = starts if generator is None else starts[torch.randperm(len(starts), generator=generator)]
            for part in _parts(order.to(self.device), batch_size):
                yield frames, part

    def _blocks(self, generator: torch.Generator | None) -> Iterator[tuple[Tensor, Tensor]]:
        if self.resident is not None:
            yield self.resident
            return
        clips = self._clips
        if generator is not None:
            clips = [clips[place] for place in torch.randperm(len(clips), generator=generator).tolist()]
        for block in self._cut(clips):
            yield self._load(sorted(block))

    def _cut(self, clips: Sequence[ClipReference]) -> list[list[ClipReference]]:
        """Cut into blocks of about equal size: the fewest that stay within the limit, up to the rounding to clips.

        One with a single window joins its neighbour, since batch normalisation cannot normalise one.
        """
        sizes = [_bytes(self._caches, clip) for clip in clips]
        count = max(1, math.ceil(sum(sizes) / max(1, self._block_bytes or 0)))
        blocks: list[list[ClipReference]] = [[] for _ in range(count)]
        middles = np.cumsum(sizes) - np.array(sizes) / 2
        for clip, middle in zip(clips, middles, strict=True):
            blocks[int(middle * count / sum(sizes))].append(clip)
        joined: list[list[ClipReference]] = []
        for block in filter(None, blocks):
            if joined and 1 in (self._windows_in(joined[-1]), self._windows_in(block)):
                joined[-1] += block
            else:
                joined.append(block)
        return joined

    def _windows_in(self, clips: Sequence[ClipReference]) -> int:
        return sum(max(0, _frames(self._caches, clip) - self.size + 1) for clip in clips)

    def _load(self, clips: Sequence[ClipReference]) -> tuple[Tensor, Tensor]:
        """Read the frames of `clips` onto the device; return them with the first frames of their windows."""
        lengths = [_frames(self._caches, clip) for clip in clips]
        offsets = np.cumsum([0, *lengths])
        shape = (int(offsets[-1]), self._caches[0].n_mels)
        frames = torch.empty(shape, dtype=_dtype(self._caches), device=self.device)
        for number, cache in enumerate(self._caches):
            places = [place for place, clip in enumerate(clips) if clip[0] == number]
            for first in range(0, len(places), CLIPS_PER_READ):
                some = places[first : first + CLIPS_PER_READ]
                read, _ = cache.clips([clips[place][1] for place in some])
                frames[offsets[some[0]] : offsets[some[-1] + 1]] = torch.from_numpy(read)
        return frames, window_starts(torch.from_numpy(offsets), self.size)


def window_sources(
    caches: Sequence[FeatureCache],
    parts: Sequence[Sequence[ClipReference]],
    size: int,
    device: torch.device,
    memory: float,
) -> list[WindowSource]:
    """Make a source for each list of clips; all of them stay on the device if together they fit into `memory` MiB."""
    total = sum(_bytes(caches, clip) for part in parts for clip in part)
    limit = int(memory * MEBIBYTE)
    block_bytes = None if total <= limit else limit
    return [WindowSource(caches, part, size, device, block_bytes) for part in parts]


@dataclass
class History:
    """Losses epoch by epoch: the mean over all windows, in dB squared; validation is NaN where nothing is held out."""

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)


class Adam:
    """Adam without weight decay (Kingma and Ba 2015, algorithm 1), by the kernel that torch has for it.

    Making an optimiser of ``torch.optim`` would import torch's compiler, two seconds a job.

    Parameters
    ----------
    network : torch.nn.Module
        Whose parameters are trained, all of one dtype and device.
    learning_rate, epsilon : float
        Step size, and what is added to the root of the second moment.

    Attributes
    ----------
    learning_rate : float
        That of the next step.
    steps : int
        Steps taken.
    mean, square : Tensor, (parameters,)
        Running means of the gradient and of its square. To be changed where they lie: steps go by views of them.
    """

    MEAN_DECAY = 0.9
    SQUARE_DECAY = 0.999

    def __init__(self, network: nn.Module, learning_rate: float, epsilon: float) -> None:
        self._parameters: list[Tensor] = list(network.parameters())
        sizes = [parameter.numel() for parameter in self._parameters]
        self.learning_rate = learning_rate
        self._epsilon = epsilon
        self.steps = 0
        self.mean = torch.zeros(sum(sizes), dtype=self._parameters[0].dtype, device=self._parameters[0].device)
        self.square = torch.zeros_like(self.mean)
        # The same in the parameters' shapes, as the kernel wants them.
        self._means, self._squares = (
            [
                part.view_as(parameter)
                for part, parameter in zip(vector.split_with_sizes(sizes), self._parameters, strict=True)
            ]
            for vector in (self.mean, self.square)
        )

    def next_factors(self) -> Tensor:
        """Count a step, and return the numbers in it that differ from step to step, (2,), on the CPU.

        They are the count and the step size: a tensor, not part of the code of the step, so that a GPU can replay a
        step that was captured.
        """
        self.steps += 1
        # The kernel takes a step size of any precision on the CPU; on a GPU it reads it where it lies, as float32.
        dtype = torch.float32 if self.mean.is_cuda else torch.float64
        return torch.tensor([self.steps, self.learning_rate], dtype=dtype)

    @torch.no_grad()
    def step(self, gradient: list[Tensor], factors: Tensor) -> None:
        """Move the parameters against `gradient`; `factors` are those of :meth:`next_factors`.

        The gradient is a contiguous tensor for each parameter, in its shape: the kernel checks neither.
        """
        steps, rate = factors.to(self.mean.device, non_blocking=True).unbind()
        torch._fused_adam_(
            self._parameters,
            gradient,
            self._means,
            self._squares,
            [],
            [steps.float()] * len(self._parameters),
            lr=rate,
            beta1=self.MEAN_DECAY,
            beta2=self.SQUARE_DECAY,
            weight_decay=0.0,
            eps=self._epsilon,
            amsgrad=False,
            maximize=False,
        )


@dataclass
class State:
    """Everything that the next epoch depends on: with these four, a fit goes on as if it had never stopped."""

    network: Autoencoder | Centred
    optimiser: Adam
    generator: torch.Generator
    history: History = field(default_factory=History)


def trainable(network: Autoencoder, windows: WindowSource, settings: Training) -> Autoencoder | Centred:
    """Return what is to be trained: the network itself, or, with the fast schedule, centred on `windows`.

    With the fast schedule, the running statistics of batch normalisation follow faster by as much as there are fewer
    epochs: at the published pace they would still hold some of where they began.
    """
    if settings.schedule == "published":
        return network
    for layer in network.layers:
        if isinstance(layer, nn.BatchNorm1d) and layer.momentum is not None:
            layer.momentum = min(1.0, layer.momentum / settings.fast_share)
    total, squares = torch.zeros(2, windows.inputs, dtype=torch.float64, device=windows.device)
    for batch in windows.batches(VALIDATION_BATCH):
        total += batch.double().sum(dim=0)
        squares += batch.double().square().sum(dim=0)
    mean = total / windows.windows
    variance = (squares / windows.windows - mean.square()).mean()
    # All windows may be the same, and rounding may put their variance below zero.
    spread = torch.where(variance > 0, variance, torch.ones_like(variance)).sqrt()
    return Centred(network, mean.float(), spread.float())


def start(network: Autoencoder | Centred, settings: Training, generator: torch.Generator) -> State:
    """Return the state before the first epoch; `generator` is going to shuffle the windows."""
    return State(network, Adam(network, settings.learning_rate, settings.adam_epsilon), generator)


def fit(
    state: State,
    windows: WindowSource,
    validation: WindowSource | None,
    settings: Training,
    what: str,
    after_epoch: Callable[[State], None] | None = None,
) -> None:
    """Train `state.network` for the epochs of the schedule that its history still lacks.

    Adam minimises the mean squared error over all elements of a batch, as in the published baselines.

    Parameters
    ----------
    state : State
        Changed in place.
    windows, validation : WindowSource
        Windows to fit, and held-out windows for the validation loss (None or empty: none).
    settings : offnote.config.Training
        Schedule, epochs, batch size and learning rate.
    what : str
        Names the model in the log.
    after_epoch : callable, optional
        Called with the state when an epoch is done.

    Raises
    ------
    InputError
        A loss is not finite.
    """
    # Summed where it lies: asking for a number here would make the device wait in every step.
    total = torch.zeros((), dtype=torch.float64, device=windows.device)

    def step(frames: Tensor, starts: Tensor, factors: Tensor) -> None:
        batch = gather(frames, starts, windows.size).to(windows.dtype)
        gradient, loss = gradient_of(state.network, batch)
        state.optimiser.step(gradient, factors)
        total.add_(loss)

    changed = [*state.network.state_dict().values(), state.optimiser.mean, state.optimiser.square, total]
    take = step if windows.resident is None else at_one_launch(step, changed, windows.device)
    remaining = range(len(state.history.loss), epochs_of(settings))
    for _ in progress(remaining, len(remaining), f"epochs of {what}"):
        total.zero_()
        with products_in(settings.precision, windows.device):
            _epoch(state, windows, settings, take)
        loss = float(total) / windows.windows
        finish_epoch(state, loss, validation, what, after_epoch)


def finish_epoch(
    state: State,
    loss: float,
    validation: WindowSource | None,
    what: str,
    after_epoch: Callable[[State], None] | None,
) -> None:
    """Write down the mean loss of an epoch, and the validation loss; parameters and errors are those of :func:`fit`."""
    if not math.isfinite(loss):
        raise InputError(
            f"{what}: the training loss is {loss} in epoch {len(state.history.loss) + 1}; "
            "set a smaller training.learning_rate, or look for features that are not finite"
        )
    state.history.loss.append(loss)
    state.history.validation_loss.append(_validation_loss(state.network, validation))
    if after_epoch is not None:
        after_epoch(state)


def _epoch(state: State, windows: WindowSource, settings: Training, take: Step) -> None:
    """Take the steps of an epoch."""
    state.network.train()
    seen = 0
    for frames, starts in windows.parts(settings.batch_size, state.generator):
        # Counted in windows, not in steps: where windows are streamed, epochs may differ by a step or two.
        epochs = len(state.history.loss) + (seen + len(starts) / 2) / windows.windows
        state.optimiser.learning_rate = learning_rate(settings, epochs / epochs_of(settings))
        seen += len(starts)
        take(frames, starts, state.optimiser.next_factors())


def _validation_loss(network: nn.Module, validation: WindowSource | None) -> float:
    if validation is None or not validation.windows:
        return math.nan
    network.eval()
    sums = [reconstruction_errors(network, batch).double().sum() for batch in validation.batches(VALIDATION_BATCH)]
    return float(torch.stack(sums).sum()) / validation.windows


def _parts(order: Tensor, size: int) -> list[Tensor]:
    parts = [order[first : first + size] for first in range(0, len(order), size)]
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _frames(caches: Sequence[FeatureCache], clip: ClipReference) -> int:
    offsets = caches[clip[0]].offsets
    return int(offsets[clip[1] + 1] - offsets[clip[1]])


def _bytes(caches: Sequence[FeatureCache], clip: ClipReference) -> int:
    return _frames(caches, clip) * caches[0].n_mels * _dtype(caches).itemsize


def _dtype(caches: Sequence[FeatureCache]) -> torch.dtype:
    return torch.float16 if caches[0].dtype == np.float16 else torch.float32
