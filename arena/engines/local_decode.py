"""The decode loop: prompts are read in pieces, rows join and leave a running batch, a token a step for each.

Runs in worker processes only. Between two calls of `Decoder.step` everything may change: answers begin, are
cancelled, end. Tokens equal those of transformers' `generate` under greedy decoding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from transformers.cache_utils import Cache, DynamicCache

from arena.engines.local_cache import join, keep_rows, new_cache
from arena.engines.local_model import LoadedModel
from arena.engines.local_sampling import TokenSampler
from arena.engines.memory import MOST_ROWS

PIECE = {"cpu": 256, "cuda": 8192, "mps": 1024}
"""Prompt tokens read in one go: as many as keep the pause of the rows that are decoding short."""


@dataclass(eq=False)
class Sequence:
    """One answer in the making. `ids` are the prompt's, then those generated."""

    id: int
    ids: list[int]
    sampler: TokenSampler
    max_tokens: int
    adapter: str | None = None
    logprobs: int | None = None
    stop_ids: frozenset[int] = frozenset()
    prompt_length: int = field(init=False)
    finished: bool = False

    def __post_init__(self) -> None:
        self.prompt_length = len(self.ids)

    @property
    def longest(self) -> int:
        """How many tokens prompt and answer may come to."""
        return self.prompt_length + self.max_tokens

    @property
    def generated(self) -> int:
        """How many tokens have been generated."""
        return len(self.ids) - self.prompt_length


@dataclass(frozen=True)
class Step:
    """One more token of a sequence. `end` is set with its last one; a stop token is no text.

    `logprob` and `top` (ids and their log-probabilities) are set where the sequence asks for them.
    """

    sequence: Sequence
    token: int
    end: Literal["stop", "length"] | None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class _Rows:
    """Sequences that share a cache of `length` columns; the first `pads[i]` columns of row i are padding."""

    def __init__(self, sequences: list[Sequence], cache: Cache) -> None:
        self.sequences = sequences
        self.cache = cache
        self.length = 0
        width = max(len(s.ids) for s in sequences)
        self.pads = [width - len(s.ids) for s in sequences]

    def take(self, other: _Rows) -> None:
        """Let the rows of `other` join these."""
        length = max(self.length, other.length)
        self.pads = [pad + length - rows.length for rows in (self, other) for pad in rows.pads]
        join(self.cache, other.cache)
        self.sequences = [*self.sequences, *other.sequences]
        self.length = length

    def drop_finished(self) -> None:
        """Free the rows of finished sequences, and the columns that are padding in all that stay."""
        keep = [row for row, sequence in enumerate(self.sequences) if not sequence.finished]
        if len(keep) == len(self.sequences):
            return
        self.sequences = [self.sequences[row] for row in keep]
        self.pads = [self.pads[row] for row in keep]
        if keep:
            columns = min(self.pads)
            keep_rows(self.cache, keep, columns)
            self.length -= columns
            self.pads = [pad - columns for pad in self.pads]


