"""The app, looked at through its own eyes, with a real broker and real workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from textual.widgets import Input

import zqueue
from tests.system.harness import APPS, QUICK, Broker, Processes, Record, wait_until
from zqueue.testing.waiting import DEADLINE_S
from zqueue.top.columns import Row
from zqueue.top.dialogs import Help
from zqueue.top.overview import Overview
from zqueue.top.state import State
from zqueue.top.table import Table

from .conftest import Look, Screen

pytestmark = pytest.mark.system


def order(screen: Screen) -> list[str]:
    """First words of the rows, from the top."""
    lines = screen.text.splitlines()
    at = next(i for i, line in enumerate(lines) if "1 Queues" in line)
    return [line.split()[0] for line in lines[at + 2 :] if line.strip()][:-1]


def test_a_broker_that_comes_goes_and_returns(
    look: Look, start_broker: Any, produce: Any, tmp_path: Any
) -> None:
    url = f"ipc://{tmp_path}/late"

    async def story(screen: Screen) -> None:
        text = await screen.wait_for("does not answer", "No broker answers at ipc://")
        assert "1 Queues 0" in text
        await screen.press("p", "enter", "2", "s", "S", "w", "3", "4", "1")
        broker = start_broker(url=url)
        await screen.wait_for("answers", "There are no queues yet", "No worker is connected")
        producer = produce(broker)
        producer.send_many("mail", [1, 2, 3])
        producer.flush()
        await screen.wait_for("mail")
        broker.process.kill()
        text = await screen.wait_for("is gone; figures are", "No broker answers")
        assert "mail" in text, "the last figures stay"
        broker.start()
        await screen.until(lambda text: "answers" in text and "is gone" not in text)

    look(story, url, size=(100, 24))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with two workers, which ran some tasks, and with tasks that no worker serves."""
    folder = tmp_path_factory.mktemp("pool")
    started = Processes(folder)
    try:
        broker = Broker(started, f"ipc://{folder}/b", QUICK)
        environment = {**os.environ, "RECORD": str(Record(folder / "record").path)}
        started.zqueue(
            "worker", str(APPS / "jobs.py"), "-p", "2", "--url", broker.url, env=environment
        )
        with zqueue.Producer(broker.url) as producer:
            for i in range(20):
                assert producer.submit("default", [i, i], task="add").result(DEADLINE_S) == 2 * i
            producer.submit("other", ["x"], task="run_elsewhere").result(DEADLINE_S)
            producer.send_many("nobody", range(7))
            producer.send("default", ["no"], task="fail")
        wait_until(lambda: len(broker.worker_pids()) == 2, what="two workers")
        yield broker
    finally:
        started.end()


class TestViews:
    @pytest.fixture(autouse=True)
    def _pool(self, pool: Broker) -> None:
        self.broker = pool

    def test_keys_lead_everywhere(self, look: Look) -> None:
        async def story(screen: Screen) -> None:
            await screen.wait_for("1 Queues 5", "nobody", "No worker serves queue nobody")
            await screen.press("2")
            await screen.wait_for("add", "run_elsewhere", "total p99")
            await screen.press("3")
            await screen.wait_for(*(str(pid) for pid in self.broker.worker_pids()), "memory")
            await screen.press("tab")
            await screen.wait_for("broker", "longest")
            await screen.press("tab")
            await screen.wait_for("fail", "ValueError", "letters")
            await screen.press("tab")
            await screen.wait_for("nobody", "oldest")
            await screen.press("shift+tab", "4")
            await screen.wait_for("every")
            await screen.press("question_mark")
            assert isinstance(screen.app.screen, Help)
            await screen.wait_for("reverse the order")
            await screen.press("escape")
            assert isinstance(screen.app.screen, Overview)
            await screen.press("q")

        look(story, self.broker.url)

    def test_sorting(self, look: Look) -> None:
        async def story(screen: Screen) -> None:
            await screen.wait_for("ready▼", "nobody")
            assert order(screen)[0] == "nobody"
            await screen.press("S")
            await screen.wait_for("ready▲")
            assert order(screen)[-1] == "nobody"
            for _ in range(20):
                if "queue▲" in screen.text:
                    break
                await screen.press("s")
            assert order(screen) == sorted(order(screen))
            await screen.press("S")
            await screen.wait_for("queue▼")
            assert order(screen) == sorted(order(screen), reverse=True)

        look(story, self.broker.url)

    def test_a_filter(self, look: Look) -> None:
        async def story(screen: Screen) -> None:
            await screen.wait_for("nobody", "timed")
            await screen.press("slash", *"no1")
            await screen.wait_for("No row has these words")
            await screen.press("backspace", "enter")
            assert order(screen) == ["nobody", "no"], "the row, and the filter below"
            await screen.press("escape")
            await screen.wait_for("timed")
            assert screen.app.screen.query_one(Input).value == ""

        look(story, self.broker.url)

    def test_all_that_is_known(self, look: Look) -> None:
        async def story(screen: Screen) -> None:
            await screen.wait_for("nobody")
            await screen.press("enter")
            await screen.wait_for("queue nobody", "ready 7 of", "Tasks: none")
            await screen.press("escape", "2")
            await screen.wait_for("total p99")
            table = screen.app.screen.query_one(Table)
            await screen.until(lambda _: table.chosen is not None)
            await screen.press("enter")
            text = await screen.wait_for("task ", "p95", "longest")
            assert "Pause" not in text, "a task is not paused"
            await screen.press("escape", "3")
            await screen.wait_for("busy▼")
            await screen.press("enter")
            await screen.wait_for("worker ", "zqueue ", "last minute", "pauses")
            await screen.press("escape", "4")
            await screen.wait_for("longest▼", "broker")
            await screen.press("enter")
            await screen.wait_for("garbage collectors of", "generation 2")
            await screen.press("escape", "5")
            await screen.wait_for("last▼", "ValueError")
            await screen.press("enter")
            await screen.wait_for("dead letters of task fail", "Traceback", "in fail", "dlq show")
            await screen.press("escape")
            assert isinstance(screen.app.screen, Overview)

        look(story, self.broker.url, size=(80, 40))


