"""The real thing: killed amid commits, system calls that fail, a disk that is full."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zqueue.core.records import PUT, Entry, Over
from zqueue.store import segment_store
from zqueue.store.files import Files
from zqueue.store.segment_store import SegmentStore
from zqueue.store.store import StoreFailed, StoreLocked, StoreReadOnly
from zqueue.testing import wait_until

from .driving import drive, wait

ROOT = Path(__file__).parents[2]

CHILD = """
import sys, os
sys.path[:0] = [{root!r}]
from zqueue.core.records import PUT, Entry, Over
from zqueue.store.segment_store import SegmentStore
from zqueue.store.store import StoreFailed
from tests.store.driving import wait
store = SegmentStore(sys.argv[1], segment_bytes=1 << 20, sync=sys.argv[2] == "disk")
number = store.open().next_entry
ticket = 0
try:
    while number < int(sys.argv[3]):
        records = [Entry(n, PUT, "q", 1, b"", b"%d " % n * 1000) for n in range(number, number + 8)]
        records += [Over(n, 0, 1) for n in range(max(1, number - 100), number - 92) if n % 10]
        store.begin(ticket := ticket + 1, records, list)
        while store.busy:
            wait(store)
        assert store.end() == ticket
        number += 8
        os.write(1, b"%d\\n" % (number - 1))
except StoreFailed as error:
    os.write(1, b"failed\\n")
    try:
        store.begin(ticket + 1, [], list)
    except StoreFailed:
        os.write(1, b"fenced\\n")
