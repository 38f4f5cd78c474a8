"""Producers and brokers that die, stop and come back: nothing accepted is lost without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import pytest

import zqueue
from tests.system.harness import DEADLINE_S, calls_until_full, free_port, wait_until

pytestmark = pytest.mark.system


def run_program(processes, program, broker, **options):
    """A program that sends, from its start to its end: ``(exit code, stderr)``."""
    process = processes.python(
        program, env={**os.environ, "ZQUEUE_URL": getattr(broker, "url", broker)}, **options
    )
    return process.wait(), process.err


# --- nobody there ---


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_without_a_broker_the_first_call_says_so(tmp_path, produce, scheme):
    url = f"tcp://127.0.0.1:{free_port()}" if scheme == "tcp" else f"ipc://{tmp_path}/none"
    calls = {
        "send": lambda producer: producer.send("q", 1),
        "send_many": lambda producer: producer.send_many("q", [1]),
        "submit": lambda producer: producer.submit("q", 1),
        "call_many": lambda producer: list(producer.call_many("q", [1])),
    }
    for call in calls.values():
        producer = produce(url, connect_timeout=0.3)
        began = time.monotonic()
        with pytest.raises(zqueue.BrokerLost) as caught:
            call(producer)
        assert 0.2 < time.monotonic() - began < 5, "by default it is 5 s"
        assert url in str(caught.value)
        assert "zqueue broker" in str(caught.value), "what to do about it"


def test_a_producer_finds_a_broker_that_starts_later(start_broker, produce, tmp_path):
    producer = produce(f"ipc://{tmp_path}/later", connect_timeout=15)
    thread = threading.Thread(target=producer.send, args=("q", 1))
    thread.start()
    broker = start_broker(url=f"ipc://{tmp_path}/later")
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    producer.flush(DEADLINE_S)
    assert broker.queue("q")["ready"] == 1


# --- kill -9 of the broker ---


@pytest.mark.parametrize("url", [None, "tcp"], ids=["ipc", "tcp"])
def test_what_was_not_confirmed_is_sent_to_the_new_broker(
    start_broker, workers, produce, record, url
):
    broker = start_broker(url=url)
    producer = produce(broker)
    producer.send_many("default", ([f"a{i}"] for i in range(1_000)), task="run")
    producer.flush()
    broker.process.send(signal.SIGSTOP)
    for i in range(100):
        producer.send("default", [f"b{i}"], task="run")
    broker.restart()
    for i in range(100):
        producer.send("default", [f"c{i}"], task="run")
    producer.flush(DEADLINE_S)
    wanted = {f"{letter}{i}" for letter in "bc" for i in range(100)}
    assert broker.queue("default")["ready"] == len(wanted)
    workers(broker, "jobs.py", 1)
    broker.wait_idle()
    assert set(record.ids()) == wanted, "and the memory of the old broker is gone"


def test_a_producer_that_keeps_sending_goes_on_after_kills_of_the_broker(
    start_broker, workers, produce, record
):
    broker = start_broker("--queue-tasks", "1000")  # So that the end is not far.
    workers(broker, "jobs.py", 1)
    producer = produce(broker, timeout=60)
    sent = 0
    stop = threading.Event()

    def send():
        nonlocal sent
        while not stop.is_set():
            producer.send("default", [sent], task="run")
            sent += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for _ in range(3):
            count = len(record.lines())
            wait_until(lambda: len(record.lines()) > count + 200, what="progress")  # noqa: B023
            broker.restart()
            after = sent
        count = len(record.lines())
        wait_until(lambda: len(record.lines()) > count + 200, what="progress")
    finally:
        stop.set()
        thread.join(DEADLINE_S)
    assert not thread.is_alive()
    producer.flush(DEADLINE_S)
    state = broker.wait_idle()
    ran = set(record.ids())
    assert ran <= set(range(sent)), "nothing ran that was not sent"
    assert set(range(after, sent)) <= ran, "all that was sent after the last kill ran"
    assert state["counters"]["dead"] == 0


def test_a_map_over_a_restarted_broker_fails_and_does_not_hang(broker, load):
    jobs = load(broker, "jobs.py")
    caught: list[BaseException] = []

    def collect():
        try:
            list(jobs.echo.map(range(1_000)))
        except zqueue.ZQueueError as error:
            caught.append(error)

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    wait_until(lambda: broker.queue("default")["ready"] == 1_000, what="tasks in the queue")
    broker.restart()
    thread.join(DEADLINE_S)
    assert [type(error) for error in caught] == [zqueue.ResultLost]


def test_what_may_run_twice_is_sent_again_where_the_broker_is_lost(broker, load, workers):
    """A single result, and those of a map; nobody asks for it."""
    jobs = load(broker, "jobs.py")
    futures = [jobs.echo.options(resubmit=True).submit(number) for number in range(20)]
    lost = jobs.echo.submit(20)
    jobs.app.flush()
    broker.restart()
    with pytest.raises(zqueue.ResultLost):
        lost.result(DEADLINE_S)
    workers(broker, "jobs.py", 1)
    assert [future.result(DEADLINE_S) for future in futures] == list(range(20))


def test_results_on_their_way_survive_the_loss_of_a_producer_s_connection(
    start_broker, workers, load, record
):
    broker = start_broker()
    workers(broker, "jobs.py", 1)
    jobs = load(broker, "jobs.py")
    futures = [jobs.run_slowly.submit(i, 0.01) for i in range(100)]
    wait_until(lambda: len(record.lines()) > 10, what="some results")
    for _ in range(2):
        broker.process.send(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() - stopped > 1.2, what="more than the liveness time")  # noqa: B023
        broker.process.send(signal.SIGCONT)
        wait_until(lambda: broker.info()["workers"], what="the worker's return")
    for i, future in enumerate(futures):
        try:
            assert future.result(DEADLINE_S) == i
        except zqueue.ResultLost:
            pass  # May be, if said so; it must not hang.
    broker.wait_idle()
    assert set(record.ids()) == set(range(100))


def test_a_broker_that_was_stopped_goes_on(start_broker, workers, produce, record):
    broker = start_broker()
    workers(broker, "jobs.py", 2)
    producer = produce(broker)
    producer.send_many("default", ([i] for i in range(500)), task="run")
    broker.process.send(signal.SIGSTOP)
    stopped = time.monotonic()
    producer.send_many("default", ([i] for i in range(500, 1_000)), task="run")
    wait_until(lambda: time.monotonic() - stopped > 2.0, what="2 s")
    broker.process.send(signal.SIGCONT)
    producer.send_many("default", ([i] for i in range(1_000, 1_500)), task="run")
    producer.flush(DEADLINE_S)
    record.wait_for(range(1_500))
    state = broker.wait_idle()
    assert state["counters"]["published"] == 1_500, "what came twice was taken once"
    wait_until(lambda: len(broker.info()["workers"]) == 2, what="the return of both workers")


def test_flush_without_a_broker_raises_at_its_deadline(broker, produce):
    producer = produce(broker)
    producer.send("q", 1)
    producer.flush()
    broker.process.kill()
    producer.send("q", 2)
    began = time.monotonic()
    with pytest.raises((zqueue.BrokerLost, zqueue.TimedOut)) as caught:
        producer.flush(timeout=0.5)
    assert 0.4 < time.monotonic() - began < 20, "by default it is 30 s"
    assert broker.url in str(caught.value)
    assert isinstance(caught.value, zqueue.BrokerLost)


def test_a_producer_says_in_the_log_that_the_broker_is_lost(broker, processes):
    program = """
