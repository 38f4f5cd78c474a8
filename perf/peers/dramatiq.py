"""Dramatiq with Redis: processes with eight threads each."""

from __future__ import annotations

from importlib.metadata import version

import dramatiq
from bodies import body
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from peers import driver

THREADS = 8

broker = RedisBroker(url=driver.redis_url())
broker.add_middleware(Results(backend=RedisBackend(url=driver.redis_url())))
dramatiq.set_broker(broker)


@dramatiq.actor
def hello() -> None:
    """Shows its worker."""
    driver.hello()


@dramatiq.actor
def noop(body: object) -> None:
    """W1."""
    driver.executed()


@dramatiq.actor
def probe(due_ns: int) -> None:
    """W2."""
    driver.note_latency(due_ns)


@dramatiq.actor(store_results=True)
def count(text: str) -> int:
    """W3."""
    return driver.words(text)


class Driver(driver.Driver):
    """Dramatiq's side of the comparison."""

    def start(self) -> str:
        """Redis, one command with its processes."""
        redis = self.start_redis()
        self.processes.start_python(
            "-m", "dramatiq", "peers.dramatiq", "-p", self.workers, "-t", THREADS
        )
        self.wait_for_workers()
        return f"Dramatiq {version('dramatiq')}, {redis}"

    def hello(self) -> None:
        """One for every thread, in time."""
        hello.send()

    def throughput(self, tasks: int) -> None:
        """Until no message is kept any more: an acknowledgement is what removes it."""
        wanted = self.executed() + tasks
        for i in range(tasks):
            noop.send(body(i))
        self.wait_until(
            lambda: self.executed() >= wanted and not broker.client.exists("dramatiq:default.msgs"),
            "the last acknowledgement",
        )

    def probe(self, due_ns: int) -> None:
        """One task."""
        probe.send(due_ns)

    def count(self, chunks: list[str]) -> int:
        """Results one after the other; each call blocks in Redis."""
        messages = [count.send(chunk) for chunk in chunks]
        return sum(message.get_result(block=True, timeout=60_000) for message in messages)
