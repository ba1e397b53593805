"""The matrix products of training, by one of the two libraries that PyTorch brings for them: MKL or oneDNN."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from offnote.processor import is_of_amd

# Below either, a product of oneDNN's may take longer than MKL's.
LEAST_SIZE = 32
"""Of rows, of columns, and of what is summed over."""
LEAST_MULTIPLICATIONS = 2**21


def product(given: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return what a linear layer makes of its input, where no gradient is asked of PyTorch.

    MKL, which PyTorch multiplies by otherwise, has AVX-512 for Intel's processors only. On those of AMD that have it,
    oneDNN takes as little as half the time. Which of them it is depends on processor, tensors and settings, and on no
    measurement: on one machine, the same numbers always come out the same.

    Parameters
    ----------
    given : Tensor, (rows, inputs)
    weight : Tensor, (outputs, inputs)
    bias : Tensor, (outputs,), optional

    Returns
    -------
    Tensor, (rows, outputs)
        ``given @ weight.t() + bias``.

    Examples
    --------
    >>> product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]), torch.tensor([0.5, 0.0]))
    tensor([[11.5000, 17.0000]])
    """
    if _has_onednn_for_amd() and _gains(given, weight):
        return _by_onednn(given, weight, bias)
    return given @ weight.t() if bias is None else torch.addmm(bias, given, weight.t())


@cache
def _has_onednn_for_amd() -> bool:
    """Tell whether the processor is one of AMD with AVX-512, and PyTorch was built with oneDNN."""
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return onednn and torch.backends.cpu.get_cpu_capability() == "AVX512" and is_of_amd()


def _gains(given: Tensor, weight: Tensor) -> bool:
    """Tell whether oneDNN is the one for these matrices."""
    (rows, inputs), outputs = given.shape, len(weight)
    return (
        given.dtype == torch.float32
        and given.device.type == "cpu"
        and min(rows, inputs, outputs) >= LEAST_SIZE
        and rows * inputs * outputs >= LEAST_MULTIPLICATIONS
        and _is_dense(given)
        and _is_dense(weight)
        # Its product has none, and it multiplies in the precision of what it is given.
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def _is_dense(matrix: Tensor) -> bool:
    """Tell whether a matrix, or its transpose, has no gaps: with some, oneDNN may take 500 times as long."""
    return matrix.is_contiguous() or matrix.t().is_contiguous()


def _by_onednn(given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # Made for `torch.compile`. By way of tensors in oneDNN's own layout, or of a convolution, the gain is lost.
    multiplied: Tensor = torch.ops.mkldnn._linear_pointwise(given, weight, bias, "none", [], "")
    return multiplied
