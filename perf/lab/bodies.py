"""The task that every measurement sends. By itself, for systems in environments without zqueue."""

from __future__ import annotations

from typing import Any

BATCH = 512
"""Tasks in a frame where somebody packs by hand."""


def body(i: int) -> dict[str, Any]:
    """32 bytes packed: a small event."""
    return {"id": i, "x": 1.5, "name": "abcdefgh"}
