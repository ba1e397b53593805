"""Gradients written out, against autograd's."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from offnote import products
from offnote.device import products_in
from offnote.gradients import gradient_of
from offnote.models import Autoencoder, Centred
from torch import Tensor, nn

from tests.small import CPU, generator, needs_onednn, small_network

INPUTS = 12


def made(
    batch_norm: bool, centred: bool, dtype: torch.dtype, inputs: int = INPUTS, **changes: Any
) -> tuple[Autoencoder | Centred, Tensor]:
    """Return a network in training, and a batch for it, far from zero as features are."""
    windows = (torch.randn(37, inputs, generator=generator(1)) * 10 - 40).to(dtype)
    network = small_network(inputs, batch_norm=batch_norm, **changes)
    # Where all biases are zero, what follows a layer of zeros lies on the edge of its ReLU.
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator(3))
    whole = Centred(network, windows.mean(dim=0), windows.std()) if centred else network
    return whole.to(dtype).train(), windows


def written_out(network: Autoencoder | Centred, windows: Tensor) -> tuple[Tensor, float]:
    """Return what :func:`by_autograd` does."""
    gradient, loss = gradient_of(network, windows)
    assert [piece.shape for piece in gradient] == [parameter.shape for parameter in network.parameters()]
    assert all(piece.is_contiguous() and piece.dtype == windows.dtype for piece in gradient)
    return torch.cat([piece.flatten() for piece in gradient]), float(loss)


def by_autograd(network: nn.Module, windows: Tensor) -> tuple[Tensor, float]:
    """Return the gradient, (parameters,), and the sum of the windows' mean squared errors; the network is changed."""
    loss = nn.functional.mse_loss(network(windows), windows)
    torch.autograd.backward(loss)
    gradients = [parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None]
    return torch.cat(gradients), loss.item() * len(windows)


@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["no_batch_norm", "batch_norm"])
def test_it_is_autograds_to_the_bit_and_so_are_the_running_statistics(batch_norm: bool, centred: bool) -> None:
    network, windows = made(batch_norm, centred, torch.float32)
    reference = deepcopy(network)
    # The second time, nothing of the first is left.
    for batch in (windows[:20], windows):
        reference.zero_grad()
        expected, loss = by_autograd(reference, batch)
        gradient, found = written_out(network, batch)
        assert torch.equal(gradient, expected)
        assert found == pytest.approx(loss, rel=1e-6)
    for name, kept in reference.state_dict().items():
        assert torch.equal(network.state_dict()[name], kept), name


@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["no_batch_norm", "batch_norm"])
def test_it_is_the_slope_of_the_loss(batch_norm: bool, centred: bool) -> None:
    network, windows = made(batch_norm, centred, torch.float64)
    gradient, _ = written_out(network, windows)
    direction = torch.randn(len(gradient), generator=generator(2), dtype=torch.float64)
    losses = []
    for step in (-1e-6, 1e-6):
        moved = deepcopy(network)
        vector = nn.utils.parameters_to_vector(moved.parameters()) + step * direction
        nn.utils.vector_to_parameters(vector, moved.parameters())
        losses.append(written_out(moved, windows)[1] / len(windows))
    assert (losses[1] - losses[0]) / 2e-6 == pytest.approx(float(gradient @ direction), rel=1e-5)


@needs_onednn
@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["no_batch_norm", "batch_norm"])
def test_with_products_of_onednn_it_is_autograds_but_for_rounding(
    batch_norm: bool, centred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Tensor] = []
    by_onednn = products._by_onednn

    def taking(given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        taken.append(given)
        return by_onednn(given, weight, bias)

    monkeypatch.setattr(products, "_has_onednn_for_amd", lambda: True)
    monkeypatch.setattr(products, "_by_onednn", taking)
    network, windows = made(batch_norm, centred, torch.float32, inputs=600, hidden=[128, 8, 128])
    expected, loss = by_autograd(deepcopy(network), windows)
    gradient, found = written_out(network, windows)
    # Of the outer two layers; nothing before the first one is trained.
    assert len(taken) == 5
    assert found == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_one_window_has_no_variance() -> None:
    network, windows = made(True, False, torch.float32)
    with pytest.raises(ValueError, match="batch normalisation needs two windows"):
        gradient_of(network, windows[:1])


@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["no_batch_norm", "batch_norm"])
def test_with_products_in_bfloat16_it_is_autograds_but_for_rounding(batch_norm: bool, centred: bool) -> None:
    network, windows = made(batch_norm, centred, torch.float32)
    with products_in("bfloat16", CPU):
        expected, loss = by_autograd(deepcopy(network), windows)
        gradient, found = written_out(network, windows)
    assert found == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0.02 * float(expected.abs().max()))
