"""The floor: raw pyzmq PUSH -> zmq.proxy -> PULL in processes of their own, at most once.

What somebody writes who needs speed and accepts loss. No acknowledgement, no dispatch by name,
no result; the worker's loop over the bodies stands for the handler.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, monotonic_ns
from typing import Any

import msgpack
import zmq

from ..errors import ZQueueError
from .bodies import BATCH, body
from .pacing import Latencies, pace
from .processes import Helper, Line, free_url
from .usage import Stopwatch

QUIET_MS = 20
"""One of several workers cannot know how many tasks it will get: it says how many it had when
nothing came for so long. The instant of the last one counts."""

ANSWER_TIMEOUT_S = 60.0
WARM_UP_TASKS = 200


class Floor:
    """The producer's side."""

    def __init__(self, front: str, proxy: Helper, workers: list[Helper]) -> None:
        self._push: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUSH)
        self._push.setsockopt(zmq.LINGER, 0)
        self._push.connect(front)
        self._workers = workers
        self.roles = {
            "producer": [os.getpid()],
            "proxy": [proxy.process.pid],
            "worker": [worker.process.pid for worker in workers],
        }
        self.many(WARM_UP_TASKS * len(workers), 1)

    def one_by_one(self, tasks: int, make: Callable[[int], Any] = body) -> dict[str, float]:
        """Send tasks one in a frame. The figures until the last is done."""
        send, packb = self._push.send, msgpack.packb
        stopwatch = self._begin("one", tasks)
        for i in range(tasks):
            send(packb(make(i)))
        return stopwatch.sample(tasks, self._end(tasks))

    def many(
        self, tasks: int, batch: int = BATCH, make: Callable[[int], Any] = body
    ) -> dict[str, float]:
        """Send tasks packed, so many in a frame. The figures until the last is done."""
        send, packb = self._push.send, msgpack.packb
        stopwatch = self._begin("many", tasks)
        for start in range(0, tasks, batch):
            send(packb([make(i) for i in range(start, min(start + batch, tasks))]))
        return stopwatch.sample(tasks, self._end(tasks))

    def latency(self, tasks: int, every_s: float) -> Latencies:
        """From the instant a task was due, and from the call, to the start of the work."""
        worker = self._workers[0]
        worker.line.tell(kind="latency", tasks=tasks)
        send, packb = self._push.send, msgpack.packb
        pace(tasks, every_s, lambda due_ns: send(packb((due_ns, monotonic_ns()))))
        return Latencies(*worker.line.hear(ANSWER_TIMEOUT_S)["latencies"])

    def close(self) -> None:
        """Close the socket."""
        self._push.close(0)

    def _begin(self, kind: str, tasks: int) -> Stopwatch:
        alone = len(self._workers) == 1
        for worker in self._workers:
            worker.line.tell(kind=kind, tasks=tasks if alone else 0)
        return Stopwatch(self.roles)

    def _end(self, tasks: int) -> float:
        """The instant when the last task was done."""
        if len(self._workers) == 1:
            return float(self._workers[0].line.hear(ANSWER_TIMEOUT_S)["end"])
        deadline = monotonic() + ANSWER_TIMEOUT_S
        while True:
            answers = self._ask_all(last=False)
            if sum(answer["done"] for answer in answers) >= tasks or monotonic() > deadline:
                break
        self._ask_all(last=True)
        return max(float(answer["end"]) for answer in answers)

    def _ask_all(self, *, last: bool) -> list[dict[str, Any]]:
        for worker in self._workers:
            worker.line.tell(last=last)
        return [worker.line.hear(ANSWER_TIMEOUT_S) for worker in self._workers]


@contextmanager
def running(workers: int = 1) -> Iterator[Floor]:
    """The processes, gone afterwards. With several workers there is no `Floor.latency`."""
    front, back = free_url(), free_url()
    helpers: list[Helper] = []
    floor: Floor | None = None
    try:
        helpers.append(Helper(__name__, "proxy_main", front, back))
        helpers += [Helper(__name__, "worker_main", back) for _ in range(workers)]
        for helper in helpers[1:]:
            helper.line.hear(ANSWER_TIMEOUT_S)  # It is there.
        floor = Floor(front, helpers[0], helpers[1:])
        yield floor
    finally:
        if floor is not None:
            floor.close()
        for helper in helpers:
            helper.end()


# --- the other processes ---


def proxy_main() -> None:
    """The device in the middle."""
    front, back = sys.argv[2:4]
    context = zmq.Context()
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.bind(front)
    push.bind(back)
    zmq.proxy(pull, push)


def worker_main() -> None:
    """Takes orders (how many tasks, of what kind) and says when the last one was done."""
    line, back = Line.inherited(sys.argv[1]), sys.argv[2]
    pull = zmq.Context().socket(zmq.PULL)
    pull.connect(back)
    line.tell(ready=True)
    while True:
        try:
            order = line.hear()
        except ZQueueError:
            return  # Nobody wants anything any more.
        kind, tasks = order["kind"], order["tasks"]
        if kind == "latency":
            line.tell(latencies=_note(pull, tasks))
        elif tasks:
            line.tell(end=_work(pull, tasks, packed=kind == "many"))
        else:
            _work_in_company(pull, line, packed=kind == "many")


def _note(pull: zmq.Socket[bytes], tasks: int) -> Latencies:
    noted = Latencies([], [])
    for _ in range(tasks):
        due_ns, call_ns = msgpack.unpackb(pull.recv())
        now_ns = monotonic_ns()
        noted.from_due.append(now_ns - due_ns)
        noted.from_call.append(now_ns - call_ns)
    return noted


def _work(pull: zmq.Socket[bytes], tasks: int, *, packed: bool) -> float:
    receive, unpackb = pull.recv, msgpack.unpackb
    done = 0
    while done < tasks:
        got = unpackb(receive())
        if packed:
            for _ in got:
                done += 1
        else:
            done += 1
    return monotonic()


def _work_in_company(pull: zmq.Socket[bytes], line: Line, *, packed: bool) -> None:
    receive, unpackb = pull.recv, msgpack.unpackb
    done, end = 0, 0.0
    pull.setsockopt(zmq.RCVTIMEO, QUIET_MS)
    try:
        while True:
            try:
                while True:
                    got = unpackb(receive())
                    if packed:
                        for _ in got:
                            done += 1
                    else:
                        done += 1
                    end = monotonic()
            except zmq.Again:
                pass
            if line.has_heard():
                line.tell(done=done, end=end)
                if line.hear()["last"]:
                    return
    finally:
        pull.setsockopt(zmq.RCVTIMEO, -1)
