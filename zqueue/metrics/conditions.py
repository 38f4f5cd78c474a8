"""Conditions: what is wrong with a broker or holds it up, in sentences for people."""

from __future__ import annotations

from typing import Any

KINDS = (
    "no-broker", "old-broker", "full-disk", "no-workers", "unserved", "full", "broker-draining",
    "draining", "paused",
)  # fmt: skip
"""The most severe first."""


def conditions_of(broker: dict[str, Any]) -> list[dict[str, str]]:
    """The conditions of a broker in a snapshot, the most severe first; empty if it is healthy."""
    found: list[dict[str, str]] = []

    def add(kind: str, text: str, queue: str = "") -> None:
        found.append({"kind": kind, "queue": queue, "text": text})

    if broker["state"] in ("waiting", "lost"):
        add("no-broker", broker["problem"])
    elif broker["state"] == "old":
        add("old-broker", broker["problem"])
    if "queues" not in broker:
        return found
    queues = broker["queues"]
    pulled = bool(queues) and all(queue["plain"] for queue in queues)
    if not broker["workers"] and not pulled:
        ready = sum(queue["ready"] for queue in queues if not queue["plain"])
        waiting = f"{_waiting(ready)} for" if ready else "start some with"
        add("no-workers", f"No worker is connected: {waiting} 'zqueue worker APP'.")
    if broker.get("store", {}).get("full"):
        add("full-disk", f"The disk that has {broker['store']['data_dir']} is full: the broker "
                         "accepts no new tasks.")  # fmt: skip
    if broker["draining"]:
        add("broker-draining", "The broker is draining: it accepts no new tasks.")
    for queue in queues:
        for kind, text in _of_queue(queue, any_workers=bool(broker["workers"])):
            add(kind, text, queue["name"])
    return sorted(found, key=lambda condition: KINDS.index(condition["kind"]))


def _of_queue(queue: dict[str, Any], *, any_workers: bool) -> list[tuple[str, str]]:
    name, found = queue["name"], []
    if queue["ready"] and not queue["workers"] and not queue["plain"] and any_workers:
        found.append(
            ("unserved", f"No worker serves queue {name}: {_waiting(queue['ready'])} for one.")
        )
    if queue["withheld"]:
        found.append(("full", f"Queue {name} is full: producers wait for room."))
    if queue["paused"]:
        found.append(("paused", f"Queue {name} is paused: it delivers no tasks."))
    if queue["draining"]:
        found.append(("draining", f"Queue {name} is draining: it accepts no new tasks."))
    return found


def _waiting(tasks: int) -> str:
    return "1 task waits" if tasks == 1 else f"{tasks:,} tasks wait"
