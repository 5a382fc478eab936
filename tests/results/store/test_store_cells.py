"""Cells: one number for two versions and a verdict, kept with each vote that counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.ids import new_id
from results.leaderboard import BoardQuery, rate
from results.records import ImportRecord, Verdict
from results.store import _schema as schema
from results.store import open_store
from results.store.cells import VERDICTS, cell_of, cell_sql, unpacked

BY_CELL = BoardQuery(since=datetime(1970, 1, 1, tzinfo=UTC))
VERSIONS = st.integers(0, 2**26)


def wins(store: Any, query: BoardQuery = BY_CELL) -> dict[str, tuple[int, int, int]]:
    return {row.model: (row.wins, row.losses, row.ties) for row in rate(store, query).board.models}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(VERSIONS, VERSIONS, st.sampled_from(VERDICTS)), min_size=1))
def test_cells_say_who_met_whom_with_what_verdict(votes: list[tuple[int, int, Verdict]]) -> None:
    cells = [cell_of(*vote) for vote in votes]
    a, b, code = unpacked(np.array(cells))
    assert [(x, y, VERDICTS[c]) for x, y, c in zip(a, b, code, strict=True)] == votes
    assert len(set(cells)) == len(set(votes))
    table = pa.table(dict(zip(("version_a", "version_b", "verdict"), zip(*votes, strict=True), strict=True)))
    with duckdb.connect() as connection:
        connection.register("votes", table)
        assert [row[0] for row in connection.execute(f"SELECT {cell_sql()} FROM votes").fetchall()] == cells


def test_few_versions_need_small_numbers() -> None:
    assert max(cell_of(a, b, "both_bad") for a in range(30) for b in range(30)) == 4 * 30 * 30 - 1


def test_a_vote_has_its_cell_as_long_as_it_counts(own_arena: Any) -> None:
    store, battle = own_arena.store, own_arena.battle()
    first, second = own_arena.versions

    def cells() -> list[int | None]:
        assert store.check() == []
        return store.query("SELECT cell FROM votes ORDER BY seq")["cell"].to_pylist()  # type: ignore[no-any-return]

    own_arena.vote(battle, "a")
    assert cells() == [cell_of(first, second, "a")]
    own_arena.vote(battle, "tie", seconds=1)
    assert cells() == [cell_of(first, second, "tie")]
    seq = store.query("SELECT seq FROM votes")["seq"]
    findings = pa.table({"seq": seq, "reason": ["screened:burst"]})
    store.apply_screening(findings)
    assert cells() == [None]
    assert store.check() == []
    store.apply_screening(findings.slice(0, 0))
    assert cells() == [cell_of(first, second, "tie")]
    store.record_generation(own_arena.generation(battle, error_kind="unavailable", finish_reason="error"))
    assert cells() == [None]
    own_arena.vote(own_arena.battle(), "b")
    assert cells() == [None, cell_of(first, second, "b")]


def test_a_vote_taken_back_has_no_cell_until_there_is_another(own_arena: Any) -> None:
    from results.records import VoteRecord, now

    store, battle = own_arena.store, own_arena.battle()
    time = now()
    vote = {"battle_id": battle, "voter_id": own_arena.voter, "time": time}
    store.record_vote(VoteRecord(request_id=new_id(), verdict="a", **vote))
    store.withdraw_vote(battle, own_arena.voter, new_id())
    assert store.query("SELECT cell FROM votes")["cell"].to_pylist() == [None]
    store.record_vote(VoteRecord(request_id=new_id(), verdict="b", **vote | {"time": now()}))
    assert store.query("SELECT cell FROM votes")["cell"].to_pylist() == [cell_of(*own_arena.versions, "b")]
    assert store.check() == []


def test_wrong_cells_are_found_and_repaired(own_arena: Any) -> None:
    store = own_arena.store
    own_arena.vote(own_arena.battle(), "a")
    store.close()
    with duckdb.connect(str(store.data_dir / "palaestra.duckdb")) as raw:
        raw.execute("UPDATE votes SET cell = 7")
    with open_store(store.data_dir) as again:
        assert again.check() == ["1 votes whose cell is not that of their verdict"]
        again.rebuild_pair_counts()
        assert again.check() == []


def test_older_files_get_their_cells(own_arena: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file as it was before cells is upgraded, with votes that count and one that does not."""
    store = own_arena.store
    for verdict in VERDICTS:
        own_arena.vote(own_arena.battle(), verdict)
    failed = own_arena.battle()
    store.record_generation(own_arena.generation(failed, error_kind="unavailable", finish_reason="error"))
    own_arena.vote(failed, "a")
    before = wins(store)
    assert before == wins(store, BoardQuery()), "by cells and by kept counts"
    store.close()
    step = next(each for each in schema.migrations() if each.name == "cells")
    with duckdb.connect(str(store.data_dir / "palaestra.duckdb")) as raw:
        raw.execute("ALTER TABLE votes DROP COLUMN cell")
        raw.execute("DELETE FROM schema_version WHERE version >= ?", [step.version])
    later = [each for each in schema.migrations() if each.version <= step.version]
    monkeypatch.setattr(schema, "migrations", lambda: later)
    with open_store(store.data_dir) as again:
        assert again.migration is not None
        assert again.check() == []
        assert wins(again) == before


def test_votes_of_an_import_that_runs_are_not_counted_by_cells(arena: Any) -> None:
    """Neither by their number nor in time, whether live votes stand before them or none."""
    arena.vote(arena.battle(), "a")
    seen, elo = [], []

    def batches() -> Iterator[pa.Table]:
        for start in (0, 3000):
            yield arena.rows(3000, start=start)
            arena.vote(arena.battle(), "tie")
            seen.append(wins(arena.store))
            elo.append(rate(arena.store, BoardQuery(method="elo")).board.votes)

    record = ImportRecord(id=new_id(), path="x", source="human")
    assert arena.store.import_comparisons(record, batches()).added == 6000
    assert [each["가람"] for each in seen] == [(1, 0, 1), (1, 0, 2)]
    assert elo == [2, 3]
    assert wins(arena.store)["가람"] == (1501, 1500, 3002)
    assert wins(arena.store) == wins(arena.store, BoardQuery())


def test_windows_of_judges_and_of_everybody(own_arena: Any) -> None:
    store = own_arena.store
    store.import_comparisons(ImportRecord(id=new_id(), path="x", source="human"), [own_arena.rows(40)])
    judged = ImportRecord(id=new_id(), path="y", source="judge", judge="판정")
    store.import_comparisons(judged, [own_arena.rows(20)])
    for source, votes in (("human", 40), ("judge", 20), ("all", 60)):
        query = BoardQuery(source=source, since=BY_CELL.since)
        assert rate(store, query).board.votes == votes
        assert wins(store, query) == wins(store, BoardQuery(source=source))
