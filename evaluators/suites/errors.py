"""What can be wrong with a suite or a run; the messages are for people: what, where, and what to do."""

from __future__ import annotations


class SuiteError(ValueError):
    """A suite, an item or a run's settings cannot be used."""


class NeedsLoglikelihood(SuiteError):
    """A model cannot tell how likely given text is; the message names the suite's alternative."""
