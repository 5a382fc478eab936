"""Answers in OpenAI's shapes: chat completions, text completions, their chunks, log-probabilities, usage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from arena.engines.base import Generation, TextDelta, TokenLogprob
from arena.engines.text_stream import aligned
from arena.roster import Contestant

REPLACED = "�"


@dataclass(frozen=True)
class Head:
    """What all objects of one response share. `model` is the version that answers, also where an alias was asked."""

    request_id: str
    contestant: Contestant
    created: int = field(default_factory=lambda: int(time.time()))

    def fields(self, prefix: str, kind: str) -> dict[str, Any]:
        """The first fields of an object."""
        return {
            "id": f"{prefix}-{self.request_id.removeprefix('req_')}",
            "object": kind,
            "created": self.created,
            "model": self.contestant.version.label,
            "system_fingerprint": f"fp_{self.contestant.version.digest[:16]}",
        }


def usage(generations: Sequence[Generation], prompts: int = 1) -> dict[str, Any] | None:
    """Tokens of the prompts (each counted once, however many answers it got: the first of every group of
    `len(generations) / prompts`) and of all answers; None where an engine did not tell them."""
    each = len(generations) // prompts
    asked = [generation.prompt_tokens for generation in generations[::each]]
    made = [generation.completion_tokens for generation in generations]
    if any(count is None for count in (*asked, *made)):
        return None
    prompt, completion = sum(filter(None, asked)), sum(filter(None, made))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def chat_completion(head: Head, generations: Sequence[Generation], logprobs: bool) -> dict[str, Any]:
    """A whole chat completion."""
    return {
        **head.fields("chatcmpl", "chat.completion"),
        "choices": [
            {
                "index": index,
                "message": {
                    "role": "assistant",
                    "content": generation.text,
                    "refusal": None,
                    **({"reasoning_content": generation.thinking} if generation.thinking else {}),
                },
                "logprobs": chat_logprobs(generation.logprobs or ()) if logprobs else None,
                "finish_reason": generation.finish_reason,
            }
            for index, generation in enumerate(generations)
        ],
        "usage": usage(generations),
    }


def chat_chunk(
    head: Head,
    index: int,
    delta: dict[str, Any],
    finish: str | None = None,
    logprobs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One chunk of a streamed chat completion."""
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    return {**head.fields("chatcmpl", "chat.completion.chunk"), "choices": [choice]}


def chat_delta(delta: TextDelta) -> dict[str, Any]:
    """What a chunk says."""
    said: dict[str, Any] = {}
    if delta.thinking:
        said["reasoning_content"] = delta.thinking
    if delta.text or not delta.thinking:
        said["content"] = delta.text
    return said


def chat_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Log-probabilities as chat completions tell them."""
    return {
        "content": [
            {
                **_token(each.token, each.logprob),
                "top_logprobs": [_token(token, logprob) for token, logprob in each.top],
            }
            for each in logprobs
        ],
        "refusal": None,
    }


def completion(head: Head, choices: Sequence[dict[str, Any]], used: dict[str, Any] | None) -> dict[str, Any]:
    """A whole text completion."""
    return {**head.fields("cmpl", "text_completion"), "choices": list(choices), "usage": used}


def completion_choice(
    index: int, text: str, finish: str | None, logprobs: dict[str, Any] | None
) -> dict[str, Any]:
    """One answer of a text completion, or a piece of it."""
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}


def completion_logprobs(
    logprobs: Sequence[TokenLogprob],
    offset: int = 0,
    first_is_given: bool = False,
    text: str | None = None,
    unspoken: int = 0,
) -> dict[str, Any]:
    """Log-probabilities as text completions tell them. `offset` is where the first token's text begins, `text` what
    the tokens are together (where that is known, the pieces of a split character all begin with it). `first_is_given`
    marks that nothing stands before the first token, so that it has no probability (null). `unspoken` tokens follow
    that ended the answer: they have no text, and what they were given is not told (null)."""
    tokens = [each.token for each in logprobs]
    values: list[float | None] = [each.logprob for each in logprobs]
    tops: list[dict[str, float] | None] = [_alternatives(each) for each in logprobs]
    if first_is_given and logprobs:
        values[0], tops[0] = None, None
    offsets = _offsets(tokens, text, offset)
    end = offset + len(text) if text is not None else offset + sum(map(len, tokens))
    return {
        "tokens": tokens + [""] * unspoken,
        "token_logprobs": values + [None] * unspoken,
        "top_logprobs": tops + [None] * unspoken,
        "text_offset": offsets + [end] * unspoken,
    }


def _alternatives(told: TokenLogprob) -> dict[str, float]:
    """Tokens by their text. Those that hold parts of characters look alike: the likeliest stands for them, so that a
    token which is not the first choice is never told as one."""
    found: dict[str, float] = {}
    for token, logprob in (*told.top, (told.token, told.logprob)):
        found[token] = max(logprob, found.get(token, logprob))
    return found


def _offsets(tokens: Sequence[str], text: str | None, offset: int) -> list[int]:
    """Where each token's text begins in `text`, or, where they do not make it, as if they stood one after another."""
    pieces = aligned(tokens, text) if text is not None else None
    if pieces is not None:
        return [offset + each.begin for each in pieces for _ in range(each.first, each.last)]
    found: list[int] = []
    for token in tokens:
        found.append(offset)
        offset += len(token)
    return found


def _token(token: str, logprob: float) -> dict[str, Any]:
    # A token that holds part of a character has no bytes that its text could tell.
    return {"token": token, "logprob": logprob, "bytes": None if REPLACED in token else list(token.encode())}
