"""workers/noop.py"""

from __future__ import annotations

import pytest

import zqueue
from zqueue.testing.waiting import DEADLINE_S


@pytest.fixture
def noop(load):
    return load("noop")


def test_noop_is_alone_in_its_queue_and_not_timed(noop):
    """So bodies without a task's name reach it, and nothing is spent on clocks."""
    (handler,) = [h for h in noop.app.handlers.values() if h.queue == "noop"]
    assert handler.name == "noop"
    assert not handler.is_timed


@pytest.mark.system
def test_does_what_its_docstring_shows(noop, shell):
    assert shell.follow(noop.__doc__) == 4


@pytest.mark.system
def test_takes_bodies_without_a_task_name(shell):
    shell.start_broker()
    shell.start_worker("workers/noop.py")
    with zqueue.Producer(shell.url) as producer:
        assert producer.submit("noop", {"plain": "body"}).result(DEADLINE_S) is None
