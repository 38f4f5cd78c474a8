"""Which names a request may come for.

A server at a loopback address accepts only requests that name a loopback host. A page of another
site can make its own name resolve to 127.0.0.1 (DNS rebinding), and its scripts could then read our
answers as those of their own site; but the browser still sends that site's name in ``Host``.
"""

from __future__ import annotations

import functools
import re

from .asgi import Scope

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

_HOST = re.compile(r"(\[[0-9a-f:]+\]|[^:]*)(:\d*)?")


def is_for_loopback(scope: Scope) -> bool:
    """Whether a request names loopback, or (as no browser does) nothing."""
    for key, value in scope["headers"]:
        if key == b"host" and _name_of(value) not in LOOPBACK_NAMES:
            return False
    return True


@functools.lru_cache(maxsize=256)
def _name_of(host: bytes) -> str:
    match = _HOST.fullmatch(host.decode("latin-1").strip().lower())
    return match[1].rstrip(".") if match else ""
