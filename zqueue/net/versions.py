"""The libraries that read what strangers send, and how old they may be."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

import zmq

OLDEST = {"libzmq": (4, 3, 5), "pyzmq": (27, 2), "msgpack": (1, 2, 1)}
"""Before these a stranger could crash or starve a process, or write into its memory. pip sees to
those that it installs, and not to a libzmq of the system that pyzmq was built with."""


def versions() -> dict[str, str]:
    """Those that are here."""
    found = {"libzmq": zmq.zmq_version()}
    for name in ("pyzmq", "msgpack"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # Put there by other means than a package: nobody can tell.
    return found


def too_old(found: dict[str, str]) -> list[str]:
    """What to say of those that are too old."""
    return [
        f"{name} {text} has known faults that strangers can use: install {name} "
        f"{'.'.join(map(str, OLDEST[name]))} or newer"
        for name, text in found.items()
        if tuple(map(int, re.findall(r"\d+", text)[:3])) < OLDEST[name]
    ]
