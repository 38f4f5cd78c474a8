"""Log lines as JSON."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from zqueue.current import Current, set_in_main
from zqueue.logs import JsonFormatter


def line_of(message: str, *arguments: object, **more: Any) -> dict[str, Any]:
    record = logging.makeLogRecord(
        {"name": "shop", "levelno": logging.WARNING, "levelname": "WARNING", "created": 1.5,
         "process": 77, "msg": message, "args": arguments, **more}
    )  # fmt: skip
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_outside_of_a_task() -> None:
    assert line_of("hello %s", "you") == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "warning",
        "logger": "shop",
        "pid": 77,
        "message": "hello you",
    }


@pytest.mark.parametrize("text", ['a "quote"', "two\nlines", "naïve ☃", "\ud800", "\x00"])
def test_whatever_is_said_it_is_one_line_of_json(text: str) -> None:
    assert line_of("%s", text)["message"] == text


def test_a_task_that_runs_is_named() -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    task = Current("add", "default", "a-1-0", 2, f"00-{trace_id}-00f067aa0ba902b7-01")
    set_in_main(lambda: task)
    try:
        line = line_of("x")
    finally:
        set_in_main(None)
    assert line.items() >= {
        "task": "add", "queue": "default", "task_id": "a-1-0", "attempt": 2, "trace_id": trace_id
    }.items()  # fmt: skip


def test_a_record_may_say_which_task_it_is_about() -> None:
    line = line_of("x", current=Current("add", "default", "a-1-0"))
    assert line["task_id"] == "a-1-0"
    assert "trace_id" not in line


def test_an_error_has_its_traceback() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        line = line_of("it failed", exc_info=sys.exc_info())
    assert line["error"].endswith("ValueError: no")


def test_importing_the_library_touches_no_logger() -> None:
    program = (
        "import logging, zqueue, zqueue.worker.process, zqueue.broker.process, zqueue.logs\n"
        "root = logging.getLogger()\n"
        "assert not root.handlers and root.level == logging.WARNING\n"
        "assert not logging.getLogger('zqueue').handlers\n"
        "assert logging.getLogger('zqueue').level == logging.NOTSET\n"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=30)


# --- a worker's, with an app that may set up its own ---


def logged_by_a_worker(app: str, then: str) -> list[str]:
    """What a process like a worker writes: ``app`` is its app's text, ``then`` runs in a task."""
    program = (
        "import logging, logging.config\n"
        "from zqueue.logs import WorkerLogs\n"
        "logs = WorkerLogs(form='text', level='INFO', name='ours ')\n"
        "logs._handler.setFormatter(logging.Formatter('%(levelname)s ours %(message)s'))\n"
        "shop, zqueue = logging.getLogger('shop'), logging.getLogger('zqueue.worker')\n"
        f"{app}\nlogs.keep()\n{then}\nzqueue.info('own')\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        check=True, timeout=30, capture_output=True, text=True,
    )  # fmt: skip
    return done.stderr.splitlines()


TASK = "shop.debug('fine'); shop.info('usual'); logging.info('root')"
DICT = (
    "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': True, "
    "'formatters': {'f': {'format': 'MINE %(message)s'}}, "
    "'handlers': {'h': {'class': 'logging.StreamHandler', 'formatter': 'f'}}, "
    "'root': {'level': 'INFO', 'handlers': ['h']}})"
)
BASIC = "logging.basicConfig(level=logging.DEBUG, format='MINE %(message)s')"


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (BASIC, ["MINE fine", "MINE usual", "MINE root"]),
        (DICT,
         ["MINE root"]),
        ("shop.addHandler(logging.StreamHandler()); shop.propagate = False",
         ["usual", "INFO ours root"]),
        ("logging.getLogger().addHandler(logging.StreamHandler())", ["usual", "root"]),
    ],
    ids=["basicConfig", "dictConfig", "a logger's handler", "root's handler"],
)  # fmt: skip
def test_an_app_s_own_set_up_wins_and_our_lines_stay(app: str, expected: list[str]) -> None:
    assert logged_by_a_worker(app, TASK) == [*expected, "INFO ours own"]
