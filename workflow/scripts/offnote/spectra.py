"""Squared magnitudes of frames, by the Fourier transform of one of two libraries: PyTorch or OpenCV."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offnote.processor import is_of_amd


def squared_magnitudes(frames: Tensor, out: Tensor) -> None:
    """Compute the squared magnitudes of the Fourier transforms of frames.

    Real and imaginary parts are rounded to single precision before they are squared, as librosa does: from then on no
    digit of a weak frequency is lost beside a strong one.

    PyTorch transforms by MKL, which takes none of the wider instructions on AMD's processors. OpenCV's IPP does, and
    takes half the time there. Which of them it is depends on the processor and on no measurement: on one machine, the
    same frames always come out the same.

    Parameters
    ----------
    frames
        float32 or float64, shape (..., n_fft). They may be written over.
    out
        float32, shape (..., n_fft // 2 + 1), without gaps, on the same device: where the squared magnitudes go.

    Examples
    --------
    >>> squared = torch.empty(1, 3)
    >>> squared_magnitudes(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), out=squared)
    >>> squared
    tensor([[100.,   8.,   4.]])
    """
    on_cpu = out.device.type == "cpu"
    if on_cpu and is_of_amd():
        _by_opencv(frames, out)
        return
    real, imaginary = torch.view_as_real(torch.fft.rfft(frames).to(torch.complex64)).square_().unbind(-1)
    if on_cpu:
        # NumPy takes two thirds of PyTorch's time to add what lies next to each other.
        np.add(real.numpy(), imaginary.numpy(), out=out.numpy())
    else:
        torch.add(real, imaginary, out=out)


def _by_opencv(frames: Tensor, out: Tensor) -> None:
    opencv, n_fft = _opencv(), frames.shape[-1]
    rows = frames.contiguous().view(-1, n_fft).numpy()
    # In place. Of each row: the real part at frequency 0; real and imaginary part at each of the others, in turn; and,
    # where their number is even, the real part at the last one, which has no other.
    transformed = opencv.dft(rows, rows, flags=opencv.DFT_ROWS)
    # All rows in one line, whose neighbours NumPy adds in two thirds of the time that it takes row by row. The last sum
    # of a row may reach into the next row: it is not used.
    width = n_fft + n_fft % 2
    line = np.empty(len(rows) * width + 1, dtype=np.float32)
    parts = line[:-1].reshape(len(rows), width)
    # What is not finite afterwards is found in the spectrogram.
    with np.errstate(over="ignore", invalid="ignore"):
        parts[:, :n_fft], parts[:, n_fft:], line[-1] = transformed, 0, 0
        np.square(line, out=line)
        sums = (line[1::2] + line[2::2]).reshape(len(rows), width // 2)
    squared, pairs = out.view(len(rows), -1).numpy(), (n_fft - 1) // 2
    squared[:, 0] = parts[:, 0]
    squared[:, 1 : pairs + 1] = sums[:, :pairs]
    if n_fft % 2 == 0:
        squared[:, -1] = parts[:, -1]


@cache
def _opencv() -> Any:
    """Load OpenCV, with one thread: whoever calls shares the work out among threads or processes of its own."""
    import cv2

    cv2.setNumThreads(1)
    return cv2
