"""What it costs that all is encrypted: a broker without keys and one with, in turn.

    python perf/curve.py
    python perf/curve.py --runs 5

Rates are tasks/s until the last task is done, beside the processor time of the broker for each, by
thread: ZeroMQ's has the encryption. Latencies are of lone tasks, 200 a second. Only ratios within
one run mean something.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from durable import in_turn, throughput
from lab.systems import System, running
from lab.wording import table

from zqueue.auth.files import (
    BROKER_KEY,
    CLIENTS,
    ClientKey,
    broker_lines,
    client_lines,
    make_pair,
    write_list,
    write_secret,
)
from zqueue.auth.listing import new_list, with_user
from zqueue.auth.users import ADMIN, User

CASES: dict[str, tuple[int, int]] = {
    "send_many, all in one": (4_000_000, 0),
    "send_many, 512 a call": (4_000_000, 512),
    "send, one by one": (1_000_000, 1),
}
"""Tasks, and bodies a call."""

WANTED = 0.8
"""Least rate at 512 a batch, of that without keys."""

LATENCIES, RATE, WANTED_LATENCY = 1_000, 200, 1.15


def make_keys(folder: Path) -> tuple[str, str]:
    """A broker's directory of keys, and the key file of somebody who may do all."""
    broker, client = make_pair(), make_pair()
    write_secret(folder / "keys" / BROKER_KEY, broker_lines(broker))
    everybody = with_user(new_list(()), User("all", (client.public,), frozenset({ADMIN})))
    write_list(folder / "keys" / CLIENTS, everybody)
    key = ClientKey("all", client, (broker.public,), ())
    write_secret(folder / "all.key", client_lines(key))
    return str(folder / "keys"), str(folder / "all.key")


def measure(systems: dict[str, System], runs: int) -> list[tuple[str, ...]]:
    """A line for each case and system."""
    rows: list[tuple[str, ...]] = []
    for case, (tasks, bodies) in CASES.items():
        found = in_turn(systems, runs, lambda s, t=tasks, b=bodies: throughput(s, t, b))
        for name, samples in found.items():
            pairs = list(zip(samples, found["without"], strict=True))
            ratio = statistics.median(here["rate"] / there["rate"] for here, there in pairs)
            rate = statistics.median(sample["rate"] for sample in samples)
            loop, zmq = (statistics.median(s.get(role, 0) for s in samples)
                         for role in ("loop", "zmq"))  # fmt: skip
            wanted = f">= {WANTED}" if name == "with keys" and bodies == 512 else ""
            rows.append((case, name, f"{rate:,.0f}", f"{ratio:.2f}", wanted, f"{loop:,.0f}",
                         f"{zmq:,.0f}"))  # fmt: skip
    found = in_turn(systems, runs, lambda s: s.latency(LATENCIES, RATE))
    for name, samples in found.items():
        pairs = list(zip(samples, found["without"], strict=True))
        ratio = statistics.median(here["call_p50"] / there["call_p50"] for here, there in pairs)
        p50 = statistics.median(sample["call_p50"] for sample in samples)
        wanted = f"<= {WANTED_LATENCY}" if name == "with keys" else ""
        rows.append(("latency p50, ms", name, f"{p50 / 1e6:.3f}", f"{ratio:.2f}", wanted, "", ""))
    return rows


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="zqueue-curve-"))
        keys, key = make_keys(Path(folder))
        systems = {
            "without": stack.enter_context(running("ours", 1)),
            "with keys": stack.enter_context(running("ours", 1, broker=("--keys", keys), key=key)),
        }
        header = ("case", "keys", "rate", "of without", "wanted", "loop, ns a task", "zmq")
        print(table(header, measure(systems, arguments.runs)))


if __name__ == "__main__":
    main()
