"""Brokers with a data dir, killed and started again under load: what was confirmed is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

import zqueue
from tests.system.harness import (
    DEADLINE_S,
    ask,
    free_port,
    rss_bytes,
    skip_locally,
    wait_until,
)

pytestmark = pytest.mark.system


@pytest.fixture
def durable(start_broker, tmp_path):
    """A broker with a data dir; its ``data_dir``."""
    data_dir = tmp_path / "data"
    broker = start_broker("--data-dir", str(data_dir))
    broker.data_dir = data_dir
    return broker


def stored(broker):
    return broker.info()["store"]


# --- what is told ---


def test_a_broker_says_what_holds(durable, run):
    data_dir = str(durable.data_dir)
    assert f"queues in {data_dir}, confirmed once synced to disk" in durable.process.err
    state = stored(durable)
    assert (state["level"], state["data_dir"], state["loss_window_ms"]) == ("disk", data_dir, 0)
    assert "durable: disk" in run("info", "--url", durable.url).stdout


def test_a_data_dir_that_cannot_be_used(durable, run, tmp_path):
    foreign, damaged = tmp_path / "foreign", tmp_path / "d"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    places = {"foreign": foreign, "taken": durable.data_dir, "damaged": damaged}
    for options, code, text in (
        (["--durability", "os"], 2, "give --data-dir DIR"),
        (["--data-dir", "{foreign}"], 2, "is no data dir of zqueue"),
        (["--data-dir", "{taken}"], 4, "is in use by another process"),
        (["--data-dir", "{damaged}"], 4, "damaged"),
    ):
        if "{damaged}" in options:
            _damage(durable, damaged)
        url = f"tcp://127.0.0.1:{free_port()}"
        done = run("broker", "--bind", url, *(part.format(**places) for part in options))
        assert done.returncode == code, done.stderr
        assert text in done.stderr
        assert "Traceback" not in done.stderr
        assert ask(url, timeout=0.2) is None


def _damage(durable, place):
    """A copy of its data dir, with one byte changed in the middle of what was stored."""
    with zqueue.Producer(durable.url) as producer:
        for i in range(50):
            producer.send("q", "x" * 1000 + str(i))
            producer.flush()
    durable.kill()
    subprocess.run(["cp", "-r", str(durable.data_dir), str(place)], check=True)
    segment = max(
        (path for path in place.iterdir() if b"x" * 1000 in path.read_bytes()),
        key=lambda path: path.stat().st_mtime,
    )
    data = bytearray(segment.read_bytes())
    data[data.index(b"x" * 1000) + 500] ^= 1
    segment.write_bytes(data)


# --- disks ---


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 MiB: room for two segments, and one that is kept free."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m", "none", str(place)], capture_output=True,
        check=False,
    )  # fmt: skip
    if mounted.returncode:
        skip_locally("a file system cannot be mounted here: be root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(start_broker, workers, record, produce, small_disk):
    """Publishers are told, what is there runs, and then there is room again."""
    options = ("--data-dir", str(small_disk / "data"), "--queue-bytes", "1G", "--max-bytes", "2G")
    broker = start_broker(*options, quick=False)
    producer = produce(broker, timeout=2.0)
    body = {"id": 1, "padding": "x" * 2_000_000}

    def send(_):
        producer.send("default", body, task="run")

    def told():
        try:
            for _ in range(300):
                send(0)
        except zqueue.QueueFull as error:
            return "the disk that has " in str(error)
        return False

    wait_until(told, what=lambda: stored(broker))
    assert stored(broker)["full"]
    assert "is full: nothing new is taken" in broker.process.err
    kept = broker.queue("default")["ready"]
    assert kept > 20
    workers(broker, "jobs.py")
    wait_until(lambda: not stored(broker)["full"], what=lambda: stored(broker))
    producer.flush(timeout=DEADLINE_S)
    broker.wait_idle()
    assert len(record.ids()) > kept
    assert "has room again" in broker.process.err


@pytest.mark.parametrize("calls", ["fdatasync,fsync", "pwritev,pwrite64,pwritev2"])
def test_a_disk_that_fails_ends_the_broker(durable, processes, tmp_path, produce, calls):
    """No confirm comes for what is not stored; what was confirmed is there at the next start."""
    if shutil.which("strace") is None:
        skip_locally("there is no strace")
    producer = produce(durable)
    assert sent_and_confirmed(producer, durable, 20) == 20
    # Only the store's thread writes files: all others do not see it.
    (thread,) = store_threads(durable.pid)
    strace = processes.start(
        "strace", "strace", "-p", str(thread), "-o", str(tmp_path / "trace"), "-e",
        f"trace={calls}", "-e", f"inject={calls}:error=EIO",
    )  # fmt: skip
    confirmed = 20 + sent_and_confirmed(producer, durable, 100_000)
    assert strace.err.startswith("strace: Process"), strace.err
    assert durable.process.wait() == 1
    assert "what it takes cannot be stored" in durable.process.err
    assert "Input/output error" in durable.process.err
    assert "Traceback" not in durable.process.err
    durable.start()
    assert durable.queue("q")["ready"] in (confirmed, confirmed + 1)
    producer.flush(timeout=DEADLINE_S)
    assert durable.queue("q")["ready"] == confirmed + 1


def sent_and_confirmed(producer, broker, tasks):
    """Send tasks one after the other. How many were confirmed before the broker ended."""
    for i in range(tasks):
        producer.send("q", i)
        if not is_confirmed(producer, broker):
            return i
    return tasks


def is_confirmed(producer, broker):
    while True:
        is_running = broker.process.is_running()
        try:
            producer.flush(timeout=0.5)
        except zqueue.ZQueueError:
            if not is_running:
                return False
        else:
            return True


def store_threads(pid):
    """Of a broker: the thread that writes. The others are its first, and ZeroMQ's, which have
    names."""
    others = [int(name) for name in os.listdir(f"/proc/{pid}/task") if int(name) != pid]
    return [n for n in others if not Path(f"/proc/{n}/comm").read_text().startswith("ZMQ")]


# --- killed, and back ---


def test_confirmed_tasks_outlive_the_broker(durable, workers, record):
    """Under load, killed again and again: what was confirmed runs, and nothing else does."""
    workers(durable, "jobs.py")
    sent, confirmed, over = [], [], threading.Event()

    def produce(name):
        with zqueue.Producer(durable.url, timeout=DEADLINE_S) as producer:
            number = 0
            while not over.is_set():
                some = [f"{name}-{number + i}" for i in range(20)]
                number += 20
                sent.extend(some)
                for one in some:
                    producer.send("default", {"id": one}, task="run")
                producer.flush(timeout=DEADLINE_S)
                confirmed.extend(some)

    threads = [threading.Thread(target=produce, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for _ in range(3):
        before = len(confirmed)
        wait_until(lambda before=before: len(confirmed) > before + 100)
        durable.restart()
    over.set()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    wait_until(lambda: set(record.ids()) >= set(confirmed), what="all that was confirmed")
    assert set(record.ids()) <= set(sent)
    durable.wait_idle()
    assert durable.info()["store"]["recovering"] is False


def test_a_batch_that_is_half_over_goes_on_where_it_was(durable, workers, record):
    with zqueue.Producer(durable.url) as producer:
        tasks = ({"id": i, "seconds": 0.01} for i in range(1000))
        producer.send_many("default", tasks, task="run_slowly")
    pool = workers(durable, "jobs.py")
    wait_until(lambda: durable.count("done") > 20)
    pool.process.kill()
    wait_until(lambda: not durable.info()["workers"])
    durable.restart()
    left = durable.queue("default")["ready"]
    assert 0 < left < 1000
    workers(durable, "jobs.py")
    durable.wait_idle()
    ran = [entry["id"] for entry in record.entries() if entry["stage"] == "end"]
    assert set(ran) == set(range(1000))
    assert len(ran) < 2000 - 20, "what was settled ran once"


def test_results_come_from_the_next_broker(durable, workers, load):
    """Of what was over, whose result was on its way, the loss is told; all others have results."""
    workers(durable, "jobs.py", 2)
    jobs = load(durable, "jobs.py")
    futures = [jobs.run_slowly.submit(i, 0.02) for i in range(200)]
    futures[20].result(timeout=DEADLINE_S)
    durable.restart()
    values, lost = [], 0
    for future in futures:
        try:
            values.append(future.result(timeout=DEADLINE_S))
        except zqueue.ResultLost:
            lost += 1
    assert len(values) + lost == 200
    assert len(set(values)) == len(values) > 100
    assert jobs.echo.submit("and on").result(timeout=DEADLINE_S) == "and on"


def test_a_queue_that_is_longer_than_memory(start_broker, workers, record, produce, tmp_path):
    """The broker holds 64 MiB, and a queue 160 MiB of tasks: all run, once."""
    options = ("--data-dir", str(tmp_path / "data"), "--max-bytes", "64M", "--queue-bytes", "1G")
    broker = start_broker(*options)
    producer = produce(broker, timeout=DEADLINE_S)
    before = rss_bytes(broker.pid)
    for i in range(160):
        producer.send("default", {"id": i, "padding": "x" * (1 << 20)}, task="run")
    producer.flush(timeout=DEADLINE_S)
    assert broker.queue("default")["bytes"] > 160 << 20
    assert broker.info()["bytes"] < 64 << 20
    assert rss_bytes(broker.pid) - before < 120 << 20
    broker.restart()
    assert broker.queue("default")["ready"] == 160
    assert broker.info()["bytes"] < 1 << 20, "no body is read before its turn"
    workers(broker, "jobs.py")
    broker.wait_idle()
    assert sorted(record.ids()) == list(range(160))
