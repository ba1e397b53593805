"""A fit that is under way, kept on the disk, so that a job that was killed goes on where it was and not from the start.

What comes out is the same, bit for bit: a checkpoint holds all that the next epoch depends on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from offnote.files import replacing
from offnote.logs import log
from offnote.provenance import canonical_json
from offnote.training import History, State

NETWORK = "network."


class Checkpoint:
    """The checkpoint of one fit: a safetensors file, replaced now and then.

    Parameters
    ----------
    path : Path or None
        The file. It must be named after everything that the fit depends on, for nothing in it is compared. None: the
        fit is not kept.
    seconds : float
        Time to let pass between one :meth:`keep` that writes and the next.

    Examples
    --------
    >>> Checkpoint(None, 60.0).discard()
    """

    def __init__(self, path: Path | None, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._kept = time.monotonic()

    def restore(self, state: State) -> None:
        """Set `state` to what was kept. One that cannot be read is no loss: the fit starts from the beginning."""
        if self._path is None or not self._path.exists():
            return
        try:
            with safe_open(self._path, framework="pt", device="cpu") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
                about = file.metadata() or {}
        except (OSError, SafetensorError) as error:
            log.warning("%s: the checkpoint cannot be read (%s); training starts anew", self._path, error)
            return
        if about.pop("sha256", "") != _sha256(tensors, about):
            log.warning("%s: the checkpoint is damaged; training starts anew", self._path)
            return
        _set(state, tensors, about)
        log.info("training goes on after epoch %d, from %s", len(state.history.loss), self._path)

    def keep(self, state: State, *, always: bool = False) -> None:
        """Write `state`, where the last time is long enough ago."""
        now = time.monotonic()
        if self._path is None or (now - self._kept < self._seconds and not always):
            return
        tensors = dict(_tensors(state))
        history = {"loss": state.history.loss, "validation_loss": state.history.validation_loss}
        about = {"steps": str(state.optimiser.steps), "history": json.dumps(history)}
        about["sha256"] = _sha256(tensors, about)
        with replacing(self._path) as temporary:
            # Not save_file: it writes by way of a temporary of its own, which a kill would leave behind.
            temporary.write_bytes(save(tensors, about))
        self._kept = now

    def discard(self) -> None:
        """Remove the file and its folder: the fit is done."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            with suppress(OSError):
                self._path.parent.rmdir()


def _tensors(state: State) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in state.network.state_dict().items():
        yield NETWORK + name, tensor.cpu().contiguous()
    yield "mean", state.optimiser.mean.cpu()
    yield "square", state.optimiser.square.cpu()
    yield "generator", state.generator.get_state()


def _sha256(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    content = hashlib.sha256(canonical_json(about).encode())
    for name in sorted(tensors):
        content.update(name.encode() + tensors[name].numpy().tobytes())
    return content.hexdigest()


def _set(state: State, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    network = {name.removeprefix(NETWORK): tensor for name, tensor in tensors.items() if name.startswith(NETWORK)}
    state.network.load_state_dict(network)
    state.optimiser.mean.copy_(tensors["mean"])
    state.optimiser.square.copy_(tensors["square"])
    state.optimiser.steps = int(about["steps"])
    state.generator.set_state(tensors["generator"])
    state.history = History(**json.loads(about["history"]))
