"""workers/events.py"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

import zqueue


@pytest.fixture
def events(load):
    program = load("events")
    yield program
    program.database.cache_clear()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "events.sqlite"
    monkeypatch.setenv("ZQUEUE_EVENTS_DB", str(path))
    return path


@pytest.fixture
def store(events, path):
    """The handler; its connection is closed in the end."""
    with contextlib.closing(events.database(str(path))):
        yield events.store_events


def stored(path: Path) -> dict:
    """Events in a database, by id."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {key: json.loads(text) for key, text in connection.execute("SELECT * FROM events")}


def test_stores_events_with_all_they_hold(store, path):
    bodies = [{"id": 1, "what": {"deep": [None, 1.5, "é"]}}, {"id": "a"}]
    store(bodies)
    assert stored(path) == {1: bodies[0], "a": bodies[1]}


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        ({"what": "no id"}, ValueError, "needs an id"),
        ({"id": None}, ValueError, "needs an id"),
        ({"id": True}, ValueError, "needs an id"),
        ({"id": [1]}, ValueError, "needs an id"),
        ({"id": 2**63}, ValueError, "at most 9223372036854775807"),
        ("no map", ValueError, "needs an id"),
        ({"id": 2, "blob": b"bytes"}, TypeError, "bytes is not JSON serializable"),
    ],
)
def test_what_cannot_be_stored_fails_alone(store, path, bad, error, text):
    with pytest.raises(zqueue.PartialFailure) as caught:
        store([{"id": 0}, bad, {"id": 1}])
    (failure,) = caught.value.failures.items()
    assert failure[0] == 1
    assert type(failure[1]) is error
    assert text in str(failure[1])
    assert stored(path) == {0: {"id": 0}, 1: {"id": 1}}


def test_stores_all_of_a_call_or_nothing(store, events, path):
    """A fault in the middle of the transaction leaves no event of the call behind."""
    connection = events.database(str(path))
    with connection:
        connection.execute(
            "CREATE TRIGGER fault BEFORE INSERT ON events WHEN new.id = 2 "
            "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    with pytest.raises(sqlite3.Error, match="the disk is full"):
        store([{"id": 1}, {"id": 2}])
    assert stored(path) == {}
    with connection:
        connection.execute("DROP TRIGGER fault")
    store([{"id": 1}, {"id": 2}])
    assert set(stored(path)) == {1, 2}


@pytest.mark.system
def test_does_what_its_docstring_shows(events, shell):
    assert shell.follow(events.__doc__) == 4
    assert set(stored(shell.folder / "shop.sqlite")) == {*range(1000), "last"}


@pytest.mark.system
def test_two_processes_store_all_events_each_once(shell):
    """Every event is sent twice, to processes that write the same new database."""
    shell.start_broker()
    shell.start_worker("workers/events.py", "-p", "2")
    with zqueue.Producer(shell.url) as producer:
        for _ in range(2):
            producer.send_many("events", ({"id": number} for number in range(5000)))
        producer.send("events", {"what": "no id"})
    shell.wait_for(
        lambda state: (
            state["counters"]["dead"] == 1
            and not any(q["ready"] or q["leased"] for q in state["queues"].values())
        )
    )
    assert set(stored(shell.folder / "events.sqlite")) == set(range(5000))
    assert "an event needs an id" in shell.output("zqueue dlq ls")
