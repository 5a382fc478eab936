"""How likely given continuations are: each context is run once for all of its continuations, and what contexts begin
with in common (instructions, examples, a system prompt) once for all of them.

Runs in worker processes only. A row of a batch holds what a context has of its own and then its continuations one
after another; the mask lets a continuation see the context and itself, and positions go on from the context for each
of them. Contexts end at the same column, so that logits are computed for the scored columns alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from arena.engines.base import Score, ScoreRequest, TokenLogprob
from arena.engines.local_cache import new_cache, repeated
from arena.engines.local_model import LoadedModel
from arena.engines.local_prefixes import clusters
from arena.engines.local_prompt import CannotRender, encode_text, given_ids, render
from arena.engines.protocol import ScoreMany

BATCH_TOKENS = {"cpu": 512, "cuda": 32768, "mps": 8192}
"""On a CPU what is computed at once should stay in its caches: 2,048 cost a sixth more."""


class DoesNotFit(Exception):
    """A context and its continuation are longer than the model's context; the message tells the figures."""


@dataclass
class _Item:
    """One context and its continuations as ids; `index` is its place in the request. The first `shared` ids of the
    context are those of all items of its `cluster`. `given` is the first token of a whole text, which nothing stands
    before."""

    index: int
    context: list[int]
    continuations: list[list[int]]
    scores: list[Score] = field(default_factory=list)
    alternatives: int | None = None
    given: int | None = None
    cluster: int = 0
    shared: int = 0

    @property
    def length(self) -> int:
        return len(self.context) + sum(len(ids) for ids in self.continuations)

    @property
    def own(self) -> list[int]:
        return self.context[self.shared :]


@dataclass
class ScoringJob:
    """The items of one message; those from `next` on (cluster by cluster, longest first) are still to be scored.
    `prefix` is the cache of what the contexts of cluster `prefix_of` share."""

    id: int
    items: list[_Item]
    adapter: str | None = None
    next: int = 0
    prefix: Any = None
    prefix_of: int = -1

    @property
    def done(self) -> bool:
        """Whether everything is scored."""
        return self.next == len(self.items)

    def scores(self) -> tuple[tuple[Score, ...], ...]:
        """The scores in the order of the requests."""
        return tuple(tuple(item.scores) for item in sorted(self.items, key=lambda item: item.index))


def scoring_job(loaded: LoadedModel, message: ScoreMany) -> ScoringJob:
    """Encode a message's requests. Raises `CannotRender`, `CannotAttach`, `DoesNotFit` and `OverBudget`."""
    adapter = loaded.adapters.attach(message.adapter) if message.adapter else None
    items = [_encode(loaded, index, request, message) for index, request in enumerate(message.requests)]
    _find_shared(loaded, items)
    items.sort(key=lambda item: (item.cluster, -item.length))
    return ScoringJob(id=message.id, items=items, adapter=adapter)


