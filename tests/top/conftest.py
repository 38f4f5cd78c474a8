"""Snapshots of a real broker's machine, and whole processes with an app to watch them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic
from typing import Any

import pytest

import zqueue

pytest.importorskip("textual", reason="the extra 'top' is not installed")

from tests.metrics.conftest import Watched, meter
from tests.system.conftest import (  # noqa: F401 - fixtures
    _clean_environment,
    broker,
    load,
    processes,
    produce,
    pytest_runtest_makereport,
    record,
    run,
    start_broker,
    workers,
)
from tests.system.harness import QUICK, Broker, Processes
from zqueue.metrics.poller import Poller
from zqueue.top.viewer import TopApp

Json = dict[str, Any]


@pytest.fixture
def watched() -> Watched:
    """A broker that was looked at once."""
    made = Watched()
    made.pass_s(0)
    return made


@pytest.fixture
def busy(watched: Watched) -> Json:
    """A broker that reports everything: queue q, task t and a worker of them."""
    watched.join(pid=7, host="here", version="9")
    watched.talk.hello("supervisor", b"s", pid=6, host="here")
    for i in range(5):
        watched.publish(100)
        watched.report(
            tasks={"t": meter(50, 0.01, failed=2)}, done=50, failed=2, busy_s=0.5 * i,
            cpu_s=0.25 * i, rss_bytes=40_000_000, running=["t", 2.5, 30, 120],
            gc={"count": 3, "total": 4.5, "max": 2.5},
        )  # fmt: skip
        reported = watched.pass_s()
    reported["dead"]["groups"] = [
        {"queue": "q", "task": "t", "error": "ValueError", "reason": "failed", "letters": 12,
         "first_s": 1.7e9, "last_s": 1.8e9, "newest": 17, "text": "no"}
    ]  # fmt: skip
    return reported


@pytest.fixture
def poll() -> Iterator[Callable[[str], Poller]]:
    """Starts pollers of brokers, and stops them when the test is over."""
    started: list[Poller] = []

    def start(url: str) -> Poller:
        poller = Poller(url)
        poller.start()
        started.append(poller)
        return poller

    yield start
    for poller in started:
        poller.stop(2)


class Screen:
    """What somebody sees of an app, and the keys."""

    def __init__(self, app: TopApp, pilot: Any) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def text(self) -> str:
        """All that is on the screen, in lines."""
        screen = self.app.screen
        strips = self.app.screen._compositor.render_strips()
        assert len(strips) == screen.size.height
        return "\n".join(strip.text for strip in strips)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def wait_for(self, *words: str, timeout: float = 15.0) -> str:
        """Until all of these are to be seen."""
        return await self.until(lambda text: all(w in text for w in words), words, timeout)

    async def until(
        self, condition: Callable[[str], object], what: object = "that", timeout: float = 15.0
    ) -> str:
        """Until what is seen is so; what is seen then."""
        deadline = monotonic() + timeout
        while not condition(text := self.text):
            assert monotonic() < deadline, f"not within {timeout:g} s: {what}\n{text}"
            await self.pilot.pause(0.05)
        return text


@pytest.fixture(scope="module")
def mail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with a queue of three tasks, for tests that leave it so."""
    folder = tmp_path_factory.mktemp("broker")
    started = Processes(folder)
    try:
        made = Broker(started, f"ipc://{folder}/b", QUICK)
        with zqueue.Producer(made.url) as producer:
            producer.send_many("mail", [1, 2, 3])
        yield made
    finally:
        started.end()


Story = Callable[[Screen], Awaitable[None]]
Look = Callable[..., None]


@pytest.fixture
def look(poll: Callable[[str], Poller]) -> Look:
    """``look(story, url, …)``: runs the app, and the story of one who looks at it."""

    def tell(story: Story, *urls: str, size: tuple[int, int] = (80, 24)) -> None:
        async def go() -> None:
            app = TopApp([poll(url) for url in urls])
            async with app.run_test(size=size) as pilot:
                await story(Screen(app, pilot))

        asyncio.run(go())

    return tell
