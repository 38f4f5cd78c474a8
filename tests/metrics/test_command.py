"""``zqueue metrics`` beside real brokers and real workers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import zqueue
from tests.system.conftest import (
    StartBroker,
    StartWorkers,
    Zqueue,
    _clean_environment,  # noqa: F401 - a fixture
)
from tests.system.harness import (
    Broker,
    Process,
    Processes,
    bare,
    cpu_s,
    free_port,
    header,
    rss_bytes,
    wait_until,
)

from .conftest import Json, StartSidecar, get, histogram

pytestmark = pytest.mark.system

FILES = 40
"""Few, but more than a sidecar has open when nobody is there."""


class Sidecar:
    """What a sidecar tells."""

    def __init__(self, url: str, process: Process) -> None:
        self.url = url
        self.process = process

    def sample(self, name: str, **labels: str) -> float | None:
        """The one sample with these labels among others; None if there is none."""
        for family in text_string_to_metric_families(get(self.url + "/metrics").text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None

    def wait_for(self, value: float, name: str, timeout: float = 15.0, **labels: str) -> None:
        """Wait until a sample has this value."""
        found: list[float | None] = [None]

        def holds() -> bool:
            found[0] = self.sample(name, **labels)
            return found[0] == value

        wait_until(holds, timeout, every=0.1, what=lambda: f"{name} {labels} {value}: {found[0]}")

    def broker(self, number: int = 0) -> Json:
        """A broker of the snapshot."""
        told: Json = json.loads(get(self.url + "/api/stats.json").text)["brokers"][number]
        return told


@pytest.fixture
def watch(sidecar: StartSidecar) -> Callable[..., Sidecar]:
    """Starts a sidecar for brokers."""

    def start(*brokers: str, options: tuple[str, ...] = ()) -> Sidecar:
        return Sidecar(*sidecar(*brokers, options=options))

    return start


@pytest.fixture
def broker(start_broker: StartBroker) -> Broker:
    return start_broker()


def send(broker: Broker, count: int, task: str = "add") -> None:
    with zqueue.Producer(broker.url) as producer:
        producer.send_many("default", ([n] for n in range(count)), task=task)


# --- brokers and workers ---


def test_it_starts_without_a_broker_and_finds_it_when_it_is_there(
    watch: Callable[..., Sidecar], processes: Processes, workers: StartWorkers
) -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    sidecar = watch(url, options=("--ready-workers", "1"))
    assert sidecar.sample("zqueue_up", broker=url) == 0
    assert get(sidecar.url + "/livez").status == 200
    assert (get(sidecar.url + "/readyz").status, sidecar.broker()["state"]) == (503, "waiting")
    broker = Broker(processes, url, ())
    sidecar.wait_for(1, "zqueue_up", broker=url)
    assert get(sidecar.url + "/readyz").text == f"{url} has 0 of 1 workers.\n"
    workers(broker, "jobs.py", 1)
    wait_until(lambda: get(sidecar.url + "/readyz").status == 200, every=0.1)
    assert sidecar.broker()["conditions"] == []


def test_counters_rise_by_what_was_sent_and_survive_workers_but_not_brokers(
    watch: Callable[..., Sidecar], broker: Broker, workers: StartWorkers
) -> None:
    sidecar = watch(broker.url)
    pool = workers(broker, "jobs.py", 1)
    queue, task = {"queue": "default"}, {"task": "add"}
    send(broker, 300)
    send(broker, 10, "fail")
    sidecar.wait_for(310, "zqueue_queue_published_tasks_total", **queue)
    sidecar.wait_for(300, "zqueue_queue_done_tasks_total", **queue)
    sidecar.wait_for(10, "zqueue_queue_failed_tasks_total", **queue)
    sidecar.wait_for(300, "zqueue_task_done_total", **task)
    sidecar.wait_for(10, "zqueue_task_failed_total", task="fail")
    sidecar.wait_for(300, "zqueue_task_run_seconds_count", **task)
    assert sidecar.sample("zqueue_task_run_seconds_bucket", le="+Inf", **task) == 300
    assert sidecar.sample("zqueue_queue_wait_seconds_count", **queue) == 310

    (first,) = broker.worker_pids()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: broker.worker_pids() not in ([], [first]), what="another worker")
    send(broker, 7)
    sidecar.wait_for(307, "zqueue_task_done_total", **task)
    sidecar.wait_for(307, "zqueue_task_total_seconds_count", **task)
    assert sidecar.sample("zqueue_broker_workers_lost_total") == 1

    broker.restart()
    wait_until(lambda: len(broker.worker_pids()) == len(pool.pids), what="the worker to return")
    send(broker, 5)
    sidecar.wait_for(5, "zqueue_queue_published_tasks_total", **queue)
    sidecar.wait_for(5, "zqueue_task_done_total", **task)


def test_a_broker_that_is_gone_and_back(
    watch: Callable[..., Sidecar], broker: Broker, processes: Processes
) -> None:
    with zqueue.Producer(broker.url) as producer:
        producer.send_many("default", range(50))
    sidecar = watch(broker.url)
    sidecar.wait_for(50, "zqueue_queue_ready_tasks", queue="default")
    before = sidecar.broker()
    broker.process.kill()
    sidecar.wait_for(0, "zqueue_up")
    told = sidecar.broker()
    assert (told["state"], told["id"]) == ("lost", before["id"])
    assert told["conditions"][0]["kind"] == "no-broker"
    assert get(sidecar.url + "/readyz").status == 503
    broker.start()
    sidecar.wait_for(1, "zqueue_up")
    after = sidecar.broker()
    assert after["id"] != before["id"]
    assert after["in"]["10"] < 20
    assert "answers" in sidecar.process.err


def test_several_brokers(watch: Callable[..., Sidecar], start_broker: StartBroker) -> None:
    first, second = start_broker(), start_broker()
    sidecar = watch(first.url, second.url, first.url)
    for broker in (first, second):
        sidecar.wait_for(1, "zqueue_up", broker=broker.url)
    told = json.loads(get(sidecar.url + "/api/stats.json").text)
    assert [broker["url"] for broker in told["brokers"]] == [first.url, second.url]


def test_without_its_sidecar_all_goes_on(
    watch: Callable[..., Sidecar], broker: Broker, workers: StartWorkers
) -> None:
    sidecar = watch(broker.url)
    workers(broker, "jobs.py", 1)
    send(broker, 100)
    sidecar.wait_for(1, "zqueue_up")
    sidecar.process.kill()
    send(broker, 100)
    state = broker.wait_idle()
    assert state["counters"]["done"] == 200
    assert state["counters"]["garbage"] == 0
    assert "ERROR" not in broker.process.err


OLD_BROKER = """
import sys, zmq, msgpack
router = zmq.Context().socket(zmq.ROUTER)
router.bind(sys.argv[1])
while True:
    peer, head = router.recv_multipart()[:2]
    what = msgpack.unpackb(head)[2]
    print(what, flush=True)
    if what == "info":
        told = {"id": "ab", "version": "0.0.1", "queues": {"q": {"ready": 3}}, "workers": []}
        router.send_multipart([peer, msgpack.packb([1, 31]), msgpack.packb(told)])
    else:
        router.send_multipart([peer, msgpack.packb([1, 3, "malformed", 0, "cannot tell"])])
