"""Who waits for whom at the writer: votes before chunks of imports, chunks as large as votes allow, and the log folded
into the file as it grows."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from results.ids import new_id
from results.records import BattleRecord, ModelVersionRecord, TurnRecord
from results.store import Settings, _database, open_store
from results.store._database import Database
from results.store._staging import Pace, chunks
from results.store._transaction import Transaction

SECONDS_PER_ROW, OVERHEAD = 10e-6, 2e-3


def order_of_runs(database: Database, *kinds: bool) -> list[int]:
    """In which order writes run that were queued while the writer was busy; True: one that is alone."""
    started, go = threading.Event(), threading.Event()
    ran: list[int] = []

    def hold(tx: Transaction) -> None:
        started.set()
        assert go.wait(60)

    waiting: list[Future[None]] = [database.write(hold)]
    assert started.wait(60)
    for number, alone in enumerate(kinds):

        def run(tx: Transaction, number: int = number) -> None:
            ran.append(number)

        waiting.append(database.write(run, alone=alone))
    go.set()
    for future in waiting:
        future.result(60)
    return ran


def test_short_writes_overtake_long_ones(own_arena: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    database: Database = own_arena.store._backend._database
    monkeypatch.setattr(_database, "_STEPS_BACK", 3600.0)
    assert order_of_runs(database, True, False, True, False) == [1, 3, 0, 2]
    # Not for ever: a long one that has waited its time goes before those that came after that.
    monkeypatch.setattr(_database, "_STEPS_BACK", 0.0)
    assert order_of_runs(database, True, False, True, False) == [0, 1, 2, 3]


def test_closing_comes_after_everything_that_was_queued(own_arena: Any) -> None:
    database: Database = own_arena.store._backend._database
    started, go = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        started.set()
        assert go.wait(60)

    first = database.write(hold)
    assert started.wait(60)
    rest = [database.write(lambda tx: None, alone=alone) for alone in (True, False, True)]
    closing = threading.Thread(target=database.close)
    closing.start()
    go.set()
    closing.join(60)
    assert first.done()
    assert [future.exception(60) for future in rest] == [None] * 3


def test_the_log_is_folded_into_the_file_as_it_grows(tmp_path: Path) -> None:
    """Without anybody asking for it: nothing that was read before may hold an old snapshot."""
    battle, text = new_id(), "가나다라마바사" * 50_000
    with open_store(tmp_path, settings=Settings(log_limit="2MB")) as store:
        (version,) = store.upsert_model_versions([ModelVersionRecord(model="가람", digest="1")])
        key = version.version_key
        store.create_battle(BattleRecord(id=battle, version_a=key, version_b=key))
        for number in range(1, 7):
            store.add_turn(TurnRecord(battle_id=battle, number=number, message=text))
        log = store.data_dir / "palaestra.duckdb.wal"
        assert 6 * len(text.encode()) > 6 * 2**20
        assert not log.exists() or log.stat().st_size < 4 * 2**20


@pytest.mark.parametrize(("busy", "longest"), [(True, 0.03), (False, 0.13)])
def test_chunks_take_about_the_same_time_on_any_machine(busy: bool, longest: float) -> None:
    for slower in (1, 5):
        pace, sizes = Pace(), []
        rows = pa.table({name: pa.array([""] * 50_000) for name in ("id", "battle_id", "verdict")})
        rows = rows.append_column("category", rows["id"]).append_column("language", rows["id"])
        for name in ("version_a", "version_b"):
            rows = rows.append_column(name, pa.array([1] * 50_000, pa.int32()))
        rows = rows.append_column("time", pa.array([0] * 50_000, pa.timestamp("us")))
        for chunk in chunks([rows, rows], pace):
            sizes.append(chunk.num_rows)
            pace.note(chunk.num_rows, slower * (OVERHEAD + SECONDS_PER_ROW * chunk.num_rows), busy=busy)
        assert sum(sizes) == 100_000
        settled = sizes[len(sizes) // 2]
        assert settled == 1000 or slower * (OVERHEAD + SECONDS_PER_ROW * settled) <= longest
        assert settled >= 1000
