from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from offnote.errors import InputError
from offnote.windows import context_windows, gather, window_starts

SIZES = st.integers(1, 7)


def baseline_windows(logmel: torch.Tensor, size: int) -> torch.Tensor:
    """The published baselines' own loop, over a spectrogram of shape (mels, frames)."""
    n_mels, frames = logmel.shape
    windows = torch.zeros(frames - size + 1, n_mels * size)
    for t in range(size):
        windows[:, n_mels * t : n_mels * (t + 1)] = logmel[:, t : t + len(windows)].T
    return windows


@given(size=SIZES, more=st.integers(0, 12), mels=st.integers(1, 9))
def test_windows_are_those_of_the_baseline(size: int, more: int, mels: int) -> None:
    frames = torch.randn(size + more, mels)
    assert torch.equal(context_windows(frames, size), baseline_windows(frames.T, size))


def test_windows_share_the_memory_of_the_frames() -> None:
    frames = torch.randn(313, 64)
    windows = context_windows(frames, 5)
    assert windows.shape == (309, 320)
    assert windows.data_ptr() == frames.data_ptr()
    frames[4, 3] = 7.0
    assert windows[0, 4 * 64 + 3] == windows[4, 3] == 7.0


def test_frames_in_another_layout_give_the_same_windows() -> None:
    mels_first = torch.randn(64, 20)
    assert torch.equal(context_windows(mels_first.T, 5), baseline_windows(mels_first, 5))


def test_a_clip_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(InputError, match=r"4 frames .* window of 5"):
        context_windows(torch.zeros(4, 8), 5)


@given(lengths=st.lists(st.integers(0, 12), min_size=1, max_size=8), size=SIZES)
def test_starts_are_all_windows_that_stay_within_a_clip(lengths: list[int], size: int) -> None:
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    expected = [
        first + frame
        for first, length in zip(offsets.tolist(), lengths, strict=False)
        for frame in range(length)
        if frame + size <= length
    ]
    starts = window_starts(offsets, size)
    assert starts.dtype == torch.int64
    assert starts.tolist() == expected


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6), size=SIZES, seed=st.integers(0, 99))
def test_gathered_windows_are_those_of_the_clips(lengths: list[int], size: int, seed: int) -> None:
    clips = [torch.randn(length, 3) for length in [*lengths, size]]
    offsets = torch.tensor([0, *map(len, clips)]).cumsum(0)
    expected = torch.cat([context_windows(clip, size) for clip in clips if len(clip) >= size])
    order = torch.randperm(len(expected), generator=torch.Generator().manual_seed(seed))
    gathered = gather(torch.cat(clips), window_starts(offsets, size)[order], size)
    assert torch.equal(gathered, expected[order])


def test_gathering_allocates_the_batch_alone() -> None:
    frames = torch.randn(100_000, 64)
    starts = torch.randperm(100_000 - 4)[:512]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        gather(frames, starts, 5)
    allocated = sum(event.self_cpu_memory_usage for event in profile.events() if event.self_cpu_memory_usage > 0)
    assert 512 * 320 * 4 <= allocated < 2 * 512 * 320 * 4
