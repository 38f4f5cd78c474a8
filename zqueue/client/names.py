"""The names of producers, and the ids and numbers that follow from them."""

from __future__ import annotations

import hashlib
from typing import Any

CHANCE = 1_000_000
"""By how much, at random, processes of a name whose clocks were set back number apart."""

ROW_NUMBERS = 1 << 40
"""Numbers in the row of each connection of a producer: a million a second for twelve days."""

NAMED_ROW_NUMBERS = 1 << 52
"""The same of a producer with a name, which begins with the microseconds since 1970."""


def id_of(name: str) -> bytes:
    """The id of a producer with a name: the first 16 bytes of a SHA-256."""
    return hashlib.sha256(b"zqueue producer " + name.encode()).digest()[:16]


def named(first: int) -> dict[str, Any]:
    """What a producer with a name says of itself."""
    return {"first": first} if first else {}
