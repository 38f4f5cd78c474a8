"""What is asked of each broker of a list."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import zqueue
from zqueue.client.ask import Asker
from zqueue.client.everywhere import by_broker, cancel_at, peek_at
from zqueue.testing import InProcess


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Two brokers, of which the first has two addresses."""
    with (
        InProcess(zqueue.App(), worker=False) as one,
        InProcess(zqueue.App(), worker=False) as other,
    ):
        head, _, name = one.url.rpartition("/")
        for broker, bodies in ((one, 2), (other, 3)):
            with zqueue.Producer(broker.url) as producer:
                producer.send_many("both", range(bodies))
                producer.send_many(f"only-{bodies}", range(bodies))
        yield f"{one.url},{other.url},{head}/./{name}"


def test_each_is_asked_once(url: str) -> None:
    askers = [Asker(each) for each in url.split(",")]
    assert list(by_broker(askers).values()) == askers[:2]
    for asker in askers:
        asker.close()


def test_what_waits_in_each(url: str) -> None:
    assert [told["ready"] for _, told in peek_at(url, "both")] == [2, 3]
    assert [told["ready"] for _, told in peek_at(url, "only-3")] == [3]


def test_cancelling_counts_over_all(url: str) -> None:
    assert cancel_at(url, queue="both") == (5, 0, 0, 0)
    assert cancel_at(url, queue="only-2") == (2, 0, 0, 0)
    assert cancel_at(url, "1-1-0", "1-2-0").unknown == 2
