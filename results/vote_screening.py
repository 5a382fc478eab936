"""Screening the votes of a store: what to leave out of the ratings, why, and by whom it was given.

A run judges all votes that count or were screened before, and its findings take the place of the last run's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from results.identity_leaks import LeakFinder
from results.ratings import OUTCOME, PairCounts, bradley_terry
from results.screening import VoterVotes, bursts, e_bh, score_voter
from results.store import ScreeningOutcome, Store

IDENTITY_LEAK, BURST, DUPLICATE = "identity_leak", "burst", "duplicate_prompt"

_PAGE = 2_000
_ELO_PER_LOG_ODDS = 400.0 / np.log(10.0)
# A voter with this share of all votes moves the ratings that they are held against: these are fitted without them.
_HEAVY = 0.02

_VOTES = """
SELECT c.seq, hash(c.voter) AS voter, epoch(c.time) AS seconds,
       CASE WHEN c.mirrored THEN c.version_b ELSE c.version_a END AS version_a,
       CASE WHEN c.mirrored THEN c.version_a ELSE c.version_b END AS version_b,
       CASE WHEN c.mirrored AND c.verdict = 'a' THEN 'b' WHEN c.mirrored AND c.verdict = 'b' THEN 'a' ELSE c.verdict
       END AS verdict,
       coalesce(hash(b.item_id), 0) AS item, c.excluded IS NULL AS counted,
       c.time IS NOT DISTINCT FROM i.created_at AS undated,
       CASE WHEN c.mirrored THEN -1 ELSE 1 END * sign(coalesce(g.length_a, length(b.conversation_a), 0)
            - coalesce(g.length_b, length(b.conversation_b), 0)) AS longer
FROM comparisons c
LEFT JOIN battles b ON b.id = c.battle_id
LEFT JOIN imports i ON i.id = c.import_id
LEFT JOIN (SELECT battle_id, sum(length(text)) FILTER (side = 'a') AS length_a,
                  sum(length(text)) FILTER (side = 'b') AS length_b
           FROM generations WHERE error_kind IS NULL GROUP BY 1) g ON g.battle_id = c.battle_id
WHERE c.source = 'human' AND c.voter IS NOT NULL AND (c.excluded IS NULL OR starts_with(c.excluded, 'screened:'))
ORDER BY c.voter, c.time, c.seq
"""

_COUNTS = (
    "SELECT version_a, version_b, verdict, sum(n)::BIGINT AS n FROM pair_counts "
    "WHERE source = 'human' AND n > 0 AND version_a <> version_b GROUP BY ALL"
)

_FIRST_PERSON = (
    r"(I am|I['’]m|I was|I have been|I['’]ve been|[Mm]y name|[Cc]all me|\bAs "
    r"|저는|나는|전 |난 |제가|제 ?이름|내 ?이름|저를|본 ?모델|\\u[0-9a-fA-F]{4})"
)

_ANSWERS = """
SELECT b.id::VARCHAR AS battle, b.conversation_a, b.conversation_b,
       (SELECT list(g.text) FROM generations g WHERE g.battle_id = b.id) AS answers,
       (SELECT list(t.message) FROM turns t WHERE t.battle_id = b.id) AS messages
FROM battles b
WHERE b.id > ?::UUID AND b.id IN (SELECT battle_id FROM comparisons WHERE source = 'human')
  AND (regexp_matches(coalesce(b.conversation_a, '') || coalesce(b.conversation_b, ''), ?)
       OR b.id IN (SELECT battle_id FROM generations WHERE regexp_matches(text, ?)))
