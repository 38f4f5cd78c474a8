"""Gone: a broker hears what went elsewhere, on each link until it has confirmed that."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.client.gone import GONE_MAX, WITHDRAW_CHUNK, Gone
from zqueue.client.sent import Sent
from zqueue.wire.headers import HEADER_BYTES_MAX, decode
from zqueue.wire.link import Link
from zqueue.wire.messages import Withdraw

LANE: Any = type("Lane", (), {"options": b""})


@pytest.fixture
def link() -> Link:
    return Link("producer", b"me", b"", lambda: 0.5)


@pytest.fixture
def gone(link: Link) -> Gone:
    """Numbers below 1000 are its own."""
    return Gone(link, lambda number: number < 1000)


def add(gone: Gone, *numbers: int) -> list[Sent]:
    sent = [Sent(number, LANE, b"\x90", 1, None, 0.0, 0.0) for number in numbers]
    for each in sent:
        gone.add(each)
    return sent


def told(link: Link) -> list[Any]:
    frames, link.out = link.out, []
    return [decode(each[0]) for each in frames]


def test_its_own_numbers_and_others_are_told_apart_and_once(link: Link, gone: Gone) -> None:
    add(gone, 5, 6, 1007)
    gone.tell()
    gone.tell()
    assert told(link) == [Withdraw([5, 6], [1007, 1007])]
    add(gone, 8)
    gone.tell()
    assert told(link) == [Withdraw([8, 8])]


def test_on_another_link_what_was_not_confirmed_is_told_again(link: Link, gone: Gone) -> None:
    add(gone, 5, 6, 7)
    gone.tell()
    gone.confirmed(6)
    told(link)
    gone.on_link()
    gone.tell()
    assert told(link) == [Withdraw([5, 5, 7, 7])]


def test_a_confirm_from_before_it_was_told_does_not_count(link: Link, gone: Gone) -> None:
    add(gone, 5)
    gone.confirmed(5)
    gone.tell()
    assert told(link) == [Withdraw([5, 5])]


def test_many_are_told_in_headers_that_fit(link: Link, gone: Gone) -> None:
    numbers = range(1 << 60, (1 << 60) + 4 * WITHDRAW_CHUNK, 2)
    add(gone, *numbers)
    gone.tell()
    assert max(len(frames[0]) for frames in link.out) <= HEADER_BYTES_MAX
    assert sum(len(message.moved) // 2 for message in told(link)) == len(numbers)


def test_the_last_of_them_are_found(gone: Gone) -> None:
    sent = add(gone, *range(GONE_MAX + 1))
    assert gone.find(0) is None
    assert gone.find(GONE_MAX) is sent[-1]
