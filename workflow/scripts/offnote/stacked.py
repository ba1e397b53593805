"""Many small autoencoders trained at once, as one stacked model: batched matrix products in place of many small ones.

Each network sees the same windows in the same steps as if it were trained by itself, and comes out the same but for the
rounding of its last digits: a batched product adds in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from offnote.config import Training
from offnote.cuda_graphs import at_one_launch
from offnote.device import products_in
from offnote.logs import log, progress
from offnote.models import Centred
from offnote.schedules import epochs_of, learning_rate
from offnote.training import MEBIBYTE, Adam, State, WindowSource, finish_epoch, fit
from offnote.windows import gather


class Stack:
    """Networks of one shape whose weights lie side by side in common tensors, and a step of Adam for all of them.

    Parameters
    ----------
    states : sequence of State
        Of networks of one shape, on one device. They stay as they are until :meth:`hand_back`.
    epsilon : float
        Adam's.
    """

    def __init__(self, states: Sequence[State], epsilon: float) -> None:
        self._states = states
        self._networks = [
            state.network.network if isinstance(state.network, Centred) else state.network for state in states
        ]
        tensors = zip(*(network.state_dict().values() for network in self._networks), strict=True)
        trained = {name for name, _ in self._networks[0].named_parameters()}
        self._tensors = {
            name: torch.stack(each).requires_grad_(name in trained)
            for name, each in zip(self._networks[0].state_dict(), tensors, strict=True)
        }
        self._layers = [
            (layer, {name: self._tensors[f"layers.{place}.{name}"] for name in layer.state_dict()})
            for place, layer in enumerate(self._networks[0].layers)
        ]
        self._parameters = [tensor for tensor in self._tensors.values() if tensor.requires_grad]
        self._centres, self._spreads = (torch.stack(of) for of in zip(*map(_centring, states), strict=True))
        self._epsilon = epsilon
        self._mean = torch.stack([state.optimiser.mean for state in states])
        self._square = torch.stack([state.optimiser.square for state in states])
        self._steps = torch.tensor([state.optimiser.steps for state in states])

    @torch.no_grad()
    def hand_back(self) -> None:
        """Bring the states up to date."""
        for place, (state, network) in enumerate(zip(self._states, self._networks, strict=True)):
            network.load_state_dict({name: tensor[place] for name, tensor in self._tensors.items()})
            state.optimiser.mean.copy_(self._mean[place])
            state.optimiser.square.copy_(self._square[place])
            state.optimiser.steps = int(self._steps[place])

    def next_factors(self, counts: Tensor, rates: Tensor) -> Tensor:
        """Count a step of each network that has windows, and return the numbers in it that differ from step to step.

        Parameters
        ----------
        counts : int64 Tensor, (networks,), on the CPU
            How many windows each network has in this step. One that has none stays as it is.
        rates : float64 Tensor, (networks,), on the CPU
            Step sizes.

        Returns
        -------
        Tensor, (4, networks), on the CPU
            How far the first and the second moment move, the root of what the second has become, and how far the
            parameters move.
        """
        self._steps += counts > 0
        taken, moving = self._steps.clamp(min=1).double(), (counts > 0).double()
        factors = torch.stack(
            [
                (1 - Adam.MEAN_DECAY) * moving,
                (1 - Adam.SQUARE_DECAY) * moving,
                (1 - Adam.SQUARE_DECAY**taken).sqrt(),
                -rates * moving / (1 - Adam.MEAN_DECAY**taken),
            ]
        )
        return factors.to(self._mean.dtype)

    def step(self, windows: Tensor, factors: Tensor, counts: Tensor | None = None) -> Tensor:
        """Take a step with each network.

        Parameters
        ----------
        windows : Tensor, (networks, batch, inputs)
            In dB.
        factors : Tensor, (4, networks)
            From :meth:`next_factors`.
        counts : int64 Tensor, (networks,), on the device of `windows`
            How many windows of the batch are each network's: its first ones. What follows them does not count. None:
            all are.

        Returns
        -------
        Tensor, (networks,)
            The sum over each network's windows of their mean squared errors, without gradient.
        """
        batch, inputs = windows.shape[1:]
        mask = None
        if counts is not None:
            mask = (torch.arange(batch, device=windows.device) < counts[:, None])[..., None].to(windows.dtype)
        errors = (self._reconstructed(windows, mask) - windows).square()
        errors = errors if mask is None else errors * mask
        sums = errors.sum(dim=(1, 2)) / inputs
        (sums / (batch if counts is None else counts.clamp(min=1))).sum().backward()  # type: ignore[no-untyped-call]
        self._update(factors)
        return sums.detach()

    def changed(self) -> list[Tensor]:
        """Return all that a step changes, but for what is counted on the CPU."""
        return [*self._tensors.values(), self._mean, self._square]

    def _reconstructed(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        hidden = (windows - self._centres) / self._spreads
        for layer, own in self._layers:
            if isinstance(layer, nn.Linear):
                hidden = torch.baddbmm(own["bias"][:, None], hidden, own["weight"].transpose(1, 2))
            elif isinstance(layer, nn.BatchNorm1d):
                hidden = _batch_norm(layer, own, hidden, mask)
            else:
                hidden = hidden.relu()
        return torch.addcmul(self._centres, hidden, self._spreads)

    @torch.no_grad()
    def _update(self, factors: Tensor) -> None:
        """Do what :class:`offnote.training.Adam` does."""
        gradient = torch.cat([tensor.grad.flatten(1) for tensor in self._parameters if tensor.grad is not None], dim=1)
        of_mean, of_square, root, rate = factors.to(gradient.device, non_blocking=True)[..., None]
        self._mean.lerp_(gradient, of_mean)
        self._square.lerp_(gradient.square(), of_square)
        change = (self._mean / self._square.sqrt().div_(root).add_(self._epsilon)).mul_(rate)
        sizes = [tensor[0].numel() for tensor in self._parameters]
        for tensor, piece in zip(self._parameters, change.split_with_sizes(sizes, dim=1), strict=True):
            tensor.add_(piece.view_as(tensor))
            tensor.grad = None


def _batch_norm(layer: nn.BatchNorm1d, own: Mapping[str, Tensor], hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Normalise the features of each network over the windows that `mask` lets pass, and follow their statistics."""
    assert layer.momentum is not None
    if mask is None:
        own["num_batches_tracked"].add_(1)
        # What are features of several networks is the same to it as what are features of one.
        side_by_side = hidden.transpose(0, 1).flatten(1)
        mean, variance, weight, bias = (
            own[name].view(-1) for name in ("running_mean", "running_var", "weight", "bias")
        )
        normal = nn.functional.batch_norm(
            side_by_side, mean, variance, weight, bias, training=True, momentum=layer.momentum, eps=layer.eps
        )
        return normal.view(len(side_by_side), *own["weight"].shape).transpose(0, 1)
    count = mask.sum(dim=1, keepdim=True)
    mean = (hidden * mask).sum(dim=1, keepdim=True) / count.clamp(min=1)
    variance = ((hidden - mean).square() * mask).sum(dim=1, keepdim=True) / count.clamp(min=1)
    with torch.no_grad():
        active = count[:, 0].clamp(max=1)
        own["num_batches_tracked"].add_(active[:, 0].long())
        own["running_mean"].lerp_(mean[:, 0], active * layer.momentum)
        unbiased = variance * count / (count - 1).clamp(min=1)
        own["running_var"].lerp_(unbiased[:, 0], active * layer.momentum)
    normal = (hidden - mean) * (variance + layer.eps).rsqrt()
    return normal * own["weight"][:, None] + own["bias"][:, None]


