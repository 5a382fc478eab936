"""Parsing of answers while they arrive: thinking apart from content, and nothing shown that may yet be a
stop."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from prompt_formats._harmony import HarmonySplitter
from prompt_formats._streams import Held, StopFilter
from prompt_formats.conversation import Conversation
from prompt_formats.errors import PromptFormatError
from prompt_formats.prompt_format import PromptFormat, Thinking
from prompt_formats.render import render

Finish = Literal["stop", "length", "cancelled", "error"]


class ParsedDelta(BaseModel):
    """What a chunk added to the thinking and to the content."""

    model_config = ConfigDict(frozen=True)

    thinking: str = ""
    content: str = ""


class ParsedResponse(BaseModel):
    """A whole answer. `thinking` is null where no thinking block was seen; `raw` is everything that came in,
    the stop string and what followed it included. Tool calls stay in the content as the model wrote them."""

    model_config = ConfigDict(frozen=True)

    thinking: str | None
    content: str
    finish: Finish
    raw: str


class Splitter(Protocol):
    """Divides text into thinking and content."""

    seen_thinking: bool
    ended: bool

    def feed(self, text: str) -> tuple[str, str]:
        """More text; returns what is certain now."""
        ...

    def finish(self) -> tuple[str, str]:
        """The text ends; returns the rest."""
        ...


class ResponseParser:
    """A streaming parser: `feed` chunks of text or bytes in any division, then `finish`.

    The sum of all deltas equals the final response, whatever the chunks.
    """

    def __init__(self, splitter: Splitter, stops: Iterable[str]) -> None:
        self._splitter = splitter
        self._filter = StopFilter(stops)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._raw: list[str] = []
        self._thinking: list[str] = []
        self._content: list[str] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string was seen: nothing more can be added, generation may end."""
        return self._filter.stopped or self._splitter.ended

    def feed(self, chunk: str | bytes) -> ParsedDelta:
        """What this chunk adds. Bytes may end inside a character."""
        text = self._decoder.decode(chunk) if isinstance(chunk, bytes) else chunk
        self._raw.append(text)
        if self.stopped:
            return ParsedDelta()
        return self._emit(*self._splitter.feed(self._filter.feed(text)))

    def finish(self, reason: Finish | None = None) -> ParsedResponse:
        """The whole answer.

        `reason` is what the engine says; without it, `stop` where a stop string was seen and `length` where
        the text just ended.
        """
        self.rest()
        return ParsedResponse(
            thinking="".join(self._thinking) if self._splitter.seen_thinking else None,
            content="".join(self._content),
            finish="stop" if self.stopped else (reason or "length"),
            raw="".join(self._raw),
        )

    def rest(self) -> ParsedDelta:
        """What had been held back, once the stream has ended; `finish` does this too. Calling it again is
        empty."""
        before = len(self._thinking), len(self._content)
        rest = self._decoder.decode(b"", True)
        self._raw.append(rest)
        if not self.stopped:
            self._emit(*self._splitter.feed(self._filter.feed(rest) + self._filter.finish()))
        self._emit(*self._splitter.finish())
        return ParsedDelta(
            thinking="".join(self._thinking[before[0] :]), content="".join(self._content[before[1] :])
        )

    def _emit(self, thinking: str, content: str) -> ParsedDelta:
        self._thinking.append(thinking)
        self._content.append(content)
        return ParsedDelta(thinking=thinking, content=content)


