"""A client that knows nothing but docs/protocol.md gets along with a real broker."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest

from . import bare_client
from .bare_client import (
    AWAIT,
    DELIVER,
    DONE,
    FAILED,
    OPEN,
    PUBLISH,
    RESULT,
    RESULTS,
    RETURNED,
    Observer,
    Producer,
    Supervisor,
    Wires,
    Worker,
    pack,
    unpack,
)
from .page import answers
from .processes import outlive

TURN_S = 0.5


def test_a_session_from_hello_to_goodbye(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    plain = producer.publish("q", ["a", "b"])
    asked = producer.publish("q", [[1], [2], [3], [4]], task="square", reply=True)
    last = producer.publish("q", [{"n": 5}], task="square", reply=True)
    producer.confirm(plain, asked, last)

    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(16)
    delivery = worker.delivery()
    assert delivery.queue == "q"
    assert delivery.batches == [
        ("", False, 1, ["a", "b"]),
        ("square", True, 1, [[1], [2], [3], [4]]),
        ("square", True, 1, [{"n": 5}]),
    ]
    error = ["ValueError", "no", "traceback"]
    worker.settle(
        delivery.lease,
        [0, 0, 2, DONE],
        [1, 3, 1, RETURNED],
        [1, 1, 2, FAILED],
        [1, 0, 1, RESULTS],
        [2, 0, 1, DONE],
        carry=([error], [1]),
        credit=1,
    )
    assert producer.results(last, 1) == [(DONE, None)]
    again = worker.delivery()
    assert again.lease != delivery.lease
    assert again.batches == [("square", True, 1, [[4]])], "a return does not count as an attempt"
    worker.settle(again.lease, [0, 0, 1, RESULTS], carry=([16],), credit=1)
    assert producer.results(asked, 4) == [
        (RESULTS, 1),
        (FAILED, error),
        (FAILED, error),
        (RESULTS, 16),
    ]
    worker.goodbye()
    producer.goodbye()

    info = Observer(wires).ask()
    assert info["queues"]["q"]["ready"] == info["queues"]["q"]["leased"] == info["bytes"] == 0
    counters = {name: value for name, value in info["counters"].items() if value}
    assert counters == {
        "published": 7, "delivered": 8, "done": 5, "failed": 2, "returned": 1, "results": 5,
    }  # fmt: skip
    assert info["workers"] == []
    assert info["producers"] == 0


def test_credit_splits_batches_and_keeps_the_bytes_of_bodies(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    bodies: list[Any] = [None, {"k": [1, -2]}, b"\0", 1.5, "ü", 2**63, [], -1]
    producer.confirm(producer.publish("q", bodies))
    worker = Worker(wires, "q")
    worker.hello()
    seen: list[Any] = []
    worker.credit(3)
    while len(seen) < len(bodies):
        delivery = worker.delivery()
        assert len(delivery.bodies) <= 3
        seen += delivery.bodies
        (batch,) = delivery.batches
        worker.settle(delivery.lease, [0, 0, len(batch[3]), DONE], credit=3)
    assert seen == bodies


def test_credit_is_a_statement_and_zero_stops_deliveries(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    worker = Worker(wires, "q")
    worker.hello()
    producer.confirm(producer.publish("q", [1, 2, 3]))
    worker.is_settled()
    assert worker.pop(DELIVER) is None, "credit is 0 after hello"
    worker.credit(1)
    delivery = worker.delivery()
    assert delivery.bodies == [1]
    worker.credit(0)
    worker.settle(delivery.lease, [0, 0, 1, DONE], credit=0)
    worker.is_settled()
    assert worker.pop(DELIVER) is None
    worker.credit(9)
    assert worker.delivery().bodies == [2, 3]


def test_what_is_returned_last_comes_first(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(*(producer.publish("q", [i]) for i in range(4)))
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(3)
    delivery = worker.delivery()
    assert delivery.bodies == [0, 1, 2]
    returns = [[index, 0, 1, RETURNED] for index in (2, 1, 0)]
    worker.settle(delivery.lease, *returns, credit=9)
    assert worker.delivery().bodies == [0, 1, 2, 3]


def test_the_same_number_again_is_the_same_batch(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", ["once"])
    frames = producer.unconfirmed[number]
    producer.confirm(number)
    producer.confirmed.clear()
    producer.say_raw(*frames)
    producer.confirm(number)
    info = Observer(wires).ask()
    assert info["counters"]["published"] == info["counters"]["duplicates"] == 1
    assert info["queues"]["q"]["ready"] == 1


def test_who_is_not_known_is_told_to_greet_and_goes_on_where_it_was(wires: Wires) -> None:
    producer = Producer(wires)
    producer.say(PUBLISH, 1, "q", "", 0, frames=(pack([1]),))
    assert producer.refused() == ("unknown-peer", 0)
    producer.hello()
    running = producer.publish("q", [1], reply=True)
    producer.confirm(running)

    producer.reconnect()
    number = producer.publish("q", [2])  # Refused, then sent again after the welcome.
    producer.confirm(number)
    assert producer.refused() == ("unknown-peer", 0)
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(2)
    delivery = worker.delivery()
    worker.settle(delivery.lease, [0, 0, 1, RESULTS], [1, 0, 1, DONE], carry=(["late"],), credit=2)
    assert producer.results(running, 1) == [(RESULTS, "late")]
    assert Observer(wires).ask()["counters"]["published"] == 2


def test_results_wait_for_a_producer_that_is_away(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", [1], reply=True)
    producer.confirm(number)
    producer.close()
    observer = Observer(wires)
    observer.until(lambda info: info["producers"] == 0)
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(1)
    worker.settle(worker.delivery().lease, [0, 0, 1, RESULTS], carry=(["held"],), credit=1)
    worker.is_settled()

    back = Producer(wires, producer.id)
    back.awaited[number] = {0}
    back.broker = producer.broker
    back.hello()
    assert back.results(number, 1) == [(RESULTS, "held")]


def test_results_that_cannot_come_are_said_to_be_lost(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", [1])
    producer.confirm(number)
    producer.awaited[number] = {0}  # It asked for none, so there are none to come.
    producer.reconnect()
    wires.until(lambda: producer.lost == {number})


def test_a_batch_is_given_up_if_some_of_its_results_are_lost(wires: Wires) -> None:
    producer, worker = Producer(wires), Worker(wires, "q")
    producer.hello()
    worker.hello()
    partly, wholly = (producer.publish("q", [1, 2], reply=True) for _ in range(2))
    producer.confirm(partly, wholly)
    worker.credit(4)
    lease = worker.delivery().lease
    runs = [[0, 0, 1, RESULTS], [1, 0, 1, RESULTS]]
    worker.settle(lease, *runs, carry=(["a"], ["c"]), credit=0)
    wires.until(lambda: len(producer.outcomes) == 2)
    del producer.outcomes[partly, 0]
    producer.awaited[partly] = {0, 1}  # As if that result had been lost with the connection.
    producer.reconnect()
    wires.until(lambda: producer.lost)
    runs = [[0, 1, 1, RESULTS], [1, 1, 1, RESULTS]]
    worker.settle(lease, *runs, carry=(["b"], ["d"]), credit=0)
    assert producer.results(wholly, 2) == [(RESULTS, "c"), (RESULTS, "d")]
    assert producer.lost == {partly}


def test_results_held_and_results_to_come_make_a_whole(wires: Wires) -> None:
    producer, worker = Producer(wires), Worker(wires, "q")
    producer.hello()
    worker.hello()
    number = producer.publish("q", [1, 2], reply=True)
    producer.confirm(number)
    worker.credit(2)
    lease = worker.delivery().lease
    producer.is_ready = False
    producer.reconnect()
    Observer(wires).until(lambda info: info["producers"] == 0)
    worker.settle(lease, [0, 0, 1, RESULTS], carry=(["held"],), credit=0)
    worker.is_settled()
    producer.hello()
    wires.until(lambda: producer.outcomes)
    producer.is_settled()
    worker.settle(lease, [0, 1, 1, RESULTS], carry=(["to come"],), credit=0)
    worker.is_settled()
    producer.is_settled()
    assert not producer.lost
    assert producer.results(number, 2) == [(RESULTS, "held"), (RESULTS, "to come")]


def test_no_number_is_taken_far_beyond_a_gap(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", ["first"]))
    producer.next = 1 + 1024 + 2
    far = producer.publish("q", ["far"])
    assert producer.refused() == ("full", far)
    producer.next = far - 1  # With just 1024 below it that are not taken.
    producer.confirm(producer.publish("q", ["near"]))
    producer.next = far + 1
    farther = producer.publish("q", ["farther"])
    assert producer.refused() == ("full", farther)
    producer.next = 2
    producer.confirm(producer.publish("q", ["filled"]))
    producer.say_raw(*producer.unconfirmed[farther])
    producer.confirm(farther)
    producer.say_raw(*producer.unconfirmed[far])
    producer.confirm(far)
    assert Observer(wires).ask()["counters"]["published"] == 5


def test_a_broker_begins_to_count_where_a_producer_is_first_heard(wires: Wires) -> None:
    producer = Producer(wires)
    producer.next = 70_000
    producer.hello()
    producer.confirm(producer.publish("q", ["first"]))
    producer.next = 69_999
    producer.confirm(producer.publish("q", ["another broker's"]))
    counters = Observer(wires).ask()["counters"]
    assert (counters["published"], counters["duplicates"]) == (1, 1)


def test_await_is_answered_for_each_batch_behind_its_results(wires: Wires) -> None:
    producer, worker = Producer(wires), Worker(wires, "q")
    producer.hello()
    worker.hello()
    number = producer.publish("q", [1, 2, 3], reply=True)
    plain = producer.publish("q", [4])
    producer.confirm(number, plain)
    worker.credit(4)
    worker.settle(worker.delivery().lease, [0, 0, 1, RESULTS], carry=(["a"],), credit=0)
    wires.until(lambda: producer.outcomes)
    while producer.pop(RESULT):
        pass
    producer.say(AWAIT, [plain, number, 99])
    answers = [producer.hear(RESULT)[1][:4] for _ in range(3)]
    assert answers == [[plain, 0, 0, OPEN], [number, 0, 2, OPEN], [99, 0, 0, OPEN]]
    assert not producer.lost


@pytest.mark.parametrize("batches", [0, 2])
def test_a_batch_is_one_frame_or_none(wires: Wires, batches: int) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish_frames("q", (pack([1]),) * batches, 1)
    frames = producer.unconfirmed[number]
    assert producer.refused() == ("malformed", number)
    producer.say_raw(*frames)
    assert producer.refused() == ("malformed", number)
    producer.confirm(producer.publish("q", [1]))


def test_confirms_come_before_the_answer_to_goodbye(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    numbers = {producer.publish("q", [i]) for i in range(9)}
    producer.goodbye()
    assert producer.confirmed == numbers


def test_a_producer_that_left_is_forgotten_with_its_numbers(wires: Wires) -> None:
    first = Producer(wires)
    first.hello()
    first.confirm(first.publish("q", [1]))
    first.goodbye()
    second = Producer(wires, first.id)
    second.hello()
    second.confirm(second.publish("q", [2]))
    assert Observer(wires).ask()["counters"]["published"] == 2


def test_a_worker_that_greets_again_has_lost_its_leases(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", [1, 2], reply=True)
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(2)
    old = worker.delivery()
    worker.is_mute = True
    worker.is_settled()  # What is sent to a connection that is gone makes it a crash.
    worker.reconnect()
    worker.is_ready = worker.is_mute = False
    worker.hello()
    worker.settle(old.lease, [0, 0, 2, RESULTS], carry=([1, 2],), credit=2)
    new = worker.delivery()
    assert new.bodies == [1, 2]
    assert new.attempts == {2}
    worker.settle(new.lease, [0, 0, 2, RESULTS], [0, 0, 1, DONE], carry=([3, 4],), credit=2)
    assert producer.results(number, 2) == [(RESULTS, 3), (RESULTS, 4)]
    assert Observer(wires).ask()["counters"]["stale"] == 3


def test_one_cannot_settle_what_another_has(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", [1], reply=True)
    owner, thief = Worker(wires, "q"), Worker(wires, "q")
    owner.hello()
    owner.credit(1)
    delivery = owner.delivery()
    thief.hello()
    thief.settle(delivery.lease, [0, 0, 1, RESULTS], carry=(["wrong"],), credit=0)
    thief.is_settled()
    owner.settle(delivery.lease, [0, 0, 1, RESULTS], carry=(["right"],), credit=0)
    assert producer.results(number, 1) == [(RESULTS, "right")]


def test_goodbye_returns_open_tasks(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", [1, 2, 3]))
    leaving = Worker(wires, "q")
    leaving.hello()
    leaving.credit(3)
    delivery = leaving.delivery()
    leaving.settle(delivery.lease, [0, 1, 1, DONE], credit=0)
    leaving.goodbye()
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(8)
    delivery = worker.delivery()
    assert delivery.bodies == [1, 3]
    assert delivery.attempts == {2}
    assert Observer(wires).ask()["counters"]["workers_lost"] == 0


def test_a_supervisor_keeps_a_silent_worker_alive_and_reports_its_death(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", ["a", "b"], reply=True)
    supervisor = Supervisor(wires)
    supervisor.hello()
    busy = Worker(wires, "q", supervisor=supervisor.id)
    busy.hello()
    busy.credit(2)
    busy.delivery()
    busy.is_mute = True
    other = Worker(wires, "q", supervisor=supervisor.id)
    other.hello()
    other.credit(2)
    supervisor.speak_for(busy.id, other.id)
    outlive(supervisor, other)
    assert other.pop(DELIVER) is None

    supervisor.departed(busy.id, "crashed", text="killed by SIGKILL")
    delivery = other.delivery()  # Suspects: alone, and together as yet.
    assert (delivery.bodies, delivery.attempts) == (["a", "b"], {2})
    other.credit(3)
    other.is_settled()
    assert other.pop(DELIVER) is None
    supervisor.departed(other.id, "crashed", text="killed by SIGKILL")
    last = Worker(wires, "q")
    last.hello()
    last.credit(2)
    for body in ("a", "b"):  # Another crash would be the last: one at a time.
        delivery = last.delivery()
        assert (delivery.bodies, delivery.attempts) == ([body], {3})
        last.is_settled()
        assert last.pop(DELIVER) is None
        last.settle(delivery.lease, [0, 0, 1, RESULTS], carry=([body],), credit=2)
    assert producer.results(number, 2) == [(RESULTS, "a"), (RESULTS, "b")]
    assert Observer(wires).ask()["counters"]["workers_lost"] == 2


def test_a_silent_worker_is_lost(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", [1]))
    silent = Worker(wires, "q")
    silent.hello()
    silent.credit(1)
    lost = silent.delivery()
    silent.is_mute = True
    stranger = Supervisor(wires)
    stranger.hello()
    stranger.speak_for(silent.id)  # Passed over: the worker did not name it.
    other = Worker(wires, "q")
    other.hello()
    other.credit(1)
    delivery = other.delivery()
    assert delivery.attempts == {2}
    silent.settle(lost.lease, [0, 0, 1, DONE], credit=1)
    assert silent.refused() == ("unknown-peer", 0)


def test_silence_of_a_worker_with_a_supervisor_is_no_crash(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", [1, 2]))
    silent = Worker(wires, "q", supervisor=b"is cut off, too")
    silent.hello()
    silent.credit(2)
    silent.delivery()
    silent.is_mute = True
    other = Worker(wires, "q")
    other.hello()
    other.credit(2)
    delivery = other.delivery()
    assert (delivery.bodies, delivery.attempts) == ([1, 2], {2}), "no suspects: both at once"
    assert Observer(wires).ask()["counters"]["workers_lost"] == 1


@pytest.mark.parametrize("supervisor", [b"", b"gone, too"])
def test_a_connection_that_is_gone_is_a_crash(wires: Wires, supervisor: bytes) -> None:
    producer, observer = Producer(wires), Observer(wires)
    producer.hello()
    producer.publish("q", ["a", "b"])
    gone = Worker(wires, "q", supervisor=supervisor)
    gone.hello()
    gone.credit(999)
    gone.delivery()
    gone.close()

    def is_lost(info: dict[str, Any]) -> bool:
        producer.publish("q", ["later"])  # Until a delivery finds that nobody is there.
        return bool(info["counters"]["workers_lost"])

    observer.until(is_lost)
    other = Worker(wires, "q")
    other.hello()
    other.credit(1)
    delivery = other.delivery()
    assert (len(delivery.bodies), delivery.attempts) == (1, {2}), "a suspect"
    other.credit(999)
    other.is_settled()
    assert other.pop(DELIVER) is None, "alone"


def test_a_supervisor_is_waited_for_when_a_connection_is_gone(wires: Wires) -> None:
    producer, observer, supervisor = Producer(wires), Observer(wires), Supervisor(wires)
    producer.hello()
    supervisor.hello()
    asked = producer.publish("q", ["a", "b"], reply=True)
    gone = Worker(wires, "q", supervisor=supervisor.id)
    supervisor.speak_for(gone.id)
    gone.hello()
    gone.credit(999)
    delivery = gone.delivery()
    gone.close()

    def is_met(info: dict[str, Any]) -> bool:
        producer.publish("q", ["later"])  # Until a delivery finds that nobody is there.
        return info["workers"][0]["credit"] == 0

    observer.until(is_met)
    assert not observer.ask()["counters"]["workers_lost"]
    supervisor.departed(gone.id, "timeout", lease=delivery.lease, position=1, text="too long")
    other = Worker(wires, "q")
    other.hello()
    other.credit(1)
    again = other.delivery()
    assert (again.bodies, again.attempts) == (["a"], {2})
    other.settle(again.lease, [0, 0, 1, RESULTS], carry=(["a"],), credit=0)
    results = producer.results(asked, 2)
    assert [status for status, _ in results] == [RESULTS, FAILED]
    assert results[1][1][0] == "TaskTimeout"


def test_a_settlement_at_fault_loses_its_worker(wires: Wires) -> None:
    producer, worker = Producer(wires), Worker(wires, "q")
    producer.hello()
    worker.hello()
    number = producer.publish("q", [1, 2], reply=True)
    faults: list[tuple[list[int], tuple[Any, ...]]] = [
        ([0, 0, 2, RESULTS], ()),
        ([0, 0, 2, RESULTS], ([1],)),
        ([0, 0, 2, RESULTS], ({},)),
        ([0, 0, 1, FAILED], ([["E", "", ""]] * 2,)),
        ([0, 0, 2, DONE], ([1, 2],)),
        ([0, 0, 2, 4], ()),
    ]
    for attempt, (run, carry) in enumerate(faults, 1):
        worker.credit(2)
        delivery = worker.delivery()
        assert delivery.attempts == {attempt}
        worker.settle(delivery.lease, run, carry=carry, credit=2)
        assert worker.refused() == ("malformed", 0)
        worker.credit(0)  # Answered by: who are you?
        assert worker.refused() == ("unknown-peer", 0)
        worker.is_ready = False
        worker.hello()
    worker.credit(2)
    lease = worker.delivery().lease
    worker.settle(lease, [0, 0, 2, FAILED], carry=([["E", "", ""]],), credit=2)
    assert [status for status, _ in producer.results(number, 2)] == [FAILED, FAILED]
    assert Observer(wires).ask()["counters"]["workers_lost"] == 0


def test_a_task_whose_workers_crash_three_times_is_dead(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    asked = producer.publish("q", ["poison"], reply=True)
    supervisor = Supervisor(wires)
    supervisor.hello()

    def crash_on(body: str) -> None:
        for attempt in (1, 2, 3):
            worker = Worker(wires, "q", supervisor=supervisor.id)
            worker.hello()
            worker.credit(1)
            delivery = worker.delivery()
            assert (delivery.bodies, delivery.attempts) == ([body], {attempt})
            supervisor.departed(worker.id, "crashed", text="exit code 7")
            worker.close()

    crash_on("poison")
    ((status, error),) = producer.results(asked, 1)
    assert status == FAILED
    assert error[0] == "WorkerLost"
    assert "exit code 7" in error[1]
    producer.publish("q", ["venom"])
    crash_on("venom")
    observer = Observer(wires)
    observer.until(lambda info: info["dead"]["total"])
    dead = observer.ask("dead")
    assert dead["total"] == 1
    ((queue, task, body, reason, packed, attempt),) = dead["letters"]
    assert (queue, task, unpack(body), reason, attempt) == ("q", "", ["venom"], "crashed", 3)
    assert unpack(packed)[0] == "WorkerLost"


def test_a_time_out_fails_one_task_and_returns_the_others(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", [0, 1], reply=True)
    late = producer.publish("q", [2, 3, 4], reply=True)
    producer.confirm(number, late)
    supervisor = Supervisor(wires)
    supervisor.hello()
    worker = Worker(wires, "q", supervisor=supervisor.id)
    worker.hello()
    worker.credit(5)
    delivery = worker.delivery()
    assert delivery.bodies == [0, 1, 2, 3, 4]
    supervisor.departed(worker.id, "timeout", delivery.lease, 3, "too long")
    other = Worker(wires, "q")
    other.hello()
    other.credit(9)
    delivery = other.delivery()
    assert delivery.bodies == [0, 1, 2, 4]
    assert delivery.attempts == {2}
    runs = [[i, 0, len(batch[3]), DONE] for i, batch in enumerate(delivery.batches)]
    other.settle(delivery.lease, *runs, credit=9)
    results = producer.results(late, 3)
    assert [status for status, _ in results] == [DONE, FAILED, DONE]
    assert results[1][1] == ["TaskTimeout", "too long", ""]


def test_stopped_is_no_crash(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", [1, 2]))
    supervisor = Supervisor(wires)
    supervisor.hello()
    worker = Worker(wires, "q", supervisor=supervisor.id)
    worker.hello()
    worker.credit(2)
    worker.delivery()
    supervisor.departed(worker.id, "bored")
    assert supervisor.refused() == ("malformed", 0)
    supervisor.departed(worker.id, "stopped")
    other = Worker(wires, "q")
    other.hello()
    other.credit(2)
    delivery = other.delivery()
    assert (delivery.bodies, delivery.attempts) == ([1, 2], {2})


def test_failed_tasks_that_nobody_awaits_are_dead_letters(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", ["x", "y", "z"], task="t"))
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(3)
    lease = worker.delivery().lease
    each = [["E1", "one", ""], ["E2", "two", ""]]
    worker.settle(lease, [0, 0, 2, FAILED], [0, 2, 1, FAILED], carry=(each, [each[0]]), credit=0)
    worker.is_settled()
    letters = Observer(wires).ask("dead")["letters"]
    told = [(task, unpack(body), reason, unpack(e)[0]) for _, task, body, reason, e, _ in letters]
    assert told == [
        ("t", ["z"], "failed", "E1"),
        ("t", ["y"], "failed", "E2"),
        ("t", ["x"], "failed", "E1"),
    ]


def test_a_batch_that_cannot_be_cut_fails(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish_raw("q", b"\x93\x01\x02\xc1", 3, reply=True)
    producer.confirm(number)
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(1)
    results = producer.results(number, 3)
    assert [(status, error[0]) for status, error in results] == [(FAILED, "ProtocolError")] * 3
    assert worker.pop(DELIVER) is None


# --- figures ---


def test_an_age_is_what_the_producer_says_and_the_time_with_the_broker(wires: Wires) -> None:
    producer, worker = Producer(wires), Worker(wires, "q")
    producer.hello()
    worker.hello()
    asked = monotonic()
    numbers = [producer.publish_frames("q", (pack([1]),), 1, age_us=age) for age in (None, 10**12)]
    producer.confirm(*numbers)
    taken = monotonic()
    outlive(worker)
    waited_us = (monotonic() - taken) * 1e6
    worker.credit(2)
    young, old = worker.delivery().ages_us
    # The broker looks at the clock once for all messages that it takes in one turn.
    at_most_us = (monotonic() - asked + TURN_S) * 1e6
    assert waited_us <= young <= at_most_us
    assert waited_us <= old - 10**12 <= at_most_us


def test_reports_are_added_up_and_the_state_is_replaced(wires: Wires) -> None:
    producer, worker, observer = Producer(wires), Worker(wires, "q"), Observer(wires)
    producer.hello()
    worker.hello()
    run, total = bare_client.histogram([0.25]), bare_client.histogram([0.5])
    for done in (1, 2):
        tasks = {"t": [1, 0, run, total, "more"], "no name": [0, 1, run, total]}
        worker.report(tasks=tasks, done=done, cpu_s=1.5)
        producer.report(confirm=total, done=99)
    worker.is_settled()
    producer.is_settled()
    told = observer.ask("stats")
    twice = [bare_client.histogram([value, value]) for value in (0.25, 0.5)]
    assert told["figures"] == {"t": [2, 0, *twice], "(other)": [0, 2, *twice]}
    assert told["confirm"] == twice[1]
    assert told["workers"][0]["report"] == {"done": 2, "cpu_s": 1.5}

    worker.goodbye()
    assert observer.ask("stats")["figures"] == told["figures"], "they outlive who told them"


def test_what_a_queue_did_is_told_for_itself(wires: Wires) -> None:
    producer, worker, observer = Producer(wires), Worker(wires, "q"), Observer(wires)
    producer.hello()
    worker.hello()
    producer.confirm(producer.publish("q", [1, 2, 3]), producer.publish("other", [4]))
    assert producer.publish("no name", [5])
    producer.refused()
    worker.credit(3)
    worker.settle(worker.delivery().lease, [0, 0, 3, DONE], credit=0)
    worker.is_settled()
    told = observer.ask("stats")
    assert set(observer.ask("info")) == set(answers()["info"])
    assert set(told) == set(answers()["info"]) | set(answers()["stats"])
    queue, other = told["queues"]["q"], told["queues"]["other"]
    assert (queue["oldest_s"], queue["counters"]["done"], queue["paused"]) == (0, 3, False)
    assert other["oldest_s"] > 0
    assert sum(bare_client.read_histogram(queue["wait"])[3].values()) == 3
    assert queue["batches"] == bare_client.histogram([3.0])
    assert told["beside_queues"]["refused"] == 1
    parts = [queue["counters"], other["counters"], told["beside_queues"]]
    assert told["counters"] == {name: sum(part[name] for part in parts) for name in parts[0]}
