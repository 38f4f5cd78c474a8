"""RQ with Redis: workers that run tasks in their own process."""

from __future__ import annotations

import redis
import rq
from lab.bodies import body

from peers import driver, working

PIPELINED = 512
KEYS = ("rq:queue:default", "rq:queue:default:intermediate", "rq:wip:default")


class Driver(driver.Driver):
    """RQ's side of the comparison."""

    def start(self) -> str:
        about = self.start_redis()
        for _ in range(self.workers):
            # The default worker forks for every task, which is several times slower.
            self.processes.start_python(
                "-m", "rq.cli", "worker", "-q", "-w", "rq.SimpleWorker",
                "--disable-job-desc-logging", "-u", driver.redis_url(), "default",
            )  # fmt: skip
        self._redis = redis.Redis.from_url(driver.redis_url())
        self._queue = rq.Queue("default", connection=self._redis)
        self.wait_for_workers()
        return f"RQ {rq.__version__}, {about}"

    def hello(self) -> None:
        self._queue.enqueue(working.hello, result_ttl=0)

    def throughput(self, tasks: int) -> None:
        """Until all were executed and none is registered as running."""
        wanted = self.executed() + tasks
        data = self._queue.prepare_data
        for start in range(0, tasks, PIPELINED):
            several = range(start, min(start + PIPELINED, tasks))
            self._queue.enqueue_many(
                [data(working.noop, (body(i),), result_ttl=0) for i in several]
            )
        self.wait_until(
            lambda: self.executed() >= wanted and not self._redis.exists(*KEYS),
            "the last task's end",
        )

    def probe(self, due_ns: int) -> None:
        self._queue.enqueue(working.note_latency, due_ns, result_ttl=0)

    def count(self, chunks: list[str]) -> int:
        """Results one after the other; each call blocks in Redis."""
        jobs = []
        for start in range(0, len(chunks), PIPELINED):
            several = chunks[start : start + PIPELINED]
            jobs += self._queue.enqueue_many(
                [self._queue.prepare_data(working.words, (chunk,)) for chunk in several]
            )
        return sum(job.latest_result(timeout=60).return_value for job in jobs)

    def close(self) -> None:
        self._redis.close()
