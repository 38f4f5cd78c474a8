"""The machine of a worker."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.link import Connected, Disconnected
from zqueue.wire.messages import (
    DONE,
    RESULTS,
    RETURNED,
    Credit,
    Deliver,
    Goodbye,
    Heartbeat,
    Hello,
    Message,
    Progress,
    Refuse,
    Settle,
    Welcome,
)
from zqueue.worker.leases import (
    RUNS_MAX,
    Leased,
    LeasedBatch,
    Run,
    WorkerProtocol,
)

WELCOME = Welcome(b"broker-1", 1000, 5000)
UNKNOWN = Refuse("unknown-peer", 0, "")
DELIVER = Deliver(7, "q", [["t", 0, 2, 1, 250, 1 << 47, 9, 40], ["", 1, 1, 3, 0, 5, 1, 0]])
FRAMES = (pack([1, 2]), pack([3]))


def hear(machine: Any, message: Message, *frames: bytes, now: float = 10.0) -> list[Any]:
    """The broker says something. Returns what happened."""
    machine.receive([encode(message), *frames], now)
    events = []
    while (event := machine.next_event()) is not None:
        events.append(event)
    return events


def sent(machine: Any) -> list[Any]:
    """What it wants sent: messages, without further frames."""
    return [decode(frames[0]) for frames in machine.to_send()]


@pytest.fixture
def worker() -> WorkerProtocol:
    """A worker that was welcomed."""
    machine = WorkerProtocol(b"me", pack({"queues": ["q"]}), lambda: 0.0, credit=3)
    machine.tick(10.0)
    assert sent(machine) == [Hello("worker", b"me")]
    assert hear(machine, WELCOME) == [Connected(same_broker=False)]
    assert sent(machine) == [Credit(3)]
    return machine


class TestWorker:
    def test_a_delivery(self, worker: WorkerProtocol) -> None:
        assert hear(worker, DELIVER, *FRAMES) == [
            Leased(
                7,
                [
                    LeasedBatch("q", "t", False, 2, 1, 250, FRAMES[0], 1 << 47, 9, 40),
                    LeasedBatch("q", "", True, 1, 3, 0, FRAMES[1], 5, 1, 0),
                ],
            )
        ]
        assert repr(worker) == "<WorkerProtocol ready, 1 leases>"

    @pytest.mark.parametrize(
        ("more", "known"),
        [([], (0, 0, 0, 0)), ([250], (250, 0, 0, 0)), ([250, 7, 8, 9], (250, 7, 8, 9)),
         ([250, 7, 8, 9, 10], (250, 7, 8, 9, 10)),
         ([250, 7, 8, 9, 10, 11, 12], (250, 7, 8, 9, 10))],
    )  # fmt: skip
    def test_batches_of_an_earlier_and_a_later_broker(
        self, worker: WorkerProtocol, more: list[int], known: tuple[int, ...]
    ) -> None:
        (leased,) = hear(worker, Deliver(7, "q", [["t", 1, 1, 3, *more]]), FRAMES[1])
        age_us, *numbers = known
        assert leased.batches == [LeasedBatch("q", "t", True, 1, 3, age_us, FRAMES[1], *numbers)]

    @pytest.mark.parametrize("frames", [(), FRAMES[:1], (*FRAMES, b"")])
    def test_a_delivery_that_lacks_frames_is_passed_over(
        self, worker: WorkerProtocol, frames: tuple[bytes, ...]
    ) -> None:
        assert hear(worker, DELIVER, *frames) == []

    def test_settles_and_states_credit(self, worker: WorkerProtocol) -> None:
        hear(worker, DELIVER, *FRAMES)
        worker.settle(7, [Run(0, 0, 2, DONE)], [], credit=5, last=False)
        assert sent(worker) == [Settle(7, 5, [[0, 0, 2, DONE]])]
        worker.settle(7, [Run(1, 0, 1, RESULTS)], [pack([9])], credit=6, last=True)
        (message,) = worker.to_send()
        assert decode(message[0]) == Settle(7, 6, [[1, 0, 1, RESULTS]])
        assert message[1:] == [pack([9])]
        worker.settle(7, [Run(0, 0, 1, DONE)], [], credit=9, last=True)
        assert sent(worker) == [], "the lease is over"

    def test_what_is_due_of_a_lease_goes_together(self, worker: WorkerProtocol) -> None:
        hear(worker, DELIVER, *FRAMES)
        hear(worker, Deliver(8, "q", [["t", 1, 1, 1]]), FRAMES[1])
        worker.settle(7, [Run(0, 0, 1, RESULTS), Run(0, 1, 1, DONE)], [b"a"], credit=5, last=False)
        worker.settle(7, [Run(1, 0, 1, RESULTS)], [b"b"], credit=6, last=True)
        worker.settle(8, [Run(0, 0, 1, RESULTS)], [b"c"], credit=7, last=True)
        first, second = worker.to_send()
        runs = [[0, 0, 1, RESULTS], [0, 1, 1, DONE], [1, 0, 1, RESULTS]]
        assert decode(first[0]) == Settle(7, 7, runs), "with the newest credit"
        assert first[1:] == [b"a", b"b"]
        assert decode(second[0]) == Settle(8, 7, [[0, 0, 1, RESULTS]])
        assert second[1:] == [b"c"]

    def test_a_task_is_settled_after_its_progress(self, worker: WorkerProtocol) -> None:
        hear(worker, DELIVER, *FRAMES)
        worker.settle(7, [Run(0, 0, 1, DONE)], [], credit=5, last=False)
        worker.progress(7, 1, 1, 2)
        worker.settle(7, [Run(0, 1, 1, DONE)], [], credit=5, last=False)
        assert sent(worker) == [
            Settle(7, 5, [[0, 0, 1, DONE]]),
            Progress(7, 1, 1, 2),
            Settle(7, 5, [[0, 1, 1, DONE]]),
        ]

    def test_no_settlement_has_more_runs_than_the_broker_takes(
        self, worker: WorkerProtocol
    ) -> None:
        tasks = 2 * RUNS_MAX + 1
        hear(worker, Deliver(7, "q", [["t", 1, tasks, 1]]), FRAMES[1])
        for i in range(tasks):
            worker.settle(7, [Run(0, i, 1, RESULTS)], [b"r"], credit=5, last=i == tasks - 1)
        messages = worker.to_send()
        assert [len(message) - 1 for message in messages] == [RUNS_MAX, RUNS_MAX, 1]
        runs = [run for message in messages for run in decode(message[0]).runs]
        assert runs == [[0, i, 1, RESULTS] for i in range(tasks)]

    def test_goodbye_is_said_after_the_last_settlement(self, worker: WorkerProtocol) -> None:
        hear(worker, DELIVER, *FRAMES)
        worker.settle(7, [Run(0, 0, 2, DONE)], [], credit=0, last=True)
        worker.link.leave(11.0)
        assert sent(worker) == [Settle(7, 0, [[0, 0, 2, DONE]]), Goodbye()]

    def test_what_comes_after_goodbye_is_not_answered(self, worker: WorkerProtocol) -> None:
        """The broker has taken it back when it reads the goodbye."""
        worker.link.leave(11.0)
        hear(worker, DELIVER, *FRAMES)
        assert worker.next_event() is None
        worker.settle(7, [Run(0, 0, 2, RETURNED)], [], credit=0, last=True)
        assert sent(worker) == [Goodbye()]

    def test_what_was_not_said_before_a_loss_is_not_said_after_it(
        self, worker: WorkerProtocol
    ) -> None:
        hear(worker, DELIVER, *FRAMES)
        worker.settle(7, [Run(0, 0, 2, DONE)], [], credit=5, last=False)
        hear(worker, UNKNOWN)
        worker.tick(10.0)
        assert sent(worker) == [Hello("worker", b"me")]
        hear(worker, WELCOME)
        hear(worker, DELIVER, *FRAMES)
        sent(worker)
        worker.settle(7, [Run(1, 0, 1, DONE)], [], credit=5, last=False)
        assert sent(worker) == [Settle(7, 5, [[1, 0, 1, DONE]])]

    def test_says_credit_only_when_it_changed(self, worker: WorkerProtocol) -> None:
        worker.set_credit(3)
        assert sent(worker) == []
        worker.set_credit(0)
        worker.set_credit(0)
        assert sent(worker) == [Credit(0)]
        hear(worker, DELIVER, *FRAMES)
        worker.settle(7, [], [], credit=8, last=False)
        worker.set_credit(8)
        assert sent(worker) == [Settle(7, 8, [])]

    def test_forgets_its_leases_with_the_link(self, worker: WorkerProtocol) -> None:
        hear(worker, DELIVER, *FRAMES)
        assert hear(worker, UNKNOWN) == [Disconnected("the broker is new", is_new=True)]
        worker.settle(7, [Run(0, 0, 2, DONE)], [], credit=5, last=True)
        worker.set_credit(4)
        worker.report({"done": 1})
        worker.tick(10.0)
        assert sent(worker) == [Hello("worker", b"me")]
        assert hear(worker, WELCOME) == [Connected(same_broker=True)]
        assert sent(worker) == [Credit(4)]

    def test_tells_how_far_a_task_has_come(self, worker: WorkerProtocol) -> None:
        worker.progress(7, 0, 1, 2)
        assert sent(worker) == [], "there is no such lease"
        hear(worker, DELIVER, *FRAMES)
        worker.progress(7, 2, 1, 2)
        assert sent(worker) == [Progress(7, 2, 1, 2)]
        worker.settle(7, [Run(0, 0, 2, DONE)], [], credit=5, last=True)
        worker.progress(7, 2, 2, 2)
        assert [type(message) for message in sent(worker)] == [Settle], "the lease is over"

    def test_what_it_told_of_a_lost_lease_is_not_said(self, worker: WorkerProtocol) -> None:
        hear(worker, DELIVER, *FRAMES)
        worker.progress(7, 0, 1, 2)
        hear(worker, UNKNOWN)
        worker.progress(7, 0, 2, 2)
        worker.tick(10.0)
        assert sent(worker) == [Hello("worker", b"me")]

    def test_silence(self, worker: WorkerProtocol) -> None:
        worker.tick(11.0)
        assert sent(worker) == [Heartbeat([])]
        assert worker.next_deadline() == 12.0
        worker.tick(16.0)
        assert worker.next_event() == Disconnected("silent for 5.0 s")
