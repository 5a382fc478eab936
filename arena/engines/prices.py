"""What answers cost: by the price table of the settings, and summed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict

from arena.config import Price
from arena.engines.base import Cost, Generation
from arena.engines.spec import ModelSpec

MILLION = 1_000_000


class Spending(BaseModel):
    """The sum over one model's answers. `amounts` are by currency; `unpriced` counts answers whose cost is not known,
    `uncounted` those whose tokens the server did not tell."""

    model_config = ConfigDict(frozen=True)

    answers: int = 0
    unpriced: int = 0
    uncounted: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    amounts: dict[str, float] = {}


def price_of(spec: ModelSpec, prices: Mapping[str, Price]) -> Price | None:
    """The price of a model: under its name on the roster, its id at the endpoint, or one of its endpoint's URLs.
    None for local models and where the table has none of these."""
    if spec.kind != "openai":
        return None
    urls = (spec.base_url, *spec.base_urls)
    keys = (spec.name, spec.source, *(form for url in urls if url for form in (url, url.rstrip("/"))))
    return next((prices[key] for key in keys if key in prices), None)


def cost_of(
    price: Price | None, prompt_tokens: int | None, completion_tokens: int | None, cached_tokens: int = 0
) -> Cost | None:
    """What one answer costs; None where there is no price or no count. `cached_tokens` are those of the prompt that
    the server took from its cache."""
    if price is None or prompt_tokens is None or completion_tokens is None:
        return None
    cached = price.input if price.cached_input is None else price.cached_input
    fresh = max(0, prompt_tokens - cached_tokens)
    amount = fresh * price.input + cached_tokens * cached + completion_tokens * price.output
    return Cost(amount=amount / MILLION, currency=price.currency)


def spending(answers: Iterable[tuple[str, Generation]]) -> dict[str, Spending]:
    """What the answers of each model came to, from (model name, generation) pairs."""
    found: dict[str, Spending] = {}
    for name, generation in answers:
        found[name] = _plus(found.get(name, Spending()), generation)
    return found


def _plus(before: Spending, generation: Generation) -> Spending:
    amounts = dict(before.amounts)
    cost = generation.cost
    if cost is not None:
        amounts[cost.currency] = amounts.get(cost.currency, 0.0) + cost.amount
    counted = generation.prompt_tokens is not None and generation.completion_tokens is not None
    return Spending(
        answers=before.answers + 1,
        unpriced=before.unpriced + (cost is None),
        uncounted=before.uncounted + (not counted),
        prompt_tokens=before.prompt_tokens + (generation.prompt_tokens or 0),
        completion_tokens=before.completion_tokens + (generation.completion_tokens or 0),
        reasoning_tokens=before.reasoning_tokens + (generation.reasoning_tokens or 0),
        amounts=amounts,
    )
