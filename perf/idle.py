"""What a broker costs that has nothing to do, by how many peers it has.

    python perf/idle.py                            1, 100, 1,000 and 4,000 workers
    python perf/idle.py --peers 1 100 --windows 5 --seconds 4

The peers are workers as far as the broker can tell: the real machine of a worker, with a socket of
its own, says once a second that it is there and reports its figures; hundreds of them share a
process. The broker is a real one; its processor time is counted, so what else the machine does
hardly matters.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from lab.measure import Figure
from lab.usage import cpu_s, rss_bytes
from lab.wording import table

from zqueue.client.ask import Asker
from zqueue.config import Address
from zqueue.errors import BrokerLost
from zqueue.net.dealer import Dealer
from zqueue.wire.codec import FRAME_BYTES_MAX, pack
from zqueue.worker.leases import WorkerProtocol

PEERS_A_PROCESS = 500
"""A context of ZeroMQ has at most 1,023 sockets."""

REPORT = {
    "done": 123_456, "failed": 0, "busy_s": 1234.567, "cpu_s": 2345.678, "rss_bytes": 41 << 20,
    "compiled": True, "gc": {"count": 120, "total": 43.21, "max": 1.23}, "tasks": {},
}  # fmt: skip
"""What a worker reports that runs nothing."""

EVERY_S = 1.0
TURN_S = 0.005
WAIT_S = 240.0


class Peer:
    """A worker that does nothing."""

    def __init__(self, url: str, report_at: float) -> None:
        about = {
            "pid": os.getpid(), "host": "idle", "version": "0", "supervisor": b"",
            "queues": ["idle"], "tasks": {"nothing": "idle"},
        }  # fmt: skip
        self._protocol = WorkerProtocol(os.urandom(16), pack(about), random.random, credit=1)
        self._dealer = Dealer(Address.parse(url), frame_bytes_max=FRAME_BYTES_MAX, frames_max=66)
        self._report_at = report_at

    def turn(self, now: float) -> int:
        """Take what came, send what is due. Returns how many messages that was."""
        protocol, dealer = self._protocol, self._dealer
        while (frames := dealer.receive()) is not None:
            protocol.receive(frames, now)
        while protocol.next_event() is not None:
            pass
        protocol.tick(now)
        if now >= self._report_at:
            self._report_at = max(self._report_at + EVERY_S, now)
            protocol.report(dict(REPORT))
        dealer.flush()
        messages = protocol.to_send()
        dealer.send(messages, afresh=protocol.link.is_greeting)
        return len(messages)


def simulate(url: str, count: int, said: Path) -> None:
    """Be so many workers, until told to stop, and count in a file what they say."""
    with said.open("r+b") as file:
        slot = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")
    began = monotonic()
    peers = [Peer(url, began + EVERY_S * i / count) for i in range(count)]
    at = 0
    while True:
        # Each is looked at ten times a second, and no two at a time.
        now = monotonic()
        for _ in range(max(1, int(count * TURN_S / 0.1))):
            slot[0] += peers[at].turn(now)
            at = (at + 1) % count
        time.sleep(TURN_S)


@contextlib.contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(asker: Asker, count: int) -> None:
    """Until the broker has so many workers. Raises TimeoutError."""
    until = monotonic() + WAIT_S
    while monotonic() < until:
        with contextlib.suppress(BrokerLost):
            state = asker.ask(timeout=10.0)
            # The list of workers is cut at some hundreds; that of one queue is counted.
            if state["queues"].get("idle", {}).get("workers") == count:
                return
        time.sleep(0.5)
    raise TimeoutError(f"not all of {count} workers came within {WAIT_S:g} s")


class Found(NamedTuple):
    """What was measured with so many peers."""

    cores: Figure
    said: Figure
    """Messages a second that they said: two each, if the machine is quick enough for them all."""
    rss_bytes: int


def read(said: list[Path]) -> int:
    """What all of them have said."""
    return sum(int.from_bytes(path.read_bytes(), sys.byteorder) for path in said)


def measure(count: int, windows: int, seconds: float) -> Found:
    """The broker's processor time with so many peers."""
    with tempfile.TemporaryDirectory(prefix="zqueue-perf-") as folder, contextlib.ExitStack() as up:
        url = f"ipc://{Path(folder)}/b"
        broker = up.enter_context(
            started("-m", "zqueue", "-l", "error", "broker", "--bind", url, "--liveness", "60",
                    "--drain-timeout", "0", "--peers", 5_000)
        )  # fmt: skip
        said: list[Path] = []
        for first in range(0, count, PEERS_A_PROCESS):
            some = min(PEERS_A_PROCESS, count - first)
            said.append(Path(folder) / f"said-{first}")
            said[-1].write_bytes(bytes(8))
            up.enter_context(started(__file__, "--simulate", url, some, said[-1]))
        asker = Asker(url)
        up.callback(asker.close)
        wait_for(asker, count)
        time.sleep(2 * EVERY_S)
        cores, rates = [], []
        for _ in range(windows):
            before, before_said, began = cpu_s(broker.pid), read(said), monotonic()
            time.sleep(seconds)
            elapsed_s = monotonic() - began
            cores.append((cpu_s(broker.pid) - before) / elapsed_s)
            rates.append((read(said) - before_said) / elapsed_s)
        wait_for(asker, count)  # Nobody was lost meanwhile.
        return Found(Figure(tuple(cores)), Figure(tuple(rates)), rss_bytes(broker.pid))


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=int, nargs="+", default=[1, 100, 1_000, 4_000])
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one window")
    parser.add_argument("--simulate", nargs=3, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.simulate:
        url, count, said = told.simulate
        simulate(url, int(count), Path(said))
    rows = []
    for count in told.peers:
        cores, said, held = measure(count, told.windows, told.seconds)
        each = f"{1e6 * cores.median / said.median:,.0f} µs" if said.median else "–"
        rows.append((
            f"{count:,}", f"{100 * cores.median:.1f} %", f"{100 * cores.lowest:.1f} %",
            f"{100 * cores.highest:.1f} %", f"{said.median:,.0f}",
            each, f"{held / (1 << 20):,.0f} MiB",
        ))  # fmt: skip
        print(f"{count:,} peers: {rows[-1][1]}", file=sys.stderr, flush=True)
    print(
        table(("peers", "of a core", "lowest", "highest", "messages/s", "for each", "holds"), rows)
    )


if __name__ == "__main__":
    main()
