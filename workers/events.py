r"""Stores events in a SQLite database, up to 500 in one transaction.

An event is a map with an ``id`` (a whole number or a text) and whatever else it likes. The
database is the file that ``ZQUEUE_EVENTS_DB`` names, ``events.sqlite`` by default.

Start a broker and a worker, each in a terminal of its own::

    $ zqueue broker
    $ ZQUEUE_EVENTS_DB=shop.sqlite zqueue worker workers/events.py

Send from the shell: bodies go to the queue, which has just this one handler::

    $ zqueue send --queue events '{"id": 1, "what": "order"}' '{"id": 2, "what": "payment"}' --wait
    null
    null
    $ printf '{"id": %s}\n' 3 4 5 | zqueue pipe --queue events

Send from Python (``PYTHONPATH=workers python``). ``send_many`` is the fast way; a future from
``submit`` tells when an event is stored, or why it is not::

    >>> from events import app, store_events
    >>> store_events.send_many({"id": number} for number in range(1000))
    1000
    >>> store_events.submit({"id": "last", "what": "order"}).result(timeout=60)
    >>> store_events.submit({"what": "no id"}).result(timeout=60)
    Traceback (most recent call last):
        ...
    zqueue.errors.RemoteError: ValueError: an event needs an id: a whole number or a text
    >>> app.close()

Safe to run twice: the id is the table's key, and an event whose id is there already is passed
over. A call is one transaction, so a worker that is killed has stored all of its events or none,
and an event counts as done only after that. Events without an id fail alone
(`zqueue.PartialFailure`); those beside them are stored.
"""

from __future__ import annotations

import functools
import json
import os
import sqlite3
from typing import Any

import zqueue

BUSY_TIMEOUT_S = 30.0
"""How long to wait for another process that is writing."""

ID_MAX = (1 << 63) - 1
"""What SQLite can hold as a whole number."""

app = zqueue.App()


@app.batch(queue="events", max_size=500, max_wait=0.05)
def store_events(events: list[dict[str, Any]]) -> None:
    """Store events, each id once. Raises `zqueue.PartialFailure` for those that cannot be."""
    rows: list[tuple[int | str, str]] = []
    failures: dict[int, BaseException] = {}
    for position, event in enumerate(events):
        try:
            rows.append(to_row(event))
        except (TypeError, ValueError) as error:
            failures[position] = error
    with database(os.environ.get("ZQUEUE_EVENTS_DB") or "events.sqlite") as transaction:
        transaction.executemany("INSERT OR IGNORE INTO events (id, event) VALUES (?, ?)", rows)
    if failures:
        raise zqueue.PartialFailure(failures)


def to_row(event: Any) -> tuple[int | str, str]:
    """An event's id, and the event as JSON. Raises `ValueError`, or `TypeError` from `json`."""
    key = event.get("id") if isinstance(event, dict) else None
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise ValueError("an event needs an id: a whole number or a text")
    if isinstance(key, int) and not -ID_MAX <= key <= ID_MAX:
        raise ValueError(f"an event's id is at most {ID_MAX}: larger ones can be texts")
    return key, json.dumps(event)


@functools.cache
def database(path: str) -> sqlite3.Connection:
    """This process's connection, made at first use. As a context it is one transaction."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
    with connection:
        # The id has no type, so that 1 and "1" are two events.
        connection.execute("CREATE TABLE IF NOT EXISTS events (id PRIMARY KEY, event TEXT)")
    return connection