import logging, sys, time, zqueue
logging.basicConfig(level="INFO")
producer = zqueue.Producer()
producer.send("q", 1); producer.flush()
sys.stdin.readline()
"""
    process = processes.python(
        program, env={**os.environ, "ZQUEUE_URL": broker.url}, stdin=subprocess.PIPE
    )
    wait_until(lambda: broker.queue("q")["ready"], what="a task")
    broker.process.kill()
    wait_until(lambda: "is lost" in process.err, what="a warning")
    broker.start()
    wait_until(lambda: "is back" in process.err, what="a word of joy")
    process.popen.communicate(b"\n")
    assert process.wait() == 0


def test_workers_say_that_the_broker_is_lost_and_come_back(broker, workers, record):
    pool = workers(broker, "jobs.py", 2)
    broker.process.kill()
    wait_until(lambda: "is lost" in pool.process.err, what="a warning")
    broker.start()
    wait_until(lambda: len(broker.info()["workers"]) == 2, what="the workers' return")
    with zqueue.Producer(broker.url) as producer:
        producer.send("default", [1], task="run")
    record.wait_for([1])


# --- kill -9 of a producer, and other ends ---


def test_what_was_confirmed_runs_though_its_producer_was_killed(broker, workers, processes, record):
    program = """
import sys, zqueue
producer = zqueue.Producer()
n = 0
while True:
    producer.send_many("default", ([n + i] for i in range(100)), task="run")
    producer.flush()
    n += 100
    print(n, flush=True)