ORDER BY b.id LIMIT ?
"""


class Rules(BaseModel):
    """What is too much. `fdr`: the expected share of honest voters among those flagged by their verdicts;
    voters with fewer than `min_votes` are not tested. More than `burst_votes` in `burst_seconds` are a burst;
    votes of one voter on one prompt and pair of models beyond `same_pair`, or on one prompt beyond
    `same_prompt`, are duplicates."""

    model_config = ConfigDict(frozen=True)

    fdr: float = Field(default=0.01, gt=0, lt=1)
    min_votes: int = Field(default=15, ge=1)
    burst_votes: int = Field(default=20, ge=1)
    burst_seconds: float = Field(default=60.0, gt=0)
    same_pair: int = Field(default=2, ge=1)
    same_prompt: int = Field(default=30, ge=1)


class FlaggedVoter(BaseModel):
    """A voter whose verdicts do not come from the answers. `log10_e` is the evidence: 3 is a thousand to one."""

    model_config = ConfigDict(frozen=True)

    voter: UUID
    reason: str
    votes: int
    log10_e: float
    p_value: float


class Leak(BaseModel):
    """A battle in which an answer named its model."""

    model_config = ConfigDict(frozen=True)

    battle: UUID
    names: tuple[str, ...]


class Screening(BaseModel):
    """What a run found. `flagged` counts votes by reason; `changed` tells what it changed in the store (None
    for a dry run)."""

    model_config = ConfigDict(frozen=True)

    votes: int
    voters: int
    voters_tested: int
    flagged: dict[str, int]
    flagged_voters: tuple[FlaggedVoter, ...]
    leaks: tuple[Leak, ...]
    changed: ScreeningOutcome | None


def screen(store: Store, rules: Rules | None = None, *, dry_run: bool = False) -> Screening:
    """Find votes that should not count and, unless `dry_run`, mark them `screened:<reason>`: they stay, out of
    the ratings, and `undo_screening` brings them back. Votes that an earlier run marked and this one does not
    count again."""
    chosen = rules or Rules()
    table = store.query(_VOTES)
    votes = _Votes.of(table)
    reasons: dict[int, str] = {}
    scores, tested = _judge_voters(store, votes, chosen)
    for score in scores:
        reasons.update(dict.fromkeys(votes.seq[score.rows].tolist(), score.reason))
    for rows, reason in ((_duplicates(votes, chosen), DUPLICATE), (_bursts(votes, chosen), BURST)):
        reasons.update(dict.fromkeys(votes.seq[rows].tolist(), reason))
    leaks = list(_leaks(store))
    reasons.update(dict.fromkeys(_votes_on(store, [leak.battle for leak in leaks]), IDENTITY_LEAK))
    found = pa.table(
        {
            "seq": pa.array(list(reasons), pa.int64()),
            "reason": pa.array([f"screened:{reason}" for reason in reasons.values()], pa.string()),
        }
    )
    return Screening(
        votes=len(votes.seq),
        voters=len(votes.starts),
        voters_tested=tested,
        flagged=dict(Counter(reasons.values()).most_common()),
        flagged_voters=tuple(
            FlaggedVoter(
                voter=_voter_of(store, int(votes.seq[score.rows][0])),
                reason=score.reason,
                votes=score.rows.stop - score.rows.start,
                log10_e=round(score.log_e / float(np.log(10.0)), 3),
                p_value=score.p_value,
            )
            for score in scores
        ),
        leaks=tuple(leaks),
        changed=None if dry_run else store.apply_screening(found),
    )


class UnknownReason(ValueError):
    """No vote is marked for this reason; the message says for which ones votes are."""


def undo_screening(store: Store, reasons: Collection[str] = ()) -> ScreeningOutcome:
    """Count screened votes again: all, or those marked for one of `reasons` ("burst", "partisan" ...). Raises
    UnknownReason for one for which no vote is marked."""
    marked = store.query("SELECT seq, excluded AS reason FROM votes WHERE starts_with(excluded, 'screened:')")
    found = [str(reason).removeprefix("screened:") for reason in marked["reason"].to_pylist()]
    for reason in reasons:
        if reason not in found:
            there = ", ".join(sorted(set(found))) or "none at all"
            raise UnknownReason(f"no vote is marked as {reason!r}; there are: {there}")
    stay = pa.array([bool(reasons) and reason not in reasons for reason in found], pa.bool_())
    return store.apply_screening(marked.filter(stay))


@dataclass(frozen=True)
class _Votes:
    """All votes to be screened, voter by voter in the order cast; `starts` is where each voter begins."""

    seq: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    version_a: npt.NDArray[np.int64]
    version_b: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.int64]
    counted: npt.NDArray[np.bool_]
    seconds: npt.NDArray[np.float64]
    undated: npt.NDArray[np.bool_]
    item: npt.NDArray[np.uint64]
    longer: npt.NDArray[np.int8]

    @classmethod
    def of(cls, table: pa.Table) -> _Votes:
        voter = table["voter"].to_numpy()
        changes = np.flatnonzero(voter[1:] != voter[:-1]) + 1
        codes = np.array([OUTCOME[verdict] for verdict in table["verdict"].to_pylist()], np.int64)
        return cls(
            seq=table["seq"].to_numpy(),
            starts=np.concatenate([np.zeros(min(1, len(voter)), np.int64), changes]),
            version_a=table["version_a"].to_numpy().astype(np.int64),
            version_b=table["version_b"].to_numpy().astype(np.int64),
            outcome=codes,
            counted=np.asarray(table["counted"].to_pylist(), bool),
            seconds=table["seconds"].to_numpy().astype(np.float64),
            undated=np.asarray(table["undated"].to_pylist(), bool),
            item=table["item"].to_numpy(),
            longer=table["longer"].to_numpy().astype(np.int8),
        )

    def voters(self) -> Iterator[slice]:
        """The rows of each voter."""
        for start, end in zip(self.starts, [*self.starts[1:], len(self.seq)], strict=True):
            yield slice(int(start), int(end))


@dataclass(frozen=True)
class _Scored:
    rows: slice
    reason: str
    log_e: float
    p_value: float


class _Ratings:
    """Ratings of the counted votes as log odds by version key, with or without some of them."""

    def __init__(self, store: Store) -> None:
        table = store.query(_COUNTS)
        a, b = (table[column].to_numpy().astype(np.int64) for column in ("version_a", "version_b"))
        outcome = np.array([OUTCOME[verdict] for verdict in table["verdict"].to_pylist()], np.int64)
        self._present = np.unique(np.concatenate([a, b]))
        self._counts = self._summed(a, b, outcome, table["n"].to_numpy())
        self.total = self._counts.total
        self.all = self._fit(self._counts)

    def without(self, votes: _Votes, rows: slice) -> npt.NDArray[np.float64]:
        """Ratings without the counted votes among `rows`."""
        keep = votes.counted[rows] & (votes.version_a[rows] != votes.version_b[rows])
        theirs = self._summed(
            votes.version_a[rows][keep],
            votes.version_b[rows][keep],
            votes.outcome[rows][keep],
            np.ones(int(keep.sum()), np.int64),
        )
        cells = np.maximum(self._counts.cells - theirs.cells, 0.0)
        return self._fit(PairCounts(cells, cells))

    def _summed(self, a: Any, b: Any, outcome: Any, n: Any) -> PairCounts:
        place_a, place_b = (np.searchsorted(self._present, each) for each in (a, b))
        return PairCounts.of(place_a, place_b, outcome, len(self._present), count=n)

    def _fit(self, counts: PairCounts) -> npt.NDArray[np.float64]:
        odds = np.full(int(self._present.max(initial=0)) + 1, np.nan)
        if len(self._present):
            odds[self._present] = bradley_terry(counts).ratings / _ELO_PER_LOG_ODDS
        return odds


def _judge_voters(store: Store, votes: _Votes, rules: Rules) -> tuple[list[_Scored], int]:
    ratings = _Ratings(store)
    scored: list[_Scored] = []
    for rows in votes.voters():
        if rows.stop - rows.start < rules.min_votes:
            continue
        heavy = rows.stop - rows.start > _HEAVY * ratings.total
        odds = ratings.without(votes, rows) if heavy else ratings.all
        a, b = votes.version_a[rows], votes.version_b[rows]
        unknown = (a >= len(odds)) | (b >= len(odds))
        gap = np.where(unknown, np.nan, odds[np.where(unknown, 0, a)] - odds[np.where(unknown, 0, b)])
        verdict = (1 - votes.outcome[rows]).astype(np.int8)
        score = score_voter(VoterVotes(gap, verdict, votes.longer[rows], a, b))
        scored.append(_Scored(rows, score.reason, score.log_e, score.p_value))
    rejected = e_bh(np.array([each.log_e for each in scored]), rules.fdr)
    return [each for each, out in zip(scored, rejected, strict=True) if out], len(scored)


def _duplicates(votes: _Votes, rules: Rules) -> npt.NDArray[np.int64]:
    flagged: list[int] = []
    for rows in votes.voters():
        pairs: Counter[tuple[int, int, int]] = Counter()
        prompts: Counter[int] = Counter()
        for place in range(rows.start, rows.stop):
            item = int(votes.item[place])
            if not item:
                continue
            a, b = int(votes.version_a[place]), int(votes.version_b[place])
            pair = (item, min(a, b), max(a, b))
            pairs[pair] += 1
            prompts[item] += 1
            if pairs[pair] > rules.same_pair or prompts[item] > rules.same_prompt:
                flagged.append(place)
    return np.asarray(flagged, np.int64)


def _bursts(votes: _Votes, rules: Rules) -> npt.NDArray[np.int64]:
    flagged: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for rows in votes.voters():
        # Rows of a file without times all have the import's.
        dated = np.flatnonzero(~votes.undated[rows]) + rows.start
        fast = bursts(votes.seconds[dated], most=rules.burst_votes, within=rules.burst_seconds)
        flagged.append(dated[fast])
    return np.concatenate(flagged)


def _leaks(store: Store) -> Iterator[Leak]:
    models = store.query("SELECT name FROM models")["name"].to_pylist()
    finder = LeakFinder(models)
    after = UUID(int=0)
    while True:
        rows = store.query(_ANSWERS, [after, _FIRST_PERSON, _FIRST_PERSON, _PAGE]).to_pylist()
        if not rows:
            return
        after = UUID(rows[-1]["battle"])
        for row in rows:
            answers, messages = list(row["answers"] or ()), list(row["messages"] or ())
            for side in ("conversation_a", "conversation_b"):
                for message in json.loads(row[side] or "[]"):
                    (answers if message["role"] == "assistant" else messages).append(message["content"])
            names = [name for answer in answers for name in finder.leaks(answer, messages)]
            if names:
                yield Leak(battle=UUID(row["battle"]), names=tuple(dict.fromkeys(names)))


def _votes_on(store: Store, battles: list[UUID]) -> list[int]:
    found: list[int] = []
    for start in range(0, len(battles), _PAGE):
        table = store.query(
            "SELECT seq FROM comparisons WHERE source = 'human' AND battle_id IN (SELECT unnest(?::UUID[])) "
            "AND (excluded IS NULL OR starts_with(excluded, 'screened:'))",
            [battles[start : start + _PAGE]],
        )
        found += table["seq"].to_pylist()
    return found


def _voter_of(store: Store, seq: int) -> UUID:
    table = store.query(
        "SELECT voter::VARCHAR AS v FROM comparisons WHERE source = 'human' AND seq = ?", [seq]
    )
    return UUID(table["v"][0].as_py())
