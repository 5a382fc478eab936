"""How rows look to a model: the rendered text with what is trained on, and the number of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from prompt_formats import ChatTokenizer, Conversation, encode_for_training, render
from prompt_formats.errors import InvalidInput, TemplateFailed
from prompt_formats.resolve import Resolution
from trainers.datasets.rows import ChatRow, KtoRow, LabelledRow, PreferenceRow, PromptRow, Row
from trainers.datasets.statistics import Spread


class Piece(BaseModel):
    """A stretch of the rendered text; `trained` where its tokens count in the loss."""

    model_config = ConfigDict(frozen=True)

    text: str
    trained: bool


class RenderedRow(BaseModel):
    """One text that a row becomes (a preference becomes two: `part` names which)."""

    model_config = ConfigDict(frozen=True)

    part: str
    pieces: tuple[Piece, ...]
    tokens: int
    trained_tokens: int


def conversations_of(row: Row) -> list[tuple[str, list[dict[str, Any]]]]:
    """The whole conversations of a row, each with the name of its part; none for plain text."""
    if isinstance(row, ChatRow):
        return [("", row.messages)]
    if isinstance(row, PreferenceRow):
        return [("chosen", [*row.prompt, *row.chosen]), ("rejected", [*row.prompt, *row.rejected])]
    if isinstance(row, KtoRow):
        return [("wanted" if row.label else "unwanted", [*row.prompt, *row.completion])]
    return []


def preview(
    row: Row, resolution: Resolution, tokenizer: ChatTokenizer, *, now: datetime | None = None
) -> list[RenderedRow]:
    """The row as the model of this format and tokenizer is trained on it.

    Raises `InvalidInput` or `TemplateFailed` where the format cannot take the row; the message says why.
    """
    if isinstance(row, PromptRow):
        return [_asked(row, resolution, tokenizer, now)]
    conversations = conversations_of(row)
    if not conversations:
        return [_plain(row, tokenizer)]
    only_last = isinstance(row, PreferenceRow | KtoRow)
    tools = row.tools if isinstance(row, ChatRow) else None
    made = []
    for part, messages in conversations:
        encoding = encode_for_training(
            Conversation.from_chat(messages), resolution, tokenizer, tools=tools, now=now, only_last=only_last
        )
        pieces = tuple(_pieces(encoding.prompt.prompt, encoding.spans))
        made.append(
            RenderedRow(part=part, pieces=pieces, tokens=len(encoding.ids), trained_tokens=sum(encoding.mask))
        )
    return made


def _asked(
    row: PromptRow, resolution: Resolution, tokenizer: ChatTokenizer, now: datetime | None
) -> RenderedRow:
    """A prompt as it stands before the model in training answers it: nothing of it is learned."""
    prompt = render(
        Conversation.from_chat(row.prompt), resolution, tokenizer=tokenizer, now=now, system_policy="family",
        alternation="family",
    )  # fmt: skip
    piece = Piece(text=prompt.prompt, trained=False)
    return RenderedRow(part="", pieces=(piece,), tokens=len(prompt.ids or ()), trained_tokens=0)


def _plain(row: Row, tokenizer: ChatTokenizer) -> RenderedRow:
    """A text as it stands. Plain text is learned, up to the end-of-text that training adds; of a labelled one the
    label is."""
    text = row.texts()[0]
    ids = tokenizer.backend.encode(text, add_special_tokens=True).ids
    learned = not isinstance(row, LabelledRow)
    pieces = [Piece(text=text, trained=learned)]
    count = len(ids)
    if learned and tokenizer.eos and tuple(ids[-1:]) != (tokenizer.id_of(tokenizer.eos),):
        pieces.append(Piece(text=tokenizer.eos, trained=True))
        count += 1
    return RenderedRow(part="", pieces=tuple(pieces), tokens=count, trained_tokens=count if learned else 0)


class TokenStatistics(BaseModel):
    """Tokens a row under one model, and the rows that its format cannot take, by reason."""

    model_config = ConfigDict(frozen=True)

    tokens: Spread | None
    trained: Spread | None
    refused: dict[str, int] = {}


def token_statistics(
    rows: Iterable[Row], resolution: Resolution, tokenizer: ChatTokenizer
) -> TokenStatistics:
    """Tokens of each row as the model of this format and tokenizer sees it."""
    tokens: list[float] = []
    trained: list[float] = []
    refused: dict[str, int] = {}
    for row in rows:
        try:
            parts = preview(row, resolution, tokenizer)
        except (InvalidInput, TemplateFailed) as error:
            reason = str(error)[:200]
            refused[reason] = refused.get(reason, 0) + 1
            continue
        tokens.append(sum(part.tokens for part in parts))
        trained.append(sum(part.trained_tokens for part in parts))
    return TokenStatistics(
        tokens=Spread.of(tokens) if tokens else None,
        trained=Spread.of(trained) if trained else None,
        refused=refused,
    )


def _pieces(text: str, spans: Iterable[tuple[int, int]]) -> Iterator[Piece]:
    place = 0
    for start, end in spans:
        if place < start:
            yield Piece(text=text[place:start], trained=False)
        yield Piece(text=text[start:end], trained=True)
        place = end
    if place < len(text):
        yield Piece(text=text[place:], trained=False)