"""
    process = processes.python(program, env={**os.environ, "ZQUEUE_URL": broker.url})
    wait_until(lambda: len(process.out.split()) > 5, what="confirms")
    process.kill()
    confirmed = max(map(int, process.out.split()))
    workers(broker, "jobs.py", 1)
    broker.wait_idle()
    assert set(range(confirmed)) <= set(record.ids())


def test_a_program_that_sends_and_just_ends(broker, processes):
    program = """
import zqueue
app = zqueue.App()
@app.task
def nothing(i): pass
for i in range(20_000):
    nothing.send(i)
"""
    assert run_program(processes, program, broker) == (0, "")
    assert broker.queue("default")["ready"] == 20_000


def test_a_child_of_multiprocessing_that_sends_and_just_ends(broker, processes):
    """Such a child ends without ``atexit``."""
    program = """
import multiprocessing, zqueue
def send(count):
    producer = zqueue.Producer()
    for i in range(count):
        producer.send("q", i)
if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=send, args=(5_000,))
    child.start()
    child.join()
    raise SystemExit(child.exitcode)
"""
    code, err = run_program(processes, program, broker)
    assert code == 0
    assert broker.queue("q")["ready"] == 5_000 or "not confirmed" in err


def test_a_program_that_ends_after_its_broker_says_a_word(broker, processes):
    program = """
import sys, zqueue
producer = zqueue.Producer(timeout=1)
producer.send("q", 1)
producer.flush()
print("connected", flush=True)
sys.stdin.readline()
producer.send("q", 2)
"""
    process = processes.python(
        program, env={**os.environ, "ZQUEUE_URL": broker.url}, stdin=subprocess.PIPE
    )
    wait_until(lambda: "connected" in process.out, what="the connection")
    broker.process.kill()
    process.popen.stdin.write(b"\n")
    process.popen.stdin.close()
    process.wait()
    assert "not confirmed" in process.err
    assert broker.url in process.err
    assert "Traceback" not in process.err


# --- fork ---


FORK = """
import os, sys, signal, threading, time, warnings, zqueue
# CPython 3.12 and later warn of what is tried here on purpose.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
app = zqueue.App()
@app.task
def nothing(i): pass
producer = zqueue.Producer()
producer.send("q", 0); producer.flush()
nothing.send(0); app.flush()

def child():
    try:
        producer.send("q", 1)
    except zqueue.Closed as error:
        assert "fork" in str(error), error
    else:
        return 3
    for i in range(10):
        nothing.send(i)
    app.close()
    return 0
"""


def test_a_forked_child_is_told_and_may_use_its_app(broker, processes):
    program = f"""{FORK}
pid = os.fork()
if not pid:
    code = 4
    try:
        code = child()
    finally:
        os._exit(code)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
producer.send("q", 2); producer.flush()
nothing.send(1); app.flush()
sys.exit(code)
"""
    code, err = run_program(processes, program, broker)
    assert (code, err) == (0, "")
    assert broker.queue("q")["ready"] == 2
    assert broker.queue("default")["ready"] == 12


def test_forks_while_other_threads_send(broker, processes):
    """A fork may catch the producer's lock in the hands of a thread that the child lacks."""
    program = f"""{FORK}
stop = threading.Event()
def busy():
    while not stop.is_set():
        producer.send("q", 1)
        nothing.send(1)
        time.sleep(0.0002)  # So that the queues do not fill up.
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads: thread.start()
for _ in range(40):
    pid = os.fork()
    if not pid:
        signal.alarm(3)
        code = 4
        try:
            code = child()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        print(code, file=sys.stderr)
        break
stop.set()
for thread in threads: thread.join()
sys.exit(abs(code))
"""
    code, err = run_program(processes, program, broker)
    assert code == 0, f"{err} (14: the child hung, and its alarm clock rang)"


