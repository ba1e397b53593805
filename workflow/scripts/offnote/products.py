"""The matrix products of training, by the faster of the two libraries that PyTorch brings for them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

LEAST_SIZE = 32
"""Of rows, columns, and of what is summed over: below it, oneDNN's product costs more than it gains."""
PROCESSOR = Path("/proc/cpuinfo")
"""Where Linux describes the processor."""


def product(given: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return what a linear layer makes of its input, without gradient.

    On processors of AMD with AVX-512 oneDNN multiplies in single precision. PyTorch's usual product, MKL's, takes twice
    as long there, as it has these instructions for Intel's processors only. Which of them it is depends on the
    processor and on the tensors, and on no measurement: on one machine, the same numbers always come out the same.

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
    if onednn_is_faster() and _for_onednn(given, weight):
        return _by_onednn(given, weight, bias)
    return given @ weight.t() if bias is None else torch.addmm(bias, given, weight.t())


@cache
def onednn_is_faster() -> bool:
    """Tell whether oneDNN's product is faster than MKL's on this processor.

    Returns
    -------
    bool
        It is one of AMD with AVX-512, and PyTorch was built with oneDNN.

    Examples
    --------
    >>> onednn_is_faster() in (True, False)
    True
    """
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not onednn or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    return PROCESSOR.exists() and "AuthenticAMD" in PROCESSOR.read_text()


def _for_onednn(given: Tensor, weight: Tensor) -> bool:
    return (
        given.dtype == torch.float32
        and given.device.type == "cpu"
        and min(*given.shape, len(weight)) >= LEAST_SIZE
        and _is_dense(given)
        and _is_dense(weight)
        and not torch.is_autocast_enabled("cpu")
    )


def _is_dense(matrix: Tensor) -> bool:
    """Tell whether a matrix, or what it is the transpose of, has no gaps: with some, oneDNN takes 500 times as long."""
    return matrix.is_contiguous() or matrix.t().is_contiguous()


def _by_onednn(given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # Made for `torch.compile`. By way of tensors in oneDNN's own layout, or of a convolution, the gain is lost.
    multiplied: Tensor = torch.ops.mkldnn._linear_pointwise(given, weight, bias, "none", [], "")
    return multiplied
