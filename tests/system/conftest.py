"""Fixtures of the system tests. Nothing here outlives its test."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import zqueue
from tests.system.harness import (
    APPS,
    QUICK,
    Broker,
    Pool,
    Processes,
    Record,
    free_port,
    wait_until,
)

_processes_key = pytest.StashKey[Processes]()

Finished = subprocess.CompletedProcess[str]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show what the processes of a failed test said."""
    report = yield
    processes = item.stash.get(_processes_key, None)
    if report.failed and processes is not None:
        report.sections += [(title, text) for title, text in processes.shown() if text.strip()]
    return report


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No option comes from the environment or from a file that lies about."""
    _forget_options(monkeypatch)
    # A wheel's tests run from the checkout, where `-m zqueue` would find the sources.
    monkeypatch.chdir(tmp_path)


def _forget_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ZQUEUE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def processes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Processes]:
    """Starts processes, and ends them when the test is over."""
    started = request.node.stash[_processes_key] = Processes(tmp_path)
    try:
        yield started
    finally:
        started.end()


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Where ``apps/jobs.py`` says what ran."""
    found = Record(tmp_path / "record.ndjson")
    monkeypatch.setenv("RECORD", str(found.path))
    return found


StartBroker = Callable[..., Broker]


@pytest.fixture
def start_broker(processes: Processes, tmp_path: Path) -> StartBroker:
    """Starts a broker with options; by default at an ipc path, with quick liveness."""
    count = 0

    def start(*options: str, url: str | None = None, quick: bool = True) -> Broker:
        nonlocal count
        count += 1
        if url is None:
            url = f"ipc://{tmp_path}/b{count}"
        elif url == "tcp":
            url = f"tcp://127.0.0.1:{free_port()}"
        return Broker(processes, url, (*(QUICK if quick else ()), *options))

    return start


@pytest.fixture
def broker(start_broker: StartBroker) -> Broker:
    """A broker at an ipc path, with quick liveness."""
    return start_broker()


StartWorkers = Callable[..., Pool]


@pytest.fixture
def workers(processes: Processes, record: Record) -> StartWorkers:
    """Starts ``zqueue worker FILE -p N`` at a broker, and waits until the broker knows them."""

    def start(broker: Broker, app: str, count: int = 1, *options: str, wait: bool = True) -> Pool:
        return _start_pool(processes, broker, app, count, *options, wait=wait)

    return start


def _start_pool(
    processes: Processes, broker: Broker, app: str, count: int, *options: str, wait: bool = True
) -> Pool:
    before = set(broker.worker_pids())
    pool = Pool(
        processes.zqueue("worker", str(APPS / app), "-p", str(count), "--url", broker.url, *options)
    )

    def are_there() -> bool:
        assert pool.process.is_running(), f"the pool ended: {pool.process.err}"
        return len(set(broker.worker_pids()) - before) >= count and len(pool.pids) >= count

    if wait:
        wait_until(are_there, what=f"{count} workers of {app}")
    return pool


class Shared:
    """A broker and workers for all tests of a file, and what the test that runs did there."""

    def __init__(self, broker: Broker, pool: Pool, record: Record) -> None:
        self.broker = broker
        self.pool = pool
        self.record = record
        self._before: dict[str, int] = {}

    def begin(self) -> None:
        """A test begins."""
        self._before = self.broker.wait_idle()["counters"]
        self.record.clear()

    def count(self, name: str) -> int:
        """How much the test has added to one of the broker's counters."""
        return self.broker.count(name) - self._before[name]


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Shared]]:
    """``share(app, workers)``: for tests that leave no task behind and end no process."""
    started: list[Processes] = []

    def start(app: str, count: int, *, quick: bool = True) -> Shared:
        folder = tmp_path_factory.mktemp("shared")
        processes = Processes(folder)
        started.append(processes)
        record = Record(folder / "record.ndjson")
        with pytest.MonkeyPatch.context() as patch:
            _forget_options(patch)
            patch.setenv("RECORD", str(record.path))
            patch.chdir(folder)
            broker = Broker(processes, f"ipc://{folder}/b", QUICK if quick else ())
            return Shared(broker, _start_pool(processes, broker, app, count), record)

    yield start
    for processes in started:
        processes.end()


class Zqueue:
    """Runs ``zqueue …`` to its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, *arguments: str, input: str | bytes = "", timeout: float = 240.0,
        cwd: Path | None = None, env: dict[str, str] | None = None,
    ) -> Finished:  # fmt: skip
        data = input.encode() if isinstance(input, str) else input
        done = subprocess.run(
            [sys.executable, "-m", "zqueue", *arguments],
            input=data, capture_output=True, timeout=timeout, check=False,
            cwd=cwd or self.folder, env={**os.environ, **(env or {})},
        )  # fmt: skip
        return Finished(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def run(tmp_path: Path) -> Zqueue:
    """``run("send", …)``: a command's exit code, output and error output."""
    return Zqueue(tmp_path)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Broker, str], ModuleType]]:
    """Imports one of the apps as a program that sends would, for a broker."""
    loaded: list[ModuleType] = []

    def load_module(broker: Broker, name: str) -> ModuleType:
        monkeypatch.setenv("ZQUEUE_URL", broker.url)
        spec = importlib.util.spec_from_file_location(f"app_{len(loaded)}", APPS / name)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.app.url  # noqa: B018 - reads the environment as users do
        loaded.append(module)
        return module

    yield load_module
    for module in loaded:
        try:
            module.app.close(timeout=0.5)
        except zqueue.ZQueueError:
            pass  # The test left the broker dead or the queue full on purpose.


@pytest.fixture
def produce() -> Iterator[Callable[..., zqueue.Producer]]:
    """Makes producers, and closes them when the test is over."""
    made: list[zqueue.Producer] = []

    def make(broker: Broker | str, **options: Any) -> zqueue.Producer:
        url = broker if isinstance(broker, str) else broker.url
        producer = zqueue.Producer(url, **options)
        made.append(producer)
        return producer

    yield make
    for producer in made:
        try:
            producer.close(timeout=0.5)
        except zqueue.ZQueueError:
            pass  # The test left the broker dead or the queue full on purpose.
