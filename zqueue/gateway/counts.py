"""What a gateway counts, for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client import generate_latest as generate_text
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

KIND = b"text/plain; version=0.0.4; charset=utf-8"


class Counts(Collector):
    """Counters of one gateway, for one thread that counts. Which statuses there are is ours to say,
    so their number is bounded."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self.accepted = 0
        """Tasks that the broker has confirmed."""
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def __repr__(self) -> str:
        return f"<Counts: {self._requests.total()} requests, {self.accepted} tasks>"

    def answered(self, call: str, status: int) -> None:
        """A request was answered."""
        self._requests[call, status] += 1

    def describe(self) -> Iterator[Metric]:
        """Nothing: no other collector has any of these."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Both counters."""
        requests = CounterMetricFamily(
            "zqueue_gateway_requests", "Requests answered.", labels=("call", "status")
        )
        for (call, status), count in list(self._requests.items()):
            requests.add_metric((call, str(status)), count)
        yield requests
        yield CounterMetricFamily(
            "zqueue_gateway_accepted_tasks", "Tasks that the broker has confirmed.",
            value=self.accepted,
        )  # fmt: skip

    def text(self) -> bytes:
        """All of them."""
        return generate_text(self._registry)
