"""A broker with a data dir: killed, asked twice, and without power. Nothing confirmed is lost."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
import zmq

from tests.simulation.history import Began
from tests.system.harness import bare, pairs_of, receive, skip_locally
from zqueue.testing import wait_until
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import Confirm, Hello, Publish

from .rig import Rig

pytestmark = pytest.mark.system

KILLS = int(os.environ.get("ZQUEUE_TEST_KILLS", "4"))


def test_all_are_killed(tmp_path: Path) -> None:
    """The broker, too, again and again: what it confirmed is there when it is back."""
    with Rig(data=tmp_path / "data") as rig:
        rig.send(200)
        kills = [rig.kill_broker, rig.kill_worker, rig.kill_broker, rig.kill_sender]
        for kill in (kills * KILLS)[:KILLS]:
            seen = rig.count("ended")
            wait_until(lambda: rig.count("ended") > seen + 5, what="tasks to run")  # noqa: B023
            kill()
        rig.judge()


def test_the_same_numbers_again(tmp_path: Path) -> None:
    """A producer sends each batch five times, and as often to the next broker: each task is taken
    once."""
    with Rig(data=tmp_path / "data", pools=0) as rig:
        for _ in range(2):
            with bare(zmq.DEALER, rig.url) as dealer:
                publish(dealer, range(1, 21), times=5)
            rig.kill_broker()
        rig.add_pool()
        rig.wait_idle()
        began = sorted(line["began"] for line in rig.lines() if "began" in line)
        assert began == list(range(1, 21))


def publish(dealer: zmq.Socket[bytes], numbers: range, *, times: int) -> None:
    """Send each number as a batch of its own, under that number, and wait for all confirms."""
    dealer.send_multipart([encode(Hello("producer", b"the same as before")), pack({})])
    assert receive(dealer) is not None
    for _ in range(times):
        for number in numbers:
            header = encode(Publish(number, "work", "run", 0))
            dealer.send_multipart([header, pack([[number, 0.0]])])
    missing = set(numbers)
    while missing:
        frames = receive(dealer, 10.0)
        assert frames is not None, f"no confirm of {missing}"
        message = decode(frames[0])
        if isinstance(message, Confirm):
            for first, last in pairs_of(message.ranges):
                missing -= set(range(first, last + 1))


# --- power ---

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN: the file system stops here, as if the machine had lost power."""

NO_LOG_FLUSH = 2


class Machine:
    """A file system of its own, in a file. It can lose power."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "image"
        self.path = folder / "mounted"
        self.path.mkdir()
        with self.image.open("wb") as file:
            file.truncate(512 << 20)
        run("mkfs.ext4", "-q", "-F", str(self.image))
        self.mount()

    def mount(self) -> None:
        run("mount", "-o", "loop", str(self.image), str(self.path))

    def unmount(self) -> None:
        run("umount", str(self.path))

    def lose_power(self) -> None:
        """What was not synced is gone, and nothing more is written."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)


def run(*arguments: str) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    why = "needs root, mkfs.ext4 and loop devices"
    is_able = os.geteuid() == 0 and shutil.which("mkfs.ext4") and Path("/dev/loop-control").exists()
    if not is_able:
        skip_locally(why)
    try:
        machine = Machine(tmp_path)
    except AssertionError as error:
        skip_locally(f"{why}: {error}")
    yield machine
    machine.unmount()


OLD_S = 2.0
"""What was confirmed so long before is synced at level *os*: that is 50 ms and the time of a sync,
which on a busy machine may be long. Linux itself would write it after 5 s at the earliest."""


@pytest.mark.parametrize("level", ["disk", "os"])
def test_the_power_is_lost(machine: Machine, level: str) -> None:
    """Level *disk*: what is confirmed is synced, so the next broker has it. Level *os*: all but
    what was confirmed shortly before."""
    with Rig(data=machine.path / "data", options=("--durability", level)) as rig:
        rig.send(300, seconds=0.05)
        wait_until(lambda: rig.count("confirmed") > 8, what="confirms")
        if level == "os":
            since = monotonic()
            wait_until(lambda: monotonic() > since + 1.5 * OLD_S, what="what was confirmed to age")
        rig.fault("kill", f"broker-{rig.brokers}")
        rig.brokers += 1
        machine.lose_power()
        if level == "os":
            rig.power_lost(OLD_S)
        code = rig.broker.process.wait()
        assert code == 1, "fenced: it cannot store anything any more, and says so"
        machine.unmount()
        machine.mount()
        rig.broker.start()
        history = rig.judge()
        assert any(isinstance(event, Began) for event in history.events)
