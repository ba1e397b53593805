"""The words by which tables and figures say whether a machine has an AUC, and if not, why."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Whether a machine has an AUC, and if not, why; each member is the word in the tables."""

    OK = "ok"
    """It has an AUC."""

    NO_LABELS = "no labels"
    """It has scores, and none of its test clips a label."""

    ONE_CLASS_ONLY = "one class only"
    """Its labelled test clips are all normal, or all anomalous."""

    NO_TEST_CLIPS = "no test clips"
    """It has a model, and nothing to score but what was held out of its training."""

    ALL_TEST_CLIPS_EXCLUDED = "all test clips are excluded"
    """All of its test clips are broken."""

    NO_TRAINING_CLIPS = "no training clips"
    """It gets no model: known when the Snakefile is read."""

    NO_USABLE_TRAINING_CLIPS = "no usable training clips"
    """It got no model: its training clips are broken and excluded, or a gate or the length of slices leaves none."""

    NO_USABLE_CLIPS = "no usable clips"
    """The same of all of its clips, where other machines of the scope were trained on."""
