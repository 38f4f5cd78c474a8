"""What a broker needs: with a full queue, and after many tasks went through.

    python perf/memory.py                  fills 256 MiB, then moves 10 million tasks
    python perf/memory.py --tasks 1000000

`perf/report.py memory` measures the same, in amounts of its own.
"""

from __future__ import annotations

import argparse

from lab.systems import SINGLE_PART, fill, pass_through

MIB = 1 << 20


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=10_000_000)
    parser.add_argument("--queue-mib", type=int, default=256)
    arguments = parser.parse_args()
    for kind, nbytes in (
        ("full batches", arguments.queue_mib * MIB),
        ("one task a batch", arguments.queue_mib * MIB // SINGLE_PART),
    ):
        found = fill(nbytes, single=kind != "full batches")
        print(
            f"full queue, {kind:17s} told {nbytes / MIB:6.1f} MiB   holds "
            f"{found['held']:>10,.0f} tasks   grew {found['grew'] / MIB:6.0f} MiB   "
            f"allowed {found['bound'] / MIB:6.0f} MiB"
        )
    found = pass_through(arguments.tasks)
    print(
        f"{found['operations']:,.0f} tasks through: {found['rss_before:broker'] / MIB:.1f} MiB "
        f"before, {found['rss:broker'] / MIB:.1f} MiB after"
    )


if __name__ == "__main__":
    main()
