"""Taskiq with a Redis stream: async tasks, acknowledged when they are done."""

from __future__ import annotations

import asyncio
from importlib.metadata import version

import redis
from lab.bodies import body
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from peers import driver, working

TOGETHER = 100

broker = RedisStreamBroker(driver.redis_url(), queue_name="tasks").with_serializer(
    ORJSONSerializer()
)
# Results cost a write for each task: only what needs them goes through a broker that has them.
counting = (
    RedisStreamBroker(driver.redis_url(), queue_name="counting")
    .with_serializer(ORJSONSerializer())
    .with_result_backend(RedisAsyncResultBackend(driver.redis_url(), keep_results=False))
)


@broker.task(task_name="hello")
async def hello() -> None:
    """Shows its worker. Blocks it, so that the others get some too."""
    working.hello()


@broker.task(task_name="noop")
async def noop(body: dict[str, object]) -> None:
    """W1."""
    working.executed()


@broker.task(task_name="probe")
async def probe(due_ns: int) -> None:
    """W2."""
    working.note_latency(due_ns)


@counting.task(task_name="count")
async def count(text: str) -> int:
    """W3."""
    return working.words(text)


class Driver(driver.AsyncDriver):
    """Taskiq's side of the comparison."""

    def start(self) -> str:
        about = self.start_redis()
        for name in ("broker", "counting"):
            self.processes.start_python(
                "-m", "taskiq", "worker", f"peers.taskiq:{name}", "-w", self.workers,
                "--log-level", "ERROR",
            )  # fmt: skip
        self._redis = redis.Redis.from_url(driver.redis_url())
        for each in (broker, counting):
            self.run(each.startup())
        self.wait_for_workers()
        return f"Taskiq {version('taskiq')}, {about}"

    def hello(self) -> None:
        self.run(hello.kiq())

    def throughput(self, tasks: int) -> None:
        """Until the group has read all and none is pending."""

        async def send() -> None:
            for start in range(0, tasks, TOGETHER):
                several = range(start, min(start + TOGETHER, tasks))
                await asyncio.gather(*(noop.kiq(body(i)) for i in several))

        self.run(send())
        self.wait_until(self._idle, "the last acknowledgement")

    def _idle(self) -> bool:
        (group,) = self._redis.xinfo_groups("tasks")
        return not group["pending"] and not group["lag"]

    async def probe_async(self, due_ns: int) -> None:
        await probe.kiq(due_ns)

    def count(self, chunks: list[str]) -> int:
        """Results one after the other, by asking for each until it is there."""

        async def run() -> int:
            sent = []
            for start in range(0, len(chunks), TOGETHER):
                several = chunks[start : start + TOGETHER]
                sent += await asyncio.gather(*(count.kiq(chunk) for chunk in several))
            results = [await task.wait_result(check_interval=0.005, timeout=60) for task in sent]
            return sum(result.return_value for result in results)

        return self.run(run())

    def close(self) -> None:
        for each in (broker, counting):
            self.run(each.shutdown())
        self._redis.close()
