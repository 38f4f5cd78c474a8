"""Huey with Redis: worker processes, no redelivery."""

from __future__ import annotations

from importlib.metadata import version

from huey import RedisHuey
from lab.bodies import body

from peers import driver, working

huey = RedisHuey("peers", url=driver.redis_url())


hello, noop, probe, count = map(
    huey.task(), (working.hello, working.noop, working.note_latency, working.words)
)


class Driver(driver.Driver):
    """Huey's side of the comparison."""

    def start(self) -> str:
        redis = self.start_redis()
        self.processes.start_python(
            "-m", "huey.bin.huey_consumer", "peers.huey.huey", "-k", "process", "-w", self.workers,
            "-n", "-q",
        )  # fmt: skip
        self.wait_for_workers()
        return f"Huey {version('huey')}, {redis}"

    def hello(self) -> None:
        hello()

    def throughput(self, tasks: int) -> None:
        """Until all were executed: it acknowledges nothing."""
        wanted = self.executed() + tasks
        for i in range(tasks):
            noop(body(i))
        self.wait_until(lambda: self.executed() >= wanted, "the last task's end")

    def probe(self, due_ns: int) -> None:
        probe(due_ns)

    def count(self, chunks: list[str]) -> int:
        """Results one after the other, by asking for each until it is there."""
        results = [count(chunk) for chunk in chunks]
        return sum(result.get(blocking=True, timeout=60, max_delay=0.005) for result in results)
