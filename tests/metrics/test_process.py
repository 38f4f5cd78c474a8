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
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

import zqueue
from tests.system.conftest import (
    StartBroker,
    StartWorkers,
    Zqueue,
    _clean_environment,  # noqa: F401 - a fixture
)
from tests.system.harness import (
    QUICK,
    Broker,
    Process,
    Processes,
    cpu_s,
    free_port,
    rss_bytes,
    wait_until,
)
from zqueue.cli import cli

from .conftest import Json, StartSidecar, get

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
        text = get(self.url + "/metrics").text
        lines = [line for line in text.splitlines() if line.startswith(name)]  # Few to parse.
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
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
        reported: Json = json.loads(get(self.url + "/api/stats.json").text)["brokers"][number]
        return reported


@pytest.fixture
def watch(sidecar: StartSidecar) -> Callable[..., Sidecar]:
    """Starts a sidecar for brokers."""

    def start(*brokers: str, options: tuple[str, ...] = ()) -> Sidecar:
        return Sidecar(*sidecar(*brokers, options=options))

    return start


@pytest.fixture
def broker(start_broker: StartBroker) -> Broker:
    return start_broker()


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Broker]]:
    """Two brokers for tests that need one that answers, and do nothing to it."""
    folder = tmp_path_factory.mktemp("brokers")
    processes = Processes(folder)
    try:
        yield (
            Broker(processes, f"ipc://{folder}/a", QUICK),
            Broker(processes, f"ipc://{folder}/b", QUICK),
        )
    finally:
        processes.end()


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


@pytest.mark.alone
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
    reported = sidecar.broker()
    assert (reported["state"], reported["id"]) == ("lost", before["id"])
    assert reported["conditions"][0]["kind"] == "no-broker"
    assert get(sidecar.url + "/readyz").status == 503
    broker.start()
    sidecar.wait_for(1, "zqueue_up")
    after = sidecar.broker()
    assert after["id"] != before["id"]
    assert after["in"]["10"] < 20
    assert "answers" in sidecar.process.err


def test_several_brokers(watch: Callable[..., Sidecar], brokers: tuple[Broker, Broker]) -> None:
    first, second = brokers
    sidecar = watch(first.url, second.url, first.url)
    for broker in (first, second):
        sidecar.wait_for(1, "zqueue_up", broker=broker.url)
    found = json.loads(get(sidecar.url + "/api/stats.json").text)
    assert [broker["url"] for broker in found["brokers"]] == [first.url, second.url]


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


# --- the process ---


def stream(url: str) -> Any:
    return urllib.request.urlopen(url + "/api/stream", timeout=10)


def test_a_signal_ends_it_at_once(
    watch: Callable[..., Sidecar], brokers: tuple[Broker, Broker], tmp_path: Path
) -> None:
    """With a page open, and with a broker that does not answer."""
    for number in (signal.SIGTERM, signal.SIGINT):
        sidecar = watch(brokers[0].url, f"ipc://{tmp_path}/nobody")
        with stream(sidecar.url) as opened:
            assert opened.readline() == b"retry: 2000\n"
            began = time.monotonic()
            sidecar.process.send(number)
            assert sidecar.process.wait() == 0
            assert time.monotonic() - began < 2.0, number
        assert "Traceback" not in sidecar.process.err


def test_a_stream_has_every_second_and_that_costs_next_to_nothing(
    watch: Callable[..., Sidecar], broker: Broker, workers: StartWorkers
) -> None:
    workers(broker, "jobs.py", 2)
    sidecar = watch(broker.url)
    sidecar.wait_for(1, "zqueue_up")
    pid = sidecar.process.pid
    with stream(sidecar.url) as opened:
        events = (line for line in opened if line.startswith(b"data: "))
        began_cpu_s = cpu_s(pid)
        times = [json.loads(next(events)[6:])["time"] for _ in range(5)]
        took_cpu_s = cpu_s(pid) - began_cpu_s
    # The first ones may come as it starts. Each may be late, but then the next one is on time.
    assert all(after - before > 0.05 for before, after in pairwise(times[2:]))
    assert times[4] - times[2] > 1.2
    assert took_cpu_s < 0.4
    assert rss_bytes(pid) < 60 << 20


