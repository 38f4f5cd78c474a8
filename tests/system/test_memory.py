"""What a broker's memory costs: bounded when its queues are full, and given back."""

from __future__ import annotations

import msgpack
import pytest
import zmq

from tests.system.harness import BarePeer, bare, calls_until_full, rss_bytes, wait_until

pytestmark = pytest.mark.system

MIB = 1 << 20
BOUND = 64 * MIB
ALLOWED = BOUND * 3 // 2 + 64 * MIB

BODY = {"id": 12_345, "x": 1.5, "name": "abcdefgh"}

SHAPES = {
    "one small task": msgpack.packb([BODY]),
    "a full batch": msgpack.packb([BODY] * 512),
    "4,096 tiny tasks": msgpack.packb([1] * 4_096),
    "one of 1 MiB": msgpack.packb([bytes(MIB)]),
}


@pytest.mark.parametrize("frame", SHAPES.values(), ids=SHAPES)
def test_a_full_queue_stays_within_its_bytes(start_broker, frame):
    """Filled by a peer that does not care whether it is told to wait."""
    broker = start_broker(
        "--queue-bytes", "64M", "--max-bytes", "64M", "--queue-tasks", "1000000000", quick=False
    )
    before = rss_bytes(broker.pid)
    with bare(zmq.DEALER, broker.url, RCVHWM=0) as dealer:
        peer = BarePeer(dealer)
        sent = 0
        while not peer.refused:
            for _ in range(200 if len(frame) < 1_000 else 5):
                peer.publish("full", frame)
                sent += 1
            peer.read()
            assert sent < 2_000_000, "it should have been full long ago"
        state = broker.info()
        assert state["bytes"] >= BOUND
        assert state["counters"]["postponed"] > 0
        assert rss_bytes(broker.pid) - before < ALLOWED


def test_tasks_that_went_through_leave_nothing_behind(start_broker, workers, produce):
    broker = start_broker(quick=False)
    workers(broker, "events.py", 1)
    producer = produce(broker)

    def push(count):
        done = broker.count("done")
        producer.send_many("sink", (BODY for _ in range(count)))
        producer.flush()
        wait_until(lambda: broker.count("done") == done + count, 60, what="the end of the tasks")

    push(100_000)
    grown = []
    for _ in range(3):  # What it holds at a time varies; what is left behind adds up.
        before = rss_bytes(broker.pid)
        push(200_000)
        grown.append(rss_bytes(broker.pid) - before)
    assert min(grown) < 2 * MIB, grown
    assert broker.info()["bytes"] == 0


def test_results_that_went_through_leave_nothing_behind(start_broker, workers, load):
    broker = start_broker(quick=False)
    workers(broker, "jobs.py", 1)
    jobs = load(broker, "jobs.py")
    assert sum(jobs.add.map(range(30_000))) == sum(range(30_000))
    warm = rss_bytes(broker.pid)
    assert sum(jobs.add.map(range(100_000))) == sum(range(100_000))
    assert rss_bytes(broker.pid) - warm < 8 * MIB
    assert broker.info()["bytes"] == 0


def test_what_was_full_gives_its_memory_back_to_be_used_again(start_broker, workers, produce):
    """Within its bytes; and a second filling costs no more than the first."""
    broker = start_broker(
        "--queue-bytes", "32M", "--max-bytes", "32M", "--queue-tasks", "1000000000", quick=False
    )
    before = rss_bytes(broker.pid)
    producer = produce(broker, timeout=60)
    highest = []
    for _ in range(2):
        calls_until_full(lambda _: producer.send_many("sink", [BODY] * 5_000, timeout=0.2))
        assert broker.info()["bytes"] >= 32 * MIB
        highest.append(rss_bytes(broker.pid))
        pool = workers(broker, "events.py", 1)
        producer.flush()
        broker.wait_idle(60)
        pool.process.kill()
        wait_until(lambda: not broker.info()["workers"], what="the pool's end")
    assert highest[0] - before < 32 * MIB * 3 // 2 + 64 * MIB
    assert highest[-1] - highest[0] < 16 * MIB
