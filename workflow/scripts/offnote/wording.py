"""Words for numbers and names, in every table and message alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

# Control characters, halves of letters, ends of lines, and what turns round the direction of what follows.
# Python counts more as not printable: spaces and joiners that names in many a script have.
UNSAFE_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


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
    return "".join(
        repr(letter)[1:-1] if unicodedata.category(letter) in UNSAFE_CATEGORIES or letter in TURNING else letter
        for letter in name
    )
