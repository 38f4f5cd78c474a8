"""The task that every benchmark sends: the same as `zqueue.bench.bodies`, by itself, for peers in
environments where there is no zqueue."""

from __future__ import annotations

from typing import Any

BATCH = 512


def body(i: int) -> dict[str, Any]:
    """32 bytes packed: a small event."""
    return {"id": i, "x": 1.5, "name": "abcdefgh"}
