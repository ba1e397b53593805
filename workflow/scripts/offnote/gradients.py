"""The gradient of an autoencoder's loss, written out layer by layer.

In float32 it is autograd's, to the bit on the CPU unless a product is oneDNN's. What is saved is its bookkeeping, and
passes over the batch: on networks as small as the published ones, these take as long as the matrix products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from offnote.models import Autoencoder, Centred
from offnote.products import product

_Back = Callable[[Tensor], tuple[Tensor, list[Tensor]]]
"""Takes the gradient of what a layer gave; returns that of what it was given, and those of its weight and bias."""


@torch.no_grad()
def gradient_of(network: Autoencoder | Centred, windows: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the gradient of the mean squared error over all values of a batch.

    Parameters
    ----------
    network : Autoencoder or Centred
        In training: batch normalisation takes the statistics of the batch, and its running ones follow.
    windows : Tensor, (windows, inputs)
        The batch.

    Returns
    -------
    gradient : list of Tensor
        Of each of ``network.parameters()``, in its shape.
    loss : Tensor, ()
        The sum of the windows' mean squared errors.

    Raises
    ------
    ValueError
        Batch normalisation is to normalise a single window.

    Examples
    --------
    >>> from offnote.config import Model
    >>> settings = Model(scope="machine", hidden=[8, 2, 8], batch_norm=False, batch_norm_momentum=0.01,
    ...                  batch_norm_epsilon=1e-3, initialisation="keras")
    >>> network = Autoencoder(20, settings, torch.Generator().manual_seed(0))
    >>> gradient, loss = gradient_of(network, torch.rand(16, 20))
    >>> [tuple(piece.shape) for piece in gradient]
    [(8, 20), (8,), (2, 8), (2,), (8, 2), (8,), (20, 8), (20,)]
    """
    centred = network if isinstance(network, Centred) else None
    hidden = windows if centred is None else (windows - centred.mean) / centred.spread
    backs: list[_Back] = []
    for layer in network.layers:
        hidden, back = _through(layer, hidden, first=not backs)
        backs.append(back)
    # Where products are in bfloat16, errors are not.
    error = hidden.to(windows.dtype)
    if centred is not None:
        error = torch.addcmul(centred.mean, error, centred.spread)
    # All in one place: the gradient of the last layer does not depend on what it gave.
    error.sub_(windows)
    loss = torch.dot(error.flatten(), error.flatten()) / windows.shape[1]
    gradient = error.mul_(2 / error.numel())
    if centred is not None:
        gradient.mul_(centred.spread)
    pieces: list[Tensor] = []
    for back in reversed(backs):
        gradient, own = back(gradient)
        pieces = own + pieces
    # Products in bfloat16 give it in bfloat16.
    return [piece.to(windows.dtype) for piece in pieces], loss


def _through(layer: nn.Module, given: Tensor, first: bool) -> tuple[Tensor, _Back]:
    if isinstance(layer, nn.Linear):
        return _linear(layer, given, first)
    if isinstance(layer, nn.BatchNorm1d):
        return _batch_norm(layer, given)
    assert isinstance(layer, nn.ReLU)
    return _relu(given)


def _linear(layer: nn.Linear, given: Tensor, first: bool) -> tuple[Tensor, _Back]:
    def back(gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
        # Nothing before the first layer is trained.
        before = gradient if first else product(gradient, layer.weight.t())
        return before, [product(gradient.t(), given.t()), gradient.sum(dim=0)]

    return product(given, layer.weight, layer.bias), back


def _batch_norm(layer: nn.BatchNorm1d, given: Tensor) -> tuple[Tensor, _Back]:
    if len(given) == 1:
        raise ValueError("batch normalisation needs two windows at least, one has no variance")
    assert layer.num_batches_tracked is not None
    assert layer.momentum is not None
    layer.num_batches_tracked.add_(1)
    running = layer.running_mean, layer.running_var
    hidden, mean, inverse = torch.native_batch_norm(
        given, layer.weight, layer.bias, *running, True, layer.momentum, layer.eps
    )

    def back(gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
        before, *own = torch.ops.aten.native_batch_norm_backward(
            gradient, given, layer.weight, *running, mean, inverse, True, layer.eps, [True, True, True]
        )
        return before, own

    return hidden, back


def _relu(given: Tensor) -> tuple[Tensor, _Back]:
    hidden = given.relu_()
    return hidden, lambda gradient: (torch.ops.aten.threshold_backward(gradient, hidden, 0), [])
