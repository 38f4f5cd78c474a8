"""What is said where nothing is compiled: what that costs, and what to do about it."""

from __future__ import annotations

from .wire.codec import COMPILED

NOTE = (
    "interpreted, at about a tenth of the speed; "
    "to have it compiled, install gcc and python3-dev, then zqueue again"
)
"""The figure is measured: docs/benchmarks.md."""


def note(compiled: bool = COMPILED) -> str:
    """The line about this installation, or another; empty if it is compiled."""
    return "" if compiled else NOTE
