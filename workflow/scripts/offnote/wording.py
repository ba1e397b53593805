"""Words for numbers, in every table and message alike."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "clip"), counted(0, "clip")
    ('1 clip', '0 clips')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