def test_mistakes(run: Zqueue) -> None:
    """One as a process, and all through the same entry: see `zqueue.cli.main`."""
    done = run("metrics", "--listen", "0.0.0.0:9464")
    assert (done.returncode, "--insecure-no-auth" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr
    for options, words in (
        (("--listen", "[::]:9464"), "--insecure-no-auth"),
        (("--listen", "9464"), "HOST:PORT"),
        (("--listen", "127.0.0.1:99999"), "HOST:PORT"),
        (("--url", "http://127.0.0.1"), "not an address"),
        (("--ready-workers", "-1"), "ready-workers"),
        (("--listen", "[::]:9464"), "--token-file"),
        (("--token-file", "nowhere"), "No such file"),
    ):
        found = CliRunner().invoke(cli, ["metrics", *options])
        assert (found.exit_code, words in found.stderr) == (2, True), options


def test_a_list_that_changes(
    watch: Callable[..., Sidecar], brokers: tuple[Broker, Broker], tmp_path: Path
) -> None:
    listed = tmp_path / "brokers"
    listed.write_text(brokers[0].url)
    sidecar = watch(f"file://{listed}")
    sidecar.wait_for(1, "zqueue_up", broker=brokers[0].url)
    (tmp_path / "new").write_text(brokers[1].url)
    (tmp_path / "new").rename(listed)
    sidecar.wait_for(1, "zqueue_up", broker=brokers[1].url)
    assert sidecar.sample("zqueue_up", broker=brokers[0].url) is None


def test_a_sidecar_with_a_token(sidecar: StartSidecar, tmp_path: Path) -> None:
    file = tmp_path / "metrics.token"
    file.write_text("0123456789abcdef\n")
    file.chmod(0o600)
    listens = ("--listen", f"0.0.0.0:{free_port()}", "--token-file", str(file))
    _, process = sidecar("tcp://127.0.0.1:1", options=listens)
    url = f"http://{listens[1]}/metrics"
    assert get(url).status == 401
    assert get(url, Authorization="Bearer 0123456789abcdef").status == 200
    assert "0123456789abcdef" not in process.err
    assert "without authentication" not in process.err


def test_brokers_from_the_environment_and_from_the_file(
    processes: Processes, brokers: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [broker.url for broker in brokers]
    monkeypatch.setenv("ZQUEUE_URL", " ".join(urls))
    started = [(processes.zqueue("metrics", "--listen", "127.0.0.1:0"), 2)]
    monkeypatch.delenv("ZQUEUE_URL")
    for number, written in enumerate((f'"{urls[0]}"', json.dumps(urls)), 1):
        file = processes.folder / f"{number}.toml"
        file.write_text(f'[metrics]\nlisten = "127.0.0.1:0"\nready_workers = 2\nurl = {written}\n')
        started.append((processes.zqueue("--config", str(file), "metrics"), number))
    for process, count in started:
        wait_until(
            lambda process=process, count=count: process.err.count("answers") == count,
            what=lambda process=process: process.err,
        )
    (found,) = re.findall(r"metrics at (http://127\.0\.0\.1:\d+)/", started[1][0].err)
    assert "of 2 workers" in get(found + "/readyz").text


def test_without_file_numbers_it_waits_and_does_not_turn(
    sidecar: StartSidecar, brokers: tuple[Broker, Broker]
) -> None:
    url, process = sidecar(brokers[0].url)
    wait_until(lambda: "answers" in process.err)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with contextlib.ExitStack() as opened:
        for _ in range(FILES):
            opened.enter_context(socket.create_connection(address, 5))
        began_cpu_s, began = cpu_s(process.pid), time.monotonic()
        wait_until(lambda: time.monotonic() > began + 1.0, every=0.2)
        assert cpu_s(process.pid) - began_cpu_s < 0.5

    def answers() -> bool:
        try:
            return get(url + "/livez").status == 200
        except OSError:  # One that was accepted while there was none for it.
            return False

    wait_until(answers)
