"""Rows of arenas' logs and published votes, in the usual schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from results.interchange.votes import Unusable

_VOTES = {"leftvote": "model_a", "rightvote": "model_b", "tievote": "tie", "bothbad_vote": "tie (bothbad)"}
_WINNERS = {"winner_model_a": "model_a", "winner_model_b": "model_b", "winner_tie": "tie"}


def preference(values: dict[str, Any], pseudonym: Callable[[str], str]) -> list[dict[str, Any]]:
    """LMSYS human preference: prompts and responses are JSON arrays, the winner is one of three 0/1 columns."""
    if values.get("verdict") or values.get("winner"):
        winner = values.get("verdict") or values["winner"]
    else:
        set_ = [name for name in _WINNERS if _number(values.get(name)) == 1.0]
        if len(set_) != 1:
            raise Unusable("not exactly one of winner_model_a, winner_model_b and winner_tie is 1")
        winner = _WINNERS[set_[0]]
    prompts = _texts(values.get("prompt"), "prompt")
    sides = {side: _texts(values.get(f"response_{side}"), f"response_{side}") for side in ("a", "b")}
    for side, answers in sides.items():
        if len(answers) != len(prompts):
            raise Unusable(f"response_{side} has {len(answers)} answers to {len(prompts)} prompts")
    return [
        {
            "model_a": values.get("model_a"),
            "model_b": values.get("model_b"),
            "winner": winner,
            "id": values.get("id"),
            "prompt": prompts[0] if prompts else None,
            "conversation_a": _conversation(prompts, sides["a"]),
            "conversation_b": _conversation(prompts, sides["b"]),
        }
    ]


def log_entry(values: dict[str, Any], pseudonym: Callable[[str], str]) -> list[dict[str, Any]]:
    """A line of a FastChat log: votes have two states; chats and other events are nothing to import. The
    voter is a keyed pseudonym of the address, which is not kept."""
    winner = _VOTES.get(str(values.get("type")))
    if winner is None:
        return []
    states = values.get("states")
    if (
        not isinstance(states, list)
        or len(states) != 2
        or not all(isinstance(state, dict) for state in states)
    ):
        raise Unusable("a vote needs two states")
    named = values.get("models") or ["", ""]
    models = [state.get("model_name") or name for state, name in zip(states, named, strict=False)]
    conversations = [_messages(state) for state in states]
    address = values.get("ip")
    return [
        {
            "model_a": models[0] if models else None,
            "model_b": models[1] if len(models) > 1 else None,
            "winner": winner,
            "id": "|".join(str(state.get("conv_id") or "") for state in states).strip("|"),
            "voter": pseudonym(str(address)) if address else None,
            "timestamp": values.get("tstamp"),
            "conversation_a": conversations[0] or None,
            "conversation_b": conversations[1] or None,
        }
    ]


def _messages(state: dict[str, Any]) -> list[dict[str, str]]:
    """The conversation of a FastChat state, without the examples before `offset`."""
    roles, offset = state.get("roles") or ["user", "assistant"], state.get("offset") or 0
    messages = state.get("messages")
    if not isinstance(messages, list) or not isinstance(roles, list) or not isinstance(offset, int):
        raise Unusable("a state's messages are no list of [role, text]")
    found = []
    for message in messages[offset:]:
        if not isinstance(message, list) or len(message) != 2:
            raise Unusable("a state's messages are no list of [role, text]")
        role, text = message
        if isinstance(text, list) and text:  # text with images
            text = text[0]
        if text is None:
            continue
        if not isinstance(text, str):
            raise Unusable("a message's text is no text")
        found.append({"role": "user" if role == roles[0] else "assistant", "content": text})
    return found


def _texts(value: Any, field: str) -> list[str]:
    if value is None or value == "":
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Unusable(f"{field} is not a JSON array of texts") from None
    if not isinstance(value, list) or not all(each is None or isinstance(each, str) for each in value):
        raise Unusable(f"{field} is not an array of texts")
    return [each or "" for each in value]


def _conversation(prompts: list[str], answers: list[str]) -> list[dict[str, str]] | None:
    return [
        {"role": role, "content": text}
        for prompt, answer in zip(prompts, answers, strict=True)
        for role, text in (("user", prompt), ("assistant", answer))
    ] or None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
