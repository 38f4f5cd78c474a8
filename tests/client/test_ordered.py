"""Batches that are unpacked when somebody asks, in order."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.client.ordered import BatchReply, Stream
from zqueue.errors import (
    Closed,
    ResultLost,
)
from zqueue.wire.codec import pack
from zqueue.wire.messages import DONE, FAILED, RESULTS

NO = pack([["ValueError", "no", ""]])


def taken(stream: Stream) -> list[Any]:
    """All outcomes that are there."""
    outcomes: list[Any] = []
    while some := stream.take():
        outcomes += some
    return outcomes


class TestStreams:
    """Outcomes of batches, each as soon as it and those before it are there."""

    def one(self, tasks: int) -> tuple[Stream, BatchReply]:
        stream = Stream(2)
        return stream, stream.reply(tasks)

    def test_in_order_as_they_come(self) -> None:
        stream, reply = self.one(4)
        reply.take(2, 1, RESULTS, pack(["c"]), last=False)
        assert taken(stream) == []
        reply.take(0, 1, FAILED, NO, last=False)
        ((failed, error),) = taken(stream)
        assert (failed, str(error)) == (False, "ValueError: no")
        assert taken(stream) == []
        reply.take(1, 1, DONE, b"", last=False)
        assert taken(stream) == [(True, None), (True, "c")]
        assert stream.is_awaiting
        reply.take(3, 1, RESULTS, pack(["d"]), last=True)
        assert taken(stream) == [(True, "d")]
        assert not stream.is_awaiting

    def test_batch_after_batch(self) -> None:
        stream, first = self.one(1)
        second = stream.reply(2)
        second.take(0, 2, RESULTS, pack(["b", "c"]), last=True)
        assert taken(stream) == []
        first.take(0, 1, RESULTS, pack(["a"]), last=True)
        assert taken(stream) == [(True, "a"), (True, "b"), (True, "c")]
        assert taken(stream) == []

    def test_failing_fails_the_rest(self) -> None:
        stream, reply = self.one(3)
        reply.take(1, 1, RESULTS, pack(["b"]), last=False)
        lost = ResultLost("gone")
        reply.fail(lost)
        assert taken(stream) == [(False, lost), (True, "b"), (False, lost)]
        stream, reply = self.one(2)
        reply.fail(lost)
        assert taken(stream) == [(False, lost)] * 2
        stream, reply = self.one(2)
        reply.take(0, 1, DONE, b"", last=False)
        assert taken(stream) == [(True, None)]
        reply.fail(lost)
        assert taken(stream) == [(False, lost)]

    def test_the_first_result_counts(self) -> None:
        stream, reply = self.one(3)
        reply.take(1, 1, RESULTS, pack(["first"]), last=False)
        reply.take(0, 3, RESULTS, pack(["a", "second", "c"]), last=True)
        assert taken(stream) == [(True, "a"), (True, "first"), (True, "c")]
        reply.take(0, 3, RESULTS, pack(["late"] * 3), last=True)
        assert taken(stream) == []

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 10)), max_size=8), st.data())
    def test_is_the_first_of_each_position(self, runs: list[Any], data: Any) -> None:
        """Whatever runs come, in whatever order, and however often it is asked in between."""
        stream, reply = self.one(10)
        model: list[Any] = [None] * 10
        given: list[Any] = []
        for number, (first, tasks) in enumerate([*runs, (0, 10)]):
            tasks = min(tasks, 10 - first)
            values = [f"{number}/{position}" for position in range(first, first + tasks)]
            reply.take(first, tasks, RESULTS, pack(values), last=False)
            for position, value in enumerate(values, first):
                model[position] = model[position] or (True, value)
            if data.draw(st.booleans()):
                given += taken(stream)
                known = model.index(None) if None in model else 10
                assert given == model[:known]
        assert given + taken(stream) == model

    def test_waits_for_what_comes(self) -> None:
        stream, reply = self.one(1)
        assert not stream.wait(0)
        waiting = threading.Thread(target=stream.wait, args=(20,), daemon=True)
        waiting.start()
        reply.take(0, 1, DONE, b"", last=True)
        waiting.join(20)
        assert not waiting.is_alive()
        assert stream.wait(0)

    def test_ends_with_its_source(self) -> None:
        stream, reply = self.one(1)
        stream.end(KeyError("source"))
        assert not stream.wait(0), "one result is to come"
        reply.take(0, 1, DONE, b"", last=True)
        taken(stream)
        assert stream.wait(0)
        with pytest.raises(KeyError, match="source"):
            stream.raise_error()

    def test_holds_its_source_back(self) -> None:
        stream, reply = self.one(1)
        assert stream.wait_to_read()
        stream.reply(1)
        assert not stream.may_read
        held = threading.Thread(target=stream.wait_to_read, daemon=True)
        held.start()
        reply.take(0, 1, DONE, b"", last=True)
        taken(stream)
        held.join(20)
        assert not held.is_alive()

    def test_of_what_is_abandoned_nothing_is_kept(self) -> None:
        stream, reply = self.one(1)
        stream.abandon()
        reply.take(0, 1, DONE, b"", last=True)
        assert not stream.wait_to_read()
        assert taken(stream) == []


def test_in_a_child_process_nobody_waits_for_a_lock() -> None:
    stream = Stream(2)
    reply = stream.reply(2)
    reply.take(0, 1, DONE, b"", last=False)
    stream._changed = threading.Condition(threading.Lock())
    stream._changed.acquire()
    reply.forked(Closed("fork"))
    stream.forked(Closed("fork"))
    (first, (ok, error)) = taken(stream)
    assert (first, ok, type(error)) == ((True, None), False, Closed)
    with pytest.raises(Closed):
        stream.raise_error()
