"""A broker and workers as processes: to be killed, restarted, and gone in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import zqueue
from zqueue.net.processes import is_running
from zqueue.testing import Cluster, Process, Processes, wait_until
from zqueue.testing.waiting import DEADLINE_S

pytestmark = pytest.mark.system

APP = """\
import os, zqueue
app = zqueue.App()

@app.task
def pid():
    return os.getpid()
"""

HOLD = """\
import sys
from zqueue.testing import Cluster
with Cluster(sys.argv[1]) as cluster:
    print(cluster.broker.pid, cluster.workers.process.pid, *cluster.workers.pids, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def app_file(tmp_path: Path) -> Path:
    path = tmp_path / "pids.py"
    path.write_text(APP)
    return path


def test_workers_and_broker_are_killed_and_started_again(app_file: Path) -> None:
    app = zqueue.App()
    with Cluster(app_file, workers=2) as cluster:
        cluster.connect(app)
        assert cluster.workers is not None
        killed = cluster.workers.kill_worker()
        wait_until(lambda: len(pids := cluster.worker_pids()) == 2 and killed not in pids)
        future = app.producer.submit("default", [], task="pid")
        assert future.result(DEADLINE_S) in cluster.workers.pids
        cluster.broker.restart()
        future = app.producer.submit("default", [], task="pid")
        assert future.result(DEADLINE_S) in cluster.workers.pids
        assert cluster.wait_idle()["counters"]["done"] == 1
        assert cluster.workers.process.stop() == 0
        everybody = [process.pid for process in cluster.processes.all]
    assert not any(map(is_running, everybody))
    assert not cluster.folder.exists()


def test_the_logs_come_with_what_went_wrong(
    app_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def go_wrong() -> None:
        with Cluster(app_file) as cluster:
            wait_until(lambda: "connected to the broker" in cluster.logs())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        go_wrong()
    (note,) = caught.value.__notes__
    assert "stderr of <Process 1-broker" in note
    assert "connected to the broker at ipc://" in note
    with Cluster() as cluster:
        assert cluster.workers is None
    assert f"broker at {cluster.url}" in capsys.readouterr().err, "for pytest to show"


def test_an_app_that_does_not_load_is_told_and_leaves_no_process(app_file: Path) -> None:
    app_file.write_text("import no_such_module")
    with pytest.raises(AssertionError, match="No module named 'no_such_module'"):
        Cluster(app_file)


def test_workers_import_what_the_test_can(app_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(app_file.parent)
    with Cluster("pids") as cluster:
        assert cluster.info()["tasks"] == {"pid": "default"}


def test_all_end_with_the_process_that_tests(app_file: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, app_file], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 3
        assert all(map(is_running, pids))
        process.kill()
    wait_until(lambda: not any(map(is_running, pids)), what="the end of its processes")


def test_processes_are_interrupted_also_where_sigint_is_ignored(tmp_path: Path) -> None:
    """As in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes = Processes(tmp_path)
    try:
        process = processes.zqueue("broker", "--bind", f"ipc://{tmp_path}/b")
        wait_until(lambda: "broker at" in process.err, what="a broker")
        process.send(signal.SIGINT)
        assert process.wait() == 0
    finally:
        signal.signal(signal.SIGINT, before)
        processes.end()


def test_a_process_that_does_not_end_is_ended(tmp_path: Path) -> None:
    program = (
        "import signal; signal.signal(15, signal.SIG_IGN); print('on', flush=True); signal.pause()"
    )
    process = Process("deaf", tmp_path, [sys.executable, "-c", program])
    wait_until(lambda: process.out, what="its beginning")
    with pytest.raises(AssertionError, match="deaf still runs after 0 s"):
        process.wait(0)
    assert process.stop(timeout=0.1) == -signal.SIGKILL
    assert not process.is_running()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
