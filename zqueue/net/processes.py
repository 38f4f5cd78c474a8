"""Processes of our own: starting them from a clean interpreter, and what one of them needs."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
import subprocess
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1

_PROGRAM = """\
import sys
sys.path[:] = {path!r}
from {module} import {function}
sys.exit({function}())
"""


def start_python(
    module: str, function: str, *arguments: str, **options: Any
) -> subprocess.Popen[bytes]:
    """Start ``module.function()`` in a new interpreter with this one's module path.

    ``arguments`` are its ``sys.argv[1:]``, ``options`` go to `subprocess.Popen`. Whatever lies
    in the working directory cannot get in the way, and the process gets SIGTERM if this one
    dies (on Linux).
    """
    program = _PROGRAM.format(path=sys.path, module=module, function=function)
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        preexec_fn=_end_with_parent,
        **options,
    )


def _end_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def rss_bytes() -> int:
    """Resident memory now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
