"""Context windows as views: neighbouring frames side by side, without copying them.

Frames are stored frame-major, so the values of neighbouring frames already lie next to each other in memory, and a
context window is a stretch of it. The published baselines copy every window out instead, at `size` times the memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from offnote.errors import InputError


def context_windows(frames: Tensor, size: int) -> Tensor:
    """Lay every run of `size` neighbouring frames of one clip side by side, as a view.

    Row ``t`` holds the frames ``t`` to ``t + size - 1``, one after the other: the vector that the baselines of MIMII
    and DCASE Task 2 build with ``out[:, mels * t : mels * (t + 1)] = logmel[:, t : t + windows].T``.

    Parameters
    ----------
    frames
        The spectrogram of one clip, shape (frames, mels). Contiguous; another layout is copied once.
    size
        Frames in a context window.

    Returns
    -------
    Tensor
        Shape (frames - size + 1, size * mels). Rows overlap in memory: read them, do not write into them.

    Raises
    ------
    InputError
        The clip has fewer frames than a context window.

    Examples
    --------
    >>> context_windows(torch.arange(6.0).view(3, 2), size=2)
    tensor([[0., 1., 2., 3.],
            [2., 3., 4., 5.]])
    """
    count, mels = frames.shape
    if reason := too_short(count, size):
        raise InputError(reason)
    return frames.contiguous().view(-1).unfold(0, size * mels, mels)


def too_short(frames: int, size: int) -> str:
    """Say why a clip of so many frames has no context window of `size`; nothing where it has one.

    >>> too_short(3, size=3), too_short(2, size=3)
    ('', '2 frames are less than one context window of 3; take the clip out or set fewer window.frames')
    """
    if frames >= size:
        return ""
    return f"{frames} frames are less than one context window of {size}; take the clip out or set fewer window.frames"


def window_starts(offsets: Tensor, size: int) -> Tensor:
    """Return the first frame of every context window of clips that lie one after another.

    Parameters
    ----------
    offsets
        First frame of each clip and, last, the number of all frames: integers, shape (clips + 1,).
    size
        Frames in a context window. No window reaches over the end of its clip; a shorter clip has none.

    Returns
    -------
    Tensor
        int64, ascending, shape (windows,).

    Examples
    --------
    >>> window_starts(torch.tensor([0, 3, 4, 8]), size=2)
    tensor([0, 1, 4, 5, 6])
    """
    first, last = offsets[:-1].long(), offsets[1:].long()
    windows = (last - first - size + 1).clamp(min=0)
    shift = first - (windows.cumsum(0) - windows)
    return torch.arange(int(windows.sum()), device=offsets.device) + shift.repeat_interleave(windows)


def gather(frames: Tensor, starts: Tensor, size: int) -> Tensor:
    """Copy a batch of context windows out of the frames of many clips.

    Parameters
    ----------
    frames
        The frames of all clips one after another, shape (frames, mels), contiguous.
    starts
        First frame of each wanted window, from :func:`window_starts`, in any order; int64, shape (batch,), on the
        device of `frames`.
    size
        Frames in a context window.

    Returns
    -------
    Tensor
        Shape (batch, size * mels), on the device of `frames`. Nothing but this batch is allocated.

    Examples
    --------
    >>> gather(torch.arange(8.0).view(4, 2), torch.tensor([2, 0]), size=2)
    tensor([[4., 5., 6., 7.],
            [0., 1., 2., 3.]])
    """
    return context_windows(frames, size).index_select(0, starts)
