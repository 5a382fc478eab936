"""Which workers may decode at the same time."""

from __future__ import annotations

from arena.engines.cores import CoreGate


def test_as_many_workers_as_cores_and_one_thread_each_when_several_are_busy() -> None:
    gate = CoreGate(cores=2, load=lambda: 0.5)
    threads: dict[str, int] = {}
    for key in "abc":
        gate.register(key, lambda count, key=key: threads.__setitem__(key, count))  # type: ignore[misc]
    a = gate.enter("a")
    assert threads == {"a": 2}
    b = gate.enter("b")
    c = gate.enter("c")
    assert (a.admitted.done(), b.admitted.done(), c.admitted.done()) == (True, True, False)
    assert threads == {"a": 1, "b": 1}
    gate.leave(a)
    assert c.admitted.done()
    assert threads["c"] == 1
    gate.leave(b)
    assert threads["c"] == 2
    gate.leave(c)
    assert gate.busy() == {}


def test_a_busy_worker_takes_more_answers_but_not_past_one_that_waits() -> None:
    gate = CoreGate(cores=1)
    first, second = gate.enter("a"), gate.enter("a")
    assert second.admitted.done()
    waits = gate.enter("b")
    late = gate.enter("a")
    assert not late.admitted.done()
    gate.leave(first)
    gate.leave(second)
    assert waits.admitted.done()
    assert not late.admitted.done()
    gate.leave(waits)
    assert late.admitted.done()


def test_who_gives_up_waiting_frees_the_place_for_the_next() -> None:
    gate = CoreGate(cores=1)
    a, b, c = gate.enter("a"), gate.enter("b"), gate.enter("c")
    b.admitted.cancel()
    gate.leave(a)
    assert c.admitted.done()
    gate.leave(b)
    assert gate.busy() == {"c": 1}
    gate.leave(c)
    gate.leave(c)
    assert gate.busy() == {}
    assert gate.waiting() == 0


def test_a_worker_alone_on_a_busy_machine_gets_fewer_threads() -> None:
    for load, expected in ((3.9, 4), (5.5, 3), (40.0, 1)):
        threads: list[int] = []
        gate = CoreGate(cores=4, load=lambda load=load: load)  # type: ignore[misc]
        gate.register("a", threads.append)
        gate.enter("a")
        assert threads == [expected]
