"""Read-only queries: one SELECT and nothing else, wherever the owner is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from results.store import BadQuery, Store, StoreBusy, _select, open_store
from results.store._database import Database


@pytest.fixture(params=["owner", "client"], scope="module")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for the whole module: almost nothing here writes."""
    data = tmp_path_factory.mktemp("store") / "data"
    with open_store(data) as owner, open_store(data) as client:
        yield owner if request.param == "owner" else client


def test_results_are_arrow_tables_with_their_types(arena: Any) -> None:
    arena.vote(arena.battle())
    table = arena.store.query("SELECT seq, time, verdict, version_a FROM comparisons")
    assert {field.name: str(field.type) for field in table.schema} == {
        "seq": "int64", "time": "timestamp[us]", "verdict": "string", "version_a": "int32",
    }  # fmt: skip
    empty = arena.store.query("SELECT version_a, verdict FROM comparisons WHERE false")
    assert (empty.num_rows, empty.column_names) == (0, ["version_a", "verdict"])


def test_parameters_of_every_kind(store: Store) -> None:
    one_id, time = UUID(int=7), datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    table = store.query(
        "SELECT ? AS text, ? AS number, ?::UUID = ?::UUID AS same_id, ? AS time, list_contains(?, 2) AS inside, "
        "? IS NULL AS nothing",
        ["값", 1.5, one_id, str(one_id), time, [1, 2], None],
    )
    assert table.to_pylist() == [
        {"text": "값", "number": 1.5, "same_id": True, "time": time.replace(tzinfo=None), "inside": True,
         "nothing": True}
    ]  # fmt: skip
    assert store.query("SELECT $name AS n", {"name": "가"}).to_pylist() == [{"n": "가"}]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM votes",
        "INSERT INTO models VALUES (9, 'x', now())",
        "UPDATE votes SET verdict = 'a'",
        "DROP TABLE votes",
        "SELECT 1; SELECT 2",
        "SELECT 1; DELETE FROM votes",
        "COPY votes TO 'votes.csv'",
        "ATTACH 'other.duckdb'",
        "SET threads = 1",
        "PRAGMA enable_profiling",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CHECKPOINT",
        "BEGIN",
        "COMMIT",
        "EXPORT DATABASE 'x'",
        "CALL pragma_version()",
        "EXPLAIN ANALYZE DELETE FROM votes",
        "CREATE TEMP TABLE t AS SELECT 1",
        "",
        "SELEC 1",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM nowhere",
        "SELECT * FROM python_table",
    ],
)
def test_anything_else_is_refused(store: Store, sql: str) -> None:
    python_table = store.query("SELECT 1 AS n")
    assert python_table.num_rows == 1
    with pytest.raises(BadQuery):
        store.query(sql)
    assert store.query(
        "SELECT count(*) AS n FROM duckdb_tables() WHERE table_name = 'votes'"
    ).to_pylist() == [{"n": 1}]


def test_settings_are_locked_and_modest(store: Store) -> None:
    rows = store.query("SELECT name, value FROM duckdb_settings()").to_pylist()
    settings = {row["name"]: row["value"] for row in rows}
    assert settings["memory_limit"] == "1.8 GiB"
    assert int(settings["threads"]) <= 4
    assert settings["enable_external_access"] == "false"
    assert settings["lock_configuration"] == "true"
    assert settings["autoload_known_extensions"] == "false"
    data = store.data_dir
    allowed = {Path(each.strip("' ")) for each in settings["allowed_directories"].strip("[]").split(",")}
    assert allowed == {data / "backups", data / "palaestra.spill"}


def test_a_query_without_end_is_stopped(own_arena: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_select, "QUERY_TIMEOUT", 0.3)
    with pytest.raises(StoreBusy, match="stopped after"):
        own_arena.store.query("SELECT count(*) FROM range(1000000000) a, range(1000000000) b")
    assert own_arena.store.query("SELECT 1 AS n").to_pylist() == [{"n": 1}]


def test_a_query_sees_one_snapshot(own_arena: Any) -> None:
    database: Database = own_arena.store._backend._database
    own_arena.vote(own_arena.battle())

    def twice(tx: Any) -> tuple[Any, Any]:
        before = tx.row("SELECT count(*) FROM votes")
        own_arena.vote(own_arena.battle())
        return before, tx.row("SELECT count(*) FROM votes")

    assert database.read(twice) == ((1,), (1,))
    assert database.read(lambda tx: tx.row("SELECT count(*) FROM votes")) == (2,)
