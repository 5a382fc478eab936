"""Samples of one suite to look at: what two models (or one) answered to the same items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evaluators.suites.comparing import Side
from evaluators.suites.definition import Suite
from evaluators.suites.results_of import Row, read_samples
from results.store import Store

Show = Literal["all", "differ", "a_better", "b_better", "neither", "no_answer"]
SHOWS: tuple[Show, ...] = ("all", "differ", "a_better", "b_better", "neither", "no_answer")


_EXPECTED = (
    "target", "targets", "answers", "must_mention", "constraints", "expected", "pattern", "schema", "tests", "rubric",
)  # fmt: skip
"""The fields that scorers hold answers against, the first one that an item has."""


@dataclass(frozen=True)
class SidesAnswer:
    """One model's answer to an item. `score` is None where there is none; `choices` are what a model was scored on,
    with their log-probabilities; `detail` is what the scorer saw."""

    text: str | None
    score: float | None
    metrics: dict[str, float | None]
    detail: dict[str, Any]
    finish_reason: str | None
    rendered_prompt: str | None
    error_kind: str | None
    error: str | None


@dataclass(frozen=True)
class SamplePair:
    """One item (and repeat) with the answers of both sides; None for a side that has none of it."""

    item: str
    item_hash: str
    language: str
    category: str
    repeat: int
    a: SidesAnswer | None
    b: SidesAnswer | None

    @property
    def differs(self) -> bool:
        """Whether both sides have a score, and not the same."""
        scores = _scores(self)
        return scores is not None and scores[0] != scores[1]


def side_by_side(store: Store, suite: str, a: Side, b: Side | None = None) -> list[SamplePair]:
    """Every item of a suite that either side was asked, in the order of item and repeat; of a model without a run, from
    the newest run that asked it this item."""
    found = [_newest(store, suite, side) for side in (a, b) if side is not None]
    keys = dict.fromkeys(key for rows in found for key in rows)
    pairs = []
    for key in keys:
        rows = [part.get(key) for part in found]
        row = next(each for each in rows if each is not None)
        answers = [None if each is None else _answer(each) for each in rows]
        pairs.append(
            SamplePair(
                item=row["item"],
                item_hash=row["item_hash"],
                language=row["language"],
                category=row["category"],
                repeat=row["repeat"],
                a=answers[0],
                b=answers[1] if b is not None else None,
            )
        )
    return sorted(pairs, key=lambda pair: (pair.item, pair.repeat))


def filtered(pairs: Sequence[SamplePair], show: Show) -> list[SamplePair]:
    """Those to show: `differ` where scores differ, `a_better` and `b_better` where one is higher, `neither` where no
    side has a full score, `no_answer` where a side has an error."""
    return [pair for pair in pairs if _is_shown(pair, show)]


def asked(suite: Suite, pair: SamplePair) -> tuple[list[tuple[str, str]], Any]:
    """What the item asks (role and text of each message) and what a right answer is held against (None where the item
    has no field for that). Empty where the suite has no such item any more, or another one of its name."""
    item = next(
        (each for each in suite.items if each.id == pair.item and each.digest == pair.item_hash), None
    )
    if item is None:
        return [], None
    conversation = suite.request(item).ask.conversation
    said = () if conversation is None else conversation.messages
    messages = [(str(each.role), each.content) for each in said]
    return messages, _expected(item.values)


def _expected(values: dict[str, Any]) -> Any:
    found = next((values[name] for name in _EXPECTED if name in values), None)
    if isinstance(found, int) and "choices" in values:
        return values["choices"][found]
    return found


def _is_shown(pair: SamplePair, show: Show) -> bool:
    scores = _scores(pair)
    match show:
        case "differ":
            return pair.differs
        case "a_better":
            return scores is not None and scores[0] > scores[1]
        case "b_better":
            return scores is not None and scores[1] > scores[0]
        case "neither":
            known = [side.score for side in (pair.a, pair.b) if side is not None and side.score is not None]
            return bool(known) and max(known) < 1
        case "no_answer":
            return any(side is not None and side.error_kind for side in (pair.a, pair.b))
    return True


def _scores(pair: SamplePair) -> tuple[float, float] | None:
    if pair.a is None or pair.b is None or pair.a.score is None or pair.b.score is None:
        return None
    return pair.a.score, pair.b.score


def _newest(store: Store, suite: str, side: Side) -> dict[tuple[str, str, int], Row]:
    rows = [row for row in read_samples(store, side.run_id, suite) if row["version_key"] == side.version_key]
    found: dict[tuple[str, str, int], Row] = {}
    for row in sorted(rows, key=lambda row: row["created_at"]):
        found[(row["item"], row["item_hash"], row["repeat"])] = row
    return found


def _answer(row: Row) -> SidesAnswer:
    return SidesAnswer(
        text=row["text"],
        score=row["score"],
        metrics=row["metrics"],
        detail=row["detail"],
        finish_reason=row["finish_reason"],
        rendered_prompt=row["rendered_prompt"],
        error_kind=row["error_kind"],
        error=row["error"],
    )
