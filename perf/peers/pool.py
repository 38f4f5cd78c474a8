"""``multiprocessing.Pool``: ``map`` with its automatic chunks. One machine, no redelivery."""

from __future__ import annotations

import multiprocessing
import platform

from lab.bodies import body

from peers import driver, processes, working


def noop(body: object) -> None:
    """W1."""


class Driver(driver.Driver):
    """The pool is in this process; its workers are our children."""

    def start(self) -> str:
        self._pool = multiprocessing.Pool(self.workers, processes.end_with_parent)
        self.wait_for_workers()
        return f"multiprocessing.Pool, Python {platform.python_version()}"

    def hello(self) -> None:
        self._pool.apply_async(working.hello)

    def throughput(self, tasks: int) -> None:
        """Until all results, which are None, are back."""
        self._pool.map(noop, [body(i) for i in range(tasks)])

    def probe(self, due_ns: int) -> None:
        self._pool.apply_async(working.note_latency, (due_ns,))

    def count(self, chunks: list[str]) -> int:
        """Results in order."""
        return sum(self._pool.map(working.words, chunks))

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()