class TestSeveralBrokers:
    def test_one_after_the_other(self, look: Look, start_broker: Any, produce: Any) -> None:
        one, two = start_broker(), start_broker()
        for broker, queue in ((one, "first"), (two, "second")):
            producer = produce(broker)
            producer.send(queue, [1])
            producer.flush()

        async def story(screen: Screen) -> None:
            await screen.wait_for("first", "broker 1 of 2")
            await screen.press("b")
            text = await screen.wait_for("second", "broker 2 of 2")
            assert "first" not in text
            await screen.press("b")
            await screen.wait_for("first", "broker 1 of 2")

        look(story, one.url, two.url, size=(120, 24))


class TestControl:
    def test_pause_and_resume_from_the_keyboard(
        self, look: Look, broker: Any, workers: Any, produce: Any, record: Any
    ) -> None:
        workers(broker, "jobs.py", 1)
        producer = produce(broker)
        producer.submit("default", ["a"], task="run").result(DEADLINE_S)

        async def story(screen: Screen) -> None:
            await screen.wait_for("default", "out/s")
            await self.choose(screen, "default")
            await screen.press("p")
            await screen.wait_for("Pause queue default?", "delivers no tasks", "Pause it (y)")
            await screen.press("y")
            await screen.wait_for("Queue default is paused: it delivers no tasks.")
            producer.send_many("default", [["b"], ["c"]], task="run")
            producer.flush()
            await screen.until(lambda _: self.queue(screen, "default")["ready"] == 2)
            assert record.ids() == ["a"]
            await screen.press("p")
            await screen.wait_for("Resume queue default?", "(2 ready now)")
            await screen.press("y")
            await screen.wait_for("Queue default is running.")
            await screen.until(lambda text: "is paused" not in text)
            record.wait_for(["a", "b", "c"])

        look(story, broker.url)

    def test_drain_from_the_details(self, look: Look, broker: Any, produce: Any) -> None:
        producer = produce(broker)
        producer.send("mail", [1])
        producer.flush()

        async def story(screen: Screen) -> None:
            await screen.wait_for("mail")
            await screen.press("enter")
            await screen.wait_for("queue mail")
            await screen.press("d")
            await screen.wait_for("Drain queue mail?", "accepts no new tasks", "(1 now)")
            await screen.press("left", "enter")
            await screen.wait_for("queue mail   draining", "Queue mail is draining")
            assert broker.queue("mail")["draining"] is True
            await screen.press("d")
            await screen.wait_for("Resume queue mail?")
            await screen.press("y")
            await screen.wait_for("queue mail   running")
            assert broker.queue("mail")["draining"] is False

        look(story, broker.url)

    def test_what_cannot_be_done_is_said(self, look: Look, broker: Any, produce: Any) -> None:
        producer = produce(broker)
        producer.send("mail", [1])
        producer.flush()

        async def story(screen: Screen) -> None:
            await screen.wait_for("mail")
            await screen.press("2", "p")
            await screen.wait_for("Choose a queue first")
            await screen.press("1", "p")
            broker.restart()
            await screen.press("y")
            await screen.wait_for("Not done: ", "no queue")

        look(story, broker.url)

    def queue(self, screen: Screen, name: str) -> Row:
        """What the app knows of it."""
        (found,) = [q for q in screen.app.state.broker["queues"] if q["name"] == name]
        return found

    async def choose(self, screen: Screen, name: str) -> None:
        """With the arrows."""
        table = screen.app.screen.query_one(Table)
        for _ in range(10):
            if table.chosen == name:
                return
            await screen.press("down")
        raise AssertionError(f"{name} cannot be chosen; at last {table.chosen} was")


def test_markup_in_names_does_nothing(look: Look, mail: Broker, monkeypatch: Any) -> None:
    """A worker reports any text as its name."""
    evil = "[bold red]x[/]\x1b]0;boo\x07[@click=app.quit]"
    take = State._take

    def spoilt(state: State, now: float) -> None:
        take(state, now)
        if "queues" in state.broker:
            state.broker = {**state.broker, "version": evil, "conditions": [
                {"kind": "full", "queue": evil, "text": f"Queue {evil} is full."}
            ]}  # fmt: skip

    monkeypatch.setattr(State, "_take", spoilt)

    async def story(screen: Screen) -> None:
        text = await screen.wait_for("[bold red]x[/]�]0;boo�[@click=app.quit] is full.")
        assert "\x1b" not in text

    look(story, mail.url, size=(140, 24))
