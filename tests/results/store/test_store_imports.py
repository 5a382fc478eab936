"""Imports: streamed, all or nothing, repeatable, beside live votes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results.ids import named_id, new_id
from results.records import ImportRecord
from results.store import CHUNK_ROWS, BadWrite, StoreBusy, open_store


def human(**fields: Any) -> ImportRecord:
    return ImportRecord(**{"id": new_id(), "path": "표.csv", "source": "human", **fields})


def count(arena: Any, table: str) -> int:
    return int(arena.store.query(f"SELECT count(*) AS n FROM {table}").to_pylist()[0]["n"])


def test_rows_become_votes_on_shared_battles(arena: Any) -> None:
    record = human()
    outcome = arena.store.import_comparisons(
        record, [arena.rows(40), arena.rows(60, start=40).to_batches()[0]]
    )
    assert (outcome.import_id, outcome.added, outcome.known) == (record.id, 100, 0)
    assert [count(arena, table) for table in ("comparisons", "battles", "items", "voters")] == [
        100,
        50,
        50,
        11,
    ]
    assert arena.counts() == {("human", verdict): 25 for verdict in ("a", "b", "tie", "both_bad")}
    rows = arena.store.query("SELECT id, time FROM comparisons ORDER BY seq").to_pylist()
    assert [str(UUID(bytes=row["id"]) if isinstance(row["id"], bytes) else row["id"]) for row in rows] == [
        str(named_id("row", str(n))) for n in range(100)
    ], "the order of the rows is the order of the sequence numbers"
    assert arena.store.check() == []
    (stored,) = arena.store.imports()
    assert (stored.state, stored.added, stored.known, stored.path) == ("done", 100, 0, "표.csv")


def test_known_rows_are_skipped_and_a_done_import_is_not_read_again(arena: Any) -> None:
    record = human()
    arena.store.import_comparisons(record, [arena.rows(30)])
    counts = arena.counts()

    def unread() -> Iterator[pa.Table]:
        raise AssertionError("a done import needs no rows")
        yield

    again = arena.store.import_comparisons(record, unread())
    assert (again.added, again.known) == (0, 30)
    assert arena.counts() == counts
    longer = arena.store.import_comparisons(human(), [arena.rows(50)])
    assert (longer.added, longer.known) == (20, 30)
    twice = pa.concat_tables([arena.rows(10, start=50), arena.rows(10, start=50)])
    assert arena.store.import_comparisons(human(), [twice]).added == 10
    assert count(arena, "comparisons") == 60
    assert arena.store.check() == []


def test_equal_rows_with_ids_of_their_own_are_kept(arena: Any) -> None:
    rows = arena.rows(1)
    others = [rows.set_column(0, "id", pa.array([str(new_id())])) for _ in range(3)]
    assert arena.store.import_comparisons(human(), [rows, *others]).added == 4
    assert (count(arena, "comparisons"), count(arena, "battles")) == (4, 1)


def test_judgments_have_judges(arena: Any) -> None:
    record = human(source="judge", judge="판정-모형")
    rows = arena.rows(20, judge=[None] * 10 + ["다른 판정"] * 10)
    assert arena.store.import_comparisons(record, [rows]).added == 20
    assert arena.store.import_comparisons(human(), [arena.rows(20)]).added == 20, "votes are no judgments"
    judged = arena.store.query(
        "SELECT judge, count(*) AS n FROM comparisons GROUP BY ALL ORDER BY n, judge"
    ).to_pylist()
    assert judged == [
        {"judge": "다른 판정", "n": 10},
        {"judge": "판정-모형", "n": 10},
        {"judge": "", "n": 20},
    ]
    assert count(arena, "battles") == 10, "votes and judgments lie on the same battles"
    kept = arena.store.query("SELECT DISTINCT source, judge FROM pair_counts ORDER BY ALL").to_pylist()
    assert [(row["source"], row["judge"]) for row in kept] == [
        ("human", ""), ("judge", "다른 판정"), ("judge", "판정-모형"),
    ]  # fmt: skip
    assert arena.store.check() == []
    with pytest.raises(BadWrite, match="name of its judge"):
        arena.store.import_comparisons(human(source="judge"), [arena.rows(1, start=90)])


def test_imported_conversations_can_be_shown(arena: Any) -> None:
    said = [{"role": "user", "content": "질문"}, {"role": "assistant", "content": "답"}]
    rows = arena.rows(2, conversation_a=[json.dumps(said)] * 2, conversation_b=[None] * 2)
    arena.store.import_comparisons(human(), [rows])
    stored = arena.store.battle(named_id("battle", "0"))
    assert stored.conversation_a == said
    assert stored.conversation_b is None
    assert (stored.battle.mode, stored.battle.prompt, stored.battle.language) == ("import", "질문 0", "ko")


def test_nothing_is_visible_before_everything_is_stored(arena: Any) -> None:
    size = CHUNK_ROWS + 100
    seen = []

    def batches() -> Iterator[pa.Table]:
        for start in range(0, 3 * size, size):
            yield arena.rows(size, start=start)
            seen.append(
                (count(arena, "comparisons"), arena.counts(), arena.store.battle(named_id("battle", "0")),
                 arena.store.imports()[0].state)
            )  # fmt: skip

    assert arena.store.import_comparisons(human(), batches()).added == 3 * size
    assert seen == [(0, {}, None, "running")] * 3
    assert count(arena, "comparisons") == 3 * size
    assert arena.store.battle(named_id("battle", "0")) is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version_b": [99]}, "no model version 99"),
        ({"verdict": ["left"]}, "'left' is no verdict"),
        ({"id": ["not-an-id"]}, "'not-an-id' is no UUID"),
        ({"voter_id": ["누구"]}, "'누구' is no UUID"),
        ({"verdict": pa.nulls(1, pa.string())}, "1 empty values"),
        ({"time": ["yesterday"]}, "column time"),
        ({"winner": ["a"]}, r"unknown columns \['winner'\]"),
    ],
)
def test_a_bad_row_leaves_nothing(arena: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadWrite, match=message):
        arena.store.import_comparisons(
            human(), [arena.rows(CHUNK_ROWS), arena.rows(1, start=CHUNK_ROWS, **change)]
        )
    assert [count(arena, table) for table in ("votes", "battles", "items", "imports")] == [0, 0, 0, 0]
    assert count(arena, "voters") == 1
    assert arena.store.import_comparisons(human(), [arena.rows(10)]).added == 10


def test_an_import_that_breaks_off_can_be_run_again(arena: Any) -> None:
    record = human()

    def broken() -> Iterator[pa.Table]:
        yield arena.rows(CHUNK_ROWS + 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arena.store.import_comparisons(record, broken())
    assert (count(arena, "votes"), arena.store.imports()) == (0, [])
    assert arena.store.import_comparisons(record, [arena.rows(CHUNK_ROWS + 5)]).added == CHUNK_ROWS + 5
    assert arena.store.check() == []


def test_one_import_at_a_time(own_arena: Any) -> None:
    def meanwhile() -> Iterator[pa.Table]:
        yield own_arena.rows(10)
        with (
            open_store(own_arena.store.data_dir, timeout=0.2) as other,
            pytest.raises(StoreBusy, match="another import is running"),
        ):
            other.import_comparisons(human(), [own_arena.rows(5)])

    assert own_arena.store.import_comparisons(human(), meanwhile()).added == 10


@given(st.lists(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=4), max_size=4))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cutting_and_overlap_adds_each_row_once(
    own_arena: Any, imports: list[list[tuple[int, int]]]
) -> None:
    """Imports of any batches of rows `start` to `start + length`: each id is stored once, the rest is known."""
    base = 100 * count(own_arena, "imports")
    stored: set[int] = set()
    before = count(own_arena, "comparisons")
    for batches in imports:
        rows = [base + start + n for start, length in batches for n in range(length)]
        record = human()
        outcome = own_arena.store.import_comparisons(
            record, [own_arena.rows(length, start=base + start) for start, length in batches]
        )
        assert outcome.added == len(set(rows) - stored)
        assert outcome.known == len(rows) - outcome.added
        stored |= set(rows)
    assert count(own_arena, "comparisons") - before == len(stored)
    assert own_arena.store.check() == []


def test_an_empty_import(arena: Any) -> None:
    assert arena.store.import_comparisons(human(), []).added == 0
    assert arena.store.import_comparisons(human(), [arena.rows(0)]).added == 0