@torch.inference_mode()
def score_batch(loaded: LoadedModel, job: ScoringJob) -> None:
    """Score the job's next items, as many as fit one batch."""
    first = job.items[job.next]
    if not _shares_a_row(loaded, first):
        for position, ids in enumerate(first.continuations):
            alone = _Item(
                first.index, first.context, [ids], alternatives=first.alternatives, given=first.given
            )
            _score_rows(loaded, [alone], job.adapter)
            first.scores[position:] = alone.scores
        job.next += 1
        return
    if job.prefix_of != first.cluster:
        job.prefix, job.prefix_of = _prefix(loaded, first, job.adapter), first.cluster
    rows = max(1, BATCH_TOKENS[loaded.device.type] // (first.length - first.shared))
    if first.shared:  # each row holds the prefix's keys and values too
        rows = max(1, min(rows, loaded.cache_tokens // first.length))
    batch = [item for item in job.items[job.next : job.next + rows] if item.cluster == first.cluster]
    _score_rows(loaded, batch, job.adapter, job.prefix)
    job.next += len(batch)


def _shares_a_row(loaded: LoadedModel, item: _Item) -> bool:
    """Whether continuations may lie in one row behind their context."""
    return loaded.joinable and _fits_window(loaded.model.config, item.length)


def _find_shared(loaded: LoadedModel, items: list[_Item]) -> None:
    """Set the cluster of each item, and how many ids its context shares with the others of it."""
    rows = [item for item in items if _shares_a_row(loaded, item)]
    # The last id of a context stays each item's own: the logits behind it are wanted.
    for number, (members, shared) in enumerate(clusters([item.context[:-1] for item in rows])):
        for member in members:
            rows[member].cluster, rows[member].shared = number, shared


def _prefix(loaded: LoadedModel, item: _Item, adapter: str | None) -> Any:
    """The keys and values of what the item's context shares with others, as a cache of one row; None for nothing."""
    if not item.shared:
        return None
    cache = new_cache()
    loaded.adapters.forward(
        [adapter],
        input_ids=torch.tensor([item.context[: item.shared]], device=loaded.device),
        past_key_values=cache,
        use_cache=True,
        **({"logits_to_keep": 1} if loaded.trims_logits else {}),
    )
    return cache


def _encode(loaded: LoadedModel, index: int, request: ScoreRequest, message: ScoreMany) -> _Item:
    tokenizer = loaded.tokenizer
    given: int | None = None
    if request.whole is not None:
        context, continuations, given = _whole(tokenizer, request.whole)
    elif request.conversation is not None:
        context = render(tokenizer, request.conversation, message.prompting, message.adapter).ids
        continuations = [_ids(tokenizer, text) for text in request.continuations]
    else:
        text = request.text or ""
        # Blanks at the end of a context belong to the tokens that follow them (as in lm-eval's encoding).
        context_text = text.rstrip()
        blanks = text[len(context_text) :]
        context = _ids(tokenizer, context_text) if context_text else []
        whole = [_ids(tokenizer, context_text + blanks + more) for more in request.continuations]
        continuations = [ids[len(context) :] for ids in whole]
        if not context:
            prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
            if any(ids[:1] != [prefix] for ids in continuations):
                context = [prefix]
            else:
                context, continuations = [prefix], [ids[1:] for ids in continuations]
    longest = len(context) + max(len(ids) for ids in continuations) - 1
    if longest > loaded.context_length:
        raise DoesNotFit(
            f"request {index}: context and continuation have {longest:,} tokens; the model's context holds "
            f"{loaded.context_length:,}. Shorten the context"
        )
    return _Item(index, context, continuations, alternatives=request.alternatives, given=given)


def _whole(tokenizer: Any, text: str | tuple[int, ...]) -> tuple[list[int], list[list[int]], int | None]:
    """A whole text as the prompt that it would be: its first id, the others, and the first one again unless the
    tokenizer put it there. Raises `CannotRender`."""
    encoded = encode_text(tokenizer, text) if isinstance(text, str) else given_ids(tokenizer, text)
    ids = encoded.ids
    if not ids:
        raise CannotRender("there is nothing to score")
    added = isinstance(text, str) and ids[0] == tokenizer.bos_token_id and ids[1:] == _ids(tokenizer, text)
    return ids[:1], [ids[1:]], None if added else ids[0]


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def _fits_window(config: Any, length: int) -> bool:
    """Whether the shared mask says all there is to say: a sliding window would be missing from it."""
    text = config.get_text_config(decoder=True)
    types = set(getattr(text, "layer_types", None) or ())
    window = getattr(text, "sliding_window", None) or getattr(text, "attention_chunk_size", None)
    return types <= {"full_attention"} or (window is not None and length <= window)


def _score_rows(loaded: LoadedModel, items: list[_Item], adapter: str | None, prefix: Any = None) -> None:
    """Score items in one forward pass and fill in their `scores`; `prefix` caches what their contexts share."""
    shared = items[0].shared
    front = max(len(item.own) for item in items)
    width = front + max(item.length - len(item.context) for item in items)
    ids = torch.zeros(len(items), width, dtype=torch.long)
    positions = torch.zeros_like(ids)
    # Segment 0 is the context, 1.. are continuations, -1 is padding.
    segments = torch.full_like(ids, -1)
    wanted: list[tuple[int, int, int]] = []  # (row, column whose logits predict it, token)
    for row, item in enumerate(items):
        length = len(item.context)
        start = front - length + shared
        ids[row, start:front] = torch.tensor(item.own)
        positions[row, start:front] = torch.arange(shared, length)
        segments[row, start:front] = 0
        column = front
        for number, continuation in enumerate(item.continuations, start=1):
            end = column + len(continuation)
            ids[row, column:end] = torch.tensor(continuation, dtype=torch.long)
            positions[row, column:end] = torch.arange(length, length + len(continuation))
            segments[row, column:end] = number
            wanted += [
                (row, front - 1 if place == 0 else column + place - 1, token)
                for place, token in enumerate(continuation)
            ]
            column = end
    columns = sorted({column for _, column, _ in wanted})
    if not columns:  # empty continuations alone
        _fill_in(loaded, items, [], [], [])
        return
    alone = len(items) == 1 and len(items[0].continuations) == 1
    mask = None if alone else _mask(segments[:, : columns[-1] + 1], shared, loaded.dtype)
    logits = _logits(loaded, ids, positions, mask, columns, adapter, prefix)
    place = {column: index for index, column in enumerate(columns)}
    picked = logits[[row for row, _, _ in wanted], [place[column] for _, column, _ in wanted]]
    logprobs = torch.log_softmax(picked.float(), dim=-1)
    tokens = torch.tensor([token for _, _, token in wanted], device=logprobs.device)
    chosen = logprobs.gather(1, tokens[:, None])[:, 0].tolist()
    greedy = (logprobs.argmax(dim=-1) == tokens).tolist()
    _fill_in(loaded, items, chosen, greedy, _traced(loaded, items, wanted, logprobs))


def _traced(
    loaded: LoadedModel, items: list[_Item], wanted: list[tuple[int, int, int]], logprobs: torch.Tensor
) -> list[TokenLogprob]:
    """Each scored token with its alternatives, where an item asks for them; `logprobs` is (wanted, vocabulary)."""
    most = max((item.alternatives for item in items if item.alternatives is not None), default=None)
    if most is None:
        return []
    values, ids = (each.tolist() for each in torch.topk(logprobs, max(most, 1), dim=-1))
    decode = loaded.tokenizer.decode
    found = []
    for place, (row, _, token) in enumerate(wanted):
        kept = items[row].alternatives or 0
        top = tuple((decode([i]), v) for i, v in zip(ids[place][:kept], values[place][:kept], strict=True))
        text, value = decode([token]), float(logprobs[place, token])
        found.append(TokenLogprob(token=text, token_id=token, logprob=value, top=top))
    return found


def _fill_in(
    loaded: LoadedModel,
    items: list[_Item],
    logprobs: list[float],
    greedy: list[bool],
    traces: list[TokenLogprob],
) -> None:
    at = 0
    for item in items:
        before: tuple[TokenLogprob, ...] = ()
        if item.given is not None:
            before = (
                TokenLogprob(token=loaded.tokenizer.decode([item.given]), token_id=item.given, logprob=0.0),
            )
        for continuation in item.continuations:
            end = at + len(continuation)
            item.scores.append(
                Score(
                    logprob=sum(logprobs[at:end]),
                    tokens=len(continuation),
                    greedy=all(greedy[at:end]),
                    trace=(*before, *traces[at:end]) if item.alternatives is not None else (),
                )
            )
            at = end


def _mask(segments: torch.Tensor, shared: int, dtype: torch.dtype) -> torch.Tensor:
    """What each column may see, to be added to attention scores: (rows, 1, columns, shared + columns)."""
    width = segments.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    visible = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    allowed = (visible & causal) | torch.eye(width, dtype=torch.bool)
    mask = torch.zeros(len(segments), 1, width, shared + width, dtype=dtype)
    mask[..., shared:].masked_fill_(~allowed[:, None], torch.finfo(dtype).min)
    return mask


def _logits(
    loaded: LoadedModel,
    ids: torch.Tensor,
    positions: torch.Tensor,
    mask: torch.Tensor | None,
    columns: list[int],
    adapter: str | None,
    prefix: Any,
) -> torch.Tensor:
    """Logits of shape (rows, columns, vocabulary) at the given columns."""
    last = columns[-1] + 1  # what follows the last scored column is read by nobody
    device = loaded.device
    keep = torch.tensor(columns, device=device)
    output = loaded.adapters.forward(
        [adapter] * len(ids),
        input_ids=ids[:, :last].to(device),
        attention_mask=mask.to(device) if mask is not None else None,
        position_ids=positions[:, :last].to(device),
        past_key_values=repeated(prefix, len(ids), last) if prefix is not None else None,
        use_cache=prefix is not None,
        **({"logits_to_keep": keep} if loaded.trims_logits else {}),
    )
    logits: torch.Tensor = output.logits
    return logits if loaded.trims_logits else logits[:, keep]
