"""Dramatiq with Redis: processes with eight threads each."""

from __future__ import annotations

from importlib.metadata import version

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from lab.bodies import body

from peers import driver, working

THREADS = 8

broker = RedisBroker(url=driver.redis_url())
broker.add_middleware(Results(backend=RedisBackend(url=driver.redis_url())))
dramatiq.set_broker(broker)


hello, noop, nap, probe = map(
    dramatiq.actor, (working.hello, working.noop, working.nap, working.note_latency)
)
count = dramatiq.actor(store_results=True)(working.words)


class Driver(driver.Driver):
    """Dramatiq's side of the comparison."""

    def start(self) -> str:
        redis = self.start_redis()
        self.processes.start_python(
            "-m",
            "dramatiq",
            "peers.dramatiq",
            "-p",
            self.workers,
            "-t",
            self.options.get("threads", THREADS),
        )
        self.wait_for_workers()
        return f"Dramatiq {version('dramatiq')}, {redis}"

    def hello(self) -> None:
        hello.send()

    def throughput(self, tasks: int) -> None:
        """Until no message is kept any more: an acknowledgement is what removes it."""
        wanted = self.executed() + tasks
        for i in range(tasks):
            noop.send(body(i))
        self._finish(wanted)

    def naps(self, tasks: int) -> None:
        wanted = self.executed() + tasks
        for _ in range(tasks):
            nap.send()
        self._finish(wanted)

    def _finish(self, wanted: int) -> None:
        self.wait_until(
            lambda: self.executed() >= wanted and not broker.client.exists("dramatiq:default.msgs"),
            "the last acknowledgement",
        )

    def probe(self, due_ns: int) -> None:
        probe.send(due_ns)

    def count(self, chunks: list[str]) -> int:
        """Results one after the other; each call blocks in Redis."""
        messages = [count.send(chunk) for chunk in chunks]
        return sum(message.get_result(block=True, timeout=60_000) for message in messages)