"""


def test_a_broker_that_is_older(watch: Callable[..., Sidecar], processes: Processes) -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    old = processes.python(OLD_BROKER, url)
    sidecar = watch(url)
    sidecar.wait_for(3, "zqueue_queue_ready_tasks", queue="q")
    assert sidecar.broker()["state"] == "old"
    assert "0.0.1" in sidecar.broker()["problem"]
    wait_until(lambda: old.out.count("info") >= 3)
    assert old.out.count("stats") == 1


EVIL_BROKER = """
import sys, zmq, msgpack
wire = msgpack.unpackb(bytes.fromhex(sys.argv[2]))
router = zmq.Context().socket(zmq.ROUTER)
router.bind(sys.argv[1])
for n in range(1_000_000):
    peer = router.recv_multipart()[0]
    name = '"} 1\\nevil{a="\\\\'
    told = [
        b"\\xc1", b"", msgpack.packb([1]), msgpack.packb({"queues": {name: {"ready": "x"}}}),
        msgpack.packb({"queues": {name: {"ready": 1}}, "host": name, "workers": [{"id": 5}, 7],
                       "figures": {f"{name}{i}": [i, 0, wire, wire] for i in range(2000)}}),
    ][min(n, 4)]
    router.send_multipart([peer, msgpack.packb([1, 31]), told])
