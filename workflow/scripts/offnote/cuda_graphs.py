"""A step of training that a GPU takes by one launch: captured once, and replayed for every batch of the same shape.

The networks are so small that a GPU has done its part of a step long before the CPU has asked for all of it, operation
by operation. A CUDA graph asks for all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from offnote.device import captured
from offnote.logs import log

Step = Callable[[Tensor, Tensor, Tensor], None]
"""Takes the frames, the first frames of a batch of windows in them, and the numbers of this step. Changes its state."""


def at_one_launch(step: Step, state: Sequence[Tensor], device: torch.device) -> Step:
    """Return what does the same as `step`, on a GPU with fewer launches; parameters are those of :class:`Captured`."""
    return Captured(step, state) if device.type == "cuda" else step


class Captured:
    """A step that is captured at its first batch, and replayed wherever frames and shape are the same.

    Replayed it must do to the bit what it did by itself, or it is not replayed: that is tried at the first batch. So
    results do not depend on it.

    Parameters
    ----------
    step : callable
        Changes the tensors of `state` where they lie, and nothing else.
    state : sequence of Tensor
        Everything that it changes.
    capture : callable
        Calls what it is given a few times, and returns what replays it: :func:`offnote.device.captured`.
    """

    def __init__(
        self,
        step: Step,
        state: Sequence[Tensor],
        capture: Callable[[Callable[[], None]], Callable[[], None]] = captured,
    ) -> None:
        self._step = step
        self._state = [tensor.detach() for tensor in state]
        self._capture = capture
        self._inputs: tuple[Tensor, Tensor, Tensor] | None = None
        self._replay: Callable[[], None] | None = None

    def __call__(self, frames: Tensor, starts: Tensor, factors: Tensor) -> None:
        """Take the step."""
        if self._inputs is None:
            self._inputs = (frames, starts.clone(), factors.to(starts.device, copy=True))
            self._try()
            return
        own_frames, own_starts, own_factors = self._inputs
        if self._replay is None or frames is not own_frames or starts.shape != own_starts.shape:
            self._step(frames, starts, factors)
            return
        own_starts.copy_(starts)
        # Not waited for: what is this small is read before the call returns.
        own_factors.copy_(factors, non_blocking=True)
        self._replay()

    def _try(self) -> None:
        """Take the first step as it is, then capture and replay it from the same state, and compare."""
        assert self._inputs is not None
        inputs = self._inputs
        before = [tensor.clone() for tensor in self._state]
        self._step(*inputs)
        after = [tensor.clone() for tensor in self._state]
        try:
            replay = self._capture(lambda: self._step(*inputs))
            self._put(before)
            replay()
            same = all(map(torch.equal, self._state, after))
            reason = "replayed it comes to something else"
        except RuntimeError as error:
            same, reason = False, str(error)
        if same:
            self._replay = replay
            return
        self._put(after)
        log.info("a step of training is launched operation by operation, as it could not be captured: %s", reason)

    def _put(self, values: Sequence[Tensor]) -> None:
        for tensor, value in zip(self._state, values, strict=True):
            tensor.copy_(value)
