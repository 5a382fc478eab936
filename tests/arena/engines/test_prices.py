"""What answers cost."""

from __future__ import annotations

import pytest

from arena.config import Price
from arena.engines.base import Cost, Generation
from arena.engines.prices import Spending, cost_of, price_of, spending
from arena.engines.remote import Remotes
from arena.engines.spec import ModelSpec
from tests.arena.engines.remote_made import engine, read

PRICE = Price(input=2.0, output=8.0, cached_input=0.5)


async def test_an_answer_costs_what_its_usage_says(scripted_server: str) -> None:
    remotes = Remotes(prices={"reasons": PRICE, "reasons-apart": PRICE})
    _, generation = await read(engine(scripted_server, "reasons", remotes=remotes))
    assert (generation.prompt_tokens, generation.completion_tokens, generation.reasoning_tokens) == (
        1000,
        27,
        20,
    )
    assert generation.cost is not None
    assert generation.cost.amount == pytest.approx((600 * 2.0 + 400 * 0.5 + 27 * 8.0) / 1e6)
    # This server leaves its thinking out of the completion's count, and bills it.
    _, generation = await read(engine(scripted_server, "reasons-apart", remotes=remotes))
    assert (generation.completion_tokens, generation.reasoning_tokens) == (27, 20)
    _, generation = await read(engine(scripted_server, "ok:unpriced", remotes=remotes))
    assert (generation.cost, generation.reasoning_tokens) == (None, None)


def test_the_price_is_found_by_name_id_or_address() -> None:
    spec = ModelSpec(name="mine", kind="openai", source="org/model", base_url="http://a/v1/")
    cheap = Price(input=1, output=1)
    assert price_of(spec, {"mine": PRICE, "org/model": cheap}) is PRICE
    assert price_of(spec, {"org/model": cheap, "http://a/v1": PRICE}) is cheap
    assert price_of(spec, {"http://a/v1": PRICE}) is PRICE
    assert price_of(spec, {"another": PRICE}) is None
    assert price_of(ModelSpec(name="mine", source="mine"), {"mine": PRICE}) is None
    assert cost_of(PRICE, None, 3) is None


def test_spending_is_summed_by_model_and_currency() -> None:
    def answer(cost: Cost | None, tokens: int | None = 10) -> Generation:
        return Generation(
            text="x", finish_reason="stop", duration=1, rendered_by="server", cost=cost,
            prompt_tokens=tokens, completion_tokens=tokens, reasoning_tokens=2,
        )  # fmt: skip

    dollar, won = Cost(amount=0.25, currency="USD"), Cost(amount=300, currency="KRW")
    found = spending(
        [("a", answer(dollar)), ("a", answer(dollar)), ("a", answer(won)), ("b", answer(None, None))]
    )
    assert found == {
        "a": Spending(
            answers=3, prompt_tokens=30, completion_tokens=30, reasoning_tokens=6,
            amounts={"USD": 0.5, "KRW": 300},
        ),
        "b": Spending(answers=1, unpriced=1, uncounted=1, reasoning_tokens=2),
    }  # fmt: skip
    assert spending([]) == {}
