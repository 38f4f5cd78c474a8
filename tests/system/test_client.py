"""What a program may do with its producer: wait in callbacks, fork, drop it, use up descriptors."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import subprocess
import threading
import time
import warnings

import pytest

import zqueue
from tests.system.harness import APPS, DEADLINE_S, wait_until

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def shared(share):
    """A broker with two workers of ``apps/jobs.py``."""
    return share("jobs.py", 2)


@pytest.fixture
def jobs(shared, load):
    """The tasks of ``apps/jobs.py``, with two workers that serve them."""
    shared.begin()
    return load(shared.broker, "jobs.py")


def run_program(processes, program, broker, **options):
    """A program, from its start to its end: ``(exit code, stderr)``."""
    process = processes.python(program, env={**os.environ, "ZQUEUE_URL": broker.url}, **options)
    return process.wait(40), process.err


# --- callbacks ---


def in_callback(jobs, what):
    """Run something in the callback of a future; what it returned or raised."""
    said = []

    def call(_):
        try:
            said.append(what())
        except BaseException as error:
            said.append(error)

    jobs.run_slowly.submit("first", 0.2).add_done_callback(call)
    return wait_until(lambda: said, timeout=DEADLINE_S, what="the end of a callback")[0]


def test_a_callback_may_flush(jobs):
    assert in_callback(jobs, lambda: (jobs.echo.send(1), jobs.app.flush(DEADLINE_S))[1]) is None


def test_a_callback_may_wait_for_another_result(jobs):
    inner = []

    def wait():
        jobs.echo.submit(2).add_done_callback(
            lambda f: inner.append(jobs.echo.submit(3).result(DEADLINE_S))
        )
        return jobs.run_slowly.submit(1, 0.5).result(DEADLINE_S) + sum(jobs.echo.map([10, 20]))

    assert in_callback(jobs, wait) == 31
    wait_until(lambda: inner == [3], what="the end of a callback of a callback")


def test_a_callback_may_close_the_app(jobs):
    assert in_callback(jobs, jobs.app.close) is None
    assert jobs.echo.submit(1).result(DEADLINE_S) == 1


def test_callbacks_that_wait_cost_a_thread_only_as_long_as_they_do(jobs):
    before = threading.active_count()
    for i in range(5):
        assert in_callback(jobs, lambda i=i: jobs.echo.submit(i).result(DEADLINE_S)) == i
    wait_until(lambda: threading.active_count() <= before + 1, what="the end of the threads")


def test_a_callback_that_leaves_stops_nobody(jobs):
    def leave(_):
        raise SystemExit(3)

    jobs.run_slowly.submit("first", 0.1).add_done_callback(leave)
    futures = [jobs.run_slowly.submit(i, 0.1) for i in range(5)]
    assert [future.result(DEADLINE_S) for future in futures] == list(range(5))


# --- maps ---


def test_the_first_results_come_as_soon_as_they_are_there(jobs):
    """They stood behind all others of their batch."""
    began, after = time.monotonic(), []
    for _ in jobs.run_slowly.map(range(8), [0.5] * 8):
        after.append(time.monotonic() - began)
    assert after[-1] > after[0] + 0.5, "not all at once"


@pytest.mark.parametrize("call", ["map", "send_many"])
def test_what_a_slow_source_gave_is_on_its_way(jobs, shared, call):
    proceed = threading.Semaphore(0)
    given = []

    def source():
        for i in range(3):
            given.append(i)
            yield i
            assert proceed.acquire(timeout=DEADLINE_S)

    def consume():
        if call == "send_many":
            assert jobs.run.send_many(source()) == 3
            return
        for i, result in enumerate(jobs.run.map(source())):
            assert result == i
            came.append(result)

    came = []
    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    for i in range(3):
        wait_until(lambda: len(shared.record.lines()) == i + 1, what=f"a run of {i}")  # noqa: B023
        if call == "map":
            wait_until(lambda: len(came) == i + 1, what=f"the result of {i}")  # noqa: B023
        assert given == list(range(i + 1)), "before the next one was there"
        proceed.release()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert shared.record.ids() == [0, 1, 2]


@pytest.mark.parametrize("kind", [iter, list])
def test_a_source_that_fails_costs_none_of_those_before(jobs, shared, kind):
    def source():
        yield from range(100)
        raise LookupError("at 101")

    results = jobs.run.map(source())
    assert [next(results) for _ in range(100)] == list(range(100))
    with pytest.raises(LookupError, match="at 101"):
        next(results)
    bodies = kind([*range(1000, 1100), object(), 1])
    results = jobs.run.map(bodies)
    assert [next(results) for _ in range(100)] == list(range(1000, 1100))
    with pytest.raises(zqueue.BodyError, match="body 100: "):
        next(results)
    with pytest.raises(LookupError, match="at 101"):
        jobs.run.send_many(2000 + i for i in source())
    jobs.app.flush(DEADLINE_S)
    shared.record.wait_for([*range(100), *range(1000, 1100), *range(2000, 2100)])


def test_a_map_that_nobody_serves_ends_in_time(broker, load):
    jobs = load(broker, "jobs.py")
    began = time.monotonic()
    with pytest.raises(zqueue.TimedOut, match=r"no result within 0\.3 s of task 'echo' in queue"):
        next(jobs.echo.map(range(10), timeout=0.3))
    with pytest.raises(zqueue.TimedOut):
        next(jobs.echo.map(iter(range(10)), timeout=0.3))
    with pytest.raises(zqueue.TimedOut, match=r"of task 'echo' in queue 'nobody'"):
        jobs.echo.options(queue="nobody").submit(1).result(0.3)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("kind", [iter, list])
def test_a_map_that_is_not_read_to_its_end(jobs, kind):
    before = threading.active_count()
    results = jobs.echo.map(kind(range(1_000_000)))
    assert [next(results) for _ in range(10)] == list(range(10))
    results.close()
    wait_until(lambda: threading.active_count() <= before + 1, what="the end of its thread")
    jobs.app.flush(DEADLINE_S)
    assert not list(jobs.app.producer._publisher.lanes._streams)
    assert jobs.echo.submit(1).result(DEADLINE_S) == 1


def test_a_map_larger_than_its_queue(start_broker, workers, load):
    broker = start_broker("--queue-tasks", "100")
    workers(broker, "jobs.py", 1)
    jobs = load(broker, "jobs.py")
    for source in (range(20_000), iter(range(20_000))):
        assert list(jobs.echo.map(source)) == list(range(20_000))


# --- time-outs ---


@pytest.mark.parametrize("timeout", [float("inf"), 1e12, None], ids=repr)
def test_as_long_as_it_takes(broker, workers, load, timeout):
    workers(broker, "jobs.py", 1)
    with zqueue.Producer(broker.url, timeout=timeout, connect_timeout=timeout) as producer:
        assert producer.send_many("default", [[i] for i in range(5_000)], task="echo") == 5_000
        producer.flush(timeout)
        future = producer.submit("default", [1], task="echo", timeout=timeout)
        assert future.result(timeout) == 1
        results = producer.call_many("default", [[2]], task="echo", timeout=timeout, wait=timeout)
        assert list(results) == [2]


def test_what_is_no_time(broker, produce):
    producer = produce(broker)
    calls = [
        lambda timeout: zqueue.Producer(broker.url, timeout=timeout),
        lambda timeout: zqueue.Producer(broker.url, connect_timeout=timeout),
        lambda timeout: zqueue.App(timeout=timeout),
        lambda timeout: producer.send("q", 1, timeout=timeout),
        lambda timeout: producer.send_many("q", [1], timeout=timeout),
        lambda timeout: producer.submit("q", 1, timeout=timeout),
        lambda timeout: next(producer.call_many("q", [1], timeout=timeout)),
        lambda timeout: next(producer.call_many("q", [1], wait=timeout)),
        lambda timeout: producer.flush(timeout),
        lambda timeout: producer.close(timeout),
    ]
    for call, timeout in itertools.product(calls, [float("nan"), -1, "3"]):
        with pytest.raises(zqueue.ConfigError, match="must be"):
            call(timeout)


def test_a_broker_that_died_is_not_called_a_full_queue(broker, produce):
    """Its connection broke: nobody has to wait until its silence is noticed."""
    producer = produce(broker, timeout=0.3)
    producer.send("q", 1)
    producer.flush(DEADLINE_S)
    broker.process.kill()
    with pytest.raises(zqueue.BrokerLost):
        producer.send_many("q", range(1_000_000))
    with pytest.raises(zqueue.BrokerLost):
        producer.close(1.0)


def test_nothing_is_accepted_after_close_though_the_broker_comes_back(broker, produce):
    producer = produce(broker)
    producer.send("q", 1)
    producer.flush(DEADLINE_S)
    lane = producer.lane("q")
    broker.process.kill()
    producer.send("q", 2)
    closing = threading.Thread(target=producer.close, args=(DEADLINE_S,))
    closing.start()
    broker.start()
    for _ in range(100):
        with pytest.raises(zqueue.Closed):
            lane.add(3)
    closing.join(DEADLINE_S)
    with pytest.raises(zqueue.Closed):
        lane.add(4)
    assert broker.queue("q")["ready"] == 1


# --- handlers ---


def test_a_handler_that_waits_for_its_own_worker_is_named(broker, workers, load):
    pool = workers(broker, "nested.py", 1)
    nested = load(broker, "nested.py")
    with pytest.raises(zqueue.RemoteError, match="no result within 3 s of task 'inner'"):
        nested.outer.submit(5, 3).result(DEADLINE_S)
    assert "'outer' has waited 1 s for the result of task 'inner' in queue" in pool.process.err


# --- fork ---


def test_what_is_pending_at_a_fork_ends_in_the_child(broker, workers, processes):
    workers(broker, "jobs.py", 1)
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(APPS)!r})
import jobs, zqueue
called = []
futures = [jobs.run_slowly.submit(i, 0.3) for i in range(5)]
for future in futures: future.add_done_callback(called.append)
results = jobs.run_slowly.map(iter(range(5)), [0.3] * 5)
here = jobs.run_slowly.map(range(5), [0.3] * 5)
assert next(results) == 0 and next(here) == 0
pending = [future for future in futures if not future.done()] + [jobs.echo.submit(1)]
before = len(called)
pid = os.fork()
if not pid:
    signal.alarm(20)
    code, closed = 4, 0
    try:
        for call in (*(future.result for future in pending), lambda: list(results),
                     lambda: list(here)):
            try:
                value = call()
            except zqueue.Closed as error:
                assert "fork" in str(error)
                closed += 1
            else:  # All of it had come before.
                assert value in (0, 1, 2, 3, 4, [1, 2, 3, 4])
        assert closed >= 2, "the last future, and one of the maps"
        assert len(called) == before, "callbacks are the parent's"
        code = 0
    finally:
        os._exit(code)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert [future.result(20) for future in futures] == list(range(5))
assert list(results) == list(here) == [1, 2, 3, 4]
sys.exit(code)
"""
    code, err = run_program(processes, program, broker)
    assert (code, err) == (0, "")


