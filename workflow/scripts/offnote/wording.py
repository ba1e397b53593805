"""Words for numbers and names, in every table and message alike."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "clip"), counted(0, "clip")
    ('1 clip', '0 clips')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def first_of(names: Sequence[object]) -> str:
    """Return the first of some names, and how many there are beside it.

    Examples
    --------
    >>> first_of(["a.wav"]), first_of(["a.wav", "b.wav", "c.wav"])
    ('a.wav', 'a.wav and 2 more')
    """
    return str(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def printable(name: str) -> str:
    r"""Return a name that somebody else gave, so that it cannot act upon the screen that it is shown on.

    Examples
    --------
    >>> print(printable("übung.wav"), printable("a\x1b[2J\nok"))
    übung.wav a\x1b[2J\nok
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)
