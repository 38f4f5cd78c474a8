"""A broker and a worker in threads: everything runs as elsewhere, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zqueue
from zqueue.testing import InProcess
from zqueue.testing.waiting import DEADLINE_S

FOREIGN = "tcp://127.0.0.1:9"
app = zqueue.App(FOREIGN, retries=0)
gathered: list[Any] = []


@app.task
def where() -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


@app.task(timeout=0.2, soft_timeout=0.1)
def limited(gate: str) -> str:
    gates[gate].wait(10)
    return "longer than its time"


@app.task
async def meet(others: int) -> int:
    """Returns when so many are here: they run side by side."""
    here.append(zqueue.current().id)
    while len(here) < others:
        await asyncio.sleep(0)
    return len(set(here))


@app.task
def fail(text: str) -> None:
    raise ValueError(text)


@app.task
def count_down(n: int) -> None:
    if n:
        count_down.send(n - 1)


@app.batch(queue="events", max_size=50, max_wait=0.01)
def index(bodies: list[Any]) -> None:
    gathered.extend(bodies)


gates: dict[str, threading.Event] = {}
here: list[str] = []


@pytest.fixture
def pool() -> Iterator[InProcess]:
    gathered.clear()
    here.clear()
    with InProcess(app) as pool:
        yield pool


def test_plain_async_and_batch_handlers_run_here(pool: InProcess) -> None:
    pid, thread = where.submit().result(DEADLINE_S)
    assert pid == os.getpid()
    assert thread != threading.current_thread().name
    assert [future.result(DEADLINE_S) for future in [meet.submit(3) for _ in range(3)]] == [3, 3, 3]
    index.send_many(range(120))
    pool.wait_idle()
    assert sorted(gathered) == list(range(120))


def test_idle_means_that_what_tasks_sent_is_done_too(pool: InProcess) -> None:
    count_down.send(30)
    assert pool.wait_idle()["counters"]["done"] == 31
    assert pool.count("done") == 31


def test_failures_are_letters_and_errors(pool: InProcess) -> None:
    with pytest.raises(zqueue.RemoteError, match="asked"):
        fail.submit("asked").result(DEADLINE_S)
    fail.send("not asked")
    pool.wait_idle()
    (letter,) = pool.dead()
    assert (letter["task"], letter["body"], letter["reason"]) == ("fail", ["not asked"], "failed")
    assert letter["error"][:2] == ["ValueError", "not asked"]


def test_time_limits_that_need_a_process_have_no_effect(pool: InProcess) -> None:
    gates["a"] = threading.Event()
    future = limited.submit("a")
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutError):
        future.result(0.5)
    gates["a"].set()
    assert future.result(DEADLINE_S) == "longer than its time"
    assert signal.getsignal(signal.SIGALRM) is before


def test_without_a_worker_tasks_wait_and_the_brokers_limits_hold() -> None:
    with InProcess(app, worker=False, queue_tasks_max=3) as pool:
        where.send()
        app.flush(DEADLINE_S)
        assert pool.queue("default")["ready"] == 1
        assert pool.queue("no such queue")["ready"] == 0
        with pytest.raises(AssertionError, match="an idle broker"):
            pool.wait_idle(0.2)
        with pytest.raises(zqueue.QueueFull):
            index.options(wait=0).send_many(range(1_000_000))


def test_nothing_is_left_behind() -> None:
    def traces() -> tuple[Any, ...]:
        threads = {thread.name for thread in threading.enumerate()}
        collector = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), list(gc.callbacks)
        return threads, collector, app.url

    for _ in range(2):
        before, descriptors = traces(), len(os.listdir("/proc/self/fd"))
        with InProcess(app) as pool:
            assert app.url == pool.url != FOREIGN
            assert meet.submit(1).result(DEADLINE_S)
            folder = pool.folder
        assert not folder.exists()
    assert traces() == before, "the second time nothing new is there"
    assert len(os.listdir("/proc/self/fd")) <= descriptors, "an earlier test's may be gone"


def test_a_test_may_leave_tasks_and_run_another_pool_after_it() -> None:
    with InProcess(app, worker=False):
        where.send()  # Nobody runs it, and its broker ends.
    with InProcess(app) as pool:
        assert where.submit().result(DEADLINE_S)
        assert pool.count("done") == 1


def test_another_app_may_send_to_it(pool: InProcess) -> None:
    sender = zqueue.App()
    pool.connect(sender)
    sender.producer.send("events", "from there")
    pool.wait_idle()
    assert gathered == ["from there"]


def test_what_cannot_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(zqueue.ConfigError, match="at least 2"):
        InProcess(app, crashes_max=1)
    assert list(tmp_path.iterdir()) == []
    assert app.url == FOREIGN


FORK_AFTERWARDS = """
import os, signal, zqueue
from zqueue.testing import InProcess
app = zqueue.App()
task = app.task(print)
with InProcess(app):
    pass
handler = lambda *_: None
signal.signal(signal.SIGTERM, handler)
pid = os.fork()
if not pid:
    os._exit(signal.getsignal(signal.SIGTERM) is not handler)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_children_of_the_test_are_its_own_again() -> None:
    """(Within a handler, a fork makes a child that is no worker.)"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_AFTERWARDS], capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
