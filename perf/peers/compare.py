"""Side by side in one run: zqueue and what a user would pick instead.

    python perf/peers/compare.py --setup            make an environment for each system
    python perf/peers/compare.py                    measure all of them
    python perf/peers/compare.py celery pyzmq-512   only these
    python perf/peers/compare.py --list             what there is

W1 is the throughput of no-op tasks until the last is acknowledged or executed, W2 the time from
when a task is to be sent to the start of its handler at 200 tasks/s, W3 the throughput of a word
count over 1 to 4 KB of text with the results back at the caller. Each system is measured right
beside zqueue, in turn before it and after it, and ratios are taken within such a pair.

Exit code 2, and no table, if something is missing; 1 if a system failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from lab.measure import percentile

from peers import environments, table
from peers.child import Child, PeerFailed
from peers.registry import BY_NAME, PEERS, Peer

RATE = 200
"""Tasks/s in W2."""

WARM = 64
"""Tasks in the first call of each kind, which does not count."""

MOST = {"throughput": 2_000_000, "wordcount": 20_000}
"""Tasks in one call at most."""


class Comparison:
    """Measures pairs and notes them in a record."""

    def __init__(self, peers: list[Peer], envs: environments.Environments, scratch: Path) -> None:
        self._peers = peers
        self._envs = envs
        self._scratch = scratch
        self._started = 0
        self.about: dict[str, str] = {}

    def run(self, number: int, seconds: float, record: table.Record) -> None:
        """Every peer once. In odd runs the order is reversed, and in each pair, too."""
        backwards = number % 2 == 1
        for peer in reversed(self._peers) if backwards else self._peers:
            pair = [BY_NAME[peer.against], peer]
            measured = {}
            for each in reversed(pair) if backwards else pair:
                try:
                    measured[each.name] = self.measure(each, seconds, paced=peer.paced)
                except PeerFailed as error:
                    _say(f"{each.title}: {error}")
                    first = str(error).partition("\n")[0]
                    record["failed"].append({"run": number, "failed": each.name, "error": first})
                    break
            else:
                record["pairs"].append(
                    {
                        "run": number,
                        "peer": peer.name,
                        "against": peer.against,
                        "theirs": measured[peer.name],
                        "ours": measured[peer.against],
                    }
                )

    def measure(self, peer: Peer, seconds: float, *, paced: bool) -> dict[str, float]:
        """All figures of one system. Raises `PeerFailed`."""
        self._started += 1
        folder = self._scratch / f"{self._started}-{peer.name}"
        with Child(self._envs.python(peer), peer.driver, folder) as child:
            self.about[peer.name] = child.ask(peer.start)["ready"]
            found = {"W1": rate_of(child, "throughput", seconds)}
            if paced:
                tasks = max(20, int(RATE * seconds))
                answer = child.ask({"do": "latency", "tasks": tasks, "rate": RATE})
                from_due = sorted(due for due, _ in answer["latencies_ns"])
                for percent in (50, 99):
                    found[f"W2 p{percent}"] = percentile(from_due, percent) / 1e6
            found["W3"] = rate_of(child, "wordcount", seconds)
        shown = "   ".join(f"{figure} {value:,.2f}" for figure, value in found.items())
        _say(f"  {peer.title:44s} {shown}")
        return found


def rate_of(child: Child, verb: str, seconds: float) -> float:
    """Tasks/s in a call made to last about so long, as told by calls that grow up to it.

    One of these may have met a pause of the machine, so that the call is much too small: then
    it tells, in turn, how large it has to be.
    """

    def call(tasks: float) -> tuple[int, float]:
        answer = child.ask({"do": verb, "tasks": max(WARM, min(int(tasks), MOST[verb]))})
        return answer["tasks"], answer["seconds"]

    call(WARM)
    tasks, took = call(WARM)
    while took < seconds / 8 and tasks < MOST[verb]:
        tasks, took = call(8 * tasks)
    while True:
        tasks, took = call(tasks / took * seconds)
        if took >= seconds / 2 or tasks == MOST[verb]:
            return tasks / took


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show_list(envs: environments.Environments) -> None:
    """Who can be compared, and who is ready to be."""
    for peer in PEERS:
        state = "ready" if not envs.missing(peer) else "missing"
        print(f"{peer.name:20s} {state:8s} {peer.title}; {peer.how}")


def refusal(missing: dict[str, dict[str, str]]) -> str:
    """What is missing, of whom, and how to get it."""
    lines = ["compare: something is missing:"]
    by_lack: dict[tuple[str, str], list[str]] = {}
    for name, lacks in missing.items():
        for lack in lacks.items():
            by_lack.setdefault(lack, []).append(name)
    for (lack, command), names in by_lack.items():
        lines += [f"  {', '.join(names)}: {lack}", f"      {command}"]
    lines.append("Nothing was measured; with --skip-missing the others are.")
    return "\n".join(lines)


def measure(arguments: argparse.Namespace, peers: list[Peer], left_out: dict[str, str]) -> int:
    """Run the comparison, print the table. Returns the exit code."""
    record: table.Record = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "runs": arguments.runs,
        "seconds": arguments.seconds,
        "pairs": [],
        "left_out": left_out,
        "failed": [],
    }
    with tempfile.TemporaryDirectory(prefix="zqueue-peers-") as scratch:
        comparison = Comparison(peers, arguments.envs, Path(scratch))
        for number in range(arguments.runs):
            _say(f"run {number + 1} of {arguments.runs}")
            comparison.run(number, arguments.seconds, record)
            ours = [text for name, text in comparison.about.items() if not BY_NAME[name].against]
            record["zqueue"] = ours[0] if ours else "zqueue"
            record["about"] = comparison.about
            # After every run: an interrupted comparison has measured something, too.
            if arguments.json:
                arguments.json.write_text(json.dumps(record, indent=1))
    print(table.report(record))
    return 1 if record["failed"] else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="compare.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="systems; by default all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="that one figure shall take")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument("--envs", type=Path, default=environments.DEFAULT,
                        help="where the environments are (default: %(default)s)")  # fmt: skip
    parser.add_argument("--setup", action="store_true", help="make the environments and leave")
    parser.add_argument("--list", action="store_true", help="show the names and leave")
    parser.add_argument("--skip-missing", action="store_true",
                        help="leave out systems that are missing, and say so")  # fmt: skip
    parsed = parser.parse_args(arguments)
    known = [peer.name for peer in PEERS]
    for name in parsed.names:
        if name not in known:
            parser.error(f"no system {name!r}; there are: {', '.join(known)}")
    if parsed.runs < 1 or parsed.seconds <= 0:
        parser.error("--runs must be at least 1, --seconds more than 0")
    parsed.envs = environments.Environments(parsed.envs)
    return parsed


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parse(argv)
    if arguments.list:
        show_list(arguments.envs)
        return 0
    peers = [peer for peer in PEERS if not arguments.names or peer.name in arguments.names]
    if arguments.setup:
        try:
            arguments.envs.make(peers)
        except (subprocess.CalledProcessError, OSError) as error:
            _say(f"compare: {error}")
            return 1
    missing: dict[str, dict[str, Any]] = {
        peer.name: lacks for peer in peers if (lacks := arguments.envs.missing(peer))
    }
    present = [peer for peer in peers if peer.name not in missing]
    if missing and (arguments.setup or not arguments.skip_missing or not present):
        _say(refusal(missing))
        return 2
    if arguments.setup:
        return 0
    return measure(arguments, present, {name: ", ".join(lacks) for name, lacks in missing.items()})


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