class ThinkingSplitter:
    """Thinking between two marks at the start of an answer; the prompt may have opened it."""

    def __init__(self, thinking: Thinking | None, *, opened: bool) -> None:
        self._thinking = thinking
        self._state: Literal["start", "opened", "thinking", "gap", "content"] = "start"
        self._held = Held()
        self._newlines = ""
        self._begun = False
        self.seen_thinking = False
        self.ended = False
        if thinking is None:
            self._state = "content"
        elif opened:
            self._state, self.seen_thinking = "opened", True

    def feed(self, text: str) -> tuple[str, str]:
        """See `Splitter`."""
        self._held.text += text
        thinking: list[str] = []
        content: list[str] = []
        while self._step(thinking, content):
            pass
        return "".join(thinking), "".join(content)

    def finish(self) -> tuple[str, str]:
        """See `Splitter`. A block that never closed is all thinking."""
        rest, self._held.text = self._held.text, ""
        if self._state in ("opened", "thinking"):
            return self._think(rest), ""
        if self._state == "gap":
            return "", rest.lstrip("\n")
        return "", rest

    def _step(self, thinking: list[str], content: list[str]) -> bool:
        """Take what is certain from the held text; whether to look again."""
        if self._state == "content" or self._thinking is None:
            content.append(self._held.take_all())
            return False
        if self._state == "start":
            return self._start(self._thinking)
        if self._state == "opened":
            return self._opened(self._thinking)
        if self._state == "gap":
            return self._gap(self._thinking)
        found, before = self._held.until(self._thinking.end)
        thinking.append(self._think(before))
        if found:
            self._state, self._newlines = "gap", ""
        return found

    def _start(self, marks: Thinking) -> bool:
        text = self._held.text.lstrip()
        if text.startswith(marks.start):
            self._held.text = text[len(marks.start) :]
            self._state, self.seen_thinking = "thinking", True
            return True
        if marks.start.startswith(text):
            return False  # may still become the mark (or is nothing yet)
        self._state = "gap" if marks.answer_start and self._may_open_answer(marks, text) else "content"
        return True

    def _opened(self, marks: Thinking) -> bool:
        """Some models write the opening mark again although the prompt holds it."""
        text = self._held.text.lstrip()
        if text.startswith(marks.start):
            self._held.text = text[len(marks.start) :]
        elif marks.start.startswith(text):
            return False
        self._state = "thinking"
        return True

    def _gap(self, marks: Thinking) -> bool:
        """Between thinking and content: newlines and the mark that opens the answer are not content."""
        text = self._held.text.lstrip("\n")
        opening = marks.answer_start
        if opening and text.startswith(opening):
            self._held.text = text[len(opening) :].removeprefix("\n")
            self._state = "content"
            return True
        if not text or (opening and opening.startswith(text)):
            return False
        self._held.text, self._state = text, "content"
        return True

    @staticmethod
    def _may_open_answer(marks: Thinking, text: str) -> bool:
        return text.startswith(marks.answer_start) or marks.answer_start.startswith(text)

    def _think(self, text: str) -> str:
        """Thinking without the newlines at its two ends."""
        if not self._begun:
            text = text.lstrip("\n")
            self._begun = bool(text)
        text = self._newlines + text
        shown = text.rstrip("\n")
        self._newlines = text[len(shown) :]
        return shown


def prompt_opens_thinking(thinking: Thinking | None, prompt_tail: str | None) -> bool:
    """Whether the prompt ends inside a thinking block, so that the answer begins with thinking."""
    if thinking is None or not prompt_tail:
        return False
    tail = prompt_tail[-2000:]
    start = tail.rfind(thinking.start.strip())
    return start >= 0 and tail.find(thinking.end, start + len(thinking.start.strip())) < 0


def parser_for(
    format: PromptFormat, *, prompt_tail: str | None = None, stops: Iterable[str] = ()
) -> ResponseParser:
    """A parser for answers to prompts of `format`.

    `prompt_tail` is the end of the rendered prompt (the whole prompt will do): it tells whether thinking was opened
    there. Without it the end that the format writes by default is taken. `stops` are stop strings beside the
    format's own.
    """
    tail = _default_tail(format) if prompt_tail is None else prompt_tail
    every = (*format.stops, *stops)
    if format.channels == "harmony":
        return ResponseParser(HarmonySplitter(tail), [s for s in every if s not in _HARMONY_ENDS])
    opened = prompt_opens_thinking(format.thinking, tail)
    return ResponseParser(ThinkingSplitter(format.thinking, opened=opened), every)


_TAILS: dict[str, str] = {}


def _default_tail(format: PromptFormat) -> str:
    """How a prompt of this format ends after one question; empty where it cannot be rendered."""
    if format.thinking is None and format.channels is None:
        return ""
    if format.template_hash not in _TAILS:
        try:
            prompt = render(Conversation().add("user", "?"), format).prompt
        except PromptFormatError:
            prompt = ""
        _TAILS[format.template_hash] = prompt[-200:]
    return _TAILS[format.template_hash]


_HARMONY_ENDS = frozenset({"<|return|>", "<|call|>", "<|end|>"})
