"""Huey with Redis: worker processes, no redelivery."""

from __future__ import annotations

from importlib.metadata import version

from bodies import body
from huey import RedisHuey

from peers import driver

huey = RedisHuey("peers", url=driver.redis_url())


@huey.task()
def hello() -> None:
    """Shows its worker."""
    driver.hello()


@huey.task()
def noop(body: object) -> None:
    """W1. A result of None is not kept."""
    driver.executed()


@huey.task()
def probe(due_ns: int) -> None:
    """W2."""
    driver.note_latency(due_ns)


@huey.task()
def count(text: str) -> int:
    """W3."""
    return driver.words(text)


class Driver(driver.Driver):
    """Huey's side of the comparison."""

    def start(self) -> str:
        """Redis, one consumer with its processes."""
        redis = self.start_redis()
        self.processes.start_python(
            "-m", "huey.bin.huey_consumer", "peers.huey.huey", "-k", "process", "-w", self.workers,
            "-n", "-q",
        )  # fmt: skip
        self.wait_for_workers()
        return f"Huey {version('huey')}, {redis}"

    def hello(self) -> None:
        """One task."""
        hello()

    def throughput(self, tasks: int) -> None:
        """Until all were executed: it acknowledges nothing."""
        wanted = self.executed() + tasks
        for i in range(tasks):
            noop(body(i))
        self.wait_until(lambda: self.executed() >= wanted, "the last task's end")

    def probe(self, due_ns: int) -> None:
        """One task."""
        probe(due_ns)

    def count(self, chunks: list[str]) -> int:
        """Results one after the other, by asking for each until it is there."""
        results = [count(chunk) for chunk in chunks]
        return sum(result.get(blocking=True, timeout=60, max_delay=0.005) for result in results)
