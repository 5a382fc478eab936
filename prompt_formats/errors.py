"""What can go wrong with a prompt. Every message says what was wrong, where, and what to do."""

from __future__ import annotations

from typing import Literal

ErrorKind = Literal["unknown_format", "template", "invalid", "over_budget"]


class PromptFormatError(Exception):
    """Base of all errors of this package; `kind` is what bulk commands print."""

    kind: ErrorKind = "invalid"


class UnknownFormat(PromptFormatError):
    """No format of this name in the registry."""

    kind: ErrorKind = "unknown_format"


class InvalidInput(PromptFormatError):
    """The conversation, a setting or a file of a format cannot be used."""


class TemplateFailed(PromptFormatError):
    """A template raised, did not compile, ran too long or wrote too much."""

    kind: ErrorKind = "template"


class OverBudget(PromptFormatError):
    """The last turn alone does not fit the token budget."""

    kind: ErrorKind = "over_budget"
