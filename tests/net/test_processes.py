"""The system's view of processes, and a loop's signals without signals."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading

from zqueue.net.processes import children_of, is_running, started_at
from zqueue.net.signals import Switch
from zqueue.testing import wait_until


def test_a_child_from_its_start_to_its_end() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process.pid in children_of(os.getpid())
        assert is_running(process.pid)
        since = started_at(process.pid)
        assert since
        assert since == started_at(process.pid) != started_at(os.getpid())
        assert process.stdin is not None
        process.stdin.close()
        wait_until(lambda: not is_running(process.pid), what="its end")
        assert started_at(process.pid) == since, "a zombie is there still, and does not run"
    assert not is_running(process.pid)
    assert started_at(process.pid) == ""
    assert process.pid not in children_of(os.getpid())


def test_a_switch_is_a_signal_from_any_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    switch = Switch()
    assert not switch.came
    assert not select.select([switch.fd], [], [], 0)[0]
    thread = threading.Thread(target=switch.stop)
    thread.start()
    assert select.select([switch.fd], [], [], 10)[0]
    thread.join()
    assert switch.came
    assert switch.count(signal.SIGTERM) == switch.count(signal.SIGTERM, signal.SIGINT) == 1
    switch.clear()
    assert not select.select([switch.fd], [], [], 0)[0]
    switch.close()
    assert signal.getsignal(signal.SIGTERM) is before


ADOPTED = """
import subprocess, sys
from zqueue.net.processes import adopt_orphans, is_running, reap_orphans
from zqueue.testing import wait_until
import os

adopt_orphans()
ours = subprocess.Popen(["sleep", "600"])
parent = subprocess.Popen(["sh", "-c", "sleep 0.1 & echo $!"], stdout=subprocess.PIPE)
with parent:
    pid = int(parent.stdout.readline())
assert os.path.exists(f"/proc/{pid}"), "it has ended already"

def is_gone():
    reap_orphans({ours.pid})
    return not os.path.exists(f"/proc/{pid}")

wait_until(is_gone)
ours.kill()
wait_until(lambda: not is_running(ours.pid))
reap_orphans({ours.pid})
assert ours.wait() == -9, "its end is for us to see"
"""


def test_orphans_are_adopted_and_reaped() -> None:
    subprocess.run([sys.executable, "-c", ADOPTED], check=True, timeout=30)
