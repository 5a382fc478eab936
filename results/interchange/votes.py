"""One row of a file becomes one vote, or the reason why it cannot."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from results.interchange.fields import FIELDS, Columns, verdict_of
from results.records import Verdict

IMPORTED = "imported"
"""The digest of a model that only a name is known of."""

# Epoch seconds beyond the year 5138 are taken for milliseconds, as JavaScript writes them.
_MILLISECONDS_FROM = 1e11


class Vote(NamedTuple):
    """A vote as a file tells it; conversations are canonical JSON, `time` is in UTC."""

    model_a: str
    model_b: str
    digest_a: str
    digest_b: str
    verdict: Verdict
    id: str
    prompt: str | None
    voter: str | None
    judge: str | None
    time: datetime | None
    language: str
    category: str
    conversation_a: str | None
    conversation_b: str | None
    vote_uuid: UUID | None
    battle_uuid: UUID | None


class Unusable(ValueError):
    """The row cannot become a vote; the message is the reason."""


def vote_reader(columns: Columns) -> Callable[[dict[str, Any]], Vote]:
    """A function from a row's values to its vote; that one raises Unusable with the reason."""
    pick = {field: _picker(field, columns) for field in FIELDS}
    model_a_of, model_b_of, winner_of = pick["model_a"], pick["model_b"], pick["winner"]
    is_human = columns.source == "human"

    def text(values: dict[str, Any], field: str) -> str | None:
        value = pick[field](values)
        return None if value is None or value == "" else _text(value, field)

    def read(values: dict[str, Any]) -> Vote:
        model_a, model_b = _model(model_a_of(values), "model_a"), _model(model_b_of(values), "model_b")
        digest_a, digest_b = text(values, "digest_a") or IMPORTED, text(values, "digest_b") or IMPORTED
        if model_a == model_b and digest_a == digest_b:
            raise Unusable(f"model_a and model_b are both {model_a!r}")
        conversation_a, opening = _conversation(pick["conversation_a"](values), "conversation_a")
        conversation_b, _ = _conversation(pick["conversation_b"](values), "conversation_b")
        judge = None if is_human else text(values, "judge")
        if not is_human and not judge:
            raise Unusable("judge is empty")
        return Vote(
            model_a, model_b, digest_a, digest_b,
            _verdict(winner_of(values), model_a, model_b),
            text(values, "id") or "",
            _raw_text(pick["prompt"](values), "prompt") or opening,
            text(values, "voter") if is_human else None,
            judge,
            _time(pick["timestamp"](values)),
            text(values, "language") or "",
            text(values, "category") or "",
            conversation_a, conversation_b,
            _uuid(pick["vote_uuid"](values), "vote_uuid"),
            _uuid(pick["battle_uuid"](values), "battle_uuid"),
        )  # fmt: skip

    return read


def _picker(field: str, columns: Columns) -> Callable[[dict[str, Any]], Any]:
    if (column := columns.column_of.get(field)) is not None:
        return lambda values: values.get(column)
    fixed = columns.fixed.get(field)
    return lambda values: fixed


def _raw_text(value: Any, field: str) -> str | None:
    """Text as it stands; numbers as text; None for nothing."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, UUID)):
        raise Unusable(f"{field} is a {type(value).__name__} where text is needed")
    if isinstance(value, float):
        if math.isnan(value):  # how pandas writes a missing value
            return None
        if value.is_integer():
            return str(int(value))
    return str(value)


def _text(value: Any, field: str) -> str | None:
    """A name: without space around it, composed (NFC), so that equal names are equal."""
    text = _raw_text(value, field)
    if text is None:
        return None
    text = text.strip()
    return (text if text.isascii() else unicodedata.normalize("NFC", text)) or None


def _model(value: Any, field: str) -> str:
    name = _text(value, field)
    if not name:
        raise Unusable(f"{field} is empty")
    if not name.isprintable():
        raise Unusable(f"{field} {name[:80]!r} has a line break or control character in it")
    return name


def _verdict(value: Any, model_a: str, model_b: str) -> Verdict:
    if isinstance(value, str) and (found := verdict_of(value)):
        return found
    word = _text(value, "winner")
    if not word:
        raise Unusable("winner is empty")
    # Some files name the model that won.
    if model_a != model_b and word in (model_a, model_b):
        return "a" if word == model_a else "b"
    raise Unusable(f"winner {word[:80]!r} is none of model_a, model_b, tie, tie (bothbad) or a model's name")


def _time(value: Any) -> datetime | None:
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    try:
        if isinstance(value, str):
            try:
                seconds = float(value)
            except ValueError:
                moment = datetime.fromisoformat(value.strip())
                return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
        else:
            raise Unusable(f"timestamp is a {type(value).__name__}")
        if math.isnan(seconds):
            return None
        if seconds >= _MILLISECONDS_FROM:
            seconds /= 1000
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise Unusable(f"timestamp {str(value)[:40]!r} is neither epoch seconds nor ISO 8601") from None


def _conversation(value: Any, field: str) -> tuple[str | None, str | None]:
    """Canonical JSON of a message list, and its first user message."""
    if value is None or value == "":
        return None, None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Unusable(f"{field} is not JSON; a list of messages is needed") from None
    if not isinstance(value, list) or not all(
        isinstance(message, dict)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str)
        for message in value
    ):
        raise Unusable(f"{field} is not a list of messages, each with role and content as text")
    opening = next((message["content"] for message in value if message["role"] == "user"), None)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")), opening or None


def _uuid(value: Any, field: str) -> UUID | None:
    if value is None or value == "":
        return None
    try:
        return value if isinstance(value, UUID) else UUID(str(value))
    except ValueError:
        raise Unusable(f"{field} {str(value)[:40]!r} is not a UUID") from None