def fit_stacked(
    states: Sequence[State],
    windows: Sequence[WindowSource],
    validation: Sequence[WindowSource | None],
    settings: Training,
    names: Sequence[str],
    after_epoch: Sequence[Callable[[State], None]],
) -> None:
    """Train several networks at once for the epochs that their histories still lack.

    Parameters
    ----------
    states, windows, validation, names, after_epoch
        For each network what :func:`offnote.training.fit` takes.
    settings : offnote.config.Training
        Of all of them. Where their features together exceed `memory`, they are trained one after the other.

    Raises
    ------
    InputError
        A loss is not finite.
    """
    joined = _join(windows, settings.memory)
    if joined is None:
        log.warning("features exceed training.memory (%g MiB) together: trained one after the other", settings.memory)
        for each in zip(states, windows, validation, names, after_epoch, strict=True):
            state, source, unseen, name, keep = each
            fit(state, source, unseen, settings, name, keep)
        return
    log.info("%d models at once: %s", len(states), ", ".join(names))
    stack = Stack(states, settings.adam_epsilon)
    size, dtype = windows[0].size, windows[0].dtype
    total = torch.zeros(len(states), dtype=torch.float64, device=joined.device)

    def step(frames: Tensor, starts: Tensor, factors: Tensor, counts: Tensor | None = None) -> None:
        batch = gather(frames, starts.flatten(), size).to(dtype)
        total.add_(stack.step(batch.view(*starts.shape, -1), factors, counts))

    whole = at_one_launch(step, [*stack.changed(), total], joined.device)
    first = min(len(state.history.loss) for state in states)
    left = range(first, epochs_of(settings))
    for epoch in progress(left, len(left), f"epochs of {len(states)} models at once"):
        # A fit that was killed may have kept some networks after a later epoch than others: these catch up first.
        behind = [len(state.history.loss) == epoch for state in states]
        total.zero_()
        with products_in(settings.precision, joined.device):
            for starts, counts, rates in _batches(epoch, states, behind, windows, settings):
                factors = stack.next_factors(counts, rates)
                # Where all networks have a whole batch, as in nearly every step, nothing need be left out.
                if counts.min() == starts.shape[1]:
                    whole(joined, starts, factors)
                else:
                    step(joined, starts, factors, counts.to(joined.device))
        losses = (total.cpu() / torch.tensor([source.windows for source in windows])).tolist()
        stack.hand_back()
        for place, state in enumerate(states):
            if behind[place]:
                finish_epoch(state, losses[place], validation[place], names[place], after_epoch[place])


