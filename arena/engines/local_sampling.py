"""Choosing the next token as transformers' `generate` does, one sequence at a time. Worker processes only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from arena.engines.base import Sampling

DEFAULT_MAX_TOKENS = 1024


def effective(sampling: Sampling, generation_config: Any, room: int) -> Sampling:
    """`sampling` with what it leaves open taken from the model's own generation_config, then from us: greedy
    decoding, and at most `DEFAULT_MAX_TOKENS` of the `room` (in tokens) that the prompt leaves."""
    publisher = Sampling()
    if generation_config.do_sample:
        publisher = Sampling(
            temperature=generation_config.temperature if generation_config.temperature is not None else 1.0,
            top_p=generation_config.top_p,
            top_k=generation_config.top_k or None,
            min_p=getattr(generation_config, "min_p", None),
        )
    ours = Sampling(
        temperature=0.0,
        repetition_penalty=generation_config.repetition_penalty,
        max_tokens=min(DEFAULT_MAX_TOKENS, room),
    )
    return sampling.over(publisher.over(ours))


class TokenSampler:
    """Draws tokens for one sequence. The same seed and the same logits give the same tokens."""

    def __init__(self, sampling: Sampling, seed: int) -> None:
        self.sampling = sampling
        self._processors = LogitsProcessorList()
        penalty = sampling.repetition_penalty
        if penalty is not None and penalty != 1.0:
            self._processors.append(RepetitionPenaltyLogitsProcessor(penalty))
        self._greedy = not sampling.temperature
        if not self._greedy:
            self._processors.extend(_warpers(sampling))
        self._generator = torch.Generator().manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)

    @property
    def plain_greedy(self) -> bool:
        """Whether the next token is the argmax of the logits as they are."""
        return self._greedy and not self._processors

    def draw(self, ids: Sequence[int], logits: torch.Tensor) -> int:
        """The next token after `ids` (prompt and answer so far), from `logits` of shape (vocabulary,)."""
        scores = logits.float().cpu().unsqueeze(0)
        scores = self._processors(torch.tensor([ids]), scores)[0]
        if self._greedy:
            return int(scores.argmax())
        probabilities = torch.softmax(scores, dim=-1)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


def _warpers(sampling: Sampling) -> list[Any]:
    found: list[Any] = []
    if sampling.temperature is not None and sampling.temperature != 1.0:
        found.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k is not None:
        found.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None and sampling.top_p < 1.0:
        found.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        found.append(MinPLogitsWarper(sampling.min_p))
    return found
