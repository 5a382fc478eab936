"""What is to be judged: battles of the store with their texts, chosen by a selection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from arena._language import language_of
from evaluators.battles import Prompt
from results.store import Store

_CHUNK = 1000
_NAMED = (
    "SELECT version_key FROM model_versions v JOIN models m USING (model_key) "
    "WHERE list_contains(?, m.name) OR list_contains(?, m.name || '@' || v.number)"
)


class BadSelection(Exception):
    """A selection cannot be used; the message says what would be right."""


@dataclass(frozen=True)
class Selection:
    """Which battles: all that match every condition that is set. `unjudged`: without an outcome of the judge at hand,
    or with a failed one; `voted`: with a counted vote; `run`: of one `battles run`; `models`: both sides among these
    names (or name@number); `limit`: the first so many, oldest first."""

    unjudged: bool = False
    voted: bool = False
    run: UUID | None = None
    ids: tuple[UUID, ...] = ()
    category: str | None = None
    language: str | None = None
    mode: str | None = None
    models: tuple[str, ...] = ()
    limit: int | None = None


@dataclass(frozen=True)
class JudgedTurn:
    """One request and both answers."""

    question: str
    answer_a: str
    answer_b: str
    reference: str = ""


@dataclass(frozen=True)
class Subject:
    """A battle with its texts. `item` is what hangs together with other battles: the prompt."""

    battle_id: UUID
    item: str
    version_a: int
    version_b: int
    category: str
    language: str
    turns: tuple[JudgedTurn, ...]

    @property
    def lengths(self) -> tuple[int, int]:
        """Characters of all answers of each side."""
        return sum(len(turn.answer_a) for turn in self.turns), sum(len(turn.answer_b) for turn in self.turns)

    @property
    def has_reference(self) -> bool:
        """Whether a reference answer is known for any turn."""
        return any(turn.reference for turn in self.turns)


@dataclass(frozen=True)
class Selected:
    """Subjects, and how many battles of the selection cannot be judged: a side failed or is unfinished, or their
    texts are not here (imported votes without conversations)."""

    subjects: tuple[Subject, ...]
    unfinished: int
    without_texts: int


def parse_selection(text: str) -> Selection:
    """A selection of words joined by commas: all, unjudged, voted, run=ID, id=ID, category=C, language=L, mode=M,
    model=NAME (twice or more: battles among these), limit=N. Raises BadSelection."""
    found = Selection()
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = word.partition("=")
        try:
            found = _with(found, name, value if equals else None)
        except ValueError:
            raise BadSelection(f"'{word}': '{value}' is no {'number' if name == 'limit' else 'id'}") from None
    return found


def _with(found: Selection, name: str, value: str | None) -> Selection:
    match name, value:
        case "all", None:
            return found
        case "unjudged", None:
            return replace(found, unjudged=True)
        case "voted", None:
            return replace(found, voted=True)
        case _, None | "":
            pass
        case "run", str(run):
            return replace(found, run=UUID(run))
        case "id", str(id_):
            return replace(found, ids=(*found.ids, UUID(id_)))
        case "category", str(category):
            return replace(found, category=category)
        case "language", str(language):
            return replace(found, language=language)
        case "mode", str(mode):
            return replace(found, mode=mode)
        case "model", str(model):
            return replace(found, models=(*found.models, model))
        case "limit", str(number):
            return replace(found, limit=max(1, int(number)))
    raise BadSelection(
        f"'{name}{'' if value is None else '=' + value}' is no selection: use all, unjudged, voted, run=ID, id=ID, "
        "category=C, language=L, mode=battle|named|script|import, model=NAME or limit=N, joined by commas"
    )


def select_subjects(
    store: Store, selection: Selection, *, judge: str | None = None, references: Iterable[Prompt] = ()
) -> Selected:
    """The battles of a selection with their texts, oldest first. `references` adds reference answers by the texts of
    the requests; those of `battles run` are known already. Raises BadSelection for a run that does not exist."""
    rows = _battles(store, selection, judge)
    given = {prompt.turns: prompt.reference for prompt in references if prompt.reference}
    subjects: list[Subject] = []
    unfinished = without = 0
    for begin in range(0, len(rows), _CHUNK):
        chunk = rows[begin : begin + _CHUNK]
        ids = [UUID(row["id"]) for row in chunk]
        turns, answers, stored = _texts(store, ids)
        for row in chunk:
            if row["failed_side"] is not None or row["state"] == "open":
                unfinished += 1
                continue
            shown = _turns(row, turns, answers)
            if not shown:
                without += 1
                continue
            questions = tuple(turn.question for turn in shown)
            reference = given.get(questions) or stored.get(row["id"])
            if reference:
                texts = (*reference, *[""] * (len(shown) - len(reference)))
                shown = tuple(replace(turn, reference=text) for turn, text in zip(shown, texts, strict=True))
            subjects.append(
                Subject(
                    battle_id=UUID(row["id"]),
                    item=row["item"],
                    version_a=row["version_a"],
                    version_b=row["version_b"],
                    category=row["category"],
                    language=row["language"] or language_of(" ".join(questions)),
                    turns=shown,
                )
            )
    return Selected(tuple(subjects), unfinished, without)


def _battles(store: Store, selection: Selection, judge: str | None) -> list[dict[str, Any]]:
    where = ["(b.import_id IS NULL OR b.import_id IN (SELECT id FROM imports WHERE state = 'done'))"]
    params: list[Any] = []
    for column in ("category", "language", "mode"):
        if (wanted := getattr(selection, column)) is not None:
            where.append(f"b.{column} = ?")
            params.append(wanted)
    if selection.run is not None:
        if not store.query("SELECT 1 FROM script_runs WHERE id = ?", [selection.run]).num_rows:
            raise BadSelection(f"there is no run {selection.run}: `arena battles run` prints a run's id")
        where.append("b.id IN (SELECT battle_id FROM script_battles WHERE run_id = ?)")
        params.append(selection.run)
    if selection.ids:
        where.append("list_contains(?::UUID[], b.id)")
        params.append([str(each) for each in selection.ids])
    if selection.models:
        names = list(selection.models)
        for side in ("a", "b"):
            where.append(f"b.version_{side} IN ({_NAMED})")
            params += [names, names]
    if selection.unjudged and judge is not None:
        where.append(
            "b.id NOT IN (SELECT battle_id FROM judge_outcomes o JOIN judges g USING (judge_key) "
            "WHERE g.name = ? AND o.status <> 'failed')"
        )
        params.append(judge)
    elif selection.unjudged:
        where.append("b.id NOT IN (SELECT battle_id FROM judgments)")
    if selection.voted:
        where.append("b.id IN (SELECT battle_id FROM votes WHERE excluded IS NULL)")
    limit = "" if selection.limit is None else f" LIMIT {int(selection.limit)}"
    table = store.query(
        "SELECT b.id::VARCHAR AS id, coalesce(b.item_id, b.id)::VARCHAR AS item, b.version_a, b.version_b, b.category, "  # noqa: S608
        "b.language, b.state, b.failed_side, b.conversation_a, b.conversation_b, i.text AS prompt FROM battles b "
        f"LEFT JOIN items i ON i.id = b.item_id WHERE {' AND '.join(where)} ORDER BY b.created_at, b.id{limit}",
        params,
    )
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _texts(
    store: Store, ids: Sequence[UUID]
) -> tuple[dict[str, list[str]], dict[tuple[str, int, str], str], dict[str, list[str]]]:
    """Messages and references by battle, and answers by (battle, turn, side)."""
    wanted = [[str(each) for each in ids]]
    turns: dict[str, list[str]] = {}
    for row in store.query(
        "SELECT battle_id::VARCHAR AS battle, message FROM turns WHERE list_contains(?::UUID[], battle_id) "
        "ORDER BY battle_id, number",
        wanted,
    ).to_pylist():
        turns.setdefault(row["battle"], []).append(row["message"])
    answers = {
        (row["battle"], row["turn"], row["side"]): row["text"]
        for row in store.query(
            "SELECT battle_id::VARCHAR AS battle, turn, side, text FROM generations "
            "WHERE list_contains(?::UUID[], battle_id) AND error_kind IS NULL ORDER BY created_at",
            wanted,
        ).to_pylist()
    }
    references = {
        row["battle"]: json.loads(row["reference"])
        for row in store.query(
            "SELECT battle_id::VARCHAR AS battle, reference FROM script_battles "
            "WHERE list_contains(?::UUID[], battle_id) AND reference IS NOT NULL",
            wanted,
        ).to_pylist()
    }
    return turns, answers, references


def _turns(
    row: dict[str, Any], turns: dict[str, list[str]], answers: dict[tuple[str, int, str], str]
) -> tuple[JudgedTurn, ...]:
    battle = row["id"]
    if messages := turns.get(battle):
        both = [
            (message, answers.get((battle, number, "a")), answers.get((battle, number, "b")))
            for number, message in enumerate(messages, start=1)
        ]
        if any(a is None or b is None for _, a, b in both):
            return ()
        return tuple(JudgedTurn(message, a or "", b or "") for message, a, b in both)
    if not (row["conversation_a"] and row["conversation_b"]):
        return ()
    sides = [_rounds(json.loads(row[f"conversation_{side}"])) for side in ("a", "b")]
    if not sides[0] or [question for question, _ in sides[0]] != [question for question, _ in sides[1]]:
        return ()
    return tuple(
        JudgedTurn(question, answer, other)
        for (question, answer), (_, other) in zip(sides[0], sides[1], strict=True)
    )


def _rounds(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Question and answer of each round of an imported conversation; empty where it is not made of such."""
    said = [m for m in messages if m.get("role") in ("user", "assistant")]
    roles = [m["role"] for m in said]
    if not said or roles != ["user", "assistant"] * (len(said) // 2):
        return []
    texts = [m["content"] if isinstance(m.get("content"), str) else "" for m in said]
    return list(zip(texts[::2], texts[1::2], strict=True))
