"""Hard cases of codec, unpacking, calls and lane: where memory, alarms, strangers or other threads
come in between."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from typing import Any

import msgpack
import pytest

from tests.client.test_tracing import Producer
from zqueue.client.lane import Lane
from zqueue.errors import BodyError, ProtocolError
from zqueue.handlers import Handler
from zqueue.wire import writing
from zqueue.wire.codec import COMPILED, Packer, pack
from zqueue.wire.unpacking import (
    NO_MAPS,
    unpack,
    unpack_bodies,
)
from zqueue.worker.calls import Calls

compiled = pytest.mark.skipif(not COMPILED, reason="of the compiled code")
interpreted = pytest.mark.skipif(COMPILED, reason="of the interpreted code")


@interpreted
def test_take_works_interpreted() -> None:
    packer = Packer(10, 100)
    packer.add(1)
    assert packer.take() == b"\x91\x01"


def test_a_claimed_task_that_never_began_takes_its_body_along() -> None:
    """An alarm may ring between claim and call. Later tasks then got the body before their own."""
    seen: list[int] = []
    calls = Calls(Handler("t", "q", seen.append), pack([[0], [1], [2]]), 3, named=True, keep=True)
    task = calls.next_task()
    assert task is not None
    calls.fail(TimeoutError("rang before the call"))  # As `_run_timed` does.
    calls.run(2)
    assert seen == [1, 2]


@compiled
@pytest.mark.parametrize("bad", ["\ud800", 1 << 64])
def test_a_finalizer_that_sends_while_a_body_fails(bad: Any) -> None:
    """Making the exception may start the garbage collector (Python 3.11), and so any code."""
    packer = Packer(100, 10_000)

    class Loud:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            packer.add("from a finalizer")

    gc.collect()
    gc.disable()
    before = gc.get_threshold()
    try:
        packer.add(1)
        Loud()
        gc.set_threshold(1, 1, 1)
        body = [bad]
        gc.enable()
        try:
            packer.add(body)
        except BodyError:
            pass
    finally:
        gc.set_threshold(*before)
        gc.enable()
    gc.collect()
    assert unpack_bodies(packer.take()) == [1, "from a finalizer"]


@compiled
def test_trailing_bytes() -> None:
    with pytest.raises(ProtocolError):
        unpack_bodies(pack([1, 2]) + b"\x03")


@compiled
@pytest.mark.parametrize("value", [{}, [1, {}]])
def test_an_empty_map_is_no_danger(value: Any) -> None:
    """The reference with max_map_len=0, and so the interpreted module, lets it pass."""
    assert unpack(pack(value), keys=NO_MAPS) == value


@compiled
@pytest.mark.parametrize("start", [b"\x91", b"\x81\x01", b"\x81\xa1k"])
def test_nests_as_deep_as_the_reference_and_no_deeper(start: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(start * 1025 + b"\x01")
    with pytest.raises(ProtocolError):
        unpack(start * 1024 + b"\x90")
    frame = start * 1024 + b"\x01"
    msgpack.unpackb(frame, strict_map_key=False)
    unpack(frame)


def bomb(nbytes: int, depth: int = 1000) -> bytes:
    head = b"".join(b"\xdd" + (nbytes - 5 * (i + 1)).to_bytes(4, "big") for i in range(depth))
    return head + b"\x01" * (nbytes - len(head))


@compiled
def test_arrays_that_all_claim_the_same_bytes() -> None:
    frame = bomb(1 << 20)
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(ProtocolError):
        unpack(frame)
    took = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * len(frame), f"{peak >> 20} MiB, {took:.1f} s for a frame of 1 MiB"


@compiled
def test_memory_that_cannot_be_had_breaks_nothing() -> None:
    script = textwrap.dedent("""
        import resource
        from zqueue.wire.codec import Packer, pack
        from zqueue.wire.unpacking import unpack_bodies
        packer = Packer(4096, 1 << 40)
        big, small = "x" * (15 << 20), "y" * 100_000
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20),) * 2)
        for call in (packer.add, pack):
            try:
                call(big)
            except MemoryError:
                pass
            else:
                raise SystemExit("there was enough")
            call(small)
        assert unpack_bodies(packer.take()) == [small]
    """)
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@compiled
def test_a_large_buffer_is_given_back_once_it_is_empty() -> None:
    packer = Packer(100, 1000)
    body = "x" * (8 << 20)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    packer.add(body)
    assert packer.is_full
    packer.take()
    assert not len(packer)
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept <= writing.SPARE_BYTES_MAX + 8192, f"{kept:,} bytes are kept"


@interpreted
def test_counting_what_gathered_while_others_add() -> None:
    """`Producer._unconfirmed` and `_confirmed` count without the lane's lock."""
    lane = Lane(Producer(), "q", "t")
    stop = threading.Event()
    errors: list[BaseException] = []

    def count() -> None:
        try:
            while not stop.is_set():
                assert lane.gathered >= 0
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=count)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        body = bytes(70_000)
        for _ in range(300):
            for _ in range(10):
                lane.put(body)
            while lane.cut():
                pass
    finally:
        stop.set()
        thread.join(10)
        sys.setswitchinterval(before)
    assert not errors


