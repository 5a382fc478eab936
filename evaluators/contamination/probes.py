"""What a model shows of test items it has seen: does it continue them word for word, does it prefer their order?

Continuation: "Quantifying Memorization Across Neural Language Models" (Carlini et al., arXiv 2202.07646). Order: after
"Proving Test Set Contamination in Black Box Language Models" (Oren et al., arXiv 2310.17623), which compares the order
of examples; here it is the options of each question. Both only prove what they find: a model may have seen an item and
show neither.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from arena.engines.base import Engine, EngineError, GenerationRequest, OverContext, Sampling, ScoreRequest
from arena.engines.jobs import answers
from evaluators.contamination._letters import read
from evaluators.contamination.passages import Passage, passages
from evaluators.suites.definition import Suite
from evaluators.suites.errors import NeedsLoglikelihood
from evaluators.suites.scorers.choice import lettered
from evaluators.suites.statistics import Difference, paired_difference

CONTROLS = 5
ORDERS = 5
LEAST, LEAST_CJK = 30, 15
"""Letters in a row that a continuation must share with the item's second half to count as known by heart."""
_LOOKED_AT, _LOOKED_AT_CJK = 60, 30
_MOST_TOKENS = 128
_FIXED_ORDER = re.compile(
    r"\b(?:all|none|both|neither|either) of (?:the|these)|위의|모두|둘 다|해당 없음|\b[A-D] (?:and|or) [A-D]\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Continued:
    """How a model went on after the first half of an item. `share` of the second half's letters (of its first 60, in
    Korean 30) came word for word from the beginning; `control` is the most for halves of other items, `rouge_l` the
    likeness in any order. `flagged`: the item is known by heart."""

    passage: Passage
    first: str
    second: str
    text: str
    letters: int
    share: float
    control: float
    rouge_l: float
    flagged: bool


@dataclass(frozen=True)
class Ordered:
    """The log-likelihood of a question's options in their own order, and the mean of other orders of them."""

    item: str
    item_hash: str
    own: float
    others: float
    wins: bool


@dataclass(frozen=True)
class OrderTest:
    """All questions of a suite: in how many the own order is likelier than the median of others, and the one-sided p
    of a sign test that this is chance. `left_out` questions have options whose order means something."""

    suite: str
    items: tuple[Ordered, ...]
    left_out: int
    p: float | None

    @property
    def wins(self) -> int:
        """Questions whose own order is preferred."""
        return sum(each.wins for each in self.items)


def halves(text: str) -> tuple[str, str] | None:
    """A text in two halves, parted before a word; None where the second would be too short to prove anything."""
    begins = [match.start() for match in re.finditer(r"(?<=\s)\S", text)]
    if not begins:
        return None
    middle = min(begins, key=lambda place: abs(place - len(text) / 2))
    first, second = text[:middle].rstrip(), text[middle:]
    letters = read([second])
    enough = LEAST_CJK if 2 * int(letters.cjk.sum()) >= len(letters) else LEAST
    return (first, second) if len(letters) >= enough else None


async def completion_probe(
    engine: Engine,
    suite: Suite,
    *,
    items: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[Continued]:
    """Give a model the first half of items as plain text, let it continue greedily, and compare with the second.

    Of each item the longest text that the suite asks is taken; `items` draws that many. What does not fit the model's
    context is left out.

    Raises:
        EngineError: the model cannot be asked (endpoints that only chat cannot continue plain text).
    """
    asked = [(passage, parts) for passage in _longest(suite) if (parts := halves(passage.text)) is not None]
    chosen = asked if items is None or items >= len(asked) else random.Random(seed).sample(asked, items)  # noqa: S311
    requests = [
        GenerationRequest(
            text=first, sampling=Sampling(temperature=0, max_tokens=min(_MOST_TOKENS, len(second.encode())))
        )
        for _, (first, second) in chosen
    ]
    texts: dict[int, str] = {}
    async with aclosing(answers(engine, requests)) as results:
        async for place, result in results:
            if isinstance(result, EngineError):
                if not isinstance(result, OverContext):
                    raise result
                continue
            texts[place] = result.text
            progress(len(texts), len(requests))
    return [
        _compared(chosen[place], text, _others(chosen, place, seed)) for place, text in sorted(texts.items())
    ]


def completion_summary(found: Sequence[Continued], seed: int = 0) -> Difference | None:
    """The shares continued against those of the controls, paired item by item; None of fewer than two items."""
    if len(found) < 2:
        return None
    ids = [each.passage.item for each in found]
    return paired_difference([each.control for each in found], [each.share for each in found], ids, seed=seed)


async def order_probe(
    engine: Engine,
    suite: Suite,
    *,
    items: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> OrderTest:
    """Compare the likelihood of a multiple-choice question's options in their own order with that of other orders.

    Without having seen the question a model has no reason to prefer one order, where the options have no order of their
    own: questions with ascending numbers or options such as "all of the above" are left out. One question proves
    nothing; the sign test over all of them may.

    Raises:
        NeedsLoglikelihood: the model cannot score text.
        EngineError: it failed.
    """
    scorer: Any = getattr(engine, "loglikelihood", None)
    if scorer is None:
        raise NeedsLoglikelihood(
            "the order of options needs a model that can score text; this one only generates"
        )
    questions = [item for item in suite.items if len(item.values.get("choices") or ()) > 2]
    able = [item for item in questions if not _has_order([str(each) for each in item.values["choices"]])]
    chosen = able if items is None or items >= len(able) else random.Random(seed).sample(able, items)  # noqa: S311
    found = []
    asked = {passage.item: passage.text for passage in reversed(_longest(suite))}
    for number, item in enumerate(chosen, start=1):
        options = [str(each) for each in item.values["choices"]]
        orders = _orders(options, item.digest)
        request = ScoreRequest(
            text=asked.get(item.id, item.id) + "\n",
            continuations=tuple(lettered(each) for each in (options, *orders)),
        )
        try:
            ((own, *others),) = await scorer([request])
        except OverContext:
            continue
        scores = [each.logprob for each in others]
        found.append(
            Ordered(
                item.id,
                item.digest,
                own.logprob,
                float(np.mean(scores)),
                own.logprob > float(np.median(scores)),
            )
        )
        progress(number, len(chosen))
    p = None
    if found:
        from scipy.stats import binomtest

        p = float(binomtest(sum(each.wins for each in found), len(found), 0.5, "greater").pvalue)
    return OrderTest(suite.name, tuple(found), len(questions) - len(able), p)


def _longest(suite: Suite) -> list[Passage]:
    """The longest text that is asked, of each item; a text that several items share once."""
    best: dict[str, Passage] = {}
    for passage in passages(suite):
        if passage.role == "asked" and len(passage.text) > len(
            best[passage.item].text if passage.item in best else ""
        ):
            best[passage.item] = passage
    return list({passage.text: passage for passage in reversed(best.values())}.values())[::-1]


def _compared(asked: tuple[Passage, tuple[str, str]], text: str, others: Sequence[str]) -> Continued:
    passage, (first, second) = asked
    letters, looked_at, least = _common(second, text)
    share = letters / looked_at
    control = 0.0
    for other in others:
        common, of, _ = _common(other, text)
        control = max(control, common / of)
    return Continued(
        passage, first, second, text, letters, share, control, _rouge_l(text, second),
        flagged=letters >= least and share > control,
    )  # fmt: skip


def _common(second: str, text: str) -> tuple[int, int, int]:
    """How many letters both begin with, how many are looked at, and how many of them are telling."""
    want, got = read([second]), read([text])
    cjk = 2 * int(want.cjk.sum()) >= len(want)
    looked_at = min(len(want), _LOOKED_AT_CJK if cjk else _LOOKED_AT)
    pairs = zip(want.at[:looked_at].tolist(), got.at.tolist(), strict=False)
    common = sum(1 for _ in takewhile(lambda at: want.joined[at[0]] == got.joined[at[1]], pairs))
    return common, max(looked_at, 1), LEAST_CJK if cjk else LEAST


def _rouge_l(text: str, second: str) -> float:
    """ROUGE-L (F) over words and Hangul syllables, of as much of the second half as was generated."""
    from evaluators.suites.scorers.overlap import rouge

    return rouge(text, (second,))["rouge_l"]


def _others(chosen: Sequence[tuple[Passage, tuple[str, str]]], place: int, seed: int) -> list[str]:
    """Second halves of other items, drawn."""
    rest = [second for number, (_, (_, second)) in enumerate(chosen) if number != place]
    return random.Random(f"{seed}:{place}").sample(rest, min(CONTROLS, len(rest)))  # noqa: S311


def _orders(options: list[str], seed: str) -> Iterator[list[str]]:
    """Other orders of the options, no two equal."""
    draw = random.Random(hashlib.sha256(seed.encode()).digest())  # noqa: S311
    seen = {tuple(options)}
    for _ in range(20 * ORDERS):
        order = draw.sample(options, len(options))
        if tuple(order) not in seen:
            seen.add(tuple(order))
            yield order
        if len(seen) > ORDERS:
            return


def _has_order(options: Sequence[str]) -> bool:
    """Whether the options' order means something, so that a model may prefer it without having seen the question."""
    if any(_FIXED_ORDER.search(option) for option in options):
        return True
    numbers = [re.search(r"-?\d+(?:[.,]\d+)*", option) for option in options]
    values = [float(match[0].replace(",", "")) for match in numbers if match is not None]
    return len(values) == len(options) and values in (sorted(values), sorted(values, reverse=True))
