"""Raw pyzmq: PUSH to zmq.proxy to PULL, at most once."""

from __future__ import annotations

import functools
import sys
from time import monotonic_ns

import zmq

from peers import driver, packed, working


class Driver(driver.Driver):
    """The producer. Results come back on a socket of their own."""

    def start(self) -> str:
        front, back, results = (f"tcp://127.0.0.1:{driver.free_port()}" for _ in range(3))
        self._codec = self.options.get("codec", "msgpack")
        self._pack, self._unpack = packed.codec(self._codec)
        context = zmq.Context.instance()
        self._push, self._results = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        self._push.linger = 0
        # Nobody reads results while tasks are being sent.
        self._results.set_hwm(0)
        self._results.bind(results)
        self._push.connect(front)
        start = functools.partial(self.processes.start_python, "-m", "peers.pyzmq")
        self.pids["proxy"] = [start("proxy", front, back)]
        self.pids["worker"] = [
            start("work", back, results, self._codec) for _ in range(self.workers)
        ]
        self.wait_for_marks()
        return f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}, {self._codec}"

    def throughput(self, tasks: int) -> None:
        """Until all were executed: nothing acknowledges."""
        wanted = self.executed() + tasks
        send = self._push.send
        bodies = self.options.get("bodies_a_call", self.bodies)
        for message in packed.no_ops(tasks, bodies, self._pack, self.make):
            send(message)
        self.wait_until(lambda: self.executed() >= wanted, "the last task's end")

    def probe(self, due_ns: int) -> None:
        self._push.send(self._pack((due_ns, monotonic_ns())))

    def count(self, chunks: list[str]) -> int:
        """Results in any order."""
        total, left = 0, len(chunks)
        for message in packed.text_messages(chunks, self.bodies, self._pack):
            self._push.send(message)
        while left:
            if not self._results.poll(int(driver.DEADLINE_S * 1000)):
                raise TimeoutError(f"{left} results are missing")
            counts = self._unpack(self._results.recv())
            total += sum(counts)
            left -= len(counts)
        return total

    def close(self) -> None:
        zmq.Context.instance().destroy(linger=0)


def proxy(front: str, back: str) -> None:
    """The device in the middle."""
    context = zmq.Context()
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.bind(front)
    push.bind(back)
    zmq.proxy(pull, push)


def work(back: str, results: str, codec: str) -> None:
    """A worker."""
    context = zmq.Context()
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    push.set_hwm(0)
    pull.connect(back)
    push.connect(results)
    handle = packed.worker(codec)
    working.mark_ready()
    while True:
        answer = handle(pull.recv())
        if answer is not None:
            push.send(answer)


if __name__ == "__main__":
    {"proxy": proxy, "work": work}[sys.argv[1]](*sys.argv[2:])
