"""The channels of gpt-oss ("harmony"): analysis is thinking, final is content, tool calls stay as written.

Format: https://cookbook.openai.com/articles/openai-harmony. An answer is a row of messages
`<|start|>assistant<|channel|>NAME<|message|>TEXT<|end|>`; the first header is in the prompt or cut short by
it.
"""

from __future__ import annotations

import re
from typing import Literal

from prompt_formats._streams import Held

_MESSAGE = "<|message|>"
_BODY_ENDS = ("<|end|>", "<|return|>", "<|call|>", "<|start|>")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


class HarmonySplitter:
    """A `parse.Splitter` for harmony."""

    def __init__(self, prompt_tail: str) -> None:
        self._held = Held()
        self._state: Literal["start", "between", "header", "body"] = "start"
        self._target: Literal["thinking", "content", "call"] = "content"
        self._parts = {"thinking": 0, "content": 0}
        self._fresh = True
        self.seen_thinking = False
        self.ended = False
        # The prompt's last header, where the prompt ends within it or within the message's text.
        last = prompt_tail.rpartition("<|start|>")[2] if "<|start|>" in prompt_tail else ""
        if last and not any(end in last for end in ("<|end|>", "<|return|>", "<|call|>")):
            header, mark, _ = last.partition(_MESSAGE)
            if mark:
                self._open(header)
            elif "<|channel|>" in header:
                self._state, self._held.text = "header", header

    def feed(self, text: str) -> tuple[str, str]:
        """See `parse.Splitter`."""
        self._held.text += text
        out: dict[str, list[str]] = {"thinking": [], "content": []}
        while not self.ended and self._step(out):
            pass
        return "".join(out["thinking"]), "".join(out["content"])

    def finish(self) -> tuple[str, str]:
        """See `parse.Splitter`. A header that never got its message is left out, being no text."""
        rest = self._held.take_all()
        if self.ended or self._state in ("header", "between"):
            return "", ""
        out: dict[str, list[str]] = {"thinking": [], "content": []}
        self._write(rest, out)
        return "".join(out["thinking"]), "".join(out["content"])

    def _step(self, out: dict[str, list[str]]) -> bool:
        if self._state == "start":
            return self._start()
        if self._state == "between":
            found, mark, _ = self._until("<|start|>", "<|channel|>")
            if found:
                self._state = "header"
                if mark == "<|channel|>":
                    self._held.text = mark + self._held.text
            return found
        if self._state == "header":
            place = self._held.text.find(_MESSAGE)
            if place < 0:
                return False
            header = self._held.text[:place]
            self._held.text = self._held.text[place + len(_MESSAGE) :]
            self._open(header)
            if self._target == "call":
                self._write(header.removeprefix("assistant") + _MESSAGE, out)
            return True
        return self._body(out)

    def _start(self) -> bool:
        """The first text: a header's rest, or plain text of a server that hides the channels."""
        text = self._held.text.lstrip()
        marks = ("<|channel|>", "<|start|>", "assistant<|channel|>")
        if any(text.startswith(mark) for mark in marks):
            self._held.text = text.removeprefix("<|start|>")
            self._state = "header"
            return True
        if any(mark.startswith(text) for mark in marks):
            return False
        self._state, self._target = "body", "content"
        return True

    def _open(self, header: str) -> None:
        found = _CHANNEL.search(header)
        channel = found.group(1) if found else "final"
        if " to=" in header:
            self._target = "call"
        else:
            self._target = "thinking" if channel == "analysis" else "content"
        self.seen_thinking |= self._target == "thinking"
        self._state, self._fresh = "body", True

    def _body(self, out: dict[str, list[str]]) -> bool:
        found, end, before = self._until(*_BODY_ENDS)
        self._write(before, out)
        if not found:
            return False
        if end == "<|call|>" and self._target == "call":
            self._write(end, out)
        if end in ("<|return|>", "<|call|>"):
            self.ended = True
            return False
        self._state = "between"
        if end == "<|start|>":
            self._state = "header"
        return True

    def _until(self, *marks: str) -> tuple[bool, str, str]:
        """(whether one of the marks was found, which, the text before it)."""
        whole = self._held.text
        found, before = self._held.until(*marks)
        if not found:
            return False, "", before
        rest = whole[len(before) :]
        return True, next(mark for mark in marks if rest.startswith(mark)), before

    def _write(self, text: str, out: dict[str, list[str]]) -> None:
        if not text:
            return
        where = "thinking" if self._target == "thinking" else "content"
        if self._fresh and self._parts[where]:
            out[where].append("\n")  # two messages of one kind are two paragraphs
        self._fresh = False
        self._parts[where] += 1
        out[where].append(text)
