"""Squared magnitudes by either library, against NumPy's transform, and which of the two is taken when."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from offnote import spectra
from offnote.errors import InputError
from offnote.processor import is_of_amd
from offnote.spectra import squared_magnitudes
from torch import Tensor

from tests.small import generator

if is_of_amd():
    import cv2
else:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is missing, and not needed here")
either_library = pytest.mark.parametrize("of_amd", [False, True], ids=["pytorch", "opencv"])


def made(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=generator(shape[-1]), dtype=dtype)


def squared(frames: Tensor) -> Tensor:
    out = torch.full((*frames.shape[:-1], frames.shape[-1] // 2 + 1), torch.nan)
    squared_magnitudes(frames.clone(), out)
    return out


@either_library
@pytest.mark.parametrize("n_fft", [2, 4, 6, 100, 882, 1024, 2042, 4096])
def test_it_is_the_squared_magnitude(n_fft: int, of_amd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "is_of_amd", lambda: of_amd)
    frames = made(2, 7, n_fft)
    expected = np.abs(np.fft.rfft(frames.numpy())) ** 2
    # Strong and weak frequencies alike: what is rounded is each part of a number by itself.
    np.testing.assert_allclose(squared(frames).numpy(), expected, rtol=4e-7, atol=1e-12)


@either_library
def test_frames_in_single_precision_are_transformed_in_it(of_amd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "is_of_amd", lambda: of_amd)
    frames = made(7, 1024, dtype=torch.float32)
    expected = np.abs(np.fft.rfft(frames.double().numpy())) ** 2
    np.testing.assert_allclose(squared(frames).numpy(), expected, rtol=1e-4, atol=1e-2)


@either_library
def test_a_frame_comes_to_the_same_bits_whatever_is_beside_it(of_amd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "is_of_amd", lambda: of_amd)
    frames = made(40, 1024)
    alone = torch.cat([squared(frame[None]) for frame in frames])
    assert torch.equal(squared(frames), alone)
    # Cut out of a stretch, at any distance.
    stretch = frames.flatten()
    for hop in (1, 3, 512, 1024):
        cut = stretch.unfold(0, 1024, hop)[:9]
        out = torch.empty(9, 513)
        squared_magnitudes(cut * 1.0, out)
        assert torch.equal(out, squared(cut.contiguous()))


def test_opencv_keeps_to_the_thread_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "is_of_amd", lambda: True)
    threads: list[int] = []
    monkeypatch.setattr(cv2, "setNumThreads", threads.append)
    spectra.load_opencv.cache_clear()
    squared(made(3, 16))
    squared(made(3, 16))
    assert threads == [1]
    spectra.load_opencv.cache_clear()


def test_opencv_missing_where_it_is_needed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "is_of_amd", lambda: True)
    monkeypatch.setitem(sys.modules, "cv2", None)
    spectra.load_opencv.cache_clear()
    with pytest.raises(InputError, match="OpenCV, which features need"):
        squared(made(3, 16))


@either_library
@pytest.mark.parametrize("scale", [1e19, 1e30, 1e300, np.inf, np.nan])
def test_what_is_too_large_is_not_finite_and_nothing_else(
    scale: float, of_amd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectra, "is_of_amd", lambda: of_amd)
    frames = made(5, 16)
    expected = squared(frames)
    frames[2] *= scale
    found = squared(frames)
    assert not found[2].isfinite().all()
    others = [0, 1, 3, 4]
    assert torch.equal(found[others], expected[others])


@either_library
def test_which_library_it_is_depends_on_the_processor(of_amd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Tensor] = []
    monkeypatch.setattr(spectra, "is_of_amd", lambda: of_amd)
    monkeypatch.setattr(spectra, "_by_opencv", lambda frames, out: taken.append(frames))
    squared(made(3, 16))
    assert len(taken) == of_amd
    squared_magnitudes(made(3, 16).to("meta"), torch.empty(3, 9, device="meta"))
    assert len(taken) == of_amd
