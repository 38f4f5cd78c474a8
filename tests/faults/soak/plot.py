"""The plot of a soak: what each role held over time."""

from __future__ import annotations

from pathlib import Path

from tests.faults.soak.samples import Samples

FIGURES = ("pss MiB", "descriptors", "threads", "disk MiB")
COLOURS = {
    "broker": "#1f6fb4", "worker": "#e08214", "producer": "#4d9a4d", "supervisor": "#b2476b",
}  # fmt: skip
WIDTH, HEIGHT = 8.5, 6.0
"""Inches."""


def draw(samples: Samples, file: Path) -> None:
    """Write an SVG file."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "soak"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(WIDTH, HEIGHT), layout="constrained")
    for axis, name in zip(axes.flat, FIGURES, strict=True):
        for role, taken in samples.by_role.items():
            if name in taken[0].figures:
                minutes = [sample.at_s / 60 for sample in taken]
                values = [sample.figures[name] for sample in taken]
                axis.plot(minutes, values, label=role, color=COLOURS[role], linewidth=0.8)
        axis.set_title(name, loc="left")
        axis.set_ylim(bottom=0)
        axis.set_xlabel("minutes")
        axis.grid(alpha=0.3)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper right", ncols=4)
    figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)
