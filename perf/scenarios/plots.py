"""The plot of a scenario: the latency of each post, and memory, over time."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from lab.plots import NO_PLOTS

from scenarios.judging import Found

COLOURS = {202: "#1f6fb4", 429: "#e08214", 503: "#b2476b", 0: "#000000"}
WIDTH, HEIGHT = 8.5, 6.0
"""Inches."""


def draw(name: str, found: Found, folder: Path) -> str:
    """Write an SVG file, and return what shows it in the report."""
    if importlib.util.find_spec("matplotlib") is None:
        return f"{NO_PLOTS}\n"
    importlib.import_module("matplotlib").use("svg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, (latency, memory) = pyplot.subplots(
        2, 1, figsize=(WIDTH, HEIGHT), layout="constrained", sharex=True
    )
    for status in sorted({post.status for post in found.posts}):
        posts = [post for post in found.posts if post.status == status]
        latency.scatter(
            [post.due for post in posts], [post.latency_ms for post in posts],
            s=3, color=COLOURS.get(status, "#7a6fb0"), label=str(status or "no answer"),
        )  # fmt: skip
    latency.set_yscale("log")
    latency.set_title("from when a post was due to its answer, ms", loc="left")
    latency.legend()
    for label in ("gateway", "broker"):
        memory.plot([one.at for one in found.seen],
                    [getattr(one, label) / 2**20 for one in found.seen], label=label)  # fmt: skip
    memory.set_title("memory, MiB", loc="left")
    memory.set_ylim(bottom=0)
    memory.set_xlabel("seconds")
    memory.legend()
    for at, text, _ in found.scenario.events:
        for axis in (latency, memory):
            axis.axvline(at * found.seconds, color="grey", linewidth=0.8)
        latency.text(at * found.seconds, 0.98, f" {text}", va="top",
                     transform=latency.get_xaxis_transform())  # fmt: skip
    figure.savefig(folder / f"{name}.svg", format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return f"![{name}]({name}.svg)\n"
