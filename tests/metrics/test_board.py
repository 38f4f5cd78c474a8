"""The board: made once for all who look."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.broker.conftest import Talk
from zqueue.errors import BrokerLost
from zqueue.metrics.board import Board
from zqueue.metrics.exposition import Form
from zqueue.metrics.poller import Poller
from zqueue.stats.pauses import Pauses

from .test_poller import Scripted


@pytest.fixture
def talk() -> Talk:
    made = Talk()
    made.worker()
    return made


def board_of(*answers: Any) -> Board:
    pollers = [Poller(f"u{n}", Scripted(stats=answer)) for n, answer in enumerate(answers)]
    for poller in pollers:
        poller.poll()
    return Board(pollers, Pauses())


def test_all_get_the_same_until_the_next_tick(talk: Talk) -> None:
    board = board_of(talk.broker.teller.stats())
    board.tick()
    snapshot, text = board.snapshot(), board.as_json()
    exposed = {form: board.exposed(form) for form in Form}
    assert board.snapshot() is snapshot
    assert board.as_json() is text
    assert all(board.exposed(form) is exposed[form] for form in Form)
    board.tick()
    assert board.snapshot() is not snapshot
    assert board.as_json() is not text
    assert board.exposed(Form.TEXT) is not exposed[Form.TEXT]


def test_json_is_the_snapshot_in_one_line(talk: Talk) -> None:
    board = board_of(talk.broker.teller.stats(), BrokerLost("x"))
    assert json.loads(board.as_json()) == board.snapshot()
    assert b"\n" not in board.as_json()
    assert [broker["state"] for broker in board.snapshot()["brokers"]] == ["ok", "waiting"]


def test_a_key_file_is_shown_to_nobody(talk: Talk) -> None:
    poller = Poller(
        "tcp://h:1?key=/etc/zqueue/observe.key", Scripted(stats=talk.broker.teller.stats())
    )
    poller.poll()
    board = Board([poller], Pauses())
    assert board.urls == {"tcp://h:1": poller.url}
    assert b"observe.key" not in board.as_json() + board.exposed(Form.TEXT)


def test_what_is_not_ready(talk: Talk) -> None:
    assert board_of().problems(0) == ["No broker is named yet."]
    well = talk.broker.teller.stats()
    assert board_of(well).problems(1) == []
    assert board_of(well).problems(2) == ["u0 has 1 of 2 workers."]
    problems = board_of(well, BrokerLost("x")).problems(0)
    assert problems == ["No broker answers at u1."]


def test_a_broker_that_was_not_heard_for_long(talk: Talk) -> None:
    board = board_of(talk.broker.teller.stats())
    board.snapshot()["brokers"][0]["seen_s"] = 6.0
    assert board.problems(0) == ["u0 has not answered for 6 s."]
