"""What can be wrong with a suite or a run; the messages are for people: what, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Collection


class SuiteError(ValueError):
    """A suite, an item or a run's settings cannot be used."""


class NeedsLoglikelihood(SuiteError):
    """A model cannot tell how likely given text is; the message names the suite's alternative."""


def hint(word: str, known: Collection[str]) -> str:
    """What a message about an unknown name ends with: the nearest known one, else all that there are."""
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f": did you mean '{near[0]}'?"
    return f": there are {', '.join(known) or 'none'}"
