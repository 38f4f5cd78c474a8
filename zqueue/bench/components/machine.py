"""The broker's machine without sockets: what one batch costs to decide about.

A round has `ROUND` batches: a producer's messages come in, deliveries go out, a worker's
settlements come in, confirms go out. Only the machine's calls are timed; what the two peers would
do is done in between. *Alone* is a round of one batch, as on an idle system.
"""

from __future__ import annotations

from time import perf_counter_ns

from ...errors import ZQueueError
from ...protocol.broker import BrokerProtocol, Limits
from ...protocol.codec import pack
from ...protocol.messages import (
    DONE,
    Confirm,
    Credit,
    Deliver,
    Hello,
    Publish,
    Settle,
    decode,
    encode,
)
from ..allocations import Operation
from ..bodies import body
from ..lab import Contest, Lab
from ..measure import percentiles
from ..scale import Scale

SUBJECT = "BrokerProtocol"
SIZES = (1, 64, 2048)
ROUND = 64
CREDIT = 1 << 24
QUEUE = "noop"
PRODUCER, WORKER = b"producer", b"worker"
NOW = 1000.0


def measure(lab: Lab) -> None:
    """All of it."""
    contests = [
        _contest(batches, tasks, lab.scale)
        for batches in (ROUND, 1)
        for tasks in (SIZES if batches > 1 else (1,))
    ]
    lab.hold(*contests)
    for tasks in SIZES:
        lab.add_allocations(_name(ROUND, tasks), SUBJECT, make_round, ROUND, tasks, by=ROUND)
    lab.add_allocations(_name(1, 1), SUBJECT, make_round, 1, 1)
    lab.note("an operation is one batch; latencies are of a round, divided by its batches")
    lab.note("bytes and allocations include those of the two peers' messages")


def _name(batches: int, tasks: int) -> str:
    return f"batches of {tasks}" if batches > 1 else f"a batch of {tasks}, alone"


def _contest(batches: int, tasks: int, scale: Scale) -> Contest:
    def work() -> dict[str, float]:
        machine = Machine(tasks)
        rounds = max(1, scale.operations // 10 // batches)
        machine.round(batches)
        taken = [machine.round(batches) for _ in range(rounds)]
        elapsed_ns, operations = sum(taken), rounds * batches
        return {
            "rate": operations * 1e9 / elapsed_ns,
            "cost": elapsed_ns / operations,
            "task_ns": elapsed_ns / operations / tasks,
            "operations": float(operations),
            **{name: ns / batches for name, ns in percentiles(taken).items()},
        }

    family = "batch" if batches > 1 else "alone"
    return Contest(_name(batches, tasks), "batch", {SUBJECT: work}, family, float(tasks))


def make_round(batches: int, tasks: int) -> Operation:
    """One round, to be called again and again."""
    machine = Machine(tasks)
    return lambda: machine.round(batches)


class Machine:
    """A broker's machine with one producer and one worker that are bytes on a shelf."""

    def __init__(self, tasks: int) -> None:
        self._batch = pack([body(i) for i in range(tasks)])
        self._sequence = 0
        self._broker = BrokerProtocol(b"broker-1", Limits())
        self._broker.receive(PRODUCER, [encode(Hello("producer", PRODUCER)), pack({})], NOW)
        about = pack({"queues": [QUEUE]})
        self._broker.receive(WORKER, [encode(Hello("worker", WORKER)), about], NOW)
        self._broker.receive(WORKER, [encode(Credit(CREDIT))], NOW)
        self._send()

    def round(self, batches: int) -> int:
        """So many batches in and out. Nanoseconds spent in the machine."""
        first = self._sequence + 1
        self._sequence += batches
        published = [
            [encode(Publish(sequence, QUEUE, "noop", 0)), self._batch]
            for sequence in range(first, self._sequence + 1)
        ]
        taken, delivered = self._turn(PRODUCER, published)
        settled = [
            [encode(Settle(message.lease, CREDIT, _runs(message)))]
            for _, frames in delivered
            if isinstance(message := decode(frames[0]), Deliver)
        ]
        more, confirmed = self._turn(WORKER, settled)
        last = [m.ranges[-1] for _, frames in [*delivered, *confirmed]
                if isinstance(m := decode(frames[0]), Confirm)]  # fmt: skip
        if not last or last[-1] != self._sequence or not self._broker.is_empty():
            raise ZQueueError("the machine did not confirm and settle what it was given")
        return taken + more

    def _turn(
        self, peer: bytes, messages: list[list[bytes]]
    ) -> tuple[int, list[tuple[bytes, list[bytes]]]]:
        receive, now = self._broker.receive, NOW
        began = perf_counter_ns()
        for frames in messages:
            receive(peer, frames, now)
        sent = self._send()
        return perf_counter_ns() - began, sent

    def _send(self) -> list[tuple[bytes, list[bytes]]]:
        sent: list[tuple[bytes, list[bytes]]] = []
        while messages := self._broker.to_send():
            sent += messages
        return sent


def _runs(message: Deliver) -> list[list[int]]:
    return [[i, 0, batch[2], DONE] for i, batch in enumerate(message.batches)]
