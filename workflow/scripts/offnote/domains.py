"""The domains of training clips: which there are, and what to do where some clips have none."""

from __future__ import annotations

from collections.abc import Sequence

from offnote.clips import Clip, Entry
from offnote.errors import InputError


def training_domains(clips: Sequence[Clip | Entry], what: str) -> list[str]:
    """List the domains of the training clips among `clips`, in alphabetical order.

    Parameters
    ----------
    clips : sequence of Clip or Entry
        Those of other splits do not count: nothing is to be known of their domains.
    what : str
        Names the model in the error.

    Returns
    -------
    list of str
        One empty text where no clip has a domain.

    Raises
    ------
    InputError
        Some training clips have a domain and some have none.

    Examples
    --------
    >>> training_domains([Entry("a.wav", "train", "target"), Entry("b.wav", "train", "source")], "fan/all")
    ['source', 'target']
    >>> training_domains([Entry("a.wav", "train"), Entry("b.wav", "test")], "fan/all")
    ['']
    """
    training = [clip for clip in clips if clip.split == "train"]
    without = [clip for clip in training if not clip.domain]
    if 0 < len(without) < len(training):
        raise InputError(
            f"{what}: {len(without)} of {len(training)} training clips have no domain, such as {without[0].path}; "
            "give each of them one, or none at all, or set model.distance: squared_error, which needs no domains"
        )
    return sorted({clip.domain for clip in training})
