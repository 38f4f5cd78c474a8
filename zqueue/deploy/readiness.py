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
    """What must not grow at a broker while a host changes."""

    workers_lost: int
    dead: int

    @classmethod
    def of(cls, infos: Mapping[str, Info]) -> dict[str, Losses]:
        """As brokers count them, by hosts."""
        return {
            name: cls(info["counters"].get("workers_lost", 0), info["counters"].get("dead", 0))
            for name, info in infos.items()
        }


def unready(host: Host, facts: Facts, infos: Mapping[str, Info]) -> list[str]:
    """What a host still lacks; empty: it is ready.

    Parameters:
        facts: of after the change.
        infos: of the brokers that answer, by hosts.
    """
    missing = [f"{unit} is {now.state}" for unit, now in facts.units.items()
               if now.state != "active"]  # fmt: skip
    if not infos:
        return [*missing, "no broker answers"]
    if BROKER_UNIT in facts.units:
        if (own := infos.get(host.name)) is None:
            missing.append("its broker does not answer")
        elif own["pid"] != facts.units[BROKER_UNIT].pid:
            missing.append("the broker that answers is another process")
    for name, info in infos.items():
        where = "the broker" if len(infos) == 1 else f"the broker of {name}"
        missing += _absent(host, facts, info, where)
    return missing


def _absent(host: Host, facts: Facts, info: Info, where: str) -> list[str]:
    """What a host lacks at a broker."""
    missing = []
    if info.get("store", {}).get("recovering"):
        missing.append(f"{where} looks through its data dir")
    pids = {told["pid"] for told in info["supervisors"] if told["host"] == facts.hostname}
    wanted = 0
    for app, count in host.workers.items():
        unit = facts.units.get(worker_unit(app))
        wanted += count
        if count and (unit is None or unit.pid not in pids):
            missing.append(f"the workers of {app} are not with {where}")
    there = sum(1 for told in info["workers"] if told["host"] == facts.hostname)
    if there < wanted and len(info["workers"]) < LISTED_MAX:
        missing.append(f"{there} of {wanted} workers are with {where}")
    return missing


def harm(before: Mapping[str, Losses], infos: Mapping[str, Info]) -> list[str]:
    """What was lost since the change began, at the brokers that answered then; empty: nothing."""
    found = []
    now = Losses.of(infos)
    for name, was in before.items():
        if name not in now:
            found.append(f"the broker of {name} does not answer")
            continue
        if (workers := now[name].workers_lost - was.workers_lost) > 0:
            found.append(f"{workers} workers were lost")
        if (dead := now[name].dead - was.dead) > 0:
            found.append(f"{dead} tasks became dead letters")
    return found
