"""A client that knows nothing but docs/protocol.md gets along with a real broker."""

from __future__ import annotations

from . import bare_client
from .bare_client import (
    DELIVER,
    DONE,
    FAILED,
    PUBLISH,
    RESULTS,
    RETURNED,
    Observer,
    Producer,
    Supervisor,
    Wires,
    Worker,
    pack,
)
from .page import answers
from .processes import outlive


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


# --- figures ---


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
