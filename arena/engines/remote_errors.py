"""What went wrong with a remote request: as a typed error for people, and whether to try again."""

from __future__ import annotations

import email.utils
import re
import time
from typing import Literal

import openai

from arena.engines.base import (
    BrokenAnswer,
    EngineError,
    EngineRejected,
    EngineTimedOut,
    EngineUnavailable,
    OverContext,
)

OVER_CONTEXT = re.compile(
    r"context.{0,20}(length|window|size)|maximum.{0,20}(context|sequence|model) len|too many tokens|"
    r"prompt is too long|exceeds.{0,40}context|inputs? tokens? \+ .?max_new_tokens|must have less than \d+ tokens",
    re.IGNORECASE,
)
MARKUP = re.compile(r"<(script|style)\b.*?</\1>|<[^<>]*>", re.IGNORECASE | re.DOTALL)

FailureKind = Literal["busy", "down", "silent", "broken", "final"]


class Failure(Exception):
    """An attempt that failed. `kind` says what may help: waiting (`busy`), another address or time (`down`,
    `silent`, `broken`), or nothing (`final`). `retry_after` is the server's wish in seconds."""

    def __init__(self, error: EngineError, kind: FailureKind, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.kind: FailureKind = kind
        self.retry_after = retry_after


def failure(error: Exception, who: str, key: str | None, opened: bool, silence: float) -> Failure:
    """What an exception of the library, its transport or its parser means.

    `who` names model and address, `key` is blotted out, `opened` says whether the answer had begun to come, and
    `silence` is how long it was waited for.
    """
    said = _said(error, key)
    match error:
        case openai.APITimeoutError():
            return Failure(EngineTimedOut(f"{who}: no answer within {silence:g} seconds"), "silent")
        case openai.APIConnectionError():
            cause = type(error.__cause__).__name__ if error.__cause__ else "no connection"
            if opened:
                lost = f"{who}: the connection was lost inside the answer ({cause})"
                return Failure(BrokenAnswer(lost), "broken")
            unreachable = f"{who}: cannot be reached ({cause}). Is the server running, and `base_url` right?"
            return Failure(EngineUnavailable(unreachable), "down")
        case openai.APIStatusError():
            return _by_status(error, who, said)
        case openai.APIError():
            if is_over_context(error.code, said):
                return Failure(OverContext(f"{who}: {said}"), "final")
            inside = f"{who}: the server reported an error inside its answer: {said}"
            return Failure(BrokenAnswer(inside), "broken")
        case ValueError() | KeyError() | TypeError() | AttributeError() | IndexError():
            strange = f"{who}: the server sent what is no answer ({type(error).__name__}: {said})"
            return Failure(BrokenAnswer(strange), "broken")
    lost = f"{who}: the connection was lost inside the answer ({type(error).__name__}: {said})"
    return Failure(BrokenAnswer(lost), "broken")


def is_over_context(code: str | None, said: str) -> bool:
    """Whether a server's words mean that prompt and answer do not fit its context."""
    return code == "context_length_exceeded" or bool(OVER_CONTEXT.search(said))


def _said(error: Exception, key: str | None) -> str:
    said = str(error)
    if isinstance(error, openai.APIStatusError) and " - " not in said and error.body:
        said += f" - {error.body}"  # the library repeats only what stands under "message"
    said = " ".join(MARKUP.sub(" ", said).split())
    if key:
        said = said.replace(key, "***")
    return said[:400]


def _by_status(error: openai.APIStatusError, who: str, said: str) -> Failure:
    status = error.status_code
    if status in (400, 413, 422) and is_over_context(error.code, said):
        return Failure(OverContext(f"{who}: {said}"), "final")
    if status == 408:
        return Failure(EngineTimedOut(f"{who}: the server gave up waiting (408): {said}"), "down")
    after = _retry_after(error)
    if status == 429 and error.code != "insufficient_quota":
        busy = EngineUnavailable(f"{who}: still too many requests after several tries (429): {said}")
        return Failure(busy, "busy", after)
    if status >= 500:
        fails = EngineUnavailable(f"{who}: the server fails ({status}) after several tries: {said}")
        return Failure(fails, "busy" if status == 503 and after is not None else "down", after)
    hints = {
        401: "check the key",
        403: "the key may not use this model",
        404: "check `source` and `base_url`",
        429: "the account has no credit left",
    }
    hint = f" ({hints[status]})" if status in hints else ""
    return Failure(EngineRejected(f"{who}: refused with {status}{hint}: {said}"), "final")


def _retry_after(error: openai.APIStatusError) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after` (seconds, or a date as of RFC 9110)."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = error.response.headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            moment = email.utils.parsedate_tz(value)
            if moment is not None:
                return max(0.0, email.utils.mktime_tz(moment) - time.time())
    return None
