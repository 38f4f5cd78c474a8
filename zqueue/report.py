"""A broker's state in words and tables, for ``zqueue info`` and ``zqueue health``."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any

from .errors import BrokerLost, ProtocolError
from .interpreted import note
from .sizes import size
from .wire.traced import untraced
from .wire.unpacking import unpack

BODY_CHARS_MAX = 60
"""What is shown of a body in a table."""


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Columns, numbers to the right."""
    cells = [list(header)] + [
        [f"{cell:,}" if type(cell) is int else str(cell) for cell in row] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def describe_info(state: dict[str, Any], url: str) -> str:
    """The answer to ``info``, for people."""
    draining = "  DRAINING" if state["draining"] else ""
    how = "compiled" if state["compiled"] else "interpreted"
    head = (
        f"broker {state['url']}{_shard(state)}  zqueue {state['version']} ({how})"
        f"  pid {state['pid']}  up {state['uptime_s']:,.0f} s  memory {size(state['rss_bytes'])}"
        f"{draining}\n"
        f"held {size(state['bytes'])} of {size(state['bytes_max'])}"
        f"  producers {state['producers']:,}"
    )
    lines = [
        head,
        *_durable(state.get("store", {})),
        *_keys(state.get("keys")),
        *_interpreted(state),
    ]
    parts = ["\n".join(lines)]
    queues = state["queues"]
    if queues:
        parts.append(
            table(
                ("queue", "ready", "delayed", "next due", "leased", "bytes", "workers"),
                (
                    (
                        name,
                        q["ready"],
                        q["delayed"],
                        _due(q),
                        q["leased"],
                        size(q["bytes"]),
                        q["workers"],
                    )
                    for name, q in queues.items()
                ),
            )
        )
        held_up = "\n".join(_held_up(queues))
        if held_up:
            parts.append(held_up)
    workers = state["workers"]
    if workers:
        parts.append(
            table(
                ("worker", "host", "queues", "credit", "in flight", "done", "failures"),
                (
                    (
                        f"pid {w['pid']}",
                        w["host"],
                        ",".join(w["queues"]),
                        w["credit"],
                        w["in_flight"],
                        w["report"].get("done", 0),
                        w["report"].get("failed", 0),
                    )
                    for w in workers
                ),
            )
        )
    else:
        parts.append("no workers: start some with 'zqueue worker APP'")
    counters = {name: value for name, value in state["counters"].items() if value}
    if counters:
        parts.append(table(("counter", "since start"), counters.items()))
    return "\n\n".join(parts)


def _shard(state: dict[str, Any]) -> str:
    return f" (shard {state['shard']})" if "shard" in state else ""


def _durable(store: dict[str, Any]) -> Iterator[str]:
    """What survives the broker, and what is the matter with that. Nothing of one in memory."""
    if "data_dir" not in store:
        return
    lost_ms = store["loss_window_ms"]
    window = f" (the last {lost_ms} ms are lost with the power)" if lost_ms else ""
    yield (
        f"durable: {store['level']}{window}, in {store['data_dir']}"
        f"  {size(store['live_bytes'])} stored, {size(store['disk_bytes'])} on disk"
    )
    if store["full"]:
        yield "the disk is full: nothing new is taken until there is room"
    if store["recovering"]:
        yield f"found {store['recovered']:,} of {store['recoverable']:,} tasks so far"


def _interpreted(state: dict[str, Any]) -> Iterator[str]:
    """That the broker, or workers, are slower than they could be."""
    workers = [worker["report"].get("compiled", True) for worker in state["workers"]]
    if said := note(state["compiled"]):
        yield f"it runs {said}"
    if said := note(all(workers)):
        yield f"{workers.count(False):,} of {len(workers):,} workers run {said}"


def _held_up(queues: dict[str, Any]) -> Iterator[str]:
    """Which queues are full, paused or draining, a sentence each."""
    for name, queue in queues.items():
        if queue["withheld"]:
            yield f"queue {name!r} is full: its producers wait"
        if queue.get("paused"):
            yield f"queue {name!r} is paused: nothing is handed out"
        if queue.get("draining"):
            yield f"queue {name!r} is draining: it takes nothing new"


def queues_as_data(state: dict[str, Any]) -> list[dict[str, Any]]:
    """The queues in the answer to ``info``, each with its state: ``running``, ``full``,
    ``paused`` or ``draining``, or ``paused, draining``."""
    return [
        {
            "queue": name,
            "state": _state_of(queue),
            **{
                key: queue[key]
                for key in ("ready", "delayed", "due_in_s", "leased", "bytes", "workers")
            },
        }
        for name, queue in state["queues"].items()
    ]


def describe_queues(queues: list[dict[str, Any]]) -> str:
    """What `queues_as_data` gives, for people."""
    if not queues:
        return "no queues: a queue is made when something is sent to it"
    header = ("next due" if key == "due_in_s" else key for key in queues[0])
    return table(header, ({**queue, "due_in_s": _due(queue)}.values() for queue in queues))


def _due(told: dict[str, Any]) -> str:
    """When a delayed task is due, or the first of a queue."""
    due_in_s = told["due_in_s"]
    return "-" if due_in_s is None else f"in {due_in_s:,.1f} s"


def describe_control(answer: dict[str, Any]) -> str:
    """The answer to ``Control``, for people."""
    state = _state_of(answer)
    return f"queue {answer['queue']!r} is {state}"


def peek_as_data(told: dict[str, Any]) -> dict[str, Any]:
    """The answer to ``peek``, with bodies as values; None for one that is no msgpack, or large."""
    return {
        **told,
        **{
            key: [{**task, "body": _value_of(task["body"])} for task in told[key]]
            for key in ("tasks", "delayed_tasks")
        },
    }


def _value_of(body: bytes | None) -> Any:
    """A packed body as JSON can have it."""
    if body is None:
        return None
    try:
        value, _ = untraced(unpack(body))
        return json.loads(json.dumps(value, default=repr))
    except (ProtocolError, TypeError, ValueError):
        return None


def describe_peek(told: dict[str, Any]) -> str:
    """What `peek_as_data` gives, for people."""
    rows = [
        (task["id"], task["task"] or "-", task["attempt"], f"{task['age_s']:,.1f} s",
         _shown(task["body"], task["bytes"]))
        for task in told["tasks"]
    ]  # fmt: skip
    delayed = [
        (task["id"], task["task"] or "-", task["attempt"], _due(task),
         _shown(task["body"], task["bytes"]))
        for task in told["delayed_tasks"]
    ]  # fmt: skip
    parts = [f"queue {told['queue']!r}: {told['ready']:,} tasks ready, {told['delayed']:,} delayed"]
    if rows:
        parts.append(table(("id", "task", "attempt", "age", "body"), rows))
    if delayed:
        parts.append(table(("id", "task", "attempt", "due", "body"), delayed))
    return "\n\n".join(parts)


def _shown(body: Any, nbytes: int) -> str:
    text = json.dumps(body, ensure_ascii=False)
    if body is None and nbytes > 1:
        return f"({nbytes:,} bytes)"
    return text if len(text) <= BODY_CHARS_MAX else f"{text[: BODY_CHARS_MAX - 1]}…"


def _state_of(queue: dict[str, Any]) -> str:
    held_up = [word for word in ("paused", "draining") if queue.get(word)]
    return ", ".join(held_up) or ("full" if queue.get("withheld") else "running")


def repeat(look: Callable[[], str], every_s: float, *, clears: bool) -> None:
    """Print what ``look`` gives, again and again until Ctrl-C; ``clears`` the screen before.

    The first call may raise. When no broker answers a later one, a line on stderr reports it,
    once, and the loop goes on.
    """
    never, is_lost = threading.Event(), False
    text = look()
    try:
        while True:
            if text:
                print("\x1b[H\x1b[2J" + text if clears else text, flush=True)
            due = monotonic() // every_s * every_s + every_s
            never.wait(due - monotonic())
            try:
                text, is_lost = look(), False
            except BrokerLost as error:
                if not is_lost:
                    print(f"zqueue: {error}", file=sys.stderr, flush=True)
                text, is_lost = "", True
    except KeyboardInterrupt:
        pass  # That is how it ends.


def _keys(keys: dict[str, Any] | None) -> list[str]:
    if keys is None:
        return []
    trouble = f"; {keys['trouble']}" if keys["trouble"] else ""
    return [f"knows {keys['clients']:,} clients by their keys{trouble}"]


def health_problems(state: dict[str, Any], *, need_workers: bool) -> list[str]:
    """Why a broker is not healthy, one sentence each."""
    problems = []
    if state["draining"]:
        problems.append("the broker is draining")
    if trouble := state.get("keys", {}).get("trouble"):
        problems.append(f"the list of clients is an old one: {trouble}")
    for name, queue in state["queues"].items():
        if queue["withheld"]:
            problems.append(f"queue {name!r} is full: {queue['ready']:,} tasks are ready")
        if need_workers and queue["ready"] and not queue["workers"] and not queue["plain"]:
            problems.append(f"queue {name!r} has {queue['ready']:,} tasks and no worker")
    if need_workers and not state["workers"]:
        problems.append("there are no workers")
    return problems