"""

needs_strace = pytest.mark.skipif(
    not shutil.which("strace") and os.environ.get("CI") != "true", reason="strace is not installed"
)


def child(path: Path, level: str, until: int = 1 << 40) -> list[str]:
    program = CHILD.format(root=str(ROOT))
    return [sys.executable, "-c", program, str(path), level, str(until)]


def check(path: Path, told: int) -> None:
    """All that was told to be stored is there, and is what was written."""
    store = SegmentStore(str(path))
    found = store.open()
    numbers = [entry.number for entry in found.found]
    assert found.next_entry > told
    expected = {n for n in range(1, told + 1) if n % 10 == 0 or n > told - 92}
    assert expected <= set(numbers)
    for number in numbers:
        assert store.read(number) == b"%d " % number * 1000
    store.close()


@pytest.mark.system
@pytest.mark.parametrize("level", ["disk", "os"])
def test_killed_amid_commits_again_and_again(tmp_path: Path, level: str) -> None:
    chance = random.Random(level)
    told = 0
    for _ in range(4):
        with subprocess.Popen(child(tmp_path, level), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 60)):
                told = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
        told = int(rest[-1]) if rest else told
        check(tmp_path, told)


@pytest.mark.system
@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", ["fdatasync", "pwritev,pwrite64"])
@pytest.mark.parametrize("when", [5, 30, 61])
def test_a_system_call_fails(tmp_path: Path, call: str, error: str, when: int) -> None:
    """It is never tried again, and what was told is there."""
    trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
             "-e", f"inject={call}:error={error}:when={when}+"]  # fmt: skip
    done = subprocess.run(
        [*trace, *child(tmp_path, "disk", 2000)], capture_output=True, timeout=240
    )
    lines = done.stdout.decode().split()
    if done.returncode:  # It failed before anything was begun, or a file could not be made.
        assert b"StoreFailed" in done.stderr
    elif error == "EIO":
        assert lines[-2:] == ["failed", "fenced"]
    check_from = [int(line) for line in lines if line.isdigit()]
    check(tmp_path, check_from[-1] if check_from else 0)


@pytest.mark.system
@needs_strace
def test_killed_in_a_sync(tmp_path: Path) -> None:
    for when in range(3, 40, 12):
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,rename",
                 "-e", f"inject=fdatasync,rename:signal=KILL:when={when}"]  # fmt: skip
        done = subprocess.run([*trace, *child(tmp_path, "disk")], capture_output=True, timeout=240)
        lines = done.stdout.split()
        check(tmp_path, int(lines[-1]) if lines else 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    assert not done.returncode, done.stderr
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.system
def test_the_disk_is_full(small_disk: Path) -> None:
    path = str(small_disk / "data")
    store = SegmentStore(path, segment_bytes=1 << 16)
    store.open()
    live: list[int] = []
    ticket = 0
    while not store.full:
        assert len(live) < 1000
        number = len(live) + 1
        drive(store, ticket := ticket + 1, [Entry(number, PUT, "q", 1, b"", bytes(5000))], list)
        live.append(number)
    assert len(live) > 80
    last = live[-1]
    random.Random(1).shuffle(live)
    while store.full:
        drive(store, ticket := ticket + 1, [Over(live.pop(), 0, 1)], list)
    drive(store, ticket + 1, [Entry(last + 1, PUT, "q", 1, b"", b"there is room")], list)
    store.close()
    again = SegmentStore(path)
    assert {entry.number for entry in again.open().found} == {*live, last + 1}
    again.close()


@pytest.mark.system
def test_a_commit_waits_for_room(small_disk: Path) -> None:
    """More than there is room for came at once: it is stored when there is."""
    store = SegmentStore(str(small_disk / "data"), segment_bytes=1 << 16)
    store.open()
    store.begin(1, [Entry(i, PUT, "q", 1, b"", bytes(5000)) for i in range(1, 11)], list)
    wait_until(lambda: store.end() == 1)
    ballast = small_disk / "ballast"
    with ballast.open("wb", 0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    store.begin(2, [Entry(i, PUT, "q", 1, b"", bytes(5000)) for i in range(11, 71)], list)
    wait_until(lambda: store.end() == 1 and store.full)
    assert store.busy
    ballast.unlink()
    wait_until(lambda: store.end() == 2 and not store.full)
    store.close()
    again = SegmentStore(str(small_disk / "data"))
    assert [entry.number for entry in again.open().found] == [*range(1, 71)]
    again.close()


@pytest.mark.system
def test_a_commit_that_waits_for_room_does_not_hold_who_ends(small_disk: Path) -> None:
    store = SegmentStore(str(small_disk / "data"), segment_bytes=1 << 16)
    store.open()
    store.begin(1, [Entry(i, PUT, "q", 1, b"", bytes(5000)) for i in range(1, 300)], list)
    wait_until(lambda: store.end() == 0 and store.full and store.busy)
    store.close()
    again = SegmentStore(str(small_disk / "data"))
    numbers = [entry.number for entry in again.open().found]
    assert numbers == [*range(1, len(numbers) + 1)]
    again.close()


def test_one_process_has_it(tmp_path: Path) -> None:
    store = SegmentStore(str(tmp_path / "data"), segment_bytes=1 << 16)
    store.open()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    with pytest.raises(StoreLocked, match="in use"):
        SegmentStore(str(tmp_path / "data")).open()
    store.close()
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "data").iterdir()} == {0o600}


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, error in [("file", Exception), ("file/data", Exception)]:
        with pytest.raises(error, match="cannot use"):
            SegmentStore(str(tmp_path / path)).open()
    with pytest.raises((StoreReadOnly, StoreFailed)):
        SegmentStore("/proc/zqueue").open()


def test_a_writer_that_failed_fences(tmp_path: Path) -> None:
    store = SegmentStore(str(tmp_path), segment_bytes=1 << 16)
    store.open()
    drive(store, 1, [Entry(1, PUT, "q", 1, b"", b"here")], list)
    fd = store._disk.fd("0000000000000001.seg")  # type: ignore[attr-defined]
    null = os.open("/dev/full", os.O_RDWR)
    os.dup2(null, fd)
    store.begin(2, [Entry(2, PUT, "q", 1, b"", b"not here")], list)
    with pytest.raises(StoreFailed, match="any more"):
        wait(store)
    with pytest.raises(StoreFailed, match="any more"):
        store.begin(3, [], list)
    assert store.read(1) == b"here"
    store.close()
    os.close(null)


class Hanging(Files):
    """A directory on a disk that answers no sync while it hangs."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.hangs, self.goes_on = threading.Event(), threading.Event()

    def sync(self, name: str) -> None:
        if self.hangs.is_set():
            assert self.goes_on.wait(60)
        super().sync(name)


def test_a_disk_that_hangs_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(segment_store, "CLOSE_S", 0.2)
    disk = Hanging(str(tmp_path))
    store = SegmentStore(str(tmp_path), segment_bytes=1 << 16, sync=False, disk=disk)
    store.open()
    drive(store, 1, [Entry(1, PUT, "q", 1, b"", b"here")], list)
    disk.hangs.set()
    drive(store, 2, [Entry(2, PUT, "q", 1, b"", b"perhaps")], list)
    store.close()
    assert "does not answer" in caplog.text
    with pytest.raises(StoreLocked):  # It may yet be written.
        SegmentStore(str(tmp_path)).open()
    disk.goes_on.set()
    wait_until(lambda: not any(t.name == "zqueue-store" for t in threading.enumerate()))
    disk.close()
    again = SegmentStore(str(tmp_path))
    assert [entry.number for entry in again.open().found] == [1, 2]
    again.close()
