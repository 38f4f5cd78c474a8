"""Bytes for people, alike in all that they read."""

from __future__ import annotations


def size(nbytes: float) -> str:
    """``812 B``, ``45 KiB``, ``3.1 MiB``, ``1.1 GiB``: units of 1024."""
    if nbytes < 1000:
        return f"{nbytes:.0f} B"
    value, units = nbytes / 1024, ["KiB", "MiB", "GiB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.1f} {units[0]}" if value < 9.95 else f"{value:,.0f} {units[0]}"
