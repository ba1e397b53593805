"""The autoencoder: its layers, its first weights, and the error of what it reconstructs. No training here."""

from __future__ import annotations

import math
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

from offnote.config import Model


class Autoencoder(nn.Module):
    """A fully connected autoencoder of context windows.

    Each hidden layer is followed by batch normalisation, where the settings say so, and ReLU; the output is linear.
    With the presets' settings these are the baselines of MIMII and of DCASE Task 2 (2020 and later).

    Parameters
    ----------
    inputs : int
        Values in a context window: its frames times the mel bands.
    settings : offnote.config.Model
        Widths of the hidden layers, batch normalisation and initialisation.
    generator : torch.Generator
        Draws the first weights, on the CPU; torch's global generator is left alone.

    Examples
    --------
    >>> settings = Model(scope="machine", hidden=[64, 64, 8, 64, 64], batch_norm=False, batch_norm_momentum=0.01,
    ...                  batch_norm_epsilon=1e-3, initialisation="keras")
    >>> parameter_counts(Autoencoder(320, settings, torch.Generator().manual_seed(0)))
    {'trainable': 50760, 'statistics': 0}
    """

    def __init__(self, inputs: int, settings: Model, generator: torch.Generator) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, following in pairwise([inputs, *settings.hidden]):
            layers.append(_linear(width, following, settings, generator))
            if settings.batch_norm:
                layers.append(nn.BatchNorm1d(following, settings.batch_norm_epsilon, settings.batch_norm_momentum))
            layers.append(nn.ReLU(inplace=True))
        layers.append(_linear(settings.hidden[-1], inputs, settings, generator))
        self.layers = nn.Sequential(*layers)

    def forward(self, windows: Tensor) -> Tensor:
        """Reconstruct `windows`, (windows, inputs)."""
        reconstructed: Tensor = self.layers(windows)
        return reconstructed


class Centred(nn.Module):
    """An autoencoder that sees windows centred and of unit spread, and whose output is put back in its place.

    What comes in and goes out is in dB, as without it, and so is the loss. But the features lie tens of dB away from
    zero: a plain network spends most of its steps on learning where, as its biases move by one step size at a time.

    Parameters
    ----------
    network : Autoencoder
        What is trained.
    mean : Tensor, (inputs,)
        Of the training windows: subtracted from each, and added to its reconstruction.
    spread : Tensor, ()
        What each is divided by: one number for all values, so that the loss weighs them as before.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, network: Autoencoder, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    @property
    def layers(self) -> nn.Sequential:
        """Those of the network."""
        return self.network.layers

    def forward(self, windows: Tensor) -> Tensor:
        """Reconstruct `windows`, (windows, inputs)."""
        reconstructed: Tensor = self.network((windows - self.mean) / self.spread)
        return torch.addcmul(self.mean, reconstructed, self.spread)

    @torch.no_grad()
    def plain(self) -> Autoencoder:
        """Return a network that does the same by itself, with the centring worked into its first and last layer."""
        network = deepcopy(self.network)
        first, last = network.layers[0], network.layers[-1]
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        mean, spread = self.mean.double(), self.spread.double()
        weight = first.weight.double() / spread
        first.bias.copy_(first.bias.double() - weight @ mean)
        first.weight.copy_(weight)
        last.weight.copy_(last.weight.double() * spread)
        last.bias.copy_(last.bias.double() * spread + mean)
        return network


def reconstruction_errors(network: nn.Module, windows: Tensor) -> Tensor:
    """Return the mean squared error of each context window's reconstruction.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, or batch normalisation mixes the windows.
    windows : Tensor, (windows, inputs)
        In dB, as all features are; the errors are so in dB squared.

    Returns
    -------
    Tensor, (windows,)
        Without gradient.
    """
    with torch.no_grad():
        errors: Tensor = network(windows).sub_(windows).square_().mean(dim=1)
        return errors


def parameter_counts(network: nn.Module) -> dict[str, int]:
    """Count the trainable parameters and the running statistics of batch normalisation; Keras counts their sum."""
    return {
        "trainable": sum(parameter.numel() for parameter in network.parameters()),
        "statistics": sum(buffer.numel() for buffer in network.buffers() if buffer.is_floating_point()),
    }


def _linear(inputs: int, outputs: int, settings: Model, generator: torch.Generator) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):  # a new layer draws from torch's global generator
        layer = nn.Linear(inputs, outputs)
    if settings.initialisation == "keras":
        nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
    else:
        nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
        nn.init.uniform_(layer.bias, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
    return layer
