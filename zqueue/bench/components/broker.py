"""The broker process between bare peers: its processor time by message and by task.

The rate is that of all three processes' work; the broker's own limit is 1e9 divided by its
processor time of one operation.
"""

from __future__ import annotations

from collections.abc import Callable

from ...ask import ask
from ...protocol.codec import pack
from .. import bare, ours
from ..bodies import body
from ..lab import Contest, Lab
from ..measure import percentiles
from ..usage import Stopwatch, cpu_s

SUBJECT = "broker process"
SIZES = (1, 64, 2048)
PATIENT = ("--heartbeat", "30", "--liveness", "600")
"""Bare peers say nothing while they are not measured."""


def measure(lab: Lab) -> None:
    """All of it."""
    with ours.broker(*PATIENT) as url, bare.connected(url) as pair:
        pid: int = ask(url)["pid"]
        batches = {size: pack([body(i) for i in range(size)]) for size in SIZES}

        def move(size: int) -> Callable[[], dict[str, float]]:
            def work() -> dict[str, float]:
                stopwatch, before_s = Stopwatch({"broker": [pid]}), cpu_s(pid)
                messages = pair.move(batches[size], lab.scale.messages)
                sample = stopwatch.sample(lab.scale.messages)
                spent_ns = (cpu_s(pid) - before_s) * 1e9
                return {
                    **sample,
                    "cpu_message_ns:broker": spent_ns / messages,
                    "task_ns": spent_ns / lab.scale.messages / size,
                }

            return work

        def deliver() -> dict[str, float]:
            times = max(1, lab.scale.messages // 10)
            return {**percentiles(pair.time_deliveries(batches[1], times)), "operations": times}

        pair.move(batches[1], bare.WINDOW_BATCHES)
        lab.hold(
            *(Contest(f"batches of {size}", "batch", {SUBJECT: move(size)}, "batch", float(size))
              for size in SIZES),
            Contest("one batch of 1 after the other", "batch", {SUBJECT: deliver}),
        )  # fmt: skip
    lab.note("an operation is one batch: published, delivered, settled, confirmed")
    lab.note("the latency of a lone batch is from its sending to its delivery, in a closed loop")
