"""The floor: raw pyzmq PUSH -> zmq.proxy -> PULL in three processes, at most once.

What somebody writes who needs speed and accepts loss. No acknowledgement, no dispatch by name,
no result; the worker's loop over the bodies stands for the handler.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from time import monotonic, monotonic_ns, sleep

import msgpack
import zmq
from bodies import BATCH, body

_spawn = multiprocessing.get_context("spawn")


def proxy(front: str, back: str) -> None:
    """The device in the middle."""
    context = zmq.Context()
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.bind(front)
    push.bind(back)
    zmq.proxy(pull, push)


def worker(back: str, results: Connection) -> None:
    """Takes orders (how many tasks, what kind) and says when the last one was done."""
    pull = zmq.Context().socket(zmq.PULL)
    pull.connect(back)
    results.send("ready")
    while (order := results.recv()) is not None:
        tasks, kind = order
        done = 0
        if kind == "latency":
            latencies = []
            while done < tasks:
                sent_ns = msgpack.unpackb(pull.recv())
                latencies.append(monotonic_ns() - sent_ns)
                done += 1
            results.send(latencies)
            continue
        while done < tasks:
            got = msgpack.unpackb(pull.recv())
            if kind == "many":
                for _ in got:
                    done += 1
            else:
                done += 1
        results.send(monotonic())


class Raw:
    """The three processes; this one is the producer."""

    def __init__(self, front: str, results: Connection) -> None:
        self._push = zmq.Context.instance().socket(zmq.PUSH)
        self._push.setsockopt(zmq.LINGER, 0)
        self._push.connect(front)
        self._results = results
        self.latency(50, 0.002)

    def one_by_one(self, tasks: int) -> float:
        """Tasks/s with one task in a frame."""
        self._results.send((tasks, "one"))
        send, packb = self._push.send, msgpack.packb
        began = monotonic()
        for i in range(tasks):
            send(packb(body(i)))
        return tasks / (self._results.recv() - began)

    def many(self, tasks: int) -> float:
        """Tasks/s with `BATCH` tasks in a frame."""
        self._results.send((tasks, "many"))
        send, packb = self._push.send, msgpack.packb
        began = monotonic()
        for start in range(0, tasks, BATCH):
            send(packb([body(i) for i in range(start, min(start + BATCH, tasks))]))
        return tasks / (self._results.recv() - began)

    def latency(self, tasks: int, every_s: float) -> list[int]:
        """Nanoseconds from before the send to the start of the work, at a steady rate."""
        self._results.send((tasks, "latency"))
        pace(tasks, every_s, lambda: self._push.send(msgpack.packb(monotonic_ns())))
        return list(self._results.recv())


def pace(tasks: int, every_s: float, send: Callable[[], object]) -> None:
    """Call ``send`` so many times, at instants that do not depend on how long it takes."""
    due = monotonic()
    for _ in range(tasks):
        due += every_s
        sleep(max(0.0, due - monotonic()))
        send()


@contextmanager
def running() -> Iterator[Raw]:
    """The three processes, gone afterwards."""
    front, back = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    results, theirs = _spawn.Pipe()
    processes = [
        _spawn.Process(target=proxy, args=(front, back), daemon=True),
        _spawn.Process(target=worker, args=(back, theirs), daemon=True),
    ]
    try:
        for process in processes:
            process.start()
        assert results.recv() == "ready"
        yield Raw(front, results)
    finally:
        for process in processes:
            process.kill()
            process.join()


def free_port() -> int:
    """A TCP port that nobody uses now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
