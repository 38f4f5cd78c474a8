"""Whether a host that was changed works again, by what its broker says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .facts import BROKER_UNIT, Facts, worker_unit
from .inventory import Host

LISTED_MAX = 500
"""Workers that a broker lists."""

Info = Mapping[str, Any]
"""The answer of ``zqueue info --json``."""


class Losses(NamedTuple):
    """What must not grow while a host changes."""

    workers_lost: int
    dead: int

    @classmethod
    def of(cls, info: Info) -> Losses:
        """As a broker counts them."""
        counters = info["counters"]
        return cls(counters.get("workers_lost", 0), counters.get("dead", 0))


def unready(host: Host, facts: Facts, info: Info | None) -> list[str]:
    """What a host still lacks; empty: it is ready.

    Parameters:
        facts: of after the change.
        info: None: no broker answers.
    """
    missing = [f"{unit} is {now.state}" for unit, now in facts.units.items()
               if now.state != "active"]  # fmt: skip
    if info is None:
        return [*missing, "no broker answers"]
    if BROKER_UNIT in facts.units and info["pid"] != facts.units[BROKER_UNIT].pid:
        missing.append("the broker that answers is another process")
    if info.get("store", {}).get("recovering"):
        missing.append("the broker looks through its data dir")
    pids = {told["pid"] for told in info["supervisors"] if told["host"] == facts.hostname}
    wanted = 0
    for app, count in host.workers.items():
        unit = facts.units.get(worker_unit(app))
        wanted += count
        if count and (unit is None or unit.pid not in pids):
            missing.append(f"the workers of {app} are not with the broker")
    there = sum(1 for told in info["workers"] if told["host"] == facts.hostname)
    if there < wanted and len(info["workers"]) < LISTED_MAX:
        missing.append(f"{there} of {wanted} workers are with the broker")
    return missing


def harm(before: Losses, info: Info) -> list[str]:
    """What was lost since the change began; empty: nothing."""
    now = Losses.of(info)
    found = []
    if now.workers_lost > before.workers_lost:
        found.append(f"{now.workers_lost - before.workers_lost} workers were lost")
    if now.dead > before.dead:
        found.append(f"{now.dead - before.dead} tasks became dead letters")
    return found
