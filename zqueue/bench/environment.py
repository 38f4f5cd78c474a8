"""What was measured, and on what: versions, machine, and which modules are compiled."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import pkgutil
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zmq

from ..version import __version__

PACKAGE = Path(__file__).parent.parent
LIBRARIES = ("pyzmq", "msgpack", "ormsgpack", "memray", "matplotlib")


def look() -> dict[str, Any]:
    """All of it, as plain data."""
    compiled, outdated = compiled_modules()
    return {
        "zqueue": __version__,
        "compiled": compiled,
        "outdated": outdated,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "libraries": {"libzmq": zmq.zmq_version(), **dict(_versions())},
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "cores_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def compiled_modules(package: Path = PACKAGE) -> tuple[dict[str, bool], list[str]]:
    """Whether each module of the package runs compiled, and which of the compiled are older
    than their sources.

    Only the modules that are compiled in some installation are of interest; which those are, an
    installation without a compiler cannot tell, so all are listed.
    """
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    compiled: dict[str, bool] = {}
    outdated: list[str] = []
    for name, folder in _modules(package):
        stem = name.rpartition(".")[2]
        built = [folder / (stem + s) for s in suffixes if (folder / (stem + s)).exists()]
        compiled[name] = bool(built)
        source = folder / f"{stem}.py"
        if built and source.exists() and source.stat().st_mtime > built[0].stat().st_mtime:
            outdated.append(name)
    return compiled, outdated


def _modules(package: Path) -> Iterator[tuple[str, Path]]:
    prefix = package.name
    for found in pkgutil.iter_modules([str(package)]):
        name = f"{prefix}.{found.name}"
        if found.ispkg and found.name != "bench":
            for module, folder in _modules(package / found.name):
                yield f"{prefix}.{module}", folder
        elif not found.ispkg:
            yield name, package


def _versions() -> Iterator[tuple[str, str]]:
    for name in LIBRARIES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass  # It is not needed here.


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith(("model name", "Hardware", "cpu model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
