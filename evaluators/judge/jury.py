"""Juries: several judges' verdicts on one battle made into one, by majority or by weight."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from evaluators.judge.running import JudgePlan, settle
from evaluators.judge.subjects import Selection, select_subjects
from evaluators.judge.verdicts import jury_verdict
from results.ids import named_id
from results.store import Store
from results.store.judging import (
    JudgeProfile,
    JudgeRun,
    Outcome,
    PairVerdict,
    begin_judge_run,
    finish_judge_run,
    record_outcomes,
)

_BATCH = 200


class NoJury(Exception):
    """There are not enough judges that can be used; `unusable` are those that cannot."""

    def __init__(self, unusable: Sequence[str]) -> None:
        self.unusable = tuple(unusable)
        named = ", ".join(self.unusable) or "none"
        super().__init__(f"a jury needs two judges that can be used (unusable: {named})")


@dataclass(frozen=True)
class JuryReport:
    """What a jury decided. `left_out` are jurors that are known to be unusable."""

    judge: str
    jurors: tuple[str, ...]
    left_out: tuple[str, ...]
    statuses: dict[str, int]
    unanimous: int


def jury_name(jurors: Sequence[str], weights: Mapping[str, float] | None = None) -> str:
    """What leaderboards call a jury: its jurors in order, with their weights where these differ."""
    names = sorted(jurors)
    if weights is None or len(set(weights.values())) == 1:
        return f"jury({', '.join(names)})"
    return f"jury({', '.join(f'{name}*{weights[name]:g}' for name in names)})"


def jury_battles(store: Store, selection: Selection, plans: Sequence[JudgePlan]) -> list[UUID]:
    """The battles that a jury decides after its jurors' runs: those of their plans, and of a selection of unjudged
    battles also those that its jurors have judged before."""
    subjects = [subject for plan in plans for subject in plan.subjects]
    if selection.unjudged:
        every = replace(selection, unjudged=False, limit=None)
        subjects += select_subjects(store, every).subjects
    return list(dict.fromkeys(subject.battle_id for subject in subjects))


def decide(
    store: Store,
    jurors: Sequence[str],
    battles: Sequence[UUID],
    *,
    weights: Mapping[str, float] | None = None,
) -> JuryReport:
    """Make the jury's judgments of what its jurors said of these battles (`jury_verdict`).

    Jurors are names of judges that have judged. One whose verdicts follow the order of the answers, or cannot be read,
    is left out and named. Weights are positive. Raises NoJury where fewer than two jurors remain.
    """
    unusable = _unusable(store)
    sitting = [name for name in jurors if name not in unusable]
    if len(sitting) < 2:
        raise NoJury(sorted(set(jurors) & unusable))
    weighing = {name: 1.0 if weights is None else weights[name] for name in sitting}
    if min(weighing.values()) <= 0:
        raise ValueError("a juror's weight must be more than 0")
    name = jury_name(sitting, weighing)
    digest = hashlib.sha256(name.encode()).hexdigest()
    run_id = named_id("judge run", name, digest, *sorted(map(str, battles)))
    profile = JudgeProfile(name=name, version_key=None, mode="jury", prompts="", digest=digest)
    begin_judge_run(store, profile, JudgeRun(id=run_id, config={"jurors": weighing, "battles": len(battles)}))
    found, unanimous = _outcomes(store, weighing, battles)
    for begin in range(0, len(found), _BATCH):
        record_outcomes(store, name, run_id, found[begin : begin + _BATCH])
    settle(store, name)
    finish_judge_run(store, run_id, "done")
    statuses: Counter[str] = Counter(outcome.status for outcome in found)
    return JuryReport(name, tuple(sitting), tuple(sorted(set(jurors) & unusable)), dict(statuses), unanimous)


def _unusable(store: Store) -> set[str]:
    table = store.query("SELECT name FROM judges JOIN judge_profiles USING (judge_key) WHERE usable = false")
    return set(table["name"].to_pylist())


def _outcomes(
    store: Store, weights: Mapping[str, float], battles: Sequence[UUID]
) -> tuple[list[Outcome], int]:
    rows = store.query(
        "SELECT g.name, o.battle_id::VARCHAR AS battle, o.verdict, o.expected, o.kin, o.length_a, o.length_b "
        "FROM judge_outcomes o JOIN judges g USING (judge_key) "
        "WHERE list_contains(?, g.name) AND list_contains(?::UUID[], o.battle_id)",
        [list(weights), [str(each) for each in battles]],
    ).to_pylist()
    votes: dict[str, dict[str, tuple[PairVerdict, float]]] = defaultdict(dict)
    kin: dict[str, set[str]] = defaultdict(set)
    lengths: dict[str, tuple[int, int]] = {}
    for row in rows:
        battle = row["battle"]
        lengths[battle] = row["length_a"], row["length_b"]
        kin[battle] |= set(row["kin"])
        if row["verdict"] is not None:
            votes[battle][row["name"]] = row["verdict"], row["expected"]
    found, unanimous = [], 0
    for battle, (length_a, length_b) in sorted(lengths.items()):
        status, verdict, expected = jury_verdict(votes[battle], weights)
        said = {verdict for verdict, _ in votes[battle].values()}
        unanimous += len(votes[battle]) == len(weights) and len(said) == 1
        found.append(
            Outcome.model_validate(
                {
                    "battle_id": UUID(battle),
                    "status": status,
                    "verdict": verdict,
                    "expected": expected,
                    "kin": "".join(sorted(kin[battle])),
                    "length_a": length_a,
                    "length_b": length_b,
                }
            )
        )
    return found, unanimous
