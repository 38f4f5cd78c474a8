"""A broker's state in words and tables, for ``zqueue info`` and ``zqueue health``."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any

from .errors import BrokerLost, ProtocolError
from .protocol.unpacking import unpack_bodies


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
    memory = state["rss_bytes"] / 1e6
    how = "compiled" if state["compiled"] else "interpreted: no compiler was there to install it"
    head = (
        f"broker {state['url']}  zqueue {state['version']} ({how})  pid {state['pid']}"
        f"  up {state['uptime_s']:,.0f} s  memory {memory:,.0f} MB{draining}\n"
        f"holds {state['bytes']:,} of {state['bytes_max']:,} bytes"
        f"  producers {state['producers']:,}"
    )
    parts = [
        head,
    ]
    queues = state["queues"]
    if queues:
        parts.append(
            table(
                ("queue", "ready", "leased", "bytes", "workers"),
                ((n, q["ready"], q["leased"], q["bytes"], q["workers"]) for n, q in queues.items()),
            )
        )
        held_up = "\n".join(_held_up(queues))
        if held_up:
            parts.append(held_up)
    workers = state["workers"]
    if workers:
        parts.append(
            table(
                ("worker", "host", "queues", "credit", "in flight", "done", "failed"),
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


def _held_up(queues: dict[str, Any]) -> Iterator[str]:
    """Which queues are not as usual, a sentence each."""
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
            **{key: queue[key] for key in ("ready", "leased", "bytes", "workers")},
        }
        for name, queue in state["queues"].items()
    ]


def describe_queues(queues: list[dict[str, Any]]) -> str:
    """What `queues_as_data` gives, for people."""
    if not queues:
        return "no queues: a queue is made when something is sent to it"
    return table(queues[0], (queue.values() for queue in queues))


def describe_control(answer: dict[str, Any]) -> str:
    """The answer to ``Control``, for people."""
    state = _state_of(answer)
    return f"queue {answer['queue']!r} is {'as usual' if state == 'running' else state}"


def _state_of(queue: dict[str, Any]) -> str:
    held_up = [word for word in ("paused", "draining") if queue.get(word)]
    return ", ".join(held_up) or ("full" if queue.get("withheld") else "running")


def repeat(look: Callable[[], str], every_s: float, *, clears: bool) -> None:
    """Print what ``look`` gives, again and again until Ctrl-C; ``clears`` the screen before.

    The first look raises as it does. When later ones meet no broker, that is said on stderr,
    once, and then it goes on.
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


def dead_as_data(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer to ``dead``, with bodies and errors unpacked."""
    return {
        "total": answer["total"],
        "letters": [
            {
                "queue": queue,
                "task": task,
                "reason": reason,
                "attempt": attempt,
                "body": _printable(body),
                "error": _printable(b"\x91" + error) if error else None,
            }
            for queue, task, body, reason, error, attempt in answer["letters"]
        ],
    }


def describe_dead(answer: dict[str, Any]) -> str:
    """The answer to ``dead``, for people."""
    data = dead_as_data(answer)
    if not data["letters"]:
        return "no dead letters"
    parts = [f"{data['total']:,} dead letters since the start; the newest:"]
    for letter in data["letters"]:
        error = letter["error"]
        what = f"{error[0]}: {error[1]}" if isinstance(error, list) and len(error) == 3 else "?"
        body = repr(letter["body"])
        parts.append(
            f"{letter['queue']}/{letter['task'] or '-'}  {letter['reason']}"
            f"  attempt {letter['attempt']}  {what}\n    {body[:200]}"
        )
    return "\n".join(parts)


def _printable(frame: bytes) -> Any:
    """The one value in a frame, as far as JSON can show it."""
    try:
        (value,) = unpack_bodies(frame)
    except (ProtocolError, ValueError):
        return frame[:200].hex()
    return _without_bytes(value)


def _without_bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_without_bytes(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _without_bytes(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def health_problems(state: dict[str, Any], *, need_workers: bool) -> list[str]:
    """What keeps a broker from being well, one sentence each."""
    problems = []
    if state["draining"]:
        problems.append("the broker is draining")
    for name, queue in state["queues"].items():
        if queue["withheld"]:
            problems.append(f"queue {name!r} is full: {queue['ready']:,} tasks are ready")
        if need_workers and queue["ready"] and not queue["workers"] and not queue["plain"]:
            problems.append(f"queue {name!r} has {queue['ready']:,} tasks and no worker")
    if need_workers and not state["workers"]:
        problems.append("there are no workers")
    return problems
