"""What docs/protocol.md says of full queues, refusals, leaving and the plain lane is what a real
broker does."""

from __future__ import annotations

import signal
from pathlib import Path

import zmq

from .bare_client import (
    CONTROL,
    DELIVER,
    DONE,
    GOODBYE,
    HEARTBEAT,
    SETTLE,
    Observer,
    Producer,
    Wires,
    Worker,
    pack,
    unpack,
)
from .processes import broker


def test_a_full_queue_withholds_confirms_and_then_refuses_for_now(url: str) -> None:
    with broker(url, "--queue-tasks", "8"), Wires(url) as wires:
        producer = Producer(wires)
        producer.hello()
        taken = [producer.publish("q", [i, i]) for i in range(5)]
        producer.confirm(*taken[:3])
        postponed = producer.publish("q", [9, 9])
        assert producer.refused() == ("full", postponed)
        assert producer.confirmed == set(taken[:3])
        for number in taken[3:]:  # Sent again while it is withheld: no answer, taken once.
            producer.say_raw(*producer.unconfirmed[number])
        producer.is_settled()
        assert set(producer.unconfirmed) == {*taken[3:], postponed}
        info = Observer(wires).ask()
        assert info["queues"]["q"]["withheld"] == 2
        assert info["counters"]["postponed"] == 1

        worker = Worker(wires, "q")
        worker.hello()
        worker.credit(2)
        delivery = worker.delivery()
        worker.settle(delivery.lease, [0, 0, 2, DONE], credit=1)  # 8 of 8 are left.
        delivery = worker.delivery()
        producer.is_settled()
        assert producer.unconfirmed.keys() == {*taken[3:], postponed}
        worker.settle(delivery.lease, [0, 0, 1, DONE], credit=0)  # 7 of 8: the low water mark.
        producer.confirm(*taken)
        producer.say_raw(*producer.unconfirmed[postponed])
        worker.credit(9)

        def is_confirmed() -> bool:
            if message := worker.pop(DELIVER):
                _, (lease, _, batches), _ = message
                worker.settle(lease, *([i, 0, b[2], DONE] for i, b in enumerate(batches)), credit=9)
            return postponed in producer.confirmed

        wires.until(is_confirmed)


def test_what_is_refused_is_told_by_a_code_and_harms_nothing(wires: Wires) -> None:
    """A case a code; which messages have which, `tests/broker` and `tests/wire` know."""
    producer = Producer(wires)
    producer.hello()
    for code, queue, bodies in (
        ("bad-name", "no spaces", [1]), ("too-large", "q", [0] * 4097), ("malformed", "q", []),
    ):  # fmt: skip
        number = producer.publish(queue, bodies)
        frames = producer.unconfirmed[number]
        assert producer.refused() == (code, number)
        assert not producer.unconfirmed
        producer.say_raw(*frames)  # Had the refusal been lost, it would come again.
        assert producer.refused() == (code, number)
    for code, frame in (
        ("malformed", b"\xc1"), ("wrong-version", pack([2, HEARTBEAT, []])),
        ("wrong-role", pack([1, SETTLE, 1, 1, []])),
        ("unknown-queue", pack([1, CONTROL, "pause", "none"])),
    ):  # fmt: skip
        producer.say_raw(frame)
        assert producer.refused() == (code, 0)
    producer.confirm(producer.publish("q", ["fine"]))
    assert Observer(wires).ask()["counters"]["published"] == 1


def test_draining(url: str) -> None:
    with broker(url) as process, Wires(url) as wires:
        producer, worker, observer = Producer(wires), Worker(wires, "q"), Observer(wires)
        producer.hello()
        taken = producer.publish("q", [1])
        frames = producer.unconfirmed[taken]
        producer.confirm(taken)
        process.send(signal.SIGTERM)
        observer.until(lambda info: info["draining"])
        postponed = producer.publish("q", [2])
        assert producer.refused() == ("draining", postponed)
        producer.confirmed.clear()
        producer.say_raw(*frames)
        producer.confirm(taken)  # What was taken is confirmed again.
        worker.hello()
        worker.credit(1)
        worker.settle(worker.delivery().lease, [0, 0, 1, DONE], credit=1)
        producer.hear(GOODBYE)
        worker.hear(GOODBYE)
        assert process.wait() == 0


def test_another_broker_gets_what_is_unconfirmed(url: str) -> None:
    with Wires(url) as wires:
        producer = Producer(wires)
        with broker(url):
            producer.hello()
            gone = producer.publish("q", ["gone"], reply=True)
            producer.confirm(gone)
            first = producer.broker
        producer.is_ready = False
        number = producer.publish("q", ["kept"])
        with broker(url):
            producer.reconnect()
            producer.hello()
            assert producer.broker != first
            producer.confirm(number)
            assert producer.lost == {gone}
            assert Observer(wires).ask()["queues"]["q"]["ready"] == 1


def test_the_plain_lane(url: str, tmp_path: Path) -> None:
    ingress, egress = f"ipc://{tmp_path}/in", f"ipc://{tmp_path}/out"
    with (
        broker(url, "--ingest", ingress, "--egress", f"out={egress}"),
        Wires(url) as wires,
    ):
        producer, worker, observer = Producer(wires), Worker(wires, "q"), Observer(wires)
        worker.hello()
        worker.credit(4)
        push = wires.socket(zmq.PUSH, ingress)
        for frames in ([b"q", b"\xc0"], [b"q"], [b"no name", pack([1])], [b"q", pack([1, 2])]):
            assert push.poll(20_000, zmq.POLLOUT)
            push.send_multipart(frames)
        assert worker.delivery().batches == [("", False, 1, [1, 2])]
        counters = observer.ask()["counters"]
        assert (counters["ingested"], counters["refused"] + counters["garbage"]) == (2, 3)

        pull = wires.socket(zmq.PULL, egress)
        producer.hello()
        producer.confirm(producer.publish("out", [7, 8]))
        assert pull.poll(20_000)
        name, batch = pull.recv_multipart()
        assert (name, unpack(batch)) == (b"out", [7, 8])
        refused = producer.publish("out", [9], reply=True)
        assert producer.refused() == ("no-results", refused)
        push.close(0)
        pull.close(0)


# --- queues that are held up ---
