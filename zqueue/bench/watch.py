"""A profiler within a process: started when the process begins, saved when it ends.

What is to be watched, and where the outcome goes, travels to child processes in two environment
variables. `processes.start_zqueue` starts a watched process through `main` here; a worker process
is started by its supervisor, and loads `watched` in place of the app it would load otherwise.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .optional import need

KIND, FOLDER = "ZQUEUE_BENCH_WATCH", "ZQUEUE_BENCH_WATCH_FOLDER"
WATCHED_APP = "zqueue.bench.watched:app"

MEMORY, TRACE = "memory", "trace"

TRACE_ENTRIES = 100_000
"""Calls in a trace of one process; the newest are kept. A viewer shows more, but slowly."""


def orders() -> dict[str, str] | None:
    """The environment variables that tell processes to watch themselves; None if none should."""
    if os.environ.get(KIND):
        return {name: os.environ[name] for name in (KIND, FOLDER)}
    return None


@contextmanager
def ordered(kind: str, folder: Path) -> Iterator[None]:
    """Every process that is started meanwhile watches itself."""
    os.environ[KIND], os.environ[FOLDER] = kind, str(folder)
    try:
        yield
    finally:
        del os.environ[KIND], os.environ[FOLDER]


@contextmanager
def watching(role: str) -> Iterator[None]:
    """Watch this process as it was ordered, and save what was seen."""
    found = orders()
    if found is None:
        yield
        return
    stem = Path(found[FOLDER], f"{role}-{os.getpid()}")
    with tool(found[KIND], stem):
        yield


def tool(kind: str, stem: Path) -> AbstractContextManager[Any]:
    """A running profiler, as a context. Raises `ConfigError` if it is not installed."""
    if kind == MEMORY:
        memray = need("memray", f"--profile {kind}")
        tracker: AbstractContextManager[Any] = memray.Tracker(stem.with_suffix(".bin"))
        return tracker
    viztracer = need("viztracer", f"--profile {kind}")
    tracer: AbstractContextManager[Any] = viztracer.VizTracer(
        output_file=str(stem.with_suffix(".json")),
        tracer_entries=TRACE_ENTRIES,
        process_name=stem.name,
        log_gc=True,
        verbose=0,
    )
    return tracer


def main() -> Any:
    """The life of a watched process: ``ROLE MODULE FUNCTION`` and its arguments."""
    role, module, function, *sys.argv[1:] = sys.argv[1:]
    with ExitStack() as stack:
        stack.enter_context(watching(role))
        return getattr(importlib.import_module(module), function)()
