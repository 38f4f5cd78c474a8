"""What the screens show, with a real broker's machine and time as an argument."""

from __future__ import annotations

import pytest

from tests.metrics.conftest import Watched
from zqueue.metrics.poller import Poller
from zqueue.top.state import MESSAGE_S, State


@pytest.fixture
def poller(watched: Watched) -> Poller:
    """A poller that is never started: the test feeds its watch."""
    made = Poller("ipc://somewhere")
    made.watch = watched.watch
    return made


def answer(watched: Watched, poller: Poller, after_s: float = 1.0) -> float:
    """The broker answers, after some seconds. Returns when."""
    watched.pass_s(after_s)
    poller.polls += 1
    return watched.talk.now


def test_a_new_answer_is_shown_and_only_that(watched: Watched, poller: Poller) -> None:
    state = State([poller], 1.0, watched.talk.now)
    assert state.broker["queues"] == []
    assert not state.look(watched.talk.now + 5.0), "there is no answer yet"
    watched.publish(3)
    now = answer(watched, poller)
    assert state.look(now)
    assert [queue["ready"] for queue in state.broker["queues"]] == [3]
    assert not state.look(now + 1.0), "it is shown already"


def test_figures_change_only_as_often_as_wanted(watched: Watched, poller: Poller) -> None:
    state = State([poller], 3.0, watched.talk.now)
    changed = [state.look(answer(watched, poller)) for _ in range(6)]
    assert changed == [False, False, True, False, False, True]
    early = State([poller], 1.0, watched.talk.now)
    assert early.look(answer(watched, poller, 0.9)), "answers do not come to the millisecond"


def test_windows_and_brokers_take_turns(watched: Watched, poller: Poller) -> None:
    other = Poller("ipc://elsewhere")
    state = State([poller, other], 1.0, watched.talk.now)
    windows = [state.window]
    for _ in range(3):
        state.next_window()
        windows.append(state.window)
    assert windows == ["10", "60", "300", "10"]
    assert (state.url, state.place, state.broker["state"]) == (poller.url, (1, 2), "ok")
    state.next_broker(watched.talk.now)
    assert (state.url, state.place, state.broker["state"]) == (other.url, (2, 2), "waiting")
    state.next_broker(watched.talk.now)
    assert state.place == (1, 2)


def test_a_message_stays_for_some_seconds(poller: Poller) -> None:
    state = State([poller], 1.0, 100.0)
    assert state.message(100.0) == ""
    state.say("Queue mail is paused.", 100.0)
    assert state.message(100.0 + MESSAGE_S - 0.1) == "Queue mail is paused."
    assert state.message(100.0 + MESSAGE_S) == ""
