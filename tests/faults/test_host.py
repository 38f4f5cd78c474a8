"""The host is at fault: clocks, descriptors, who watches; and everybody comes at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import zmq

from tests.system.harness import Processes, bare, receive, skip_locally
from zqueue.testing import free_port, wait_until
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import Hello, Welcome

from .rig import APP, Rig

pytestmark = pytest.mark.system

STORM = 200
"""Peers that come back at once."""


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


@pytest.mark.parametrize("ahead_s", [1_000_000, -100])
def test_clocks_of_hosts_differ(rig: Rig, ahead_s: int) -> None:
    """Workers whose monotonic clock is far from the broker's: only durations travel."""
    command = ["unshare", "--time", "--fork", "--monotonic", str(ahead_s)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], check=False).returncode
    ):
        skip_locally("needs root, and time namespaces: unshare --time")
    rig.pools[0].process.stop()
    wait_until(lambda: not rig.worker_pids(), what="the other workers to leave")
    rig.processes.start(
        "ahead", *command, sys.executable, "-m", "zqueue", "worker", str(APP), "-p", "2", "--url",
        rig.url,
    )  # fmt: skip
    rig.send(60)
    rig.wait_until_over()
    began = [line["began"] for line in rig.lines() if "began" in line]
    assert sorted(began) == list(range(1, 61))


def test_too_few_descriptors(processes: Processes, tmp_path: object) -> None:
    """A broker that could not serve all its peers does not start."""
    program = 'ulimit -n 256; exec "$0" -m zqueue broker --bind "$1" --peers 1000'
    url = f"ipc://{tmp_path}/broker"
    broker = processes.start("broker", "sh", "-c", program, sys.executable, url)
    assert broker.wait() == 2
    assert "ulimit -n 2064" in broker.err
    assert "Traceback" not in broker.err


@pytest.fixture
def processes(tmp_path: object) -> Iterator[Processes]:
    processes = Processes(tmp_path)  # type: ignore[arg-type]
    yield processes
    processes.end()


def test_all_come_back_at_once(rig: Rig) -> None:
    """The broker is killed; each of many peers is welcomed by the next, and tasks run meanwhile."""
    with contextlib.ExitStack() as stack:
        dealers = [stack.enter_context(bare(zmq.DEALER, rig.url)) for _ in range(STORM)]
        for life in range(2):
            for number, dealer in enumerate(dealers):
                dealer.send_multipart([encode(Hello("producer", b"%016d" % number)), pack({})])
            for dealer in dealers:
                frames = receive(dealer, 30.0)
                assert frames is not None
                assert isinstance(decode(frames[0]), Welcome)
            if life == 0:
                rig.kill_broker()
        rig.send(50)
        rig.judge()


def test_who_watches_dies(rig: Rig) -> None:
    """The sidecar is stopped amid its questions, and killed: nobody depends on it."""
    address = f"127.0.0.1:{free_port()}"
    sidecar = rig.processes.zqueue("metrics", "--listen", address, "--url", rig.url)
    sidecar.wait_until(lambda: address in sidecar.err, what="the sidecar to serve")
    os.kill(sidecar.pid, signal.SIGSTOP)
    rig.send(100)
    wait_until(lambda: rig.count("ended") > 50, what="tasks to run")
    sidecar.kill()
    rig.judge()
