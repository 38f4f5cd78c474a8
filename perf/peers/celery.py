"""Celery with Redis: prefork, late acks."""

from __future__ import annotations

import celery
from lab.bodies import body

from peers import driver, working

app = celery.Celery("peers", broker=driver.redis_url(), backend=driver.redis_url())
app.conf.update(
    task_acks_late=True,
    # Its guide's advice for many short tasks; the default is 4.
    worker_prefetch_multiplier=64,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)


hello, noop, nap, probe = map(
    app.task, (working.hello, working.noop, working.nap, working.note_latency)
)
count = app.task(ignore_result=False)(working.words)


class Driver(driver.Driver):
    """Celery's side of the comparison."""

    def start(self) -> str:
        redis = self.start_redis()
        threads = self.options.get("threads")
        side_by_side = ("-P", "threads", "-c", threads) if threads else (
            "-P", "prefork", "-c", self.workers,
        )  # fmt: skip
        self.processes.start_python(
            "-m", "celery", "-A", "peers.celery:app", "worker", *side_by_side,
            "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "error",
        )  # fmt: skip
        self._redis = app.connection_for_write().default_channel.client
        self.wait_for_workers()
        return f"Celery {celery.__version__}, {redis}"

    def hello(self) -> None:
        hello.delay()

    def throughput(self, tasks: int) -> None:
        """Until all were executed and none is left unacknowledged."""
        wanted = self.executed() + tasks
        for i in range(tasks):
            noop.delay(body(i))
        self._finish(wanted)

    def naps(self, tasks: int) -> None:
        wanted = self.executed() + tasks
        for _ in range(tasks):
            nap.delay()
        self._finish(wanted)

    def _finish(self, wanted: int) -> None:
        self.wait_until(
            lambda: self.executed() >= wanted and not self._redis.exists("celery", "unacked"),
            "the last acknowledgement",
        )

    def probe(self, due_ns: int) -> None:
        probe.delay(due_ns)

    def count(self, chunks: list[str]) -> int:
        """Results one after the other. `join_native`, which is meant for many, is no faster
        and waits half a second for the last.
        """
        return sum(result.get() for result in [count.delay(chunk) for chunk in chunks])

    def close(self) -> None:
        app.close()
