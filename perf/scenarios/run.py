"""What the gateway does under load, and whether something is lost.

    python perf/scenarios/run.py steady                     needs Locust
    python perf/scenarios/run.py full killed --seconds 20 --rate 100
    python perf/scenarios/run.py all --out found

Each scenario has a broker, two workers and a gateway of its own, and ends them. Posts go out by the
clock, and latency counts from when one was due (load.py says how). The workers note every post
that they run: accepted and not noted is lost. A report with plots goes to --out.

Exit code 1 if something does not hold that must, 2 if Locust is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep

sys.path.insert(0, str(Path(__file__).parents[1]))

from lab.wording import table

from scenarios.judging import Found, checks, rows
from scenarios.plans import SCENARIOS, Scenario
from scenarios.plots import draw
from scenarios.site import Site

SEEN_EVERY = 1 / 50
"""Of the run's time."""

SECONDS_MIN = 8
"""The gateway itself waits 2 s for room in a full queue."""


def run(scenario: Scenario, rate: float, seconds: float) -> Found:
    """Run one."""
    with (
        tempfile.TemporaryDirectory(prefix="zqueue-scenario-") as data,
        Site(scenario, rate, seconds, Path(data, "data")) as site,
    ):
        begin = site.load()
        seen = []
        happens = list(scenario.events)
        while (at := monotonic() - begin) < seconds:
            if happens and at >= happens[0][0] * seconds:
                happens.pop(0)[2](site)
            seen.append(site.seen(at))
            sleep(seconds * SEEN_EVERY)
        posts, noted = site.posts(), site.noted()
        reader = site.slow_reader
        of_reader = (reader.sent_bytes, reader.read_bytes) if reader else (0, 0)
        return Found(scenario, seconds, len(site.due), posts, noted, seen, of_reader)


def report(name: str, found: Found, only_counts: bool) -> tuple[str, bool]:
    """A section of the report, and whether all holds."""
    made = [check for check in checks(found) if not (only_counts and check.timed)]
    judged = table(
        ("must hold", "found", "wanted", ""),
        ((c.text, f"{c.found:,}", c.wanted, "holds" if c.holds else "MISSED") for c in made),
    )
    text = f"## {name}: {found.scenario.text}\n\n{table(('what', 'measured'), rows(found))}\n"
    return f"{text}\n{judged}\n", all(check.holds for check in made)


def main() -> int:
    """The entry point. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="+", choices=[*SCENARIOS, "all"], metavar="SCENARIO",
                        help=f"{', '.join(SCENARIOS)}, all")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=30, help=f"of each, from {SECONDS_MIN}")
    parser.add_argument("--rate", type=float, default=200, help="posts a second")
    parser.add_argument("--out", type=Path, help="folder for report.md, posts and plots")
    parser.add_argument("--only-counts", action="store_true",
                        help="judge no times: for machines that do much else")  # fmt: skip
    options = parser.parse_args()
    if options.seconds < SECONDS_MIN or not 1 <= options.rate <= 1_000:
        parser.error(f"--seconds must be {SECONDS_MIN} or more, --rate 1 to 1000")
    if importlib.util.find_spec("locust") is None:
        print("Locust is missing: pip install -r perf/requirements.txt", file=sys.stderr)
        return 2
    names = list(SCENARIOS) if "all" in options.scenarios else options.scenarios
    sections, all_hold = [], True
    for name in names:
        load = os.getloadavg()[0]
        seconds = options.seconds * SCENARIOS[name].times
        found = run(SCENARIOS[name], options.rate, seconds)
        text, holds = report(name, found, options.only_counts)
        text += f"\n{options.rate:g} posts/s, {seconds:g} s; load before: {load:.1f}\n"
        print(text, flush=True)
        sections.append(text)
        all_hold &= holds
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"{name}.json").write_text(json.dumps(found.posts))
            sections.append(draw(name, found, options.out))
            (options.out / "report.md").write_text("\n".join(["# Scenarios\n", *sections]))
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