def test_a_child_of_multiprocessing_makes_one_finalizer(broker, processes):
    program = """
import multiprocessing, multiprocessing.util, zqueue
def send():
    before = len(multiprocessing.util._finalizer_registry)
    for i in range(10):
        with zqueue.Producer() as producer:
            producer.send("q", i)
    assert len(multiprocessing.util._finalizer_registry) == before + 1
if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=send)
    child.start()
    child.join()
    raise SystemExit(child.exitcode)
"""
    assert run_program(processes, program, broker) == (0, "")


# --- resources ---


def threads() -> int:
    """Of this process, those of ZeroMQ included."""
    return len(os.listdir("/proc/self/task"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_producers_share_the_threads_of_one_context(broker, produce):
    produce(broker).send("q", 0)
    before = threads()
    for i in range(10):
        produce(broker).send("q", i)
    assert threads() - before <= 10


def test_a_producer_that_is_dropped_leaves_nothing_behind(broker):
    def use(number):
        app = zqueue.App(broker.url)
        app.producer.send("q", number)

    before, opened = threading.active_count(), descriptors()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(21):
            use(number)
        gc.collect()
    unclosed = [str(each.message) for each in caught if each.category is ResourceWarning]
    assert len(unclosed) == 21
    assert f"unclosed <Producer {broker.url}: " in unclosed[0]
    wait_until(lambda: threading.active_count() < before + 3, what="the end of their threads")
    wait_until(lambda: descriptors() < opened + 20, what="the end of their descriptors")
    assert broker.queue("q")["ready"] == 21, "what was accepted is confirmed"


def test_the_result_of_a_producer_that_is_dropped_comes(broker, workers):
    workers(broker, "jobs.py", 1)
    before = set(threading.enumerate())
    with pytest.warns(ResourceWarning, match="unclosed <Producer"):  # noqa: PT031
        future = zqueue.Producer(broker.url).submit("default", ["x", 0.5], task="run_slowly")
        gc.collect()
    assert future.result(DEADLINE_S) == "x"
    wait_until(
        lambda: not {t for t in threading.enumerate() if t.name.startswith("zqueue")} - before,
        what="the end of its threads",
    )


def test_who_closes_second_waits_for_the_first(broker, produce):
    """Or a process would end while a thread of its own sees to what was accepted."""
    producer = produce(broker)
    producer.send("q", 1)
    producer.flush()
    os.kill(broker.pid, signal.SIGSTOP)
    closing = [threading.Thread(target=producer.close, args=(DEADLINE_S,)) for _ in range(2)]
    try:
        producer.send("q", 2)
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(0.2)
            assert thread.is_alive(), "nothing is confirmed yet"
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    for thread in closing:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    assert broker.queue("q")["ready"] == 2


def test_what_a_dropped_producer_cannot_send_is_counted(broker, processes):
    program = """
import gc, os, signal, sys, threading, time, zqueue
producer = zqueue.Producer(timeout=1)
producer.send("q", 1); producer.flush()
os.kill(int(sys.argv[1]), signal.SIGKILL)
producer.send("q", 2)
del producer
gc.collect()
deadline = time.monotonic() + 20
while any(t.name.startswith("zqueue") for t in threading.enumerate()):
    assert time.monotonic() < deadline
    time.sleep(0.02)
"""
    process = processes.python(
        program, str(broker.pid), env={**os.environ, "ZQUEUE_URL": broker.url}
    )
    assert process.wait(40) == 0
    assert "dropped and not closed" in process.err
    assert "1 tasks are not confirmed" in process.err


def test_too_few_descriptors_are_an_error_and_no_abort(broker, processes):
    program = """
import os, resource, sys, zqueue
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
producer = zqueue.Producer(connect_timeout=1)
held = []
try:
    while True: held.append(os.open("/dev/null", 0))
except OSError: pass
for _ in range(int(sys.argv[1])): os.close(held.pop())
try: producer.send("q", 1)
except zqueue.BrokerLost as error: said = str(error)
else: said = "sent"
for fd in held: os.close(fd)
assert "of 64 file descriptors" in said and "ulimit -n" in said, said
producer.send("q", 1)
producer.flush(10)
"""
    env = {**os.environ, "ZQUEUE_URL": broker.url}
    for some in ((0, 1, 2), (3, 4, 5), (6, 8, 11)):
        started = [
            processes.python(program, str(left), env=env, stdin=subprocess.DEVNULL) for left in some
        ]
        for process in started:
            assert (process.wait(), process.err) == (0, "")