# --- full queues ---


PADDING = "x" * 4_000
"""Batches are bounded by bytes, too: with this a producer keeps few tasks for a full queue."""


def fill(producer, queue="default", task="run"):
    """Send until there is no room, and none comes; how many were accepted."""
    return calls_until_full(lambda n: producer.send(queue, [n, PADDING], task=task, timeout=0.3))


def test_a_full_queue_is_an_answer_and_nothing_of_it_is_lost(
    start_broker, produce, workers, record
):
    broker = start_broker("--queue-tasks", "200")
    producer = produce(broker, timeout=30)
    accepted = fill(producer)
    assert accepted >= 200
    wait_until(lambda: broker.queue("default")["ready"] >= 200, what="a full queue")
    assert broker.queue("default")["ready"] <= 250
    workers(broker, "jobs.py", 1)
    producer.flush()
    broker.wait_idle()
    assert sorted(record.ids()) == list(range(accepted))


def test_a_blocked_send_goes_on_when_a_worker_appears(start_broker, produce, workers, record):
    broker = start_broker("--queue-tasks", "100", quick=False)  # So that no worker is given up.
    producer = produce(broker, timeout=30)
    total = 3_000
    sent = 0

    def send():
        nonlocal sent
        for i in range(total):
            producer.send("default", [i, PADDING], task="run")
            sent += 1

    thread = threading.Thread(target=send)
    thread.start()
    before = -1

    def is_blocked():
        nonlocal before
        last, before = before, sent
        return last == before > 100

    wait_until(is_blocked, every=0.3, what="a blocked producer")
    assert sent < total
    workers(broker, "jobs.py", 2)
    thread.join(DEADLINE_S)
    assert sent == total
    producer.flush()
    assert broker.wait_idle()["counters"]["redelivered"] == 0
    assert sorted(record.ids()) == list(range(total))


def test_a_full_queue_does_not_block_sends_to_another(start_broker, produce, workers, record):
    broker = start_broker("--queue-tasks", "200")
    producer = produce(broker)
    fill(producer, "nobody-serves-it")
    workers(broker, "jobs.py", 1)
    producer.send_many("default", ([i] for i in range(20_000)), task="run", timeout=DEADLINE_S)
    record.wait_for(range(20_000))


def test_what_waits_for_a_full_queue_neither_stops_nor_is_forgotten_by_many_other_batches(
    start_broker, produce, workers, record
):
    """A batch that a full queue has no room for is a gap in its producer's numbers, and neither
    may it be given up, nor may the producer's other queues wait for it."""
    broker = start_broker("--queue-tasks", "200")
    producer = produce(broker, timeout=10)
    accepted = fill(producer, "other", "run_elsewhere")
    assert accepted > 250, "some of it the broker has not taken"
    for i in range(6_000):
        producer.send_many("default", [[f"in between {i}"]], task="echo")
        if i == 0:
            workers(broker, "jobs.py", 1, "-Q", "default")
    workers(broker, "jobs.py", 1, "-Q", "other")
    producer.flush()
    broker.wait_idle()
    assert sorted(record.ids()) == list(range(accepted))


def test_a_draining_broker_takes_nothing_and_its_producers_wait_for_the_next(
    start_broker, produce, workers, record
):
    broker = start_broker()
    workers(broker, "jobs.py", 1)
    producer = produce(broker)
    producer.send("default", ["long"], task="run_slowly")
    wait_until(record.lines, what="its beginning")
    broker.process.send(signal.SIGTERM)
    wait_until(lambda: broker.info()["draining"], what="the drain")
    producer.send("default", ["later"], task="run")
    record.open_gate()
    assert broker.process.wait() == 0
    assert "later" not in record.ids()
    broker.start()
    producer.flush(DEADLINE_S)
    record.wait_for(["later"])
