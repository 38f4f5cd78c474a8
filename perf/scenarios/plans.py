"""The scenarios: when posts are due, what happens meanwhile, and what must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from scenarios.site import Site

Span = tuple[float, float]
"""A part of the run, as shares of its time."""

ROUNDING_S = 1e-9
"""So exact is when a post is due."""


class Scenario(NamedTuple):
    """One of them. All times are shares of the run's, all rates multiples of the asked rate."""

    text: str
    rates: tuple[Span, ...] = ((0.0, 1.0), (1.0, 1.0))
    """At these times these rates; between them in proportion."""
    events: tuple[tuple[float, str, Callable[[Site], None]], ...] = ()
    """At these times this happens."""
    before: Span = (0.1, 0.5)
    after: Span = (0.5, 1.0)
    slower_max: float = 3.0
    """p50 of what was due in `after`, by that in `before`."""
    refused: bool = False
    """Whether posts must be refused, or none may be."""
    durable: bool = False
    holds: float = 0.0
    """The share of the posts that the queue holds; 0: the broker's default."""
    grows_max: float = 0.0
    """Memory of gateway and broker at the end, by that at a quarter of the time; 0: not judged."""


def _pause(site: Site) -> None:
    site.control("pause")


def _resume(site: Site) -> None:
    site.control("resume")


SCENARIOS = {
    "steady": Scenario("one rate"),
    "full": Scenario(
        "the queue is paused until it is full, and resumed",
        events=((0.2, "paused", _pause), (0.7, "resumed", _resume)),
        before=(0.05, 0.2), after=(0.9, 1.0), refused=True, holds=1 / 16,
    ),
    "killed": Scenario(
        "the broker is killed (kill -9), and started again with its data dir",
        events=((0.2, "killed", lambda site: site.broker.kill()),
                (0.4, "started", lambda site: site.broker.start())),
        before=(0.05, 0.2), after=(0.85, 1.0), durable=True,
    ),
}  # fmt: skip


def due(scenario: Scenario, rate: float, seconds: float) -> Iterator[float]:
    """When posts are due, in seconds: each as soon as the rates add up to one more."""
    total = 0.0
    for (begin, low), (end, high) in pairwise(scenario.rates):
        first, last = begin * seconds, end * seconds
        rise = rate * (high - low) / (last - first)
        low_rate, at = rate * low, first
        while True:
            # The next whole number: total + low_rate * t + rise * t² / 2, t from `first` on.
            missing = int(total) + 1 - total
            root = low_rate**2 + 2 * rise * missing
            if root < 0 or (low_rate == 0 and rise <= 0):
                break
            at = first + 2 * missing / (low_rate + root**0.5)
            if at > last + ROUNDING_S:
                break
            yield at
            # From here on anew, so that each step is exact.
            low_rate += rise * (at - first)
            first, total = at, float(int(total) + 1)
        total += (low_rate + rate * high) / 2 * (last - first)
