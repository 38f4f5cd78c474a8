"""Logs of our own programs. As a library, zqueue sets up none, and the root logger is yours."""

from __future__ import annotations

import datetime
import json
import logging
import sys

from .current import Current, current

FORMATS = ("text", "json")


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, process, message; of a task that runs, which it is;
    and what went wrong."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        line.update(_of_task(getattr(record, "current", None) or current()))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, ensure_ascii=False, default=repr)


def _of_task(task: Current) -> dict[str, object]:
    if not task.task and not task.id:
        return {}
    which: dict[str, object] = {
        "task": task.task, "queue": task.queue, "task_id": task.id, "attempt": task.attempt
    }  # fmt: skip
    if task.traceparent:
        which["trace_id"] = task.traceparent.split("-")[1]
    return which


def set_up_logs(*, form: str, level: int | str, name: str = "") -> None:
    """Send log lines to stderr, as ``text`` or ``json``; for a process of our own alone.

    ``level`` is that of all loggers without one of their own.
    """
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {name}%(message)s"))
    logging.basicConfig(handlers=[handler], level=level)