"""


def test_a_broker_that_means_ill(watch: Callable[..., Sidecar], processes: Processes) -> None:
    import msgpack

    url = f"tcp://127.0.0.1:{free_port()}"
    packed: bytes = msgpack.packb(histogram(1.0).to_wire())
    processes.python(EVIL_BROKER, url, packed.hex())
    sidecar = watch(url)
    sidecar.wait_for(1, "zqueue_queue_ready_tasks", queue='"} 1\nevil{a="\\')
    text = get(sidecar.url + "/metrics").text
    assert not re.search("^evil", text, re.MULTILINE)
    assert len(re.findall("^zqueue_task_done_total", text, re.MULTILINE)) == 500
    assert "Traceback" not in sidecar.process.err


def test_what_is_no_broker(watch: Callable[..., Sidecar]) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        sidecar = watch(f"tcp://127.0.0.1:{mute.getsockname()[1]}")
        wait_until(lambda: (sidecar.sample("zqueue_sidecar_poll_failures_total") or 0) >= 2)
        assert sidecar.broker()["state"] == "waiting"


def test_hostile_peers_are_told_of_in_one_line_each(
    watch: Callable[..., Sidecar], broker: Broker
) -> None:
    """A worker may say of itself whatever it likes."""
    import msgpack
    import zmq

    evil = '"} 1\nevil 1\n'
    about = {"queues": ["q"], "host": evil, "version": evil, "pid": 3, "tasks": {evil: evil}}
    with bare(zmq.DEALER, broker.url) as dealer:
        dealer.send_multipart([header(1, "worker", os.urandom(16)), msgpack.packb(about)])
        sidecar = watch(broker.url)
        sidecar.wait_for(1, "zqueue_worker_info", worker=f"{evil}/3", version=evil)


# --- the process ---


def stream(url: str) -> Any:
    return urllib.request.urlopen(url + "/api/stream", timeout=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once(
    watch: Callable[..., Sidecar], broker: Broker, number: signal.Signals
) -> None:
    """With a page open, and with a broker that does not answer."""
    sidecar = watch(broker.url, f"ipc:///{broker.url[6:]}-nobody")
    with stream(sidecar.url) as opened:
        assert opened.readline() == b"retry: 2000\n"
        began = time.monotonic()
        sidecar.process.send(number)
        assert sidecar.process.wait() == 0
        assert time.monotonic() - began < 2.0
    assert "Traceback" not in sidecar.process.err


def test_a_stream_tells_every_second(watch: Callable[..., Sidecar], broker: Broker) -> None:
    sidecar = watch(broker.url)
    with stream(sidecar.url) as opened:
        events = (line for line in opened if line.startswith(b"data: "))
        times = [json.loads(next(events)[6:])["time"] for _ in range(5)]
    # The first ones may come as it starts. Each may be late, but then the next one is on time.
    assert all(after - before > 0.05 for before, after in pairwise(times[2:]))
    assert times[4] - times[2] > 1.2


def test_a_port_that_is_taken(run: Zqueue, watch: Callable[..., Sidecar]) -> None:
    sidecar = watch("ipc:///nowhere")
    done = run("metrics", "--listen", sidecar.url.removeprefix("http://"))
    assert done.returncode == 4
    assert re.fullmatch(r"zqueue: somebody listens at \S+ already: [^\n]+\n", done.stderr)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--listen", "0.0.0.0:9464"), "--insecure-no-auth"),
        (("--listen", "[::]:9464"), "--insecure-no-auth"),
        (("--listen", "9464"), "HOST:PORT"),
        (("--listen", "127.0.0.1:99999"), "HOST:PORT"),
        (("--url", "http://127.0.0.1"), "no address"),
        (("--ready-workers", "-1"), "ready-workers"),
    ],
)
def test_mistakes(run: Zqueue, options: tuple[str, ...], words: str) -> None:
    done = run("metrics", *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_where_all_can_reach_it_if_that_is_meant(
    processes: Processes, broker: Broker
) -> None:  # fmt: skip
    port = free_port()
    process = processes.zqueue(
        "metrics", "--listen", f"0.0.0.0:{port}", "--insecure-no-auth", "--url", broker.url
    )
    wait_until(lambda: "metrics at" in process.err)
    assert "without authentication" in process.err
    assert get(f"http://127.0.0.1:{port}/livez", Host="anything").status == 200


def test_brokers_from_the_environment(
    processes: Processes, start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = start_broker(), start_broker()
    monkeypatch.setenv("ZQUEUE_URL", f"{first.url} {second.url}")
    process = processes.zqueue("metrics", "--listen", "127.0.0.1:0")
    wait_until(lambda: process.err.count("answers") == 2, what=lambda: process.err)


@pytest.mark.parametrize("urls", ['"{0}"', '["{0}", "{1}"]'])
def test_brokers_from_the_file(processes: Processes, start_broker: StartBroker, urls: str) -> None:
    brokers = [start_broker().url, start_broker().url]
    written = urls.format(*brokers)
    file = processes.folder / "zqueue.toml"
    file.write_text(f'[metrics]\nlisten = "127.0.0.1:0"\nready_workers = 2\nurl = {written}\n')
    process = processes.zqueue("--config", str(file), "metrics")
    wait_until(lambda: process.err.count("answers") == written.count("ipc"))
    (found,) = re.findall(r"metrics at (http://127\.0\.0\.1:\d+)/", process.err)
    assert "of 2 workers" in get(found + "/readyz").text


def test_without_file_numbers_it_waits_and_does_not_turn(
    sidecar: StartSidecar, broker: Broker
) -> None:
    url, process = sidecar(broker.url)
    wait_until(lambda: "answers" in process.err)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with contextlib.ExitStack() as opened:
        for _ in range(FILES):
            opened.enter_context(socket.create_connection(address, 5))
        began_cpu_s, began = cpu_s(process.pid), time.monotonic()
        wait_until(lambda: time.monotonic() > began + 1.0, every=0.2)
        assert cpu_s(process.pid) - began_cpu_s < 0.5
    wait_until(lambda: get(url + "/livez").status == 200)


def test_at_rest_it_costs_next_to_nothing(
    watch: Callable[..., Sidecar], broker: Broker, workers: StartWorkers
) -> None:
    workers(broker, "jobs.py", 2)
    sidecar = watch(broker.url)
    sidecar.wait_for(1, "zqueue_up")
    pid, polls = sidecar.process.pid, sidecar.broker()["uptime_s"]
    began = cpu_s(pid)
    wait_until(lambda: sidecar.broker()["uptime_s"] > polls + 3, every=0.5)
    assert cpu_s(pid) - began < 0.3
    assert rss_bytes(pid) < 60 << 20
