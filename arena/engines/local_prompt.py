"""A conversation becomes the ids that the model sees. Runs in worker processes only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from arena.engines.protocol import Prompting
from prompt_formats import (
    OverBudget,
    PromptFormat,
    PromptFormatError,
    ResponseParser,
    load_registry,
    load_tokenizer,
    parser_for,
    resolve,
    window_from,
)
from prompt_formats import render as render_prompt
from prompt_formats.conversation import Conversation
from prompt_formats.registry import built_in


class CannotRender(Exception):
    """The model's template cannot take this conversation; the message is for people."""


@dataclass(frozen=True)
class Rendered:
    """A prompt: its text, the ids sent to the model, what ends the answer, and how it was made.

    `form` is null for raw text, which has no format.
    """

    text: str
    ids: list[int]
    log: dict[str, Any]
    stop_ids: frozenset[int] = field(default_factory=frozenset)
    stop_strings: tuple[str, ...] = ()
    form: PromptFormat | None = None

    @property
    def marks_are_tokens(self) -> bool:
        """Whether the parser must see special tokens: marks of thinking and channels may be such."""
        return self.form is not None and (self.form.thinking is not None or self.form.channels is not None)

    def parser(self, stops: tuple[str, ...]) -> ResponseParser:
        """A streaming parser for the answer; `stops` are the request's own stop strings."""
        form = self.form or built_in()["plain"]
        return parser_for(form, prompt_tail=self.text[-400:], stops=stops)


def render(
    tokenizer: Any,
    conversation: Conversation,
    prompting: Prompting | None = None,
    adapter: Path | None = None,
    prefill: str | None = None,
) -> Rendered:
    """The conversation by the prompt format that `prompt_formats.resolve` finds, in its order.

    Control tokens that a person typed stay text: they do not become control tokens in `ids`. Where a template
    takes no system message, or wants turns to alternate, the family's policy is applied and logged. `prefill` is the
    text with which the answer begins.
    Raises `CannotRender` where the format is unknown or its template refuses the conversation, and `OverBudget`
    where the window cannot hold the last turn.
    """
    prompting = prompting or Prompting()
    try:
        resolution = resolve(
            prompting.model,
            explicit=prompting.prompt_format,
            adapter=adapter,
            tokenizer=tokenizer,
            parent=prompting.parent,
            registry=load_registry(prompting.formats),
        )
        prompt = render_prompt(
            conversation.add("assistant", prefill) if prefill else conversation,
            resolution,
            tokenizer=load_tokenizer(tokenizer),
            system_policy="family",
            alternation="family",
            window=window_from(prompting.window),
            continue_final_message=bool(prefill),
            now=datetime.now(),  # templates write the local date
        )
    except OverBudget:
        raise
    except PromptFormatError as error:
        raise CannotRender(f"this conversation cannot be rendered: {error}") from error
    assert prompt.ids is not None
    log = prompt.log()
    # Kept apart in the generation: the text has a column of its own, and ids can be made again from the log.
    del log["prompt"], log["ids"], log["rendered_by"], log["estimate"]
    log["warning"] = resolution.warning
    return Rendered(
        text=prompt.prompt,
        ids=_one_bos(list(prompt.ids), tokenizer.bos_token_id),
        log=log,
        stop_ids=frozenset(prompt.stop_ids),
        stop_strings=resolution.format.stops,
        form=resolution.format,
    )


def encode_text(tokenizer: Any, text: str) -> Rendered:
    """Raw text as it stands: control tokens in it are control tokens; the tokenizer adds its BOS if any."""
    ids = tokenizer(text, add_special_tokens=True)["input_ids"]
    if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id and not text.endswith(str(tokenizer.eos_token)):
        ids = ids[:-1]  # an end-of-text that the tokenizer appended would end the answer before it began
    log = {"format": None, "clock": datetime.now(UTC).isoformat()}
    return Rendered(text=text, ids=_one_bos(ids, tokenizer.bos_token_id), log=log)


def given_ids(tokenizer: Any, ids: Sequence[int]) -> Rendered:
    """Token ids as they stand. Raises `CannotRender` where the tokenizer has no such token."""
    if not all(0 <= each < len(tokenizer) for each in ids):
        raise CannotRender(f"token ids of this model are from 0 to {len(tokenizer) - 1:,}")
    text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    log = {"format": None, "clock": datetime.now(UTC).isoformat()}
    return Rendered(text=text, ids=list(ids), log=log)


def _one_bos(ids: list[int], bos: int | None) -> list[int]:
    """The same ids without a second BOS at their beginning (a template and a tokenizer that both add one)."""
    start = 0
    while bos is not None and ids[start : start + 2] == [bos, bos]:
        start += 1
    return ids[start:]
