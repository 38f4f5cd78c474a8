"""What processes used: processor time and memory, as the system counts them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

OTHERS_SEEN_S = 0.1
"""The system counts in steps of 10 ms: of less than this nothing can be said."""

Roles = Mapping[str, Sequence[int]]
"""Who does what: ``{"broker": [pid], "worker": [pid, pid]}``."""


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, all its threads; 0 if there is no such process.

    The kernel's clock of the process where it has one (nanoseconds), else ``/proc`` (10 ms).
    """
    with suppress(OSError, OverflowError):
        return time.clock_gettime((~pid << 3) | 2)  # As clock_getcpuclockid(3) makes it.
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_cpu_s() -> float:
    """Processor time that all programs of this machine have used, and what its host took away;
    0 where the system does not say. Counted in steps of 10 ms for each processor."""
    try:
        with open("/proc/stat") as lines:
            fields = lines.readline().split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if there is no such process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_by_role(roles: Roles) -> dict[str, float]:
    """Processor time by role, seconds."""
    return {role: sum(map(cpu_s, pids)) for role, pids in roles.items()}


def used(before: Mapping[str, float], after: Mapping[str, float], elapsed_s: float,
         operations: int) -> dict[str, float]:  # fmt: skip
    """Figures ``cpu:ROLE`` (in cores) and ``cpu_ns:ROLE`` (of one operation)."""
    figures: dict[str, float] = {}
    for role, seconds in before.items():
        spent_s = after[role] - seconds
        figures[f"cpu:{role}"] = spent_s / elapsed_s
        figures[f"cpu_ns:{role}"] = spent_s * 1e9 / operations
    return figures


def memory(roles: Roles) -> dict[str, float]:
    """Figures ``rss:ROLE``; several processes of a role are added up."""
    return {f"rss:{role}": float(sum(map(rss_bytes, pids))) for role, pids in roles.items()}


def others(machine_s: float, own_s: float, elapsed_s: float) -> dict[str, float]:
    """Figure ``others``: the cores that all other programs used. Nothing if it was too short."""
    if elapsed_s < OTHERS_SEEN_S:
        return {}
    cores = (machine_s - own_s) / elapsed_s
    return {"others": min(max(0.0, cores), float(os.cpu_count() or 1))}


class Stopwatch:
    """Measures elapsed time, and the processor time of everybody who takes part."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self._machine_s = machine_cpu_s()
        self._cpu_s = cpu_by_role(roles)
        self._began = time.monotonic()

    def sample(self, operations: int, end: float | None = None) -> dict[str, float]:
        """The figures of so many operations that were over at an instant of the monotonic clock
        (now, if none is given)."""
        now = time.monotonic()
        elapsed_s = (now if end is None else end) - self._began
        cpu_s = cpu_by_role(self._roles)
        own_s = sum(cpu_s.values()) - sum(self._cpu_s.values())
        machine_s = machine_cpu_s() - self._machine_s
        return {
            "rate": operations / elapsed_s,
            "operations": float(operations),
            **others(machine_s, own_s, now - self._began),
            **used(self._cpu_s, cpu_s, elapsed_s, operations),
            **memory(self._roles),
        }
