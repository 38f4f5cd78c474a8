"""The names of producers, and the ids and numbers that follow from them."""

from __future__ import annotations

import hashlib

CHANCE = 1_000_000
"""By how much, at random, processes of a name whose clocks were set back number apart."""

ROW_NUMBERS = 1 << 40
"""Numbers in the row of each connection of a producer: a million a second for twelve days."""

ROWS = 900_000
"""Brokers that a producer may have had, one after the other."""

NAMED_ROW_NUMBERS = 1 << 52
"""The same of a producer with a name, which begins with the microseconds since 1970."""

NAMED_ROWS = 192
"""So many at once, of whatever kind (`fleet`). They are used again: time has passed meanwhile."""


def id_of(name: str) -> bytes:
    """The id of a producer with a name: the first 16 bytes of a SHA-256."""
    return hashlib.sha256(b"zqueue producer " + name.encode()).digest()[:16]
