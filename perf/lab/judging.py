"""Whether a check is slower than a baseline says: `perf/check.py` without the measuring."""

from __future__ import annotations

import dataclasses
import json
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import usage
from .measure import percentile
from .queues import Block

TOLERANCE = 0.25
"""How far a figure may rise above its baseline, as a part of it: five times what a median of five
runs strays on a busy machine, and more than two builds of Python differ by. Half as slow again, as
where a fast path is no longer taken, is well beyond."""

CALLS_SLACK = 0.1
"""Calls of an operation that may come on top of that: a hundred operations share some."""

RUNS = 5
AGAIN = 3
"""How often what seems to have changed is measured again."""

BLOCKS = 80
"""Turns of each in a run."""

Duel = tuple[Block, Block]
"""A subject and its reference."""

Found = dict[str, float]
"""What was measured of one check: ``ratio``, and ``calls`` where they are counted."""


class NothingToSay(Exception):
    """What stands in the way of an answer, for people."""


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """A subject, beside its reference."""

    name: str
    reference: str
    make: Callable[[ExitStack], Duel]
    text: str
    unit: str
    units: int
    """How many operations one call of the subject makes."""
    blocks: int = BLOCKS
    tolerance: float = TOLERANCE
    end_to_end: bool = False
    """Takes several processes, and long: only where it was asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What several runs found of a check, beside its baseline."""

    check: Check
    runs: Sequence[Found]
    baseline: Found

    @property
    def ratio(self) -> float:
        """The median of the runs."""
        return statistics.median(run["ratio"] for run in self.runs)

    @property
    def calls(self) -> float:
        """Python functions entered by one operation."""
        return min(run.get("calls", 0.0) for run in self.runs)

    @property
    def change(self) -> float:
        """How many times the baseline it takes."""
        return self.ratio / self.baseline["ratio"]

    @property
    def is_slower(self) -> bool:
        """Beyond the tolerance."""
        return self.change > 1 + self.check.tolerance

    @property
    def is_faster(self) -> bool:
        """As far below the baseline as would be too slow above it."""
        return self.change < 1 / (1 + self.check.tolerance)

    @property
    def calls_allowed(self) -> float:
        """How many calls an operation may make."""
        return self.baseline.get("calls", 0.0) * (1 + self.check.tolerance) + CALLS_SLACK

    @property
    def calls_more(self) -> bool:
        """Whether it makes too many."""
        return self.calls > self.calls_allowed

    def complaints(self) -> list[str]:
        """A line for each thing that is worse than the baseline allows."""
        lines = []
        check, was = self.check, self.baseline["ratio"]
        if self.is_slower:
            lines.append(
                f"SLOWER: {check.name} takes {self.change:.2f} x the baseline "
                f"({self.ratio:.3g} of {check.reference}'s time, baseline {was:.3g}, "
                f"allowed {was * (1 + check.tolerance):.3g})"
            )
        if self.calls_more:
            lines.append(
                f"MORE CALLS: {check.name} enters {self.calls:.2f} Python functions a {check.unit} "
                f"(baseline {self.baseline.get('calls', 0):.2f}, allowed {self.calls_allowed:.2f})"
            )
        return lines

    def good_news(self) -> list[str]:
        """A line if it is faster."""
        if not self.is_faster:
            return []
        line = (
            f"FASTER: {self.check.name} takes {self.change:.2f} x the baseline "
            f"({self.ratio:.3g} of {self.check.reference}'s time, "
            f"baseline {self.baseline['ratio']:.3g}): update the baseline "
            f"(--record --only {self.check.name})"
        )
        return [line]


def compare(
    checks: Mapping[str, Check],
    baseline: Mapping[str, Found],
    take: Callable[[Sequence[str], int], Mapping[str, Sequence[Found]]],
    runs: int = RUNS,
) -> dict[str, Finding]:
    """Measure with ``take(names, runs)``; what seems to have changed is measured again."""
    findings: dict[str, Finding] = {}
    doubtful = list(checks)
    for attempt in range(1 + AGAIN):
        if attempt:
            print(f"measured again: {', '.join(doubtful)}", file=sys.stderr)
        for name, found in take(doubtful, runs + 2 * attempt).items():
            findings[name] = Finding(checks[name], found, baseline[name])
        doubtful = [n for n in doubtful if findings[n].is_slower or findings[n].is_faster]
        if not doubtful:
            break
    return findings


