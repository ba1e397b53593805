from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from offnote.config import Model
from offnote.models import Autoencoder, parameter_counts, reconstruction_errors
from torch import nn


def settings(**changes: object) -> Model:
    defaults = {
        "scope": "machine",
        "hidden": [64, 64, 8, 64, 64],
        "batch_norm": False,
        "batch_norm_momentum": 0.01,
        "batch_norm_epsilon": 1e-3,
        "initialisation": "keras",
    }
    return Model.model_validate(defaults | changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


DCASE_HIDDEN = [128] * 4 + [8] + [128] * 4


@pytest.mark.parametrize(
    ("inputs", "changes", "trainable", "statistics"),
    [
        (64 * 5, {}, 50_760, 0),
        (128 * 5, {"hidden": DCASE_HIDDEN, "batch_norm": True}, 267_928, 2_064),
    ],
)
def test_the_published_networks_have_the_published_sizes(
    inputs: int, changes: dict[str, object], trainable: int, statistics: int
) -> None:
    network = Autoencoder(inputs, settings(**changes), generator())
    assert parameter_counts(network) == {"trainable": trainable, "statistics": statistics}


@pytest.mark.parametrize("batch_norm", [False, True])
def test_output_against_numpy(batch_norm: bool) -> None:
    network = Autoencoder(12, settings(hidden=[7, 3], batch_norm=batch_norm), generator()).double().eval()
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2.0, generator=generator(1))
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    windows = np.random.default_rng(0).normal(size=(5, 12))
    values, place = windows, 0
    for _ in range(2):
        values = values @ state[f"layers.{place}.weight"].T + state[f"layers.{place}.bias"]
        place += 1
        if batch_norm:
            name = f"layers.{place}."
            deviation = np.sqrt(state[name + "running_var"] + 1e-3)
            values = (values - state[name + "running_mean"]) / deviation * state[name + "weight"] + state[name + "bias"]
            place += 1
        values = np.maximum(values, 0)
        place += 1
    values = values @ state[f"layers.{place}.weight"].T + state[f"layers.{place}.bias"]
    expected = ((values - windows) ** 2).mean(axis=1)
    found = reconstruction_errors(network, torch.from_numpy(windows))
    assert not found.requires_grad
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_batch_norm_settings_reach_the_layers() -> None:
    network = Autoencoder(
        10, settings(hidden=[4], batch_norm=True, batch_norm_momentum=0.25, batch_norm_epsilon=0.5), generator()
    )
    windows = torch.randn(6, 10, generator=generator())
    network.train()(windows)
    before = network.layers[0](windows)
    norm = network.layers[1]
    torch.testing.assert_close(norm.running_mean, 0.25 * before.mean(0))
    torch.testing.assert_close(norm.running_var, 0.75 + 0.25 * before.var(0))
    assert norm.eps == 0.5


def test_keras_initialisation_is_glorot_uniform_with_zero_biases() -> None:
    network = Autoencoder(320, settings(), generator())
    for layer in network.layers:
        if isinstance(layer, nn.Linear):
            limit = math.sqrt(6 / (layer.in_features + layer.out_features))
            assert layer.weight.abs().max() <= limit
            assert layer.weight.abs().max() > 0.98 * limit
            assert layer.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.08)
            assert not layer.bias.any()


def test_torch_initialisation_is_that_of_a_torch_layer() -> None:
    network = Autoencoder(20, settings(hidden=[6], initialisation="torch"), generator(5))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        reference = [nn.Linear(20, 6), nn.Linear(6, 20)]
    expected = [values for layer in reference for values in (layer.weight, layer.bias)]
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), expected, strict=True))


def test_the_generator_decides_and_the_global_one_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    first, same, other = (Autoencoder(20, settings(), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
