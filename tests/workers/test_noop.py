"""workers/noop.py"""

from __future__ import annotations

import dis
from time import monotonic

import pytest

import zqueue


@pytest.fixture
def noop(load):
    return load("noop")


def test_noop_is_the_cheapest_function_there_is(noop):
    code = [step.opname for step in dis.get_instructions(noop.noop.__wrapped__)]
    assert set(code) <= {"RESUME", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
    assert noop.noop({"any": "body"}) is None


def test_noop_is_alone_in_its_queue_and_not_timed(noop):
    """So bodies without a task's name reach it, and nothing is spent on clocks."""
    (handler,) = [h for h in noop.app.handlers.values() if h.queue == "noop"]
    assert handler.name == "noop"
    assert not handler.is_timed


def test_echo_gives_the_value_back(noop):
    value = {"any": [1, None]}
    assert noop.echo(value) is value


@pytest.mark.parametrize("name", ["sleep", "sleep_soft", "sleep_hard"])
def test_sleeps_as_long_as_it_is_told(noop, name):
    began = monotonic()
    getattr(noop, name)(0.02)
    assert monotonic() - began >= 0.02


@pytest.mark.system
def test_does_what_its_docstring_shows(noop, shell):
    assert shell.follow(noop.__doc__) == 4


@pytest.mark.system
def test_takes_bodies_without_a_task_name(shell):
    shell.start_broker()
    shell.start_worker("workers/noop.py")
    with zqueue.Producer(shell.url) as producer:
        assert producer.submit("noop", {"plain": "body"}).result(timeout=20) is None
