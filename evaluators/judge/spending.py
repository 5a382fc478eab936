"""What judging will cost, what it has cost, and where to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arena.config import Price
from arena.engines.base import Generation
from evaluators.judge.planning import Question

CHARACTERS_PER_TOKEN = 3.5
# Korean takes a token for one or two characters with most tokenizers.
KOREAN_CHARACTERS_PER_TOKEN = 1.6
_MILLION = 1_000_000


class OverBudget(Exception):
    """The next question might pass the cap."""


class NoPrice(ValueError):
    """Cost cannot be capped where no price is known; the message says where prices stand."""


@dataclass(frozen=True)
class Estimate:
    """Before the start: questions to be asked (`cached`: those with a reply already), tokens, and cost.

    Replies are between `completion_low` (a bare verdict) and `completion_high` tokens (every reply as long as allowed,
    one in ten asked twice); costs are None where no price is known.
    """

    questions: int
    cached: int
    prompt_tokens: int
    completion_low: int
    completion_high: int
    cost_low: float | None
    cost_high: float | None
    currency: str | None


def tokens_of(text: str) -> float:
    """A text's tokens, guessed from its characters."""
    korean = sum("\u1100" <= character <= "\ud7a3" for character in text)
    return korean / KOREAN_CHARACTERS_PER_TOKEN + (len(text) - korean) / CHARACTERS_PER_TOKEN


def prompt_tokens_of(question: Question) -> int:
    """A question's prompt tokens, guessed."""
    return round(sum(tokens_of(message.content) + 5 for message in question.conversation.messages))


def estimate(questions: Sequence[Question], cached: int, max_answer: int, price: Price | None) -> Estimate:
    """What asking these questions takes."""
    prompts = sum(map(prompt_tokens_of, questions))
    low, high = min(8, max_answer) * len(questions), round(1.1 * max_answer * len(questions))

    def cost(completion: int) -> float | None:
        return None if price is None else (prompts * price.input + completion * price.output) / _MILLION

    return Estimate(
        questions=len(questions), cached=cached, prompt_tokens=prompts, completion_low=low, completion_high=high,
        cost_low=cost(low), cost_high=cost(high), currency=None if price is None else price.currency,
    )  # fmt: skip


class Budget:
    """Counts what is spent and what questions in the air may still spend, and refuses what might pass a cap.

    `max_cost` is in the price's currency, `max_tokens` counts prompts and replies. A cap on cost without a known price
    raises NoPrice.
    """

    def __init__(self, max_cost: float | None, max_tokens: int | None, price: Price | None) -> None:
        if max_cost is not None and price is None:
            raise NoPrice(
                "a cap on cost needs the judge's price: put it under [prices] in arena.toml (input and output per "
                "million tokens), or cap tokens instead"
            )
        self._max_cost, self._max_tokens, self._price = max_cost, max_tokens, price
        self._open_tokens = 0
        self._open_cost = 0.0
        self.tokens = 0
        self.cost = 0.0

    def reserve(self, prompt: int, completion: int) -> tuple[int, float]:
        """Set tokens aside for a question. Raises OverBudget where a cap might be passed."""
        tokens, cost = prompt + completion, self._cost(prompt, completion)
        if self._max_tokens is not None and self.tokens + self._open_tokens + tokens > self._max_tokens:
            raise OverBudget(f"the next question may take {tokens:,} tokens, and {self.tokens:,} of "
                             f"{self._max_tokens:,} are spent")  # fmt: skip
        if self._max_cost is not None and self.cost + self._open_cost + cost > self._max_cost:
            raise OverBudget(
                f"the next question may cost {cost:.4f}, and {self.cost:.4f} of {self._max_cost:.4f} is spent"
            )
        self._open_tokens += tokens
        self._open_cost += cost
        return tokens, cost

    def settle(self, reserved: tuple[int, float], generations: Sequence[Generation]) -> None:
        """Replace what was set aside by what was spent (nothing, where no answer came)."""
        self._open_tokens -= reserved[0]
        self._open_cost -= reserved[1]
        for generation in generations:
            prompt, completion = generation.prompt_tokens or 0, generation.completion_tokens or 0
            self.tokens += prompt + completion
            self.cost += generation.cost.amount if generation.cost else self._cost(prompt, completion)

    def _cost(self, prompt: int, completion: int) -> float:
        price = self._price
        return 0.0 if price is None else (prompt * price.input + completion * price.output) / _MILLION
