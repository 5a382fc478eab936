"""The schema's rules, and how a database is brought from one to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from results.store import Store, StoreCorrupt, StoreError, StoreTooNew, open_store
from results.store import _schema as schema


def test_one_primary_key_per_table_and_nothing_else_that_indexes(store: Store) -> None:
    tables = {row["table_name"] for row in store.query("SELECT table_name FROM duckdb_tables()").to_pylist()}
    assert {
        "models", "model_versions", "items", "battles", "turns", "generations", "voters", "votes", "judges",
        "judgments", "imports", "audit", "pair_counts", "schema_version",
    } <= tables  # fmt: skip
    constraints = store.query("SELECT table_name, constraint_type FROM duckdb_constraints()").to_pylist()
    assert {each["constraint_type"] for each in constraints} <= {"PRIMARY KEY", "NOT NULL", "CHECK"}
    keys = [each["table_name"] for each in constraints if each["constraint_type"] == "PRIMARY KEY"]
    assert sorted(keys) == sorted(tables)
    assert store.query("SELECT count(*) AS n FROM duckdb_indexes()").to_pylist() == [{"n": 0}]
    columns = store.query(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
    ).to_pylist()
    types = {each["data_type"] for each in columns}
    assert types <= {"UUID", "VARCHAR", "INTEGER", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP"}, (
        "no ENUM, no zones"
    )
    ids = [each for each in columns if each["column_name"] == "id" or each["column_name"].endswith("_id")]
    assert {each["data_type"] for each in ids} == {"UUID"}


def later(version: int, sql: str) -> list[schema.Migration]:
    return [*schema.migrations(), schema.Migration(version, "later", sql)]


def test_migrations_are_numbered_without_gaps() -> None:
    found = schema.migrations()
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))


def test_an_upgrade_backs_up_first_and_keeps_everything(
    own_arena: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_arena.vote(own_arena.battle())
    data = own_arena.store.data_dir
    own_arena.store.close()
    newest = len(schema.migrations()) + 1
    known = later(newest, "CREATE TABLE later (id UUID PRIMARY KEY); INSERT INTO later VALUES (uuid())")
    monkeypatch.setattr(schema, "migrations", lambda: known)
    with open_store(data) as store:
        assert store.query("SELECT count(*) AS n FROM later").to_pylist() == [{"n": 1}]
        assert store.query("SELECT max(version) AS n FROM schema_version").to_pylist() == [{"n": newest}]
        assert store.query("SELECT count(*) AS n FROM comparisons").to_pylist() == [{"n": 1}]
    (backup,) = (data / "backups").glob(f"before-schema-{newest:04d}-*.duckdb")
    with duckdb.connect(str(backup), read_only=True) as old:
        assert old.execute("SELECT max(version), (SELECT count(*) FROM votes) FROM schema_version").fetchone() == (
            newest - 1, 1,
        )  # fmt: skip


def test_a_failing_upgrade_changes_nothing(own_arena: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = own_arena.store.data_dir
    own_arena.store.close()
    newest = len(schema.migrations()) + 1
    broken = later(newest, "CREATE TABLE later (a INT); SELECT nonsense")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: broken)
        with pytest.raises(StoreError, match=r"upgrading.*later failed and was undone"):
            open_store(data)
    with open_store(data) as store:
        assert store.query("SELECT max(version) AS n FROM schema_version").to_pylist() == [{"n": newest - 1}]
        assert store.query(
            "SELECT count(*) AS n FROM duckdb_tables() WHERE table_name = 'later'"
        ).to_pylist() == [{"n": 0}]


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    file = tmp_path / "palaestra.duckdb"
    with duckdb.connect(str(file)) as raw:
        raw.execute("INSERT INTO schema_version VALUES (99, 'tomorrow', now())")
    before = file.read_bytes()
    with pytest.raises(StoreTooNew, match=r"schema 99.*Update Palaestra"):
        open_store(tmp_path)
    assert file.read_bytes() == before
    assert not list((tmp_path / "backups").iterdir())


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "palaestra.duckdb")) as raw:
        raw.execute("CREATE TABLE invoices (n INT)")
    with pytest.raises(StoreCorrupt, match="not made by Palaestra"):
        open_store(tmp_path)
