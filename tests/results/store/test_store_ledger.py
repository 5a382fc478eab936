"""The ledger of memory and cores: what fits, who waits for whom, and what happens when processes die."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.ids import new_id
from results.store import ReservationRefused, ReservationTimedOut, Settings, Store, ledger, open_store
from results.store._book import FORGOTTEN_AFTER, Book, Reservation
from results.store._machine import capacity
from results.store.ledger import Capacity

GIB = 2**30
SMALL = Settings(machine=Capacity(ram=1000, gpu=500, cores=2))
HOLDER = """
import sys, time
from results.store import Settings, ledger, open_store
store = open_store(sys.argv[1], settings=Settings(machine=ledger.Capacity(ram=1000, gpu=500, cores=2)))
ledger.take(store, purpose="`arena train` (recipe)", ram=600, cores=1)
print("holding", store.is_owner, flush=True)
time.sleep(60)
"""


def wanting(**fields: object) -> Reservation:
    plain = {"id": new_id(), "pid": 1, "started": 0.0, "purpose": "a job"}
    return Reservation.model_validate(plain | fields)


@pytest.fixture
def book() -> Book:
    most = Capacity(ram=10 * GIB, gpu=4 * GIB, cores=2)
    return Book(most=most, free=lambda: 100 * GIB, began=lambda pid: 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data", settings=SMALL) as opened:
        yield opened


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Starts another process that takes 600 of 1000 bytes and keeps them."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "data")]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        yield process
        process.kill()


def holds(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_what_fits_is_granted_and_what_does_not_is_told_who_holds_it(book: Book) -> None:
    serving = wanting(ram=7 * GIB, purpose="`arena serve` (SmolLM2)", pid=123)
    assert book.ask(serving).granted
    assert book.ask(wanting(ram=3 * GIB, cores=2)).granted
    refused = book.ask(wanting(ram=GIB // 2))
    assert not refused.granted
    assert refused.reason == (
        "waiting for 512 MiB of memory (of 10.0 GiB): held by `arena serve` (SmolLM2), pid 123 (7.0 GiB); "
        "a job, pid 1 (3.0 GiB)"
    )
    assert "waiting for 1 of 2 cores: held by a job, pid 1 (2)" in book.ask(wanting(cores=1)).reason
    assert book.ask(wanting(gpu=4 * GIB)).granted
    assert "GPU memory" in book.ask(wanting(gpu=1)).reason


def test_what_can_never_fit_is_refused_at_once(book: Book) -> None:
    with pytest.raises(
        ReservationRefused, match=r"needs 11\.0 GiB of memory; this machine can give 10\.0 GiB"
    ):
        book.ask(wanting(ram=11 * GIB))
    with pytest.raises(ReservationRefused, match="3 cores"):
        book.ask(wanting(cores=3))


def test_memory_that_other_programs_use_is_not_lent() -> None:
    book = Book(most=Capacity(ram=10 * GIB, gpu=0, cores=2), free=lambda: GIB, began=lambda pid: 0.0)
    assert "other programs leave 1.0 GiB free" in book.ask(wanting(ram=2 * GIB)).reason
    assert book.ask(wanting(ram=GIB // 2)).granted


def test_of_those_that_fit_the_one_that_waits_longest_comes_first(book: Book) -> None:
    holding, first, second, small = (wanting(ram=n * GIB) for n in (8, 6, 6, 1))
    book.ask(holding)
    assert not book.ask(first).granted
    assert not book.ask(second).granted
    assert book.ask(small).granted  # it fits beside what is held: nobody is served by its waiting
    book.release([holding.id])
    assert not book.ask(second).granted
    assert book.ask(first).granted
    book.release([first.id])
    assert book.ask(second).granted


def test_a_request_that_nobody_repeats_leaves_the_queue(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    holding, first, second = (wanting(ram=n * GIB) for n in (8, 6, 6))
    book.ask(holding)
    book.ask(first)
    book.ask(second)
    book.release([holding.id])
    later = time.monotonic() + FORGOTTEN_AFTER + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert book.ask(second).granted


def test_asking_twice_holds_once_and_amounts_can_change(book: Book) -> None:
    wanted = wanting(ram=6 * GIB)
    assert book.ask(wanted).granted
    assert book.ask(wanted).granted
    assert len(book.holdings().held) == 1
    book.set(wanted.model_copy(update={"ram": 2 * GIB}))
    assert [each.ram for each in book.holdings().held] == [2 * GIB]
    book.release([wanted.id, wanted.id])
    assert book.holdings().held == ()


def test_the_next_owner_knows_what_is_held_and_forgets_the_dead(tmp_path: Path) -> None:
    most = Capacity(ram=10 * GIB, gpu=0, cores=2)
    began: dict[int, float] = {7: 5.0, 8: 5.0}
    first = Book(tmp_path / "ledger", most=most, free=lambda: GIB, began=began.get)
    alive, dying = wanting(ram=1, pid=7, started=5.0), wanting(ram=2, pid=8, started=5.0)
    first.ask(alive)
    first.ask(dying)
    began[8] = 6.0  # another process got the id of the dead one
    second = Book(tmp_path / "ledger", most=most, free=lambda: GIB, began=began.get)
    assert second.holdings().held == (alive,)
    (tmp_path / "ledger").write_text("not a ledger")
    assert Book(tmp_path / "ledger", most=most).holdings().held == ()


def test_a_with_block_holds_and_gives_back(store: Store) -> None:
    with ledger.reserve(store, purpose="a test", ram=600, gpu=10, cores=1) as reservation:
        (held,) = ledger.holdings(store).held
        assert held == reservation
        assert (held.pid, held.ram, held.gpu, held.cores) == (os.getpid(), 600, 10, 1)
        assert ledger.change(store, held, ram=100).ram == 100
        assert ledger.holdings(store).held[0].ram == 100
    assert ledger.holdings(store).held == ()


def test_waiting_ends_with_its_timeout_or_when_cancelled(store: Store) -> None:
    with ledger.reserve(store, purpose="`arena serve`", ram=600):
        reasons: list[str] = []
        with pytest.raises(ReservationTimedOut, match=r"a bench gave up after 0\.2 s of waiting for"):
            ledger.take(store, purpose="a bench", ram=600, timeout=0.2, on_wait=reasons.append)
        assert len(reasons) == 1
        assert f"held by `arena serve`, pid {os.getpid()}" in reasons[0]
        cancelled = threading.Event()
        threading.Timer(0.1, cancelled.set).start()
        with pytest.raises(ReservationTimedOut, match="was cancelled while waiting"):
            ledger.take(store, purpose="a bench", ram=600, cancelled=cancelled)
        assert ledger.holdings(store).waiting == ()


def test_a_waiting_process_gets_what_a_killed_one_held(store: Store, holder: subprocess.Popen[str]) -> None:
    assert holds(holder) == "holding False"
    reasons: list[str] = []

    def waits(reason: str) -> None:
        reasons.append(reason)
        holder.kill()
        holder.wait()

    with ledger.reserve(store, purpose="`arena bench`", ram=600, on_wait=waits, timeout=20):
        (held,) = ledger.holdings(store).held
        assert held.purpose == "`arena bench`"
    assert f"`arena train` (recipe), pid {holder.pid}" in reasons[0]


def test_reservations_outlive_the_owner_that_noted_them(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    assert holds(holder) == "holding True"
    with open_store(tmp_path / "data", settings=SMALL) as store:
        assert not store.is_owner
        mine = ledger.take(store, purpose="`arena serve`", ram=300)
        assert {each.purpose for each in ledger.holdings(store).held} == {
            "`arena serve`",
            "`arena train` (recipe)",
        }
        holder.kill()
        holder.wait()
        assert ledger.holdings(store).held == (mine,)
        assert store.is_owner


def test_the_machine_has_memory_and_cores() -> None:
    found = capacity()
    assert found.ram > 100 * 2**20
    assert 1 <= found.cores <= (os.cpu_count() or 1)
