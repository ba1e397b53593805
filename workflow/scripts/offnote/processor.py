"""Whose processor this is: MKL, by which PyTorch multiplies and transforms, has its best for Intel's only."""

from __future__ import annotations

from functools import cache
from pathlib import Path

DESCRIPTION = Path("/proc/cpuinfo")
"""Where Linux describes the processor."""


@cache
def is_of_amd() -> bool:
    """Tell whether the processor is one of AMD's; False where the system is not Linux."""
    return DESCRIPTION.exists() and "AuthenticAMD" in DESCRIPTION.read_text()