def table(findings: Iterable[Finding]) -> str:
    """All figures, for people."""
    lines = [f"{'check':15s} {'ratio':>7s} {'baseline':>9s} {'change':>7s} {'calls':>7s}   beside"]
    lines += [
        f"{f.check.name:15s} {f.ratio:7.3f} {f.baseline['ratio']:9.3f} {f.change:7.2f} "
        f"{f.calls:7.2f}   {f.check.reference}"
        for f in findings
    ]
    return "\n".join(lines)


# --- the baseline ---


def section() -> str:
    """Where this interpreter and installation belong in the baseline.

    Raises `NothingToSay` if compiled modules are older than their sources.
    """
    compiled, outdated = usage.compiled_modules()
    # Where it was installed from a wheel, all files are as old as the installation.
    if outdated and (usage.PACKAGE.parent / "setup.py").exists():
        raise NothingToSay(
            f"older than their sources: {', '.join(outdated)}\n"
            "Compile them: python setup.py build_ext --inplace"
        )
    how = "compiled" if compiled else "interpreted"
    version = ".".join(platform.python_version_tuple()[:2])
    return f"{how}, {platform.python_implementation()} {version}, {platform.machine()}"


def read(path: Path, name: str, checks: Sequence[str]) -> dict[str, Any]:
    """A section of a baseline. Raises `NothingToSay` if it, or a check in it, is missing."""
    sections = json.loads(path.read_text()) if path.exists() else {}
    if name not in sections:
        there = "; ".join(sections) or "none"
        interpreted = name.startswith("interpreted")
        why = (
            "The modules of this installation are interpreted: install it where there is a C "
            "compiler,\nand without ZQUEUE_INTERPRETED. Or"
            if interpreted
            else "Take one of these, or"
        )
        raise NothingToSay(
            f"no baseline for: {name}\nThere is: {there}\n"
            f"{why} record one, from a state that is as fast as it should be:\n"
            "    python perf/check.py --record"
        )
    found: dict[str, Any] = sections[name]
    missing = [check for check in checks if check not in found["checks"]]
    if missing:
        raise NothingToSay(
            f"no baseline ({name}) for: {', '.join(missing)}\nRecord it:\n"
            f"    python perf/check.py --record --only {' '.join(missing)}"
        )
    return found


def record(path: Path, name: str, runs: Mapping[str, Sequence[Found]]) -> None:
    """Write what was found to a section of a baseline, and leave the rest as it is."""
    sections = json.loads(path.read_text()) if path.exists() else {}
    of = sections.setdefault(name, {"checks": {}})
    of["recorded on"] = surroundings()
    for check, found in runs.items():
        ratios = sorted(run["ratio"] for run in found)
        of["checks"][check] = {
            "ratio": round(statistics.median(ratios), 4),
            "range": [round(ratios[0], 4), round(ratios[-1], 4)],
            "middle half": [round(percentile(ratios, p), 4) for p in (25, 75)],
            "runs": len(ratios),
        }
        if "calls" in found[0]:
            of["checks"][check]["calls"] = round(min(run["calls"] for run in found), 4)
    path.write_text(json.dumps(sections, indent=1, sort_keys=True) + "\n")


def surroundings() -> dict[str, Any]:
    """What ratios may depend on."""
    seen = usage.environment()
    return {
        "cpu": seen["cpu"],
        "cores": seen["cores"],
        "python": seen["python"],
        "msgpack": seen["libraries"]["msgpack"],
        "zqueue": seen["zqueue"],
    }


def notes(name: str, then: Mapping[str, Any]) -> list[str]:
    """In what this is not as it was when the baseline was recorded."""
    now = surroundings()
    lines = [
        f"note: {what} is {now[what]}, and was {then[what]} when the baseline was recorded"
        for what in ("cpu", "python", "msgpack")
        if now[what] != then[what]
    ]
    if name.startswith("interpreted"):
        lines.append("note: the modules are interpreted, and compared as such")
    return lines
