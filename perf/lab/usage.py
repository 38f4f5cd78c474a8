"""What processes used, as the system counts it, and what kind of machine and build it was."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zmq

import zqueue

from .measure import Sample

PACKAGE = Path(zqueue.__file__).parent
LIBRARIES = ("pyzmq", "msgpack", "memray", "matplotlib")

OTHERS_SEEN_S = 0.1
"""The system counts in steps of 10 ms: of less than this nothing can be said."""

Roles = Mapping[str, Sequence[int]]
"""Who does what: ``{"broker": [pid], "worker": [pid, pid]}``."""


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, all its threads; 0 if there is no such process."""
    with suppress(OSError, OverflowError):
        return time.clock_gettime((~pid << 3) | 2)  # As clock_getcpuclockid(3) makes it.
    return 0.0


def threads_cpu_s(pid: int) -> dict[str, tuple[float, float]]:
    """Processor time of a broker's threads, and how much of it was in the system: of its ``loop``,
    of ``zmq`` and of its ``store``. The share of the system is counted in steps of 10 ms."""
    found: dict[str, tuple[float, float]] = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        user, system = map(int, rest.split()[11:13])
        total = int((folder / "schedstat").read_text().split()[0]) / 1e9
        role = "loop" if int(folder.name) == pid else "zmq" if name.startswith("ZMQ") else "store"
        so_far = found.get(role, (0.0, 0.0))
        ticks = (user + system) or 1
        found[role] = so_far[0] + total, so_far[1] + total * system / ticks
    return found


def machine_cpu_s() -> float:
    """Processor time that all programs of this machine have used, and what its host took away,
    counted in steps of 10 ms for each processor."""
    with open("/proc/stat") as lines:
        user, nice, system, _, _, irq, softirq, steal = map(int, lines.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if there is no such process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class Stopwatch:
    """Measures the processor time of everybody who takes part, from when it is made."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self._machine_s = machine_cpu_s()
        self._cpu_s = self._cpu_by_role()
        self._began = time.monotonic()

    def _cpu_by_role(self) -> dict[str, float]:
        return {role: sum(map(cpu_s, pids)) for role, pids in self._roles.items()}

    def sample(self, operations: int, elapsed_s: float) -> Sample:
        """The figures of so many operations that took so long."""
        watched_s = time.monotonic() - self._began
        spent_s = {
            role: after - before
            for (role, after), before in zip(
                self._cpu_by_role().items(), self._cpu_s.values(), strict=True
            )
        }
        found = {"rate": operations / elapsed_s, "operations": float(operations)}
        if watched_s >= OTHERS_SEEN_S:
            cores = (machine_cpu_s() - self._machine_s - sum(spent_s.values())) / watched_s
            found["others"] = min(max(0.0, cores), float(os.cpu_count() or 1))
        for role, seconds in spent_s.items():
            found[f"cpu:{role}"] = seconds / watched_s
            found[f"cpu_ns:{role}"] = seconds * 1e9 / operations
            found[f"rss:{role}"] = float(sum(map(rss_bytes, self._roles[role])))
        return found


def pauses(stats: Mapping[str, Any], elapsed_s: float, role: str) -> Sample:
    """Figures of a role's garbage collections, from ``count``, ``total`` and ``max`` in
    milliseconds. Where there was none there is no interval, and no pause."""
    count = stats["count"]
    found = {f"gc_count:{role}": float(count)}
    if count:
        found[f"gc_interval:{role}"] = elapsed_s * 1e3 / count
        found[f"gc_pause_max:{role}"] = stats["max"]
        found[f"gc_pause_mean:{role}"] = stats["total"] / count
        found[f"gc_share:{role}"] = stats["total"] / 1e3 / elapsed_s
        if "interval_min" in stats:
            found[f"gc_shortest:{role}"] = stats["interval_min"]
    return found


def pauses_between(
    before: Mapping[str, Any], after: Mapping[str, Any], elapsed_s: float, role: str
) -> Sample:
    """The same from two looks at ``gc_pause_ms`` of a broker's ``info``."""
    then, now = before.get(role, {"count": 0, "total": 0.0}), after.get(role)
    if now is None:
        return {}
    less = {key: now[key] - then[key] for key in ("count", "total")}
    return pauses({**now, **less}, elapsed_s, role)


def environment() -> dict[str, Any]:
    """What was measured, and on what: versions, machine, and which modules are compiled."""
    compiled, outdated = compiled_modules()
    libraries = {"libzmq": zmq.zmq_version()}
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            libraries[name] = importlib.metadata.version(name)
    return {
        "zqueue": zqueue.__version__,
        "compiled": compiled,
        "outdated": outdated,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": libraries,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "cores_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def compiled_modules(package: Path = PACKAGE) -> tuple[list[str], list[str]]:
    """The modules of the package that run compiled, and those of them that are older than their
    sources."""
    compiled, outdated = [], []
    for source in sorted(package.rglob("*.py")):
        built = [
            source.with_suffix(suffix)
            for suffix in importlib.machinery.EXTENSION_SUFFIXES
            if source.with_suffix(suffix).exists()
        ]
        if built:
            name = ".".join(source.relative_to(package.parent).with_suffix("").parts)
            compiled.append(name)
            if source.stat().st_mtime > built[0].stat().st_mtime:
                outdated.append(name)
    return compiled, outdated


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Hardware", "cpu model")):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