class Decoder:
    """Answers many sequences at once on one model."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._piece = PIECE[loaded.device.type]
        self._waiting: deque[Sequence] = deque()
        self._reading: _Rows | None = None
        self._running: list[_Rows] = []

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._waiting or self._reading or self._running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; it joins the running batch within a few steps."""
        self._waiting.append(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """Generate nothing more for this sequence."""
        sequence.finished = True
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        for rows in self._running:
            rows.drop_finished()
        self._running = [rows for rows in self._running if rows.sequences]
        if self._reading is not None and all(s.finished for s in self._reading.sequences):
            self._reading = None

    @torch.inference_mode()
    def step(self) -> Iterator[Step]:
        """Read one piece of waiting prompts and generate one token for every running sequence."""
        if self._reading is None and self._waiting:
            self._reading = self._next_group()
        if self._reading is not None:
            yield from self._read(self._reading)
        for rows in list(self._running):
            yield from self._decode(rows)

    def _next_group(self) -> _Rows | None:
        """The sequences that wait longest, as many as are read together in one piece."""
        alive = sum(len(rows.sequences) for rows in self._running)
        longest = max((s.longest for rows in self._running for s in rows.sequences), default=0)
        group: list[Sequence] = []
        widest = 0
        while self._waiting and alive + len(group) < MOST_ROWS:
            following = self._waiting[0]
            if group and not self._mix(group[0], following):
                break
            widest = max(widest, len(following.ids))
            longest = max(longest, following.longest)
            rows = alive + len(group) + 1
            if rows > 1 and rows * longest > self._loaded.cache_tokens:
                break
            if group and (not self._loaded.joinable or widest * (len(group) + 1) > self._piece):
                break
            group.append(self._waiting.popleft())
        if not group:
            return None
        cache = new_cache() if self._loaded.joinable else DynamicCache(config=self._loaded.model.config)
        return _Rows(group, cache)

    def _mix(self, one: Sequence, other: Sequence) -> bool:
        group = self._loaded.adapters.group
        return group(one.adapter) == group(other.adapter)

    def _read(self, rows: _Rows) -> Iterator[Step]:
        width = max(len(s.ids) for s in rows.sequences)
        piece = max(1, self._piece // len(rows.sequences))
        end = min(width, rows.length + piece)
        ids = torch.tensor(
            [([0] * (width - len(s.ids)) + s.ids)[rows.length : end] for s in rows.sequences],
            device=self._loaded.device,
        )
        logits = self._forward(rows, ids)
        if end < width:
            return
        self._reading = None
        yield from self._draw(rows, logits)
        rows.drop_finished()
        if not rows.sequences:
            return
        for running in self._running if self._loaded.joinable else ():
            if self._mix(running.sequences[0], rows.sequences[0]):
                running.take(rows)
                return
        self._running.append(rows)

    def _decode(self, rows: _Rows) -> Iterator[Step]:
        ids = torch.tensor([[s.ids[-1]] for s in rows.sequences], device=self._loaded.device)
        yield from self._draw(rows, self._forward(rows, ids))
        rows.drop_finished()
        if not rows.sequences:
            self._running.remove(rows)

    def _forward(self, rows: _Rows, ids: torch.Tensor) -> torch.Tensor:
        """Run `ids` of shape (rows, new); returns the logits after the last column, (rows, vocabulary)."""
        device = self._loaded.device
        length = rows.length + ids.shape[1]
        columns = torch.arange(length, device=device)
        pads = torch.tensor(rows.pads, device=device)[:, None]
        # Without padding there is nothing to mask, and attention takes its faster path.
        mask = (columns[None] >= pads).long() if any(rows.pads) else None
        output = self._loaded.adapters.forward(
            [sequence.adapter for sequence in rows.sequences],
            input_ids=ids,
            attention_mask=mask,
            position_ids=(columns[None, rows.length :] - pads).clamp(min=0),
            past_key_values=rows.cache,
            use_cache=True,
            **({"logits_to_keep": 1} if self._loaded.trims_logits else {}),
        )
        rows.length = length
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _draw(self, rows: _Rows, logits: torch.Tensor) -> Iterator[Step]:
        """Choose each row's next token from `logits` of shape (rows, vocabulary)."""
        best = logits.float().argmax(dim=-1).tolist()
        for row, sequence in enumerate(rows.sequences):
            if sequence.finished:
                continue
            sampler = sequence.sampler
            token = best[row] if sampler.plain_greedy else sampler.draw(sequence.ids, logits[row])
            sequence.ids.append(token)
            end: Literal["stop", "length"] | None = None
            if token in self._loaded.stop_ids or token in sequence.stop_ids:
                end = "stop"
            elif sequence.generated >= sequence.max_tokens:
                end = "length"
            sequence.finished = end is not None
            yield Step(sequence, token, end, *_logprobs(logits[row], token, sequence.logprobs))


def _logprobs(
    logits: torch.Tensor, token: int, count: int | None
) -> tuple[float | None, tuple[tuple[int, float], ...]]:
    if count is None:
        return None, ()
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    best = torch.topk(logprobs, count)
    top = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return float(logprobs[token]), tuple(top)
