"""What pollers make of answers, and of none. (Real brokers: test_command.)"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from tests.broker.conftest import Talk
from tests.system.harness import wait_until
from zqueue.errors import BrokerLost, ProtocolError, Refused
from zqueue.metrics.poller import Poller, next_due


class Scripted:
    """Answers as a list says: an answer, or an error to raise."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.closed = 0
        self.was_asked = threading.Event()

    def ask(
        self, what: str = "info", which: object = None, *, timeout: float = 3.0
    ) -> dict[str, Any]:
        assert timeout < 1.0
        self.asked.append(what)
        self.was_asked.set()
        answer = self.answers[what]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def stats() -> dict[str, Any]:
    return Talk().broker.teller.stats()


def test_an_answer(stats: dict[str, Any]) -> None:
    asker = Scripted(stats=stats)
    poller = Poller("u", asker)
    poller.poll()
    poller.poll()
    assert poller.watch.state == "ok"
    assert (poller.polls, poller.failures) == (2, 0)
    assert asker.asked == ["stats", "stats"]


def test_groups_of_dead_letters_are_asked_for_when_something_changed(
    stats: dict[str, Any],
) -> None:
    group = {"queue": "q", "task": "t", "error": "E", "reason": "failed", "letters": 1}
    asker = Scripted(stats=stats, **{"dead-groups": {"groups": [group]}})
    poller = Poller("u", asker)
    poller.poll()
    assert asker.asked == ["stats"], "there are none"
    for total, asked in ((1, True), (1, False), (2, True)):
        asker.asked.clear()
        stats["dead"] = {"kept": 1, "total": total}
        poller.poll()
        assert asker.asked == ["stats", *["dead-groups"] * asked]
        (shown,) = poller.watch.snapshot(monotonic())["dead"]["groups"]
        assert (shown["error"], shown["letters"], shown["text"]) == ("E", 1, "")
    asker.answers["dead-groups"] = Refused("malformed", "cannot tell that")
    stats["dead"] = {"kept": 3, "total": 3}
    poller.poll()
    assert poller.watch.state == "ok"
    assert poller.watch.snapshot(monotonic())["dead"]["groups"] == []


def test_an_answer_that_cannot_be_read_is_not_the_last(
    stats: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours: the thread lives on, and people see that figures stand still."""
    poller = Poller("u", Scripted(stats=stats))
    with monkeypatch.context() as patch:
        patch.setattr(poller.watch, "feed", lambda *_: 1 / 0)
        poller.poll()
    assert (poller.failures, poller.watch.state) == (1, "waiting")
    assert "see the log" in poller.watch.problem
    poller.poll()
    assert (poller.failures, poller.watch.state) == (1, "ok")


def test_no_answer(stats: dict[str, Any]) -> None:
    asker = Scripted(stats=BrokerLost("x"))
    poller = Poller("tcp://somewhere:1", asker)
    poller.poll()
    assert (poller.watch.state, poller.polls, poller.failures) == ("waiting", 1, 1)
    assert "tcp://somewhere:1" in poller.watch.problem
    asker.answers["stats"] = stats
    poller.poll()
    asker.answers["stats"] = BrokerLost("x")
    poller.poll()
    assert poller.watch.state == "lost"


def test_a_broker_older_than_stats_is_asked_for_info(stats: dict[str, Any]) -> None:
    asker = Scripted(stats=Refused("malformed", "cannot tell 'stats'"), info=stats)
    poller = Poller("u", asker)
    for _ in range(3):
        poller.poll()
    assert poller.watch.state == "old"
    assert asker.asked == ["stats", "info", "info", "info"]
    assert poller.failures == 0


def test_when_it_was_away_it_may_be_another(stats: dict[str, Any]) -> None:
    asker = Scripted(stats=Refused("malformed", ""), info=stats)
    poller = Poller("u", asker)
    poller.poll()
    asker.answers["info"] = BrokerLost("x")
    poller.poll()
    assert poller.watch.state == "lost"
    asker.answers["stats"] = stats
    poller.poll()
    assert poller.watch.state == "ok"


@pytest.mark.parametrize("error", [ProtocolError("malformed", "no map"), ValueError("a fault")])
def test_whatever_comes_the_next_second_is_another_chance(
    stats: dict[str, Any], error: Exception
) -> None:
    asker = Scripted(stats=error)
    poller = Poller("u", asker)
    poller.poll()
    assert (poller.watch.state, asker.closed) == ("waiting", 1)
    assert poller.watch.problem
    asker.answers["stats"] = stats
    poller.poll()
    assert poller.watch.state == "ok"


def test_it_says_what_changed_and_only_that(
    stats: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "zqueue")
    asker = Scripted(stats=stats)
    poller = Poller("u", asker)
    for answer in (stats, stats, BrokerLost("x"), BrokerLost("x"), stats):
        asker.answers["stats"] = answer
        poller.poll()
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]


@pytest.fixture
def running(stats: dict[str, Any]) -> Iterator[tuple[Poller, Scripted]]:
    asker = Scripted(stats=stats)
    poller = Poller("u", asker)
    poller.start()
    yield poller, asker
    poller.stop(5)


def test_it_asks_at_once_and_again_and_ends(running: tuple[Poller, Scripted]) -> None:
    poller, asker = running
    assert asker.was_asked.wait(5)
    wait_until(lambda: poller.polls >= 2)
    poller.stop(5)
    assert not poller._thread.is_alive()
    assert asker.closed == 1


@pytest.mark.parametrize(
    ("now", "before", "after_s", "due"),
    [(5.0, 0.0, 0.0, 6.0), (5.9, 5.0, 0.0, 6.0), (5.999999, 6.0, 0.0, 7.0), (6.1, 6.0, 0.0, 7.0),
     (9.9, 6.0, 0.0, 10.0), (5.1, 0.0, 0.2, 5.2), (5.3, 5.2, 0.2, 6.2), (6.1999, 6.2, 0.2, 7.2)],
)  # fmt: skip
def test_every_second_is_due_once(now: float, before: float, after_s: float, due: float) -> None:
    assert next_due(now, before, after_s) == pytest.approx(due)
