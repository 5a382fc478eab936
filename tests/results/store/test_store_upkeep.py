"""Checks, recounts, backups, and the writer's group commit."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from results.ids import new_id
from results.records import ImportRecord, now
from results.store import BadWrite, Store, StoreBusy, StoreError, StoreUnknownOutcome, open_store
from results.store._database import Database
from results.store._transaction import Transaction


def tamper(store: Store, sql: str) -> None:
    """Change the file behind the store's back."""
    store.close()
    with duckdb.connect(str(store.data_dir / "palaestra.duckdb")) as raw:
        raw.execute(sql)


def test_check_finds_and_rebuild_repairs_wrong_counts(own_arena: Any) -> None:
    store = own_arena.store
    for verdict in ("a", "a", "tie"):
        own_arena.vote(own_arena.battle(), verdict)
    good = own_arena.counts()
    assert store.check() == []
    tamper(store, "UPDATE pair_counts SET n = 7 WHERE verdict = 'a'; DELETE FROM pair_counts WHERE verdict = 'tie'; "
           "INSERT INTO pair_counts VALUES (1, 2, 'judge', 'x', '', '', 'b', 4)")  # fmt: skip
    with open_store(store.data_dir) as again:
        problems = again.check()
        assert len(problems) == 3
        assert any("holds 7 instead of 2" in problem for problem in problems)
        again.rebuild_pair_counts()
        assert again.check() == []
        own_arena.store = again
        assert own_arena.counts() == good


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DELETE FROM battles", "1 votes without their battle"),
        ("DELETE FROM voters", "1 votes without their voter"),
        ("UPDATE battles SET version_a = 55", "1 battles of unknown model versions"),
        ("UPDATE battles SET failed_side = 'a'", "1 votes that count although a side failed"),
        ("INSERT INTO votes BY NAME SELECT * REPLACE (uuid() AS id) FROM votes", "share a sequence number"),
    ],
)
def test_check_finds_what_does_not_belong_together(own_arena: Any, sql: str, problem: str) -> None:
    own_arena.vote(own_arena.battle())
    tamper(own_arena.store, sql)
    with open_store(own_arena.store.data_dir) as again:
        assert any(problem in each for each in again.check())


def test_a_backup_is_a_whole_store(arena: Any, tmp_path: Path) -> None:
    arena.vote(arena.battle(), "tie")
    arena.store.import_comparisons(ImportRecord(id=new_id(), path="x", source="human"), [arena.rows(100)])
    target = tmp_path / "사본.duckdb"
    stop, errors = threading.Event(), []

    def vote() -> None:
        while not stop.is_set():
            try:
                arena.vote(arena.battle())
            except StoreError as error:
                errors.append(error)

    thread = threading.Thread(target=vote)
    thread.start()
    arena.store.backup(target)
    stop.set()
    thread.join()
    assert errors == []
    assert not [file for file in (arena.store.data_dir / "backups").iterdir() if file.suffix == ".duckdb"]
    restored = tmp_path / "restored"
    restored.mkdir()
    target.rename(restored / "palaestra.duckdb")
    with open_store(restored) as copy:
        assert copy.check() == []
        votes = copy.query("SELECT count(*) AS n FROM comparisons").to_pylist()[0]["n"]
        assert 101 <= votes <= arena.store.query("SELECT count(*) AS n FROM comparisons").to_pylist()[0]["n"]
        arena.store = copy
        arena.vote(arena.battle())
        assert copy.check() == []


def test_backups_do_not_overwrite(arena: Any, tmp_path: Path) -> None:
    target = tmp_path / "there.duckdb"
    target.write_text("precious")
    with pytest.raises(BadWrite, match="exists already"):
        arena.store.backup(target)
    with pytest.raises(BadWrite, match="does not exist"):
        arena.store.backup(tmp_path / "nowhere" / "x.duckdb")
    assert target.read_text() == "precious"


def test_a_bad_write_does_not_fail_its_batch_mates(own_arena: Any) -> None:
    database: Database = own_arena.store._backend._database
    started, go = threading.Event(), threading.Event()
    transactions: list[int] = []

    def hold(tx: Transaction) -> None:
        started.set()
        assert go.wait(20)

    def voter(tx: Transaction) -> int:
        tx.insert("voters", {"id": new_id(), "origin": "web", "created_at": now()})
        transactions.append(tx.row("SELECT txid_current()")[0])  # type: ignore[index]
        return 1

    def refused_at_once(tx: Transaction) -> int:
        raise BadWrite("refused before writing")

    def refused_late(tx: Transaction) -> int:
        voter(tx)
        raise BadWrite("refused after writing")

    def refused_by_duckdb(tx: Transaction) -> int:
        return tx.write("INSERT INTO voters VALUES (uuid(), 'moon', NULL, NULL, now())")

    def bug(tx: Transaction) -> int:
        raise ZeroDivisionError("a bug in an operation")

    def queue(*runs: Any) -> list[Future[int]]:
        started.clear()
        go.clear()
        waiting = database.write(hold)
        assert started.wait(20)
        futures = [database.write(run) for run in runs]
        go.set()
        waiting.result(20)
        return futures

    good = queue(*[voter] * 10, refused_at_once, *[voter] * 10)
    assert isinstance(good.pop(10).exception(20), BadWrite)
    assert [future.result(20) for future in good] == [1] * 20
    assert len(set(transactions)) == 1, "twenty writes, one transaction"
    for bad, kind in ((refused_late, BadWrite), (refused_by_duckdb, BadWrite), (bug, ZeroDivisionError)):
        first, wrong, last = queue(voter, bad, voter)
        assert isinstance(wrong.exception(20), kind)
        assert (first.result(20), last.result(20)) == (1, 1)
    assert own_arena.store.query("SELECT count(*) AS n FROM voters").to_pylist() == [{"n": 1 + 20 + 6}]


