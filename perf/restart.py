"""How soon a broker serves again that has much in its data dir.

    python perf/restart.py                        ten million tasks, each sent alone
    python perf/restart.py --tasks 300000 --bytes 36000    10 GiB in large bodies
    python perf/restart.py --dir /var/lib

A data dir is filled as a broker would, and closed. A worker waits; then the broker starts. Seconds
count from then: until it answers `zqueue info`, until the first task is done, and until it has
found all. Beside them what it took of the processor until it answered, and its memory at the end.
Before that the files are dropped from the page cache, as after a start of the machine.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from lab.usage import cpu_s, rss_bytes

from zqueue.broker.journal import Journal
from zqueue.client.ask import Asker
from zqueue.core.batch import Published
from zqueue.errors import BrokerLost
from zqueue.store.segment_store import SegmentStore
from zqueue.wire.codec import pack

APP = "import zqueue\napp = zqueue.App()\n@app.task(queue='kept')\ndef noop(body): pass\n"
GROUP = 4096
GROUP_BYTES = 32 << 20
"""Of one commit: tasks, and bytes."""

DEADLINE_S = 300.0


def fill(path: Path, tasks: int, nbytes: int) -> None:
    """Put tasks, each an entry of its own."""
    store = SegmentStore(str(path), sync=False)
    journal = Journal(store.open().next_entry)
    body = pack([[b"x" * nbytes]])
    group = max(1, min(GROUP, GROUP_BYTES // len(body)))
    for first in range(0, tasks, group):
        for _ in range(min(group, tasks - first)):
            journal.put(Published("kept", "noop", body, 1), 1_700_000_000_000)
        found = journal.to_store()
        assert found is not None
        store.begin(*found, list)
        while store.busy:
            select.select([store], [], [])
        store.end()
    store.close()


def forget(path: Path) -> None:
    """Drop the files from the page cache."""
    for file in path.iterdir():
        fd = os.open(file, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """A process of zqueue."""
    return subprocess.Popen([sys.executable, "-m", "zqueue", "-l", "error", *map(str, arguments)])


def watch(url: str, pid: int, began: float) -> None:
    """Print when the broker can do what."""
    seen: set[str] = set()
    with Asker(url) as asker:
        while len(seen) < 3 and monotonic() < began + DEADLINE_S:
            sleep(0.02)
            with suppress(BrokerLost):
                state = asker.ask(timeout=1.0)
                is_so = {
                    "answers `zqueue info`": True,
                    "the first task is done": state["counters"]["done"] > 0,
                    "all is found": not state["store"]["recovering"],
                }
                for what in [what for what, so in is_so.items() if so and what not in seen]:
                    seen.add(what)
                    print(f"{what:24} after {monotonic() - began:6.2f} s, {cpu_s(pid):6.2f} s of "
                          f"processor time, {rss_bytes(pid) >> 20:,} MiB", flush=True)  # fmt: skip


def main() -> None:
    """Fill, start, watch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=10_000_000)
    parser.add_argument("--bytes", type=int, default=33, help="of a body")
    parser.add_argument("--dir", help="a directory on the disk in question")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=told.dir, prefix="zqueue-restart-") as folder:
        path, app, url = Path(folder, "data"), Path(folder, "app.py"), f"ipc://{folder}/broker"
        app.write_text(APP)
        fill(path, told.tasks, told.bytes)
        forget(path)
        worker = start("worker", app, "--url", url)
        sleep(2)  # It is up, and waits.
        began = monotonic()
        broker = start("broker", "--bind", url, "--data-dir", path, "--drain-timeout", 0,
                       "--queue-tasks", 10 * told.tasks, "--queue-bytes", 64 << 30)  # fmt: skip
        try:
            watch(url, broker.pid, began)
        finally:
            for process in (worker, broker):
                process.send_signal(signal.SIGKILL)
                process.wait()


if __name__ == "__main__":
    main()