def _join(windows: Sequence[WindowSource], memory: float) -> Tensor | None:
    """Lay the features of several sources one after another, of which each keeps a view; None if they are too many."""
    resident = [source.resident for source in windows]
    kept = [frames for frames, _ in filter(None, resident)]
    if len(kept) < len(resident) or sum(frames.nbytes for frames in kept) > memory * MEBIBYTE:
        return None
    joined = torch.cat(kept)
    for source, frames in zip(windows, torch.split(joined, [len(frames) for frames in kept]), strict=True):
        assert source.resident is not None
        source.resident = (frames, source.resident[1])
    return joined


def _batches(
    epoch: int, states: Sequence[State], behind: Sequence[bool], windows: Sequence[WindowSource], settings: Training
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Hand out what the networks that are `behind` see in an epoch, counted from 0, step by step.

    Yields
    ------
    starts : int64 Tensor, (networks, batch)
        First frame of each window in the joined features.
    counts : int64 Tensor, (networks,), on the CPU
        How many of them are each network's; others have none, or fewer when they come to their end.
    rates : float64 Tensor, (networks,), on the CPU
        Step sizes.
    """
    lengths = [len(source.resident[0]) for source in windows if source.resident is not None]
    firsts = torch.tensor([0, *lengths[:-1]]).cumsum(0).tolist()
    parts = [
        [starts + first for _, starts in source.parts(settings.batch_size, state.generator)] if active else []
        for source, state, first, active in zip(windows, states, firsts, behind, strict=True)
    ]
    none = torch.empty(0, dtype=torch.int64, device=windows[0].device)
    seen = torch.zeros(len(states), dtype=torch.float64)
    of_source = torch.tensor([source.windows for source in windows], dtype=torch.float64)
    for step in range(max(map(len, parts))):
        batches = [own[step] if step < len(own) else none for own in parts]
        counts = torch.tensor([len(starts) for starts in batches])
        # Counted in windows, as by itself.
        done = (epoch + (seen + counts.double() / 2) / of_source) / epochs_of(settings)
        rates = torch.tensor([learning_rate(settings, share) for share in done.tolist()], dtype=torch.float64)
        seen += counts
        yield nn.utils.rnn.pad_sequence(batches, batch_first=True), counts, rates


def _centring(state: State) -> tuple[Tensor, Tensor]:
    """Return what is subtracted from the windows, (1, inputs), and what they are divided by, (1, 1)."""
    if isinstance(state.network, Centred):
        return state.network.mean[None], state.network.spread[None, None]
    zero = state.optimiser.mean.new_zeros(1, 1)
    return zero, zero + 1