def test_many_writers_share_commits(own_arena: Any) -> None:
    """32 threads vote at once; fewer transactions than votes are committed, and every vote is there."""
    database: Database = own_arena.store._backend._database
    battles = [own_arena.battle() for _ in range(160)]
    commits = []
    commit = database._writer.commit
    database._writer.commit = lambda: (commits.append(1), commit())[1]  # type: ignore[method-assign]
    threads = [
        threading.Thread(target=lambda some=battles[n::32]: [own_arena.vote(battle) for battle in some])
        for n in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert own_arena.counts() == {("human", "a"): 160}
    assert len(commits) < 100


def test_after_a_fatal_error_the_database_is_opened_again(own_arena: Any) -> None:
    """DuckDB's FatalException leaves a database that refuses everything; here a job raises it as DuckDB does."""
    store = own_arena.store
    database: Database = store._backend._database
    own_arena.vote(own_arena.battle())
    answers: list[Any] = []

    def read() -> None:
        try:
            answers.append(store.query("SELECT count(*) FROM range(1000000000) a, range(1000000000) b"))
        except StoreBusy as error:
            answers.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    while not database._readers:
        time.sleep(0.001)
    broken = database._connection

    def fatal(tx: Transaction) -> int:
        own_id = new_id()
        tx.insert("voters", {"id": own_id, "origin": "web", "created_at": now()})
        raise duckdb.FatalException("FATAL Error: the disk is gone")

    with pytest.raises(StoreUnknownOutcome, match="send it again"):
        database.write(fatal).result(20)
    reader.join(20)
    assert isinstance(answers[0], StoreBusy), "a reader is told, and does not hold the reopening up"
    own_arena.vote(own_arena.battle(), "b")
    assert database._connection is not broken
    assert own_arena.counts() == {("human", "a"): 1, ("human", "b"): 1}
    assert store.query("SELECT count(*) AS n FROM voters").to_pylist() == [{"n": 1}]
    assert store.check() == []


def test_a_database_that_cannot_be_opened_again_refuses_writes_at_once(own_arena: Any) -> None:
    """The file is away for a while, as when a disk is unmounted: writes are refused, then go on; closing works."""
    store = own_arena.store
    database: Database = store._backend._database
    battle = own_arena.battle()
    folder = store.data_dir
    away = folder.with_name("away")

    def fatal(tx: Transaction) -> int:
        folder.rename(away)
        raise duckdb.FatalException("FATAL Error: the disk is gone")

    with pytest.raises(StoreUnknownOutcome):
        database.write(fatal).result(20)
    with pytest.raises(StoreBusy, match="not stored"):
        own_arena.vote(battle)
    with pytest.raises(StoreBusy, match="cannot be read at the moment"):
        store.check()
    away.rename(folder)
    deadline = time.monotonic() + 20
    while True:
        try:
            own_arena.vote(battle)
            break
        except StoreBusy:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert own_arena.counts() == {("human", "a"): 1}
    assert store.check() == []


def _median_write(arena: Any) -> float:
    def once() -> float:
        battle = arena.battle()
        start = time.perf_counter()
        arena.vote(battle)
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(40))


def test_the_loopback_adds_little_to_a_write(own_arena: Any) -> None:
    """A packet held back until the one before is acknowledged makes this ratio 10 and more."""
    with open_store(own_arena.store.data_dir) as client:
        over_loopback = replace(own_arena, store=client)
        _median_write(own_arena), _median_write(over_loopback)
        assert _median_write(over_loopback) < 5 * _median_write(own_arena)


def test_a_reader_that_finds_the_database_broken_has_it_reopened(own_arena: Any) -> None:
    """Without any write the writer would not notice. Here the writer's next statement fails as DuckDB's do."""
    database: Database = own_arena.store._backend._database
    own_arena.vote(own_arena.battle())
    broken = database._connection

    def refuse() -> None:
        raise duckdb.FatalException("FATAL Error: database has been invalidated")

    database._writer.start = refuse  # type: ignore[method-assign]

    def fatal(tx: Transaction) -> int:
        raise duckdb.FatalException("FATAL Error: database has been invalidated")

    with pytest.raises(StoreBusy, match="Try again"):
        database.read(fatal)
    deadline = time.monotonic() + 20
    while database._connection in (broken, None):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert own_arena.counts() == {("human", "a"): 1}
