"""``ProcessPoolExecutor``: one by one with ``submit``, or ``map`` with chunks. One machine."""

from __future__ import annotations

import platform
from concurrent.futures import ProcessPoolExecutor

from lab.bodies import body

from peers import driver, processes, working
from peers.packed import TEXTS
from peers.pool import noop


class Driver(driver.Driver):
    """The pool is in this process; its workers are our children."""

    def start(self) -> str:
        self._pool = ProcessPoolExecutor(self.workers, initializer=processes.end_with_parent)
        self.wait_for_workers()
        return f"ProcessPoolExecutor, Python {platform.python_version()}"

    def hello(self) -> None:
        self._pool.submit(working.hello)

    def throughput(self, tasks: int) -> None:
        """Until all results, which are None, are back."""
        bodies = (body(i) for i in range(tasks))
        if self.bodies > 1:
            for _ in self._pool.map(noop, bodies, chunksize=self.bodies):
                pass
        else:
            for future in [self._pool.submit(noop, each) for each in bodies]:
                future.result()

    def probe(self, due_ns: int) -> None:
        self._pool.submit(working.note_latency, due_ns)

    def count(self, chunks: list[str]) -> int:
        """Results in order."""
        if self.bodies > 1:
            return sum(self._pool.map(working.words, chunks, chunksize=TEXTS))
        futures = [self._pool.submit(working.words, chunk) for chunk in chunks]
        return sum(future.result() for future in futures)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
