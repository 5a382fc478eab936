"""What the store holds of a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from evaluators.judge.families import Kin, families_of, kin_of
from evaluators.judge.subjects import Subject
from results.store import Store
from results.store.judging import JudgeCall

_COLUMNS = (
    "id", "cache_key", "battle_id", "turn", "side", "first", "first_label", "reading", "verdict", "score", "expected",
    "p_a", "p_tie", "p_b", "retried", "cached", "error_kind",
)  # fmt: skip


class UnknownJudge(Exception):
    """There is no judge of that name; the message names those that there are."""


@dataclass(frozen=True)
class KnownJudge:
    """A judge with judgments or outcomes in the store. Imported judges have no mode. `grades` are of single answers."""

    name: str
    mode: str | None
    prompts: str | None
    usable: bool | None
    reason: str
    version_key: int | None
    judgments: int
    grades: int = 0


def known_judges(store: Store) -> list[KnownJudge]:
    """All judges, those with the most judgments first."""
    rows = store.query(
        "SELECT g.name, p.mode, p.prompts, p.usable, coalesce(p.reason, '') AS reason, p.version_key, "
        "(SELECT count(*) FROM judgments j WHERE j.judge_key = g.judge_key AND (j.import_id IS NULL OR j.import_id IN "
        "(SELECT id FROM imports WHERE state = 'done'))) AS judgments, "
        "(SELECT count(*) FROM answer_grades a WHERE a.judge_key = g.judge_key) + "
        "(SELECT count(*) FROM rubric_grades r "
        "WHERE r.judge_key = g.judge_key AND r.criterion = '') AS grades "
        "FROM judges g LEFT JOIN judge_profiles p USING (judge_key) ORDER BY judgments DESC, g.name"
    ).to_pylist()
    return [KnownJudge(**row) for row in rows]


def find_judge(store: Store, name: str | None) -> KnownJudge:
    """The judge of that name, or whose model has it where that is one judge; without a name the only one.

    Raises UnknownJudge.
    """
    judges = known_judges(store)
    if not judges:
        raise UnknownJudge("no model has judged yet: `arena judge run` makes judgments")
    exact = [judge for judge in judges if judge.name == name]
    if exact:
        return exact[0]
    wanted = (
        judges
        if name is None
        else [j for j in judges if name in (j.name.split("@")[0], j.name.split("/")[0])]
    )
    if len(wanted) == 1:
        return wanted[0]
    names = ", ".join(judge.name for judge in (wanted or judges))
    asked = (
        f"'{name}' is the name of {'several judges' if wanted else 'no judge'}" if name else "name a judge"
    )
    raise UnknownJudge(f"{asked} (there are: {names})")


def stored_calls(store: Store, judge: str, battles: Sequence[UUID] | None = None) -> list[JudgeCall]:
    """A judge's calls on these battles, or all; without the texts of the replies."""
    text = {"id", "battle_id"}
    columns = ", ".join(f"c.{name}::VARCHAR AS {name}" if name in text else f"c.{name}" for name in _COLUMNS)
    where = "" if battles is None else " AND list_contains(?::UUID[], c.battle_id)"
    rows = store.query(
        f"SELECT {columns} FROM judge_calls c JOIN judges g USING (judge_key) WHERE g.name = ?{where} ORDER BY c.id",  # noqa: S608
        [judge, *([] if battles is None else [[str(each) for each in battles]])],
    ).to_pylist()
    return [JudgeCall.model_validate(row) for row in rows]


def kin_of_subjects(store: Store, judge: frozenset[str], subjects: Sequence[Subject]) -> dict[UUID, Kin]:
    """For each battle, which of its sides are of the judge's family."""
    families = {
        version.version_key: families_of(version.model, version.spec) for version in store.model_versions()
    }
    return {
        subject.battle_id: kin_of(judge, families[subject.version_a], families[subject.version_b])
        for subject in subjects
    }
