"""How much memory an operation takes: what it keeps, what it holds at a time, what it allocates.

Python counts the blocks that exist (`sys.getallocatedblocks`) and traces their bytes
(`tracemalloc`). What is allocated and freed again within an operation neither tells; for that
the operation is run in a process of its own whose Python takes every object from malloc, and the
C library writes down each call (``mtrace``). Where there is no such library that figure is
missing.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import repeat
from pathlib import Path
from typing import Any

from ..net.processes import start_python

Operation = Callable[[], object]

TRACED_OPERATIONS = 200
"""The library writes a line for each allocation."""

TRACED_CALLS_MIN = 3
TRACE_TIMEOUT_S = 30.0

PEAKS = 20
"""Calls whose peak is looked at; the highest counts."""

_LIBRARY = "libc_malloc_debug.so.0"
_VERSIONS = (b"GLIBC_2.2.5", b"GLIBC_2.17", b"GLIBC_2.27")
"""Under which of these names the function is found depends on the processor."""


def measure(operation: Operation, *, calls: int, by: int = 1) -> dict[str, float]:
    """``blocks_kept`` and ``bytes_peak`` of something done again and again.

    ``by`` is how many operations one call makes. For a moment when nothing else runs here.
    """
    operation()
    return {
        "blocks_kept": _blocks_kept(operation, calls) / by,
        "bytes_peak": _bytes_peak(operation) / by,
    }


def held(put: Operation, items: int) -> dict[str, float]:
    """``blocks_held`` and ``bytes_held`` by item, of a call that puts so many somewhere."""
    gc.collect()
    blocks = sys.getallocatedblocks()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        put()
        nbytes = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    return {
        "blocks_held": (sys.getallocatedblocks() - blocks) / items,
        "bytes_held": nbytes / items,
    }


def _blocks_kept(operation: Operation, calls: int) -> float:
    gc.collect()
    loop = repeat(None, calls)
    before = sys.getallocatedblocks()
    for _ in loop:
        operation()
    return (sys.getallocatedblocks() - before) / calls


def _bytes_peak(operation: Operation) -> float:
    tracemalloc.start()
    try:
        peaks = []
        for _ in range(PEAKS):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            operation()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return float(max(peaks[1:]))  # The first one pays for what stays.


# --- every single allocation, in a process of its own ---


def count(maker: Callable[..., Operation], *arguments: Any, by: int = 1) -> dict[str, float]:
    """``allocations`` and ``bytes_allocated`` of one operation; nothing where they cannot be had.

    ``maker(*arguments)`` makes the operation, in the other process: it must be a module's own
    function, and its arguments plain data.
    """
    calls = max(TRACED_CALLS_MIN, TRACED_OPERATIONS // by)
    with tempfile.TemporaryDirectory(prefix="zqueue-bench-") as folder:
        trace = Path(folder, "trace")
        environment = {
            **os.environ,
            "LD_PRELOAD": _LIBRARY,
            "MALLOC_TRACE": str(trace),
            "PYTHONMALLOC": "malloc",
        }
        process = start_python(
            __name__, "main",
            maker.__module__, maker.__qualname__, json.dumps(arguments), str(calls),
            env=environment, stderr=subprocess.DEVNULL, process_group=0,
        )  # fmt: skip
        try:
            process.wait(TRACE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass  # Then the trace is not whole, and nothing is told.
        finally:
            process.kill()
            process.wait()
        if process.returncode or not trace.exists():
            return {}
        with trace.open() as lines:
            allocations, nbytes = parse_trace(lines)
    operations = calls * by
    return {"allocations": allocations / operations, "bytes_allocated": nbytes / operations}


def parse_trace(lines: Iterable[str]) -> tuple[int, int]:
    """Allocations and their bytes in what ``mtrace`` wrote: ``@ where + address size``, and ``>``
    for the new place of what was reallocated."""
    allocations, nbytes = 0, 0
    for line in lines:
        words = line.split()
        if len(words) == 5 and words[2] in ("+", ">"):
            allocations += 1
            nbytes += int(words[4], 16)
    return allocations, nbytes


def main() -> int:
    """The other process: makes the operation and runs it while malloc is traced."""
    module, name, arguments, calls = sys.argv[1:5]
    operation = getattr(importlib.import_module(module), name)(*json.loads(arguments))
    begin, end = _tracer(b"mtrace"), _tracer(b"muntrace")
    if begin is None or end is None:
        return 1
    operation()
    operation()
    loop = repeat(None, int(calls))
    gc.disable()
    begin()
    for _ in loop:
        operation()
    end()
    return 0


def _tracer(name: bytes) -> Callable[[], None] | None:
    """The preloaded library's function. (A plain look-up finds the C library's, which does not
    trace.)"""
    try:
        library = ctypes.CDLL(_LIBRARY)
        find = ctypes.CDLL(None).dlvsym
    except (OSError, AttributeError):
        return None
    find.restype = ctypes.c_void_p
    find.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    for version in _VERSIONS:
        address = find(library._handle, name, version)
        if address:
            return ctypes.CFUNCTYPE(None)(address)
    return None
