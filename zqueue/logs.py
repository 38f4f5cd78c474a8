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
    logging.basicConfig(handlers=[_handler(form, name)], level=level)


def _handler(form: str, name: str) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {name}%(message)s"))
    return handler


class WorkerLogs:
    """The log of a process that imports an app, which may set up a log of its own.

    zqueue's own lines always go to stderr in our form. All others do so, too, unless the app sets
    up the root logger: then they go where it says, as in any program of its. So the root logger
    has no handler of ours while the app is imported, and `logging.basicConfig` works there; what
    is logged meanwhile takes the handler of last resort, which is ours. Call `keep` afterwards.
    """

    def __init__(self, *, form: str, level: int | str, name: str) -> None:
        self._handler = _handler(form, name)
        ours = logging.getLogger("zqueue")
        ours.addHandler(self._handler)
        ours.setLevel(level)
        ours.propagate = False
        logging.getLogger().setLevel(level)
        logging.lastResort = self._handler

    def keep(self) -> None:
        """The app was imported: keep its set-up of the root logger, or else make ours."""
        root = logging.getLogger()
        if all(map(_is_by_chance, root.handlers)):
            root.handlers[:] = [self._handler]
        for name, logger in list(logging.root.manager.loggerDict.items()):
            if name.partition(".")[0] == "zqueue" and isinstance(logger, logging.Logger):
                logger.disabled = False  # As `dictConfig` does to all that it was not told of.


def _is_by_chance(handler: logging.Handler) -> bool:
    """Whether `logging.info`, or one of its kind, put it there because there was none."""
    form = handler.formatter._fmt if handler.formatter is not None else None
    return type(handler) is logging.StreamHandler and form == logging.BASIC_FORMAT
