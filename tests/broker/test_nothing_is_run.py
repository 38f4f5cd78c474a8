"""Whatever comes in is data: it makes nothing run, be loaded, or be opened.

An audit hook sees what the interpreter does, also what is called by other names or by libraries.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zqueue.errors import ProtocolError
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode
from zqueue.wire.options import unpack_options
from zqueue.wire.results import unpack_outcomes
from zqueue.wire.unpacking import unpack, unpack_bodies

from .test_fuzz import FRAMES, MESSAGES, _greeted

RUNS = frozenset(
    {"pickle.find_class", "marshal.loads", "compile", "exec", "import", "open", "os.system",
     "os.exec", "os.posix_spawn", "subprocess.Popen", "ctypes.dlopen", "socket.connect"}
)  # fmt: skip

PICKLES = [pickle.dumps(value) for value in (print, Exception("x"), {"a": 1})]


class Watch:
    """An interpreter keeps a hook for good, so this one is there once, and looks when it shall."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.looks = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _: object) -> None:
        if self.looks and event in RUNS:
            self.seen.append(event)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        self.looks = True
        try:
            yield
        finally:
            self.looks = False


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


def test_the_watch_sees_what_a_pickle_does(watch: Watch) -> None:
    with watch():
        pickle.loads(PICKLES[0])
    assert "pickle.find_class" in watch.seen
    watch.seen.clear()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages=st.lists(MESSAGES, max_size=20), pickled=st.sampled_from(PICKLES))
def test_nothing_that_a_broker_hears(watch: Watch, messages: list[Any], pickled: bytes) -> None:
    broker = _greeted()
    with watch():
        for peer, head, frames in messages:
            for more in (frames, [pickled], [pack([pickled])]):
                broker.receive(peer, "", [head, *more], 0.0)
            broker.receive(peer, "", [pickled], 0.0)
        while sent := broker.to_send():
            for _, frames in sent:
                decode(frames[0])
    assert not watch.seen


@settings(max_examples=200, deadline=None)
@given(frame=FRAMES | st.sampled_from(PICKLES), count=st.integers(0, 5))
def test_nor_that_workers_and_producers_do(watch: Watch, frame: bytes, count: int) -> None:
    with watch():
        for read in (unpack, unpack_bodies, unpack_options, decode):
            with contextlib.suppress(ProtocolError):
                read(frame)
        for status in range(6):
            with contextlib.suppress(ProtocolError):
                unpack_outcomes(status, count, frame)
    assert not watch.seen
