"""Reading a remote answer: events of a stream become text, thinking, log-probabilities and counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from arena.engines.base import FinishReason, TextDelta, TokenLogprob
from prompt_formats import ResponseParser


@dataclass
class Usage:
    """The server's count of tokens. Null where it did not tell."""

    prompt: int | None = None
    completion: int | None = None
    reasoning: int | None = None
    cached: int = 0

    @property
    def total(self) -> int | None:
        """Prompt and answer together."""
        return None if self.prompt is None else self.prompt + (self.completion or 0)


@dataclass
class Reader:
    """What one attempt has brought so far. `parser` divides its text where the server does not."""

    parser: ResponseParser | None = None
    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    finish: str | None = None
    first: float | None = None
    opened: bool = False
    delivered: bool = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string came that the server did not know: the answer is complete."""
        return self.parser is not None and self.parser.stopped

    @property
    def finish_reason(self) -> FinishReason:
        """How the answer ended, in our words."""
        return "length" if self.finish == "length" and not self.stopped else "stop"

    def take(self, event: Any) -> TextDelta:
        """Take one event in; returns the text in it. Raises `TypeError` and the like for what is no answer."""
        if getattr(event, "usage", None) is not None:
            self.usage = read_usage(event.usage)
        if not event.choices:
            return TextDelta()
        choice = event.choices[0]
        self.finish = choice.finish_reason or self.finish
        delta = getattr(choice, "delta", None)
        if delta is None:
            text, thinking = choice.text or "", ""
        else:
            text = delta.content or ""
            # No part of OpenAI's own API: vLLM and DeepSeek say reasoning_content, others reasoning.
            thinking = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None) or ""
        if not (isinstance(text, str) and isinstance(thinking, str)):
            raise TypeError(f"content of type {type(text).__name__}")
        logprobs = read_logprobs(choice)
        if self.parser is not None and text:
            parsed = self.parser.feed(text)
            text, thinking = parsed.content, thinking + parsed.thinking
        return self._keep(TextDelta(text=text, thinking=thinking, logprobs=logprobs))

    def rest(self) -> TextDelta:
        """What the parser had held back; call it once the stream has ended."""
        if self.parser is None:
            return TextDelta()
        parsed = self.parser.rest()
        return self._keep(TextDelta(text=parsed.content, thinking=parsed.thinking))

    def _keep(self, delta: TextDelta) -> TextDelta:
        self.logprobs.extend(delta.logprobs)
        if delta.text:
            self.text.append(delta.text)
        if delta.thinking:
            self.thinking.append(delta.thinking)
        self.delivered = self.delivered or bool(delta.text or delta.thinking)
        return delta


def read_usage(usage: Any) -> Usage:
    """The counts of a `usage` object. Some servers leave thinking out of the completion's count although they
    bill it; their total tells."""
    details = getattr(usage, "completion_tokens_details", None)
    reasoning = getattr(details, "reasoning_tokens", None)
    completion = usage.completion_tokens
    apart = (usage.prompt_tokens or 0) + (completion or 0) + (reasoning or 0)
    if reasoning and getattr(usage, "total_tokens", None) == apart:
        completion = (completion or 0) + reasoning
    cached = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)
    return Usage(usage.prompt_tokens, completion, reasoning, cached or 0)


def read_logprobs(choice: Any) -> tuple[TokenLogprob, ...]:
    """The log-probabilities of a choice, of a chat or a completions endpoint."""
    found = getattr(choice, "logprobs", None)
    if found is None:
        return ()
    if (content := getattr(found, "content", None)) is not None:  # chat completions
        return tuple(
            TokenLogprob(
                token=each.token,
                logprob=each.logprob,
                top=tuple((other.token, other.logprob) for other in each.top_logprobs or ()),
            )
            for each in content
        )
    tokens, values = getattr(found, "tokens", None) or [], getattr(found, "token_logprobs", None) or []
    tops = getattr(found, "top_logprobs", None) or [{}] * len(tokens)
    return tuple(
        TokenLogprob(token=token, logprob=value, top=tuple((top or {}).items()))
        for token, value, top in zip(tokens, values, tops, strict=True)
        if value is not None
    )
