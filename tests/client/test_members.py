"""Members: which brokers a list names, whatever its sources say."""

from __future__ import annotations

from zqueue.client.members import AGAIN_S, FILE_S, NAME_S, NAME_SPREAD, Members
from zqueue.config import BROKERS_MAX, Address, BrokerList

NAME, FILE = "dns+tcp://brokers:5555", "file:///etc/brokers"


def at(*numbers: int) -> list[Address]:
    return [Address.parse(f"tcp://10.0.0.{number}:5555") for number in numbers]


def members(url: str, chance: float = 0.5) -> Members:
    return Members(BrokerList.parse(url), lambda: chance)


def test_without_a_source_there_is_nothing_to_ask() -> None:
    fixed = members("tcp://10.0.0.1:5555,tcp://10.0.0.2:5555")
    assert fixed.addresses == at(1, 2)
    assert fixed.due(0.0) == []
    assert fixed.next_deadline() is None


def test_what_is_named_comes_and_goes() -> None:
    some = members(f"tcp://10.0.0.9:5555,{FILE}")
    (source,) = some.due(0.0)
    assert some.found(source, at(1, 2), 0.0)
    assert not some.found(source, at(2, 1), 1.0), "the same ones in another order"
    assert some.addresses == at(9, 1, 2)
    assert some.found(source, at(2, 3), 2.0)
    assert some.addresses == at(9, 2, 3)


def test_one_that_two_sources_name_is_there_once() -> None:
    some = members(f"tcp://10.0.0.1:5555,{FILE},{NAME}")
    for source in some.due(0.0):
        some.found(source, at(1, 2), 0.0)
    assert some.addresses == at(1, 2)


def test_a_file_is_read_often_and_a_name_asked_for_at_different_times() -> None:
    (source,) = members(FILE).due(0.0)
    for url, chance, pause in (
        (FILE, 0.5, FILE_S),
        (NAME, 0.0, NAME_S * (1 - NAME_SPREAD)),
        (NAME, 1.0, NAME_S * (1 + NAME_SPREAD)),
    ):
        some = members(url, chance)
        (source,) = some.due(0.0)
        some.found(source, at(1), 10.0)
        assert some.next_deadline() == 10.0 + pause
        assert some.due(10.0 + pause - 0.1) == []
        assert some.due(10.0 + pause) == [source]


def test_what_cannot_be_asked_takes_nobody_away() -> None:
    some = members(NAME)
    (source,) = some.due(0.0)
    some.found(source, at(1), 0.0)
    assert not some.failed(source, "cannot resolve brokers", 30.0)
    assert not some.found(source, [], 33.0), "an empty answer is none"
    assert some.addresses == at(1)
    assert some.next_deadline() == 33.0 + AGAIN_S
    assert "no broker" in some.trouble
    assert some.found(source, at(2), 40.0)
    assert some.trouble == ""


def test_the_log_says_it_once() -> None:
    some = members(NAME)
    (source,) = some.due(0.0)
    for second in range(3):
        some.failed(source, "cannot resolve brokers", float(second))
    assert list(some.news) == ["cannot resolve brokers"]


def test_more_than_there_may_be_take_nobodys_place() -> None:
    some = members(FILE)
    (source,) = some.due(0.0)
    some.found(source, at(*range(100, 100 + BROKERS_MAX)), 0.0)
    assert not some.found(source, at(*range(90, 100 + BROKERS_MAX)), 1.0)
    assert some.addresses == at(*range(100, 100 + BROKERS_MAX))
    assert some.news == type(some.news)([f"10 brokers are left out: {BROKERS_MAX} may be named"])
