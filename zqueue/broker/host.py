"""What a broker needs of its host, and tells of its process."""

from __future__ import annotations

import os
import resource
import socket
from time import monotonic
from typing import Any

from ..core.batch import reuse
from ..net.processes import rss_bytes
from ..version import __version__
from ..wire.codec import COMPILED


def describe(url: str, started: float) -> dict[str, Any]:
    """What the process adds to the answer to `Ask`; it began at that monotonic instant."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "version": __version__,
        "compiled": COMPILED,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "url": url,
        "uptime_s": round(monotonic() - started, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "rss_bytes": rss_bytes(),
        "batches_made": reuse(),
    }
