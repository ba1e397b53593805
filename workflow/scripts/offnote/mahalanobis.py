"""Mahalanobis distances: how far a reconstruction is off, measured by how far those of normal clips are off.

A residual is a reconstruction minus what was to be reconstructed: for each frame of a context window, a value for each
mel band. Its squared Mahalanobis distance is r C⁻¹ r, with the covariance C of the residuals r of normal clips: what
often goes wrong counts little, and what never went wrong counts much. It is taken from zero, a perfect reconstruction.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offnote.training import WindowSource

WINDOWS_PER_BATCH = 1024

ROUNDING = 1e-12
"""Residuals whose variance is a smaller share of their mean square differ by the rounding of float32 alone."""


def residuals(network: nn.Module, windows: Tensor, mels: int) -> Tensor:
    """Return what `network` gets wrong in each frame of `windows`.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, or batch normalisation mixes the windows.
    windows : Tensor, (windows, frames * mels)
        In dB.
    mels : int
        Values in a frame.

    Returns
    -------
    Tensor, (windows, frames, mels)
        float64, without gradient.
    """
    with torch.no_grad():
        wrong: Tensor = network(windows) - windows
        return wrong.double().view(len(windows), -1, mels)


def residual_covariances(
    network: nn.Module,
    windows: WindowSource,
    domains: NDArray[np.int64],
    mels: int,
    batch_size: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the covariance of the residuals of each domain, as the published baseline of DCASE 2023 computes it.

    All windows are put into batches at random, as in an epoch of training. In each batch, the mean of a domain's
    residuals is taken off them; their products are added up over all batches, and divided by the domain's windows
    minus 1. Each frame of a window is a residual, so the sum has more terms than it is divided by: with five frames in
    a window, five times as many, in every domain alike.

    Parameters
    ----------
    network : torch.nn.Module
        Trained. It is left in evaluation mode.
    windows : WindowSource
        The windows whose residuals are meant. They are read once, in order, and none is kept.
    domains : int64 array, (windows,)
        Which domain each window belongs to, counted from 0; at least two windows each.
    mels : int
        Values in a frame.
    batch_size : int
        Windows in a batch.
    generator : torch.Generator
        Puts the windows into batches, on the CPU whatever the device.

    Returns
    -------
    Tensor, (domains, mels, mels)
        float64, on the CPU. Zeros for a domain whose residuals do not vary.
    """
    network.eval()
    domain_of = torch.from_numpy(domains)
    batch_of = torch.randperm(len(domain_of), generator=generator) // batch_size
    shape = (int(domain_of.max()) + 1, int(batch_of.max()) + 1)
    place_of = domain_of * shape[1] + batch_of
    products = torch.zeros(shape[0], mels, mels, dtype=torch.float64, device=windows.device)
    sums = torch.zeros(shape[0] * shape[1], mels, dtype=torch.float64)
    counts = torch.bincount(place_of, minlength=len(sums)).double().view(*shape, 1)
    first = frames = 0
    for batch in windows.batches(WINDOWS_PER_BATCH):
        wrong = residuals(network, batch, mels)
        here = slice(first, first + len(batch))
        # On the CPU: a GPU would add in whatever order.
        sums.index_add_(0, place_of[here], wrong.sum(dim=1).cpu())
        for domain in np.unique(domains[here]).tolist():
            own = wrong[(domain_of[here] == domain).to(windows.device)].view(-1, mels)
            products[domain] += own.T @ own
        first, frames = here.stop, wrong.shape[1]
    squares, sums = products.cpu(), sums.view(*shape, mels)
    centred = squares - sums.transpose(1, 2) @ (sums / (frames * counts.clamp(min=1)))
    varies = _traces(centred) > ROUNDING * _traces(squares)
    return centred * varies / (counts.sum(dim=1, keepdim=True) - 1)


class Distances:
    """Squared Mahalanobis distances to the nearest of several covariances.

    A direction in which the residuals behind a covariance have less than 1.2e-7 (float32's epsilon) of the variance of
    their widest direction is taken to have that much. So a covariance of few windows can be used: where they say
    nothing its distances are large, and those of a fuller covariance are the nearer ones. (With a pseudo-inverse, a
    residual of which they say nothing would be no anomaly at all.)

    Parameters
    ----------
    covariances : Tensor, (covariances, mels, mels)
        float64, none of them all zeros.
    device : torch.device
        Where residuals are going to be.

    Attributes
    ----------
    raised : list of int
        For each covariance, how many of its directions are taken to vary more than they do.

    Examples
    --------
    >>> one = torch.tensor([[[4.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    >>> Distances(one, torch.device("cpu")).of_mean(torch.tensor([2.0, 3.0], dtype=torch.float64))
    10.0
    """

    def __init__(self, covariances: Tensor, device: torch.device) -> None:
        # On the CPU, so that the same model is the same distance on every device.
        variances, directions = torch.linalg.eigh(covariances.cpu().double())
        least = variances[:, -1:] * torch.finfo(torch.float32).eps
        self.raised: list[int] = (variances < least).sum(dim=1).tolist()
        self._scaled = (directions / variances.maximum(least).sqrt().unsqueeze(1)).to(device)

    def of_windows(self, wrong: Tensor) -> Tensor:
        """Return for each window the smallest, over the covariances, of the mean distance of its frames.

        Parameters
        ----------
        wrong : Tensor, (windows, frames, mels)
            Residuals.

        Returns
        -------
        Tensor, (windows,)
        """
        return self._squared(wrong.flatten(0, 1)).view(-1, *wrong.shape[:2]).mean(dim=2).amin(dim=0)

    def of_mean(self, wrong: Tensor) -> float:
        """Return the smallest distance, over the covariances, of one residual, (mels,)."""
        return float(self._squared(wrong.unsqueeze(0)).min())

    def _squared(self, wrong: Tensor) -> Tensor:
        """Return the distance of each residual, (residuals, mels), to each covariance, (covariances, residuals)."""
        distances: Tensor = (wrong @ self._scaled).square().sum(dim=2)
        return distances


def _traces(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=1, dim2=2).sum(dim=1).view(-1, 1, 1)
