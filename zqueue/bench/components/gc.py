"""The garbage collector under full load: how often it runs in each process, and for how long.

The broker tells its pauses (as in ``zqueue info``), a worker those that it noted itself; this
process is the producer, with Python's own settings, as in a user's program.
"""

from __future__ import annotations

import statistics
from time import monotonic

from .. import ours, pauses
from ..lab import Contest, Lab
from ..measure import transpose
from ..ours import Ours

SUBJECT = "zqueue"
STEP_TASKS = 100_000


def measure(lab: Lab) -> None:
    """All of it."""
    with ours.running() as us:
        us.census()  # From now on the worker notes its collections.
        lab.hold(
            Contest("full load, send_many", "task",
                    {SUBJECT: lambda: load(us, lab.scale.load_s, many=True)}),
            Contest("full load, send", "task",
                    {SUBJECT: lambda: load(us, lab.scale.load_s, many=False)}),
        )  # fmt: skip
        threshold = us.census()["threshold"]
    lab.note(f"the worker's collector looks at its youngest after {threshold[0]:,} new objects")
    lab.note("where there was no collection there is no interval")


def load(us: Ours, seconds: float, *, many: bool) -> dict[str, float]:
    """Full load for so long. Figures of the worker's and the broker's collections, and of what
    the worker kept."""
    step = STEP_TASKS if seconds >= 1 else STEP_TASKS // 20
    before = us.census()
    began, broker = monotonic(), us.broker_pauses()
    tasks, samples = 0, []
    while monotonic() < began + seconds:
        samples.append(us.send_many(step) if many else us.send(step))
        tasks += step
    elapsed_s = monotonic() - began
    after = us.census()
    figures = {
        name: statistics.fmean(values)
        for name, values in transpose(samples).items()
        if name.startswith("cpu") or name == "others"
    }
    return {
        **figures,
        "rate": tasks / elapsed_s,
        "operations": float(tasks),
        "blocks_kept:worker": (after["blocks"] - before["blocks"]) / tasks,
        **pauses.figures_of(after["spans"], elapsed_s, "worker"),
        **pauses.figures_between(broker, us.broker_pauses(), elapsed_s, "broker"),
    }
