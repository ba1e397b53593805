"""Squared magnitudes of frames, by the Fourier transform of one of two libraries: PyTorch or OpenCV."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offnote.errors import InputError
from offnote.processor import is_of_amd


def squared_magnitudes(frames: Tensor, out: Tensor) -> None:
    """Compute the squared magnitudes of the Fourier transforms of frames.

    Real and imaginary parts are rounded to single precision before they are squared, as librosa does: from then on no
    digit of a weak frequency is lost beside a strong one.

    PyTorch transforms by MKL, which takes none of the wider instructions on AMD's processors. IPP, which OpenCV brings,
    does, and takes half the time there. Which of them it is depends on the processor and on no measurement: on one
    machine, the same frames always come out the same.

    Parameters
    ----------
    frames
        float32 or float64, shape (..., n_fft), `n_fft` an even number. They may be written over.
    out
        float32, shape (..., n_fft // 2 + 1), without gaps, on the same device: where the squared magnitudes go.

    Raises
    ------
    InputError
        It is OpenCV that is to transform, and it is not there.

    Examples
    --------
    >>> squared = torch.empty(1, 3)
    >>> squared_magnitudes(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), out=squared)
    >>> squared
    tensor([[100.,   8.,   4.]])
    """
    if out.device.type != "cpu":
        torch.add(*_squared_parts(frames), out=out)
        return
    # A sum that is too large is found in the spectrogram.
    with np.errstate(over="ignore"):
        if is_of_amd():
            _by_opencv(frames, out)
        else:
            real, imaginary = _squared_parts(frames)
            # NumPy takes two thirds of PyTorch's time to add what lies next to each other.
            np.add(real.numpy(), imaginary.numpy(), out=out.numpy())


def _squared_parts(frames: Tensor) -> tuple[Tensor, ...]:
    """Return the squares of real and of imaginary parts, by PyTorch."""
    return torch.view_as_real(torch.fft.rfft(frames).to(torch.complex64)).square_().unbind(-1)


def _by_opencv(frames: Tensor, out: Tensor) -> None:
    opencv = load_opencv()
    rows = frames.contiguous().view(-1, frames.shape[-1]).numpy()
    # All rows in one line, whose neighbours NumPy adds in two thirds of the time that it takes row by row.
    line = np.empty(rows.size + 1, dtype=np.float32)
    parts = line[:-1].reshape(rows.shape)
    # In place. Of each row: the real part at frequency 0; real and imaginary part at each of the others, in turn; and
    # the real part at the last one, which has no other.
    parts[:], line[-1] = opencv.dft(rows, rows, flags=opencv.DFT_ROWS), 0
    np.square(line, out=line)
    # The last sum of a row reaches into the next row, and is not used.
    sums = (line[1::2] + line[2::2]).reshape(len(rows), -1)
    squared = out.view(len(rows), -1).numpy()
    squared[:, 0], squared[:, 1:-1], squared[:, -1] = parts[:, 0], sums[:, :-1], parts[:, -1]


@cache
def load_opencv() -> Any:
    """Load OpenCV, with one thread: whoever calls shares the work out among threads or processes of its own.

    Raises
    ------
    InputError
        It does not load.
    """
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            f"OpenCV, which features need on AMD's processors, does not load ({error}); "
            "mend the environment, as with pip install opencv-python-headless"
        ) from error
    cv2.setNumThreads(1)
    return cv2
