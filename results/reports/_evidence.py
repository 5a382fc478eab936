"""What lies around the ratings: who voted, what was left out, how fast the models answered, and examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from results.reports._model import Example, Exclusion, Message, Speed, Voters
from results.reports._reading import conditions

if TYPE_CHECKING:
    from results.records import StoredBattle
    from results.reports._model import ReportQuery
    from results.store import Store

_LONGEST = 1500
"""Characters of a message that an example shows."""


def voters(store: Store, query: ReportQuery) -> Voters | None:
    """How the people's votes spread over voters; None where the selection has no person's votes."""
    if query.source == "judge":
        return None
    where, params = conditions(query)
    row = store.query(
        "WITH v AS (SELECT voter, count(*) AS n FROM comparisons WHERE excluded IS NULL "  # noqa: S608
        f"AND source = 'human'{where} GROUP BY 1) "
        "SELECT count(voter) AS voters, coalesce(sum(n), 0)::BIGINT AS votes, "
        "median(n) FILTER (voter IS NOT NULL) AS median, max(n) FILTER (voter IS NOT NULL) AS busiest, "
        "coalesce(sum(n) FILTER (voter IS NULL), 0)::BIGINT AS unnamed FROM v",
        params,
    ).to_pylist()[0]
    if not row["voters"]:
        return None
    return Voters(
        row["voters"], row["votes"], float(row["median"]), row["busiest"] / row["votes"], row["unnamed"]
    )


def exclusions(store: Store, query: ReportQuery) -> tuple[Exclusion, ...]:
    """Comparisons that the selection leaves out, by reason and source, most first."""
    where, params = conditions(query)
    table = store.query(
        "SELECT excluded AS reason, source, count(*) AS n FROM comparisons "  # noqa: S608
        f"WHERE excluded IS NOT NULL{where} GROUP BY ALL ORDER BY n DESC, reason, source",
        params,
    )
    return tuple(Exclusion(**row) for row in table.to_pylist())


def speeds(store: Store, names: dict[int, str]) -> tuple[Speed, ...]:
    """How fast the models answered in the arena's own battles, fastest first; imported battles say nothing
    of it. `names` is what each version key is called."""
    table = store.query(
        "WITH g AS (SELECT version_key, error_kind IS NOT NULL AS failed, time_to_first_token AS first, duration, "
        "CASE WHEN completion_tokens > 1 AND duration > time_to_first_token "
        "THEN (completion_tokens - 1) / (duration - time_to_first_token) END AS speed FROM generations "
        "WHERE finish_reason <> 'cancelled') "
        "SELECT version_key, count(*) FILTER (NOT failed) AS answers, count(*) FILTER (failed) AS failed, "
        "median(first) FILTER (NOT failed) AS first_token, median(duration) FILTER (NOT failed) AS duration, "
        "median(speed) FILTER (NOT failed) AS tokens_per_second FROM g GROUP BY 1"
    )
    found = [
        Speed(names[row.pop("version_key")], **row)
        for row in table.to_pylist()
        if row["version_key"] in names
    ]
    return tuple(sorted(found, key=lambda each: (-(each.tokens_per_second or 0.0), each.name)))


def examples(store: Store, query: ReportQuery, names: dict[int, str]) -> tuple[Example, ...]:
    """Battles drawn at random: the first ones by the MD5 of battle id and seed, so that anybody can draw them
    again and nobody has chosen them."""
    where, params = conditions(query)
    drawn = store.query(
        "SELECT battle_id FROM (SELECT DISTINCT battle_id FROM comparisons "  # noqa: S608
        f"WHERE excluded IS NULL AND version_a <> version_b{where}) "
        "ORDER BY md5(battle_id::VARCHAR || ':' || ?::VARCHAR) LIMIT ?",
        (*params, query.seed, query.examples),
    )
    ids = [_uuid(value) for value in drawn["battle_id"].to_pylist()]
    verdicts = _verdicts(store, query, ids)
    found = []
    for battle_id in ids:
        stored = store.battle(battle_id)
        if stored is not None:
            found.append(_example(stored, names, tuple(verdicts.get(battle_id, []))))
    return tuple(found)


def _verdicts(store: Store, query: ReportQuery, ids: list[UUID]) -> dict[UUID, list[tuple[str, str, int]]]:
    where, params = conditions(query, source=False)
    table = store.query(
        "SELECT battle_id, judge, verdict, count(*) AS n FROM comparisons WHERE excluded IS NULL "  # noqa: S608
        f"AND battle_id IN (SELECT unnest(?::UUID[])){where} GROUP BY ALL ORDER BY judge, n DESC, verdict",
        ([str(each) for each in ids], *params),
    )
    found: dict[UUID, list[tuple[str, str, int]]] = {}
    for row in table.to_pylist():
        found.setdefault(_uuid(row["battle_id"]), []).append((row["judge"], row["verdict"], row["n"]))
    return found


def _example(
    stored: StoredBattle, names: dict[int, str], verdicts: tuple[tuple[str, str, int], ...]
) -> Example:
    battle = stored.battle
    sides = (_imported(stored.conversation_a), _imported(stored.conversation_b))
    if stored.turns:
        sides = (_spoken(stored, "a"), _spoken(stored, "b"))
    asked = next((m.text for m in (*sides[0], *sides[1]) if m.role == "user"), None)
    prompt = None if asked is not None else battle.prompt
    return Example(
        battle.id, names.get(battle.version_a, "?"), names.get(battle.version_b, "?"),
        battle.category, battle.language, prompt, *sides, verdicts,
    )  # fmt: skip


def _imported(conversation: list[dict[str, Any]] | None) -> tuple[Message, ...]:
    return tuple(
        _message(str(each.get("role", "")), _text(each.get("content"))) for each in conversation or ()
    )


def _spoken(stored: StoredBattle, side: str) -> tuple[Message, ...]:
    messages = []
    for turn in stored.turns:
        messages.append(_message("user", turn.message))
        messages.extend(
            _message("assistant", generation.text)
            for generation in stored.generations
            if generation.turn == turn.number and generation.side == side
        )
    return tuple(messages)


def _message(role: str, text: str) -> Message:
    if len(text) <= _LONGEST:
        return Message(role, text, None)
    return Message(role, text[:_LONGEST].rstrip(), len(text))


def _text(content: Any) -> str:
    """A message's content: text, or the texts of its parts."""
    if isinstance(content, list):
        return "\n".join(
            str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content
        )
    return "" if content is None else str(content)


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))
