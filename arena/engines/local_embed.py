"""Vectors of texts: the mean of a model's last hidden states over a text's tokens, of unit length.

Runs in worker processes only. A model trained to chat was not trained for this: its vectors tell topics apart, and no
more than that should be claimed for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from arena.engines.local_model import LoadedModel
from arena.engines.local_score import BATCH_TOKENS, DoesNotFit
from arena.engines.protocol import Embedded, EmbedMany


@dataclass
class EmbeddingJob:
    """The texts of one message as ids, longest first; those from `next` on are still to be embedded."""

    id: int
    texts: list[tuple[int, list[int]]]
    adapter: str | None = None
    next: int = 0
    vectors: dict[int, tuple[float, ...]] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether every text has its vector."""
        return self.next == len(self.texts)

    def result(self) -> Embedded:
        """The vectors in the order of the texts."""
        vectors = tuple(self.vectors[index] for index in range(len(self.texts)))
        return Embedded(id=self.id, vectors=vectors, tokens=sum(len(ids) for _, ids in self.texts))


def embedding_job(loaded: LoadedModel, message: EmbedMany) -> EmbeddingJob:
    """Encode a message's texts. Raises `CannotAttach`, and `DoesNotFit` for an empty text or one over the context."""
    adapter = loaded.adapters.attach(message.adapter) if message.adapter else None
    texts = [(index, _ids(loaded.tokenizer, text)) for index, text in enumerate(message.texts)]
    for index, ids in texts:
        if not 0 < len(ids) <= loaded.context_length:
            raise DoesNotFit(
                f"text {index} has {len(ids):,} tokens; 1 to {loaded.context_length:,} can be embedded at once"
            )
    texts.sort(key=lambda text: len(text[1]), reverse=True)
    return EmbeddingJob(id=message.id, texts=texts, adapter=adapter)


@torch.inference_mode()
def embed_batch(loaded: LoadedModel, job: EmbeddingJob) -> None:
    """Embed the job's next texts, as many as fit one batch."""
    longest = len(job.texts[job.next][1])
    rows = max(1, BATCH_TOKENS[loaded.device.type] // longest) if loaded.joinable else 1
    batch = job.texts[job.next : job.next + rows]
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (_, tokens) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    ids, mask = ids.to(loaded.device), mask.to(loaded.device)
    output = loaded.adapters.forward(
        [job.adapter] * len(batch),
        input_ids=ids,
        attention_mask=mask,
        use_cache=False,
        output_hidden_states=True,
        **({"logits_to_keep": 1} if loaded.trims_logits else {}),
    )
    hidden = output.hidden_states[-1].float()
    weights = mask[..., None].float()
    means = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    for (index, _), vector in zip(batch, torch.nn.functional.normalize(means, dim=-1).tolist(), strict=True):
        job.vectors[index] = tuple(vector)
    job.next += len(batch)


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=True)["input_ids"]
    return found
