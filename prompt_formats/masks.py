"""Training masks: which ids of a rendered conversation the assistant wrote.

Found by character offsets on the very ids that training uses, so that a control token typed by a person stays
plain text there too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prompt_formats.conversation import Conversation, Message
from prompt_formats.errors import InvalidInput, TemplateFailed
from prompt_formats.render import FormatLike, find_format, generation_spans, render
from prompt_formats.rendered_prompt import RenderedPrompt

# Private-use characters that wrap one answer, to find it again in the rendered text.
_BEGIN, _END = "\U000f0002", "\U000f0003"

Span = tuple[int, int]


@dataclass(frozen=True)
class TrainingEncoding:
    """Ids and their mask (1: written by the assistant, its end of turn included), of equal length.

    `spans` are the (start, end) characters of the answers in `prompt.prompt`.
    """

    ids: tuple[int, ...]
    mask: tuple[int, ...]
    spans: tuple[Span, ...]
    prompt: RenderedPrompt


def encode_for_training(
    conversation: Conversation,
    format: FormatLike,
    tokenizer: Any,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    now: datetime | None = None,
    only_last: bool = False,
) -> TrainingEncoding:
    """Encode a whole conversation with the mask of its assistant messages (of the last one under
    `only_last`).

    Spans come from the template's own `{% generation %}` blocks where it has them; else from what each answer
    adds to the prompt before it; else from where its text stands. The end-of-turn token after an answer
    counts as the assistant's: a model must learn to stop. Raises `InvalidInput` naming a message whose place
    cannot be found, or a conversation without an answer; errors of `render` as they are.
    """
    form, _ = find_format(format)
    if (
        form.encoder is not None
    ):  # its ids have no offsets, and it refuses a conversation that ends with an answer
        format = form = form.model_copy(update={"encoder": None})
    options: dict[str, Any] = {
        "tools": tools,
        "documents": documents,
        "kwargs": kwargs,
        "now": now or datetime.now(),
    }
    whole = render(
        conversation, format, tokenizer=tokenizer, add_generation_prompt=False, offsets=True, **options
    )
    if whole.ids is None or whole.offsets is None or len(whole.offsets) != len(whole.ids):
        raise InvalidInput("a training mask needs a tokenizer that gives offsets")
    answers = [i for i, m in enumerate(whole.conversation.messages) if m.role == "assistant"]
    if not answers:
        raise InvalidInput("the conversation has no assistant message to train on")
    ends = tuple(text for text in (form.eos, *form.stop_tokens, *whole.stops) if text)
    spans = generation_spans(whole, form, tokenizer, options)
    if not spans:
        finder = _Finder(whole, format, options, ends)
        spans = tuple(finder.find(index) for index in answers)
    if only_last:
        spans = spans[-1:]
    mask = tuple(int(any(_overlap(offset, span) for span in spans)) for offset in whole.offsets)
    return TrainingEncoding(whole.ids, mask, spans, whole)


def _overlap(offset: Span, span: Span) -> bool:
    start, end = offset
    if start == end:
        return span[0] <= start < span[1]
    return max(start, span[0]) < min(end, span[1])


@dataclass
class _Finder:
    """Finds answers in a rendered conversation."""

    whole: RenderedPrompt
    format: FormatLike
    options: dict[str, Any]
    ends: tuple[str, ...]

    def find(self, index: int) -> Span:
        span = self._by_growth(index) or self._by_place(index)
        if span is None:
            raise InvalidInput(
                f"message {index + 1}: cannot tell which part of the prompt it became, the template rewrites it; "
                "mark answers with {% generation %} blocks in the template"
            )
        return span

    def _by_growth(self, index: int) -> Span | None:
        """From the prompt for this answer to the prompt with it, where both begin the whole text."""
        messages = self.whole.conversation.messages
        if index == 0:
            return None
        before = self._render(messages[:index], generation=True)
        after = self._render(messages[: index + 1], generation=False)
        text = self.whole.prompt
        if before is None or after is None or not (text.startswith(before) and text.startswith(after)):
            return None
        if len(after) <= len(before):
            return None
        return len(before), self._end(len(before), len(after))

    def _end(self, start: int, end: int) -> int:
        """The end of a span without the white space after its end-of-turn mark."""
        text = self.whole.prompt[start:end]
        stripped = text.rstrip()
        return start + len(stripped) if stripped.endswith(self.ends) else end

    def _by_place(self, index: int) -> Span | None:
        """Where the answer's text stands, found by wrapping it; white space stays outside for trimming
        templates."""
        messages = list(self.whole.conversation.messages)
        content = messages[index].content
        core = content.strip()
        if not core:
            return None
        wrapped = content.replace(core, _BEGIN + core + _END, 1)
        messages[index] = messages[index].model_copy(update={"content": wrapped})
        text = self._render(tuple(messages), generation=False)
        if text is None or text.replace(_BEGIN, "").replace(_END, "") != self.whole.prompt:
            return None
        start = text.index(_BEGIN)
        end = text.index(_END) - 1
        return self._start(messages, index, start), self._through_end(end)

    def _start(self, messages: list[Message], index: int, start: int) -> int:
        """Back to the end of the answer's header, so that thinking before the content counts."""
        bare = self._render(self.whole.conversation.messages[:index], generation=False)
        asked = self._render(self.whole.conversation.messages[:index], generation=True)
        if bare is None or asked is None or not asked.startswith(bare):
            return start
        header = asked[len(bare) :]
        form, _ = find_format(self.format)
        if form.thinking is not None:
            header = header.partition(form.thinking.start)[0]
        place = self.whole.prompt.rfind(header, 0, start) if header else -1
        return place + len(header) if place >= 0 else start

    def _through_end(self, end: int) -> int:
        rest = self.whole.prompt[end:]
        space = len(rest) - len(rest.lstrip())
        for mark in self.ends:
            if rest[space:].startswith(mark):
                return end + space + len(mark)
        return end

    def _render(self, messages: Sequence[Message], *, generation: bool) -> str | None:
        if not messages:
            return None
        try:
            return render(
                Conversation(messages=tuple(messages)),
                self.format,
                add_generation_prompt=generation,
                **self.options,
            ).prompt
        except TemplateFailed:
            return None
