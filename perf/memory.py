"""What a broker needs: with a full queue, and after many tasks went through.

    python perf/memory.py                  fills 256 MiB, then moves 10 million tasks
    python perf/memory.py --tasks 1000000

`zqueue bench memory` measures the same.
"""

from __future__ import annotations

import argparse

from zqueue.bench import ours
from zqueue.bench.components.memory import fill, pass_through

MIB = 1 << 20


def show_full(queue_bytes: int, *, single: bool) -> None:
    """Fill a queue and say how the broker's memory grew."""
    found = fill(queue_bytes, single=single)
    kind = "one task a batch" if single else "full batches"
    print(
        f"full queue, {kind:17s} told {queue_bytes / MIB:6.0f} MiB   holds "
        f"{found['held']:>10,.0f} tasks   grew {found['grew'] / MIB:6.0f} MiB   "
        f"allowed {found['bound'] / MIB:6.0f} MiB"
    )


def show_passed(tasks: int) -> None:
    """Move many tasks through a broker and say what it kept."""
    with ours.running() as us:
        found = pass_through(us, tasks)
    print(
        f"{found['operations']:,.0f} tasks through: {found['rss_before:broker'] / MIB:.1f} MiB "
        f"before, {found['rss:broker'] / MIB:.1f} MiB after"
    )


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=10_000_000)
    parser.add_argument("--queue-mib", type=int, default=256)
    arguments = parser.parse_args()
    show_full(arguments.queue_mib * MIB, single=False)
    show_full(min(arguments.queue_mib, 64) * MIB, single=True)
    show_passed(arguments.tasks)


if __name__ == "__main__":
    main()
