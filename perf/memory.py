"""What a broker needs: with a full queue, and after many tasks went through.

python perf/memory.py                  fills 256 MiB, then moves 10 million tasks
python perf/memory.py --tasks 1000000
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

sys.path.insert(0, str(Path(__file__).parent))

import ours
from bodies import body
from raw import free_port

import zqueue
from zqueue.ask import ask
from zqueue.errors import BrokerLost, QueueFull
from zqueue.net.processes import start_python

MIB = 1 << 20


@contextmanager
def broker(queue_bytes: int) -> Iterator[str]:
    """A broker without workers, gone afterwards."""
    url = f"tcp://127.0.0.1:{free_port()}"
    process: subprocess.Popen[bytes] = start_python(
        *ours.CLI, "broker", "--bind", url, "--queue-bytes", str(queue_bytes),
        "--max-bytes", str(queue_bytes), "--queue-tasks", "1000000000", "--drain-timeout", "0",
    )  # fmt: skip
    try:
        deadline = monotonic() + 10
        while monotonic() < deadline:
            with contextlib.suppress(BrokerLost):
                ask(url, timeout=0.2)
                break
        yield url
    finally:
        process.terminate()
        process.wait(10)


def fill(queue_bytes: int, *, single: bool) -> None:
    """Fill a queue and say how the broker's memory grew."""
    with broker(queue_bytes) as url:
        before = ask(url)["rss_bytes"]
        producer = zqueue.Producer(url, timeout=0.5)
        sent = 0
        try:
            while True:
                if single:  # Every body is a batch of its own: the dearest way to hold tasks.
                    producer.send("full", body(sent))
                    producer.flush(0.5)
                    sent += 1
                else:
                    sent += producer.send_many("full", (body(i) for i in range(100_000)))
        except (QueueFull, zqueue.TimedOut):
            pass
        state = ask(url)
        grown = state["rss_bytes"] - before
        told = queue_bytes
        kind = "one task a batch" if single else "full batches"
        print(
            f"full queue, {kind:17s} told {told / MIB:6.0f} MiB   holds "
            f"{state['queues']['full']['ready']:>10,} tasks   grew {grown / MIB:6.0f} MiB   "
            f"allowed {(1.5 * told) / MIB + 64:6.0f} MiB"
        )
        with contextlib.suppress(zqueue.ZQueueError):
            producer.close(0)


def pass_through(tasks: int) -> None:
    """Move many tasks through a broker and say what it kept."""
    with ours.running(1) as us:
        step = min(tasks, 1_000_000)
        us.send_many(step)
        before = ask(us.url)["rss_bytes"]
        moved = 0
        while moved < tasks:
            us.send_many(step)
            moved += step
        sleep(0.5)
        after = ask(us.url)["rss_bytes"]
        print(
            f"{moved:,} tasks through: {before / MIB:.1f} MiB before, {after / MIB:.1f} MiB after"
        )


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=10_000_000)
    parser.add_argument("--queue-mib", type=int, default=256)
    arguments = parser.parse_args()
    fill(arguments.queue_mib * MIB, single=False)
    fill(min(arguments.queue_mib, 64) * MIB, single=True)
    pass_through(arguments.tasks)


if __name__ == "__main__":
    main()
