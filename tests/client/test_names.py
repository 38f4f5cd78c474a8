"""Names: an id that outlives a process, and rows of numbers that do not meet."""

from __future__ import annotations

import time

from zqueue.client.names import NAMED_ROW_NUMBERS, ROW_NUMBERS, id_of, named
from zqueue.config import BROKERS_MAX
from zqueue.wire.headers import INT_MAX


def test_an_id_is_of_its_name_alone() -> None:
    assert id_of("billing") == id_of("billing") != id_of("mail")
    assert len(id_of("billing")) == 16


def test_who_has_a_name_says_where_it_begins() -> None:
    assert named(7) == {"first": 7}
    assert named(0) == {}


def test_rows_of_all_brokers_have_numbers_that_may_be_sent() -> None:
    microseconds = time.time_ns() // 1000
    assert ROW_NUMBERS < microseconds < NAMED_ROW_NUMBERS
    assert min(INT_MAX, 10**18) > (BROKERS_MAX + 1) * NAMED_ROW_NUMBERS, "ids have 18 digits"
