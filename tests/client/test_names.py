"""Names: an id that outlives a process, and rows of numbers that do not meet."""

from __future__ import annotations

import time

from zqueue.client.names import NAMED_ROW_NUMBERS, NAMED_ROWS, ROW_NUMBERS, ROWS, id_of
from zqueue.wire.headers import INT_MAX


def test_an_id_is_of_its_name_alone() -> None:
    assert id_of("billing") == id_of("billing") != id_of("mail")
    assert len(id_of("billing")) == 16


def test_rows_of_all_brokers_have_numbers_that_may_be_sent() -> None:
    microseconds = time.time_ns() // 1000
    assert ROW_NUMBERS < microseconds < NAMED_ROW_NUMBERS
    assert min(INT_MAX, 10**18) > (NAMED_ROWS + 1) * NAMED_ROW_NUMBERS, "ids have 18 digits"
    assert (ROWS + 1) * ROW_NUMBERS < 10**18
