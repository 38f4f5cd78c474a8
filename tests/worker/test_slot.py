"""A slot: what one process writes, another reads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from time import monotonic

import pytest

from zqueue.config import THREADS_MAX
from zqueue.worker.slot import LEFT, READY, STARTING, Shown, Slot


@pytest.fixture
def slot() -> Iterator[Slot]:
    made = Slot.create()
    yield made
    made.close()


def test_a_worker_s_life(slot: Slot) -> None:
    assert slot.read() == Shown(STARTING, 0, 0, 0, 0.0)
    assert slot.url() == ""
    slot.ready("ipc:///tmp/b")
    assert slot.read() == Shown(READY, 0, 0, 0, 0.0)
    assert slot.url() == "ipc:///tmp/b"
    slot.begin(1 << 60, 17, 1.5)
    slot.count(3)
    assert slot.read() == Shown(READY, 3, 1 << 60, 17, 1.5)
    slot.clear()
    assert slot.read().deadline == 0.0
    slot.left()
    assert slot.read()[:2] == (LEFT, 3)


def test_of_several_the_one_that_is_due_first_is_shown(slot: Slot) -> None:
    slot.ready("ipc:///tmp/b", threads=8)
    slot.begin(7, 1, 30.0)
    slot.begin(8, 2, 20.0, place=8)
    slot.begin(9, 3, 25.0, place=3)
    assert slot.read()[2:5] == (8, 2, 20.0)
    slot.clear(place=8)
    assert slot.read()[2:5] == (9, 3, 25.0)
    slot.clear(place=3)
    assert slot.read()[2:5] == (7, 1, 30.0)
    slot.clear()
    assert slot.read().deadline == 0.0
    assert slot.url() == "ipc:///tmp/b"


def test_all_threads_have_a_place(slot: Slot) -> None:
    slot.ready("ipc:///tmp/b", THREADS_MAX)
    slot.begin(1, 2, 3.0, place=THREADS_MAX)
    assert slot.read()[2:5] == (1, 2, 3.0)


def test_the_place_of_one_task_is_never_seen_with_the_deadline_of_another(slot: Slot) -> None:
    """The other process begins task after task, each with its number as its deadline."""
    program = (
        "import sys\n"
        "from zqueue.worker.slot import Slot\n"
        "slot = Slot(int(sys.argv[1]))\n"
        "for number in range(1, 300_000):\n"
        "    slot.begin(number, number, float(number))\n"
        "    slot.clear()\n"
        "slot.left()\n"
    )
    command = [sys.executable, "-c", program, str(slot.fd)]
    with subprocess.Popen(command, pass_fds=[slot.fd]) as writer:
        until = monotonic() + 60
        seen = 0
        while slot.read().state != LEFT and writer.poll() is None:
            shown = slot.read()
            if shown.deadline:
                # That of a later task does no harm: it is not over.
                assert shown.deadline >= max(shown.lease, shown.position)
                assert shown.lease
                seen += 1
            assert monotonic() < until
    assert seen
