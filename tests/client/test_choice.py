"""The choice: batches go where there is room, keys where they always go."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from zqueue.client.choice import SHUT_MAX, Choice, rank
from zqueue.client.connection import WINDOW_BATCHES, Connection
from zqueue.client.flow import BATCHES_LEAST
from zqueue.client.lane import Lane
from zqueue.wire.headers import encode
from zqueue.wire.messages import Heartbeat, Welcome
from zqueue.wire.options import TaskOptions

OWNER: Any = None
NAMES = ("a", "b", "c")


class Chances:
    """Chance that gives what it is told, then halves."""

    def __init__(self) -> None:
        self.next: list[float] = []

    def __call__(self) -> float:
        return self.next.pop(0) if self.next else 0.5


class Table:
    """A choice among connections that are all connected."""

    def __init__(self, count: int = 3) -> None:
        self.chances = Chances()
        self.connections = [Connection(b"p", {}, self.chances) for _ in range(count)]
        for connection, name in zip(self.connections, NAMES, strict=False):
            connection.name = name
            connection.tick(0.0)
            connection.receive([encode(Welcome(name.encode(), 1000, 5000))], 0.0)
        self.choice = Choice(self.connections)
        self.lane = Lane(OWNER, "q", "t")

    def chosen(self, now: float = 0.0, lane: Lane | None = None) -> str:
        found = self.choice.choose(lane or self.lane, now)
        return found.name if found else ""

    def fill(self, number: int, batches: int = 1, body: bytes = b"\x91\x01") -> None:
        for _ in range(batches):
            self.connections[number].publish(self.lane, body, 1, reply=None, now=0.0)


@pytest.fixture
def table() -> Table:
    return Table()


def keyed(key: str) -> Lane:
    return Lane(OWNER, "q", "t", options=TaskOptions(key=key))


def test_of_two_by_chance_the_one_with_fewer_bytes(table: Table) -> None:
    table.fill(0, body=b"\x91" + bytes(100))
    table.fill(1, 2)
    table.chances.next = [0.0, 0.0]  # a and b
    assert table.chosen() == "b"


def test_a_lane_with_nothing_under_way_stays(table: Table) -> None:
    table.chances.next = [0.9, 0.0]
    first = table.chosen()
    table.fill(NAMES.index(first))
    assert {table.chosen() for _ in range(20)} == {first}


def test_a_lane_with_much_under_way_goes_where_there_is_room(table: Table) -> None:
    table.lane.home = table.connections[0]
    table.lane.numbered(10)
    table.fill(0)
    table.chances.next = [0.0, 0.0]
    assert table.chosen() == "b"


def test_nothing_goes_to_who_was_silent_for_two_heartbeats(table: Table) -> None:
    table.lane.home = table.connections[0]
    for connection in table.connections:
        connection.tick(1.0)  # They ask,
    for connection in table.connections[1:]:
        connection.receive([encode(Heartbeat([]))], 1.1)
    assert table.chosen(2.9) == "a"
    assert table.chosen(3.0) != "a"
    table.connections[0].receive([encode(Heartbeat([]))], 3.1)
    table.lane.home = table.connections[0]
    assert table.chosen(3.2) == "a"


def test_nothing_goes_where_the_connection_is_cut(table: Table) -> None:
    table.lane.home = table.connections[0]
    table.connections[0].is_cut = True
    assert table.chosen() != "a"


def test_while_nobody_answers_somebody_keeps_it(table: Table) -> None:
    for connection in table.connections:
        connection.is_cut = True
    assert table.chosen() in NAMES


def test_a_window_that_is_full_is_passed_over_and_none_is_left_at_last(table: Table) -> None:
    for number in range(2):
        table.fill(number, WINDOW_BATCHES)
    assert table.chosen() == "c"
    table.fill(2, WINDOW_BATCHES)
    assert table.chosen() == ""


def test_half_of_a_window_is_for_lanes_with_little_under_way() -> None:
    table = Table(1)
    table.fill(0, WINDOW_BATCHES // 2)
    assert table.chosen() == "a"
    for _ in range(BATCHES_LEAST):
        table.lane.numbered(10)
    assert table.chosen() == ""


def test_a_queue_that_was_full_is_not_tried_for_a_while_unless_it_is_everywhere(
    table: Table,
) -> None:
    table.lane.home = table.connections[0]
    table.choice.shut(table.connections[0], "q", 5.0)
    assert table.chosen(4.9) != "a"
    table.lane.home = table.connections[0]
    assert table.chosen(5.0) == "a"
    for connection in table.connections:
        table.choice.shut(connection, "q", 5.0)
    assert table.chosen(4.9) == "a"


def test_no_more_full_queues_are_remembered_than_there_may_be(table: Table) -> None:
    for number in range(SHUT_MAX + 1):
        table.choice.shut(table.connections[0], f"q{number}", 9.0)
    assert len(table.choice._shut) == SHUT_MAX


class TestKeys:
    def test_all_producers_find_the_same_broker(self, table: Table) -> None:
        for number in range(50):
            places = {Table().chosen(lane=keyed(f"k{number}")) for _ in range(2)}
            assert places == {max(NAMES, key=lambda name: rank(name, f"k{number}"))}

    def test_they_spread(self, table: Table) -> None:
        places = Counter(table.chosen(lane=keyed(f"k{number}")) for number in range(600))
        assert all(120 < count < 280 for count in places.values())

    def test_only_those_of_a_broker_that_is_given_up_move(self, table: Table) -> None:
        before = {f"k{n}": table.chosen(lane=keyed(f"k{n}")) for n in range(60)}
        table.connections[1].is_cut = True  # Not yet: it may come back in a moment.
        assert before == {key: table.chosen(lane=keyed(key)) for key in before}
        table.choice.given_up.add(table.connections[1])
        after = {key: table.chosen(lane=keyed(key)) for key in before}
        assert "b" not in after.values()
        assert all(after[key] == place for key, place in before.items() if place != "b")

    def test_a_batch_that_must_go_elsewhere_goes_where_its_key_does(self, table: Table) -> None:
        lane = next(keyed(f"k{n}") for n in range(99) if table.chosen(lane=keyed(f"k{n}")) == "a")
        gone = table.connections[0]
        assert table.choice.other(gone, lane, 0.0) is None
        table.choice.given_up.add(gone)
        gone.is_cut = True
        other = table.choice.other(gone, lane, 0.0)
        assert other is not None
        assert other.name == table.chosen(lane=lane)
        assert table.choice.other_with_room(gone, lane, 0.0) is None