@compiled
def test_a_body_there_is_no_memory_for_fails_what_is_behind_it() -> None:
    script = textwrap.dedent("""
        import resource
        from zqueue.wire.codec import pack
        from zqueue.wire.unpacking import Reader
        from zqueue.errors import ProtocolError
        reader = Reader(b"\\x93" + pack([7] * 8_000_000) + pack("next") + pack("last"))
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20),) * 2)
        came = []
        while reader.left:
            try:
                came.append(reader.read())
            except (MemoryError, ProtocolError) as error:
                came.append(type(error).__name__)
        print(came)
    """)
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() in (
        "['MemoryError', 'ProtocolError', 'ProtocolError']", "['MemoryError', 'next', 'last']",
    ), done  # fmt: skip


def test_a_soft_timeout_before_the_call() -> None:
    """The same as 02, with a real alarm, which rings where Python looks for signals."""
    from zqueue.errors import TaskTimeout
    from zqueue.worker.alarm import call_with_alarm

    ran: list[int] = []
    calls = Calls(
        Handler("t", "q", ran.append), pack([[i] for i in range(1000)]), 1000, named=True, keep=True
    )
    wrong = 0
    while (task := calls.next_task()) is not None:
        position, before = calls.position - 1, len(ran)
        try:
            call_with_alarm(task, 10 if position % 7 else 2e-6)
        except TaskTimeout as error:
            calls.fail(error)
        wrong += len(ran) > before and ran[-1] != position
    assert not wrong, f"{wrong} of {len(ran)} tasks ran with the body of another"


def test_a_meter_that_has_nothing_to_tell_yet_is_used_all_the_same() -> None:
    """`meter or TaskMeter()`: an empty meter is false, so what the first batch takes is lost."""
    from zqueue.stats.meter import TaskMeter

    meter = TaskMeter()
    calls = Calls(
        Handler("t", "q", lambda: None), pack([[], []]), 2, named=True, keep=False, meter=meter
    )
    calls.run(2)
    assert meter.run.count == meter.total.count == 2


def test_a_body_that_could_not_be_packed_has_no_age() -> None:
    """`since` stays that of the failed one until a batch is cut, which may be hours."""
    lane = Lane(Producer(), "q", "t")
    lane.open()
    lane.numbered(1)
    with pytest.raises(BodyError):
        lane.add(object())
    between = time.monotonic()
    lane.add("good")
    batch = lane.cut()
    assert batch is not None
    assert batch.since >= between


def test_a_code_that_is_none() -> None:
    """0xc1 in `unpack` speaks of a batch that cannot be split."""
    with pytest.raises(ProtocolError, match="cannot be unpacked: "):
        unpack(b"\xc1")


@compiled
def test_the_buffer_of_a_body_too_large_is_given_back() -> None:
    from zqueue.errors import BodyTooLarge

    packer = Packer(100, 1000)
    body = ["x" * (8 << 20)] * 3
    for before in ([], ["small"]):
        for item in before:
            packer.add(item)
        tracemalloc.start()
        base = tracemalloc.get_traced_memory()[0]
        with pytest.raises(BodyTooLarge):
            packer.add(body)
        packer.take()
        kept = tracemalloc.get_traced_memory()[0] - base
        tracemalloc.stop()
        assert kept <= writing.SPARE_BYTES_MAX + 16384, f"{kept:,} bytes are kept"
