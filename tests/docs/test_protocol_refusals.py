"""What docs/protocol.md says of full queues, refusals, leaving and the plain lane is what a real
broker does."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from . import bare_client
from .bare_client import (
    CONTROL,
    DELIVER,
    DONE,
    GOODBYE,
    HEARTBEAT,
    PROGRESS,
    PUBLISH,
    REFUSE,
    RESULTS,
    RETURNED,
    SETTLE,
    Observer,
    Producer,
    Wires,
    Worker,
    pack,
    unpack,
)
from .processes import STOP_S, broker


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


Say = Callable[[Producer, Worker], object]

NUMBERED: dict[str, tuple[str, Say]] = {
    "queue name": ("bad-name", lambda p, w: p.publish("no spaces", [1])),
    "empty name": ("bad-name", lambda p, w: p.publish("", [1])),
    "long name": ("bad-name", lambda p, w: p.publish("q" * 129, [1])),
    "task name": ("bad-name", lambda p, w: p.publish("q", [1], task="a/b")),
    "too many tasks": ("too-large", lambda p, w: p.publish("q", [0] * 4097)),
    "no array": ("malformed", lambda p, w: p.publish_raw("q", pack({}), 0)),
    "empty array": ("malformed", lambda p, w: p.publish("q", [])),
    "no bytes": ("malformed", lambda p, w: p.publish_raw("q", b"", 0)),
    "too short": ("malformed", lambda p, w: p.publish_raw("q", b"\xdc\x00\x05\x01", 5)),
    "no frame": ("malformed", lambda p, w: p.publish_frames("q", (), 1)),
    "two frames": ("malformed", lambda p, w: p.publish_frames("q", (pack([1]), b""), 1)),
}


@pytest.mark.parametrize("case", NUMBERED)
def test_a_batch_that_is_refused_for_good(wires: Wires, case: str) -> None:
    code, publish = NUMBERED[case]
    producer, worker = Producer(wires), Worker(wires, "q")
    producer.hello()
    publish(producer, worker)
    (frames,) = producer.unconfirmed.values()
    assert producer.refused() == (code, 1)
    assert not producer.unconfirmed
    producer.say_raw(*frames)  # Had the refusal been lost, it would come again.
    assert producer.refused() == (code, 1)
    producer.confirm(producer.publish("q", ["fine"]))
    assert Observer(wires).ask()["counters"]["published"] == 1


def nested(depth: int) -> bytes:
    """A map in a map in a map."""
    return b"\x81\xa1x" * (depth - 1) + b"\x80"


UNNUMBERED: dict[str, tuple[str, Say]] = {
    "number 0": ("malformed", lambda p, w: p.say(PUBLISH, 0, "q", "", 0, frames=(pack([1]),))),
    "missing field": ("malformed", lambda p, w: p.say(PUBLISH, 1, "q", "")),
    "wrong type": ("malformed", lambda p, w: p.say(PUBLISH, True, "q", "", 0)),
    "negative": ("malformed", lambda p, w: p.say(PUBLISH, -1, "q", "", 0)),
    "over 63 bits": ("malformed", lambda p, w: p.say(PUBLISH, 1 << 63, "q", "", 0)),
    "unknown kind": ("malformed", lambda p, w: p.say(99)),
    "no msgpack": ("malformed", lambda p, w: p.say_raw(b"\xc1")),
    "delimiter": ("malformed", lambda p, w: p.say_raw(b"", pack([1, HEARTBEAT, []]))),
    "no array": ("malformed", lambda p, w: p.say_raw(pack({}))),
    "trailing bytes": ("malformed", lambda p, w: p.say_raw(pack([1, HEARTBEAT, []]) + b"\0")),
    "long header": ("malformed", lambda p, w: p.say_raw(pack([1, HEARTBEAT, [], "x" * 16384]))),
    "version": ("wrong-version", lambda p, w: p.say_raw(pack([2, HEARTBEAT, []]))),
    "role": ("wrong-role", lambda p, w: p.say(SETTLE, 1, 1, [])),
    "question": ("malformed", lambda p, w: p.say(bare_client.ASK, "why")),
    "unknown queue": ("unknown-queue", lambda p, w: w.say(CONTROL, "pause", "none")),
    "action": ("malformed", lambda p, w: p.say(CONTROL, "stop", "q")),
    "control fields": ("malformed", lambda p, w: p.say(CONTROL, "pause")),
    "control type": ("malformed", lambda p, w: p.say(CONTROL, "pause", b"q")),
    "progress fields": ("malformed", lambda p, w: w.say(PROGRESS, 1, 0, 1)),
    "progress type": ("malformed", lambda p, w: w.say(PROGRESS, 1, 0, 1.5, 2)),
    "progress size": ("malformed", lambda p, w: w.say(PROGRESS, 1, 0, 1 << 63, 2)),
    "producer progresses": ("wrong-role", lambda p, w: p.say(PROGRESS, 1, 0, 1, 2)),
    "settle status": ("malformed", lambda p, w: w.say(SETTLE, 1, 1, [[0, 0, 1, 4]])),
    "settle frames": ("malformed", lambda p, w: w.say(SETTLE, 1, 1, [[0, 0, 1, RESULTS]])),
    "report": ("malformed", lambda p, w: w.say(bare_client.REPORT)),
    "long report": ("malformed", lambda p, w: w.report(state="x" * 4096)),
    "longer report": ("malformed", lambda p, w: p.report(state="x" * 65536)),
    "report keys": ("malformed", lambda p, w: w.report(inside={1: 2})),
    "report tasks": ("malformed", lambda p, w: w.report(tasks={"t": [1, 0, [5, 0], [5, 0]]})),
    "report confirm": ("malformed", lambda p, w: p.report(confirm=[5, 0, 1, 1])),
    "header map": ("malformed", lambda p, w: p.say(HEARTBEAT, [], {"a": 1})),
    "deep report": ("malformed", lambda p, w: w.say(bare_client.REPORT, frames=(nested(9),))),
    "report map": ("malformed", lambda p, w: w.say(bare_client.REPORT, frames=(pack({1: 2}),))),
    "worker publishes": (
        "wrong-role",
        lambda p, w: w.say(PUBLISH, 1, "q", "", 0, frames=(pack([1]),)),
    ),
    "hello role": ("malformed", lambda p, w: p.say(bare_client.HELLO, "boss", p.id)),
    "hello id": ("malformed", lambda p, w: p.say(bare_client.HELLO, "producer", b"x" * 33)),
    "no queues": ("malformed", lambda p, w: w.say(bare_client.HELLO, "worker", w.id)),
}  # fmt: skip


def test_a_message_that_is_refused_harms_nothing(wires: Wires) -> None:
    for case, (code, say) in UNNUMBERED.items():
        producer, worker = Producer(wires), Worker(wires, "q")
        producer.hello()
        worker.hello()
        say(producer, worker)
        refused = wires.until(lambda: producer.pop(3) or worker.pop(3))  # noqa: B023
        assert refused[1][:2] == [code, 0], case
        producer.close()
        worker.close()
    observer = Observer(wires)
    observer.until(lambda info: not info["workers"])
    assert observer.ask()["counters"]["published"] == 0


def test_a_map_may_nest_eight_deep(wires: Wires) -> None:
    worker = Worker(wires, "q")
    worker.hello()
    worker.say(bare_client.REPORT, frames=(nested(8),))
    (told,) = Observer(wires).ask()["workers"]
    assert told["report"] == unpack(nested(8))
    assert told["id"] == worker.id.hex()[:8]


def test_no_room_for_another_peer(url: str) -> None:
    with broker(url, "--peers", "1"), Wires(url) as wires:
        producer, other = Producer(wires), Producer(wires)
        producer.hello()
        other.greet()
        assert other.refused() == ("too-many-peers", 0)
        producer.is_ready = False
        producer.reconnect()  # It needs no further room: it replaces its former self.
        producer.hello()
        producer.goodbye()
        other.hello()
        assert Observer(wires).ask()["producers"] == 1, "to ask needs no room"


def test_draining(url: str) -> None:
    with broker(url) as process, Wires(url) as wires:
        producer, worker, observer = Producer(wires), Worker(wires, "q"), Observer(wires)
        producer.hello()
        taken = producer.publish("q", [1])
        frames = producer.unconfirmed[taken]
        producer.confirm(taken)
        process.send_signal(signal.SIGTERM)
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
        assert process.wait(STOP_S) == 0


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


def test_another_broker_takes_any_number(url: str) -> None:
    with Wires(url) as wires:
        producer = Producer(wires)
        producer.next = 2000  # It was connected for long.
        number = producer.publish("q", ["kept"])
        with broker(url):
            producer.hello()
            wires.until(lambda: number in producer.confirmed or producer.pop(REFUSE))
            assert number in producer.confirmed


def test_a_broker_that_is_about_to_stop_reads_no_more_of_the_plain_lane(
    url: str, tmp_path: Path
) -> None:
    ingress = f"ipc://{tmp_path}/in"
    with broker(url, "--ingest", ingress) as process, Wires(url) as wires:
        worker, observer = Worker(wires, "q"), Observer(wires)
        worker.hello()
        push = wires.socket(zmq.PUSH, ingress)
        assert push.poll(20_000, zmq.POLLOUT)
        push.send_multipart([b"q", pack([1])])
        observer.until(lambda info: info["counters"]["ingested"] == 1)
        process.send_signal(signal.SIGTERM)
        observer.until(lambda info: info["draining"])
        push.send_multipart([b"q", pack([2])])
        for _ in range(9):
            assert observer.ask()["counters"]["ingested"] == 1
        worker.credit(9)
        delivery = worker.delivery()
        assert delivery.bodies == [1]
        worker.settle(delivery.lease, [0, 0, 1, DONE], credit=9)
        worker.hear(GOODBYE)
        assert process.wait(STOP_S) == 0
        push.close(0)


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


def test_a_paused_queue_hands_nothing_out(wires: Wires) -> None:
    producer, worker, observer = Producer(wires), Worker(wires, "q"), Observer(wires)
    producer.hello()
    worker.hello()
    worker.credit(2)
    first = producer.publish("q", [1, 2, 3], reply=True)
    delivery = worker.delivery()
    assert observer.control("pause", "q") == (True, False)
    producer.confirm(first, producer.publish("q", [4]))
    worker.settle(delivery.lease, [0, 0, 1, RESULTS], [0, 1, 1, RETURNED], carry=([1],), credit=9)
    worker.is_settled()
    assert worker.pop(DELIVER) is None
    queue = observer.ask()["queues"]["q"]
    assert (queue["ready"], queue["leased"], queue["paused"]) == (3, 0, True)
    assert observer.control("resume", "q") == (False, False)
    delivery = worker.delivery()
    assert delivery.bodies == [2, 3, 4]
    assert delivery.attempts == {1}


def test_a_draining_queue_takes_nothing_new(wires: Wires) -> None:
    producer, worker, observer = Producer(wires), Worker(wires, "q"), Observer(wires)
    producer.hello()
    taken = producer.publish("q", [1])
    frames = producer.unconfirmed[taken]
    producer.confirm(taken)
    assert observer.control("drain", "q") == (False, True)
    postponed = producer.publish("q", [2])
    assert producer.refused() == ("draining", postponed)
    producer.confirmed.clear()
    producer.say_raw(*frames)
    producer.confirm(taken)
    producer.confirm(producer.publish("other", [3]))
    worker.hello()
    worker.credit(9)
    assert worker.delivery().bodies == [1]
    assert observer.control("pause", "q") == (True, True)
    assert observer.control("resume", "q") == (False, False)
    producer.say_raw(*producer.unconfirmed[postponed])
    producer.confirm(postponed)
    assert worker.delivery().bodies == [2]


def test_the_plain_lane_is_held_up_with_its_queue(url: str, tmp_path: Path) -> None:
    ingest, egress = f"ipc://{tmp_path}/in", f"ipc://{tmp_path}/out"
    with (
        broker(url, "--ingest", ingest, "--egress", f"out={egress}"),
        Wires(url) as wires,
    ):
        observer = Observer(wires)
        push, pull = wires.socket(zmq.PUSH, ingest), wires.socket(zmq.PULL, egress)
        push.send_multipart([b"in", pack([0])])
        observer.until(lambda info: "in" in info["queues"])
        assert observer.control("drain", "in") == (False, True)
        assert observer.control("pause", "out") == (True, False)
        push.send_multipart([b"out", pack([1])])
        observer.until(lambda info: info["queues"]["out"]["ready"] == 1)
        push.send_multipart([b"in", pack([2])])
        push.send_multipart([b"out", pack([3])])  # Behind the one that is not taken.
        assert not pull.poll(200)
        told = observer.ask()["queues"]
        assert (told["in"]["ready"], told["out"]["ready"]) == (1, 1)
        observer.control("resume", "out")
        assert pull.poll(20_000)
        assert pull.recv_multipart() == [b"out", pack([1])]
        observer.control("resume", "in")
        assert pull.poll(20_000)
        assert pull.recv_multipart() == [b"out", pack([3])]
        observer.until(lambda info: info["queues"]["in"]["ready"] == 2)
