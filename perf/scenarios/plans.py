"""The scenarios: when posts are due, what happens meanwhile, and what must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from scenarios.site import Site

Span = tuple[float, float]
"""A part of the run, as shares of its time."""

ROUNDING = 1e-6
"""A post that is due at the very end is due, however sums are rounded."""


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
    times: int = 1
    """So many times as long as others it lasts."""
    reads_slowly: bool = False
    """Whether there is a client that does."""

    @property
    def waits(self) -> bool:
        """Whether posts must wait in it."""
        return self.refused or self.durable


def _pause(site: Site) -> None:
    site.control("pause")


def _resume(site: Site) -> None:
    site.control("resume")


SCENARIOS = {
    "steady": Scenario("one rate"),
    "ramp": Scenario(
        "from a tenth of the rate to twice the rate",
        rates=((0.0, 0.1), (1.0, 2.0)), before=(0.1, 0.4), after=(0.7, 1.0),
    ),
    "spike": Scenario(
        "a quarter of the rate, then for a fifth of the time eight times as much",
        rates=((0.0, 0.25), (0.4, 0.25), (0.41, 2.0), (0.61, 2.0), (0.62, 0.25), (1.0, 0.25)),
        before=(0.1, 0.4), after=(0.65, 1.0),
    ),
    "soak": Scenario(
        "one rate for ten times as long; memory is judged", times=10, grows_max=1.25,
    ),
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
    "slow": Scenario(
        "one client streams calls without end, and reads 2.5 KB/s of the results",
        events=((0.5, "slow reader", lambda site: site.read_slowly()),),
        after=(0.55, 1.0), reads_slowly=True,
    ),
}  # fmt: skip


def due(scenario: Scenario, rate: float, seconds: float) -> Iterator[float]:
    """When posts are due, in seconds: each as soon as the rates add up to one more."""
    passed = 0.0
    for (begin, low), (end, high) in pairwise(scenario.rates):
        length = (end - begin) * seconds
        first, last = rate * low, rate * high
        total = passed + (first + last) / 2 * length
        for number in range(int(passed + ROUNDING) + 1, int(total + ROUNDING) + 1):
            # Where first * t + (last - first) / length * t² / 2 is what is missing.
            missing = number - passed
            root = max(0.0, first**2 + 2 * (last - first) / length * missing) ** 0.5
            yield begin * seconds + 2 * missing / (first + root)
        passed = total
