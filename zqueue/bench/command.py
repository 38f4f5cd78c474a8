"""``zqueue bench``: measure, write the result and the report, say the short of it."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic
from types import FrameType

import click

from ..errors import ConfigError, ZQueueError
from . import environment, plots, profiles, report
from .components import CATALOGUE, measurer
from .lab import Lab
from .result import Component, Result
from .scale import FULL, QUICK, Scale
from .wording import of

logger = logging.getLogger(__name__)

RESULT, REPORT = "result.json", "report.md"

HEADLINES = (
    ("queue", "pair", "MemoryQueue", "cost"),
    ("queue", "batches of 512", "MemoryQueue", "cost"),
    ("codec", "pack 512", "zqueue", "cost"),
    ("codec", "unpack 512", "zqueue", "cost"),
    ("machine", "batches of 1", "BrokerProtocol", "cost"),
    ("broker", "batches of 1", "broker process", "cpu_ns:broker"),
    ("pool", "send", "zqueue", "rate"),
    ("pool", "send_many", "zqueue", "rate"),
    ("pool", "200 tasks/s", "zqueue", "p50"),
    ("pool", "200 tasks/s", "zqueue", "p99"),
    ("memory", "passed through", "broker process", "grew"),
    ("gc", "full load, send_many", "zqueue", "gc_share:worker"),
)
"""Figures of the short table: component, case, subject, figure."""

HEADLINE_RATIOS = (
    ("queue", "pair: MemoryQueue / queue.Queue, rate"),
    ("codec", "pack 512: zqueue / msgpack, rate"),
    ("codec", "unpack 512: zqueue / msgpack, rate"),
    ("pool", "send: zqueue / raw pyzmq, rate"),
    ("pool", "send_many: zqueue / raw pyzmq, rate"),
    ("pool", "200 tasks/s: zqueue / raw pyzmq, p50"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What a user wants measured."""

    components: Sequence[str] = ()
    """None: all of them."""
    quick: bool = False
    runs: int | None = None
    out: str | None = None
    profile: Sequence[str] = ()
    as_json: bool = False


def catalogue() -> str:
    """The components, a line each."""
    return "\n".join(f"{name:8} {entry.text}" for name, entry in CATALOGUE.items())


def run_bench(options: Options) -> int:
    """Measure and write all of it. Returns the exit code: 1 if something could not be measured.

    Raises `ConfigError` for a component that is unknown or a tool that is not there.
    """

    def on_terminate(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, on_terminate)
    names = check_names(options.components)
    profiles.check(options.profile)
    folder = make_folder(options.out)
    progress = _Progress()
    result = measure(names, _scale(options), progress.show)
    try:
        for name in names:
            for kind in options.profile:
                result.profiles.append(dict(profiles.take(name, kind, folder, progress.show)))
    finally:
        progress.end()
        write(result, folder)  # What was measured is kept, even if a profile could not be taken.
    if options.as_json:
        click.echo(json.dumps(result.as_data()))
    else:
        click.echo(f"{summary(result)}\n\nreport: {folder / REPORT}")
    return 1 if any(component.error for component in result.components.values()) else 0


def check_names(names: Sequence[str]) -> list[str]:
    """The components to measure, in their order. Raises `ConfigError` for an unknown one."""
    for name in names:
        if name not in CATALOGUE:
            raise ConfigError(f"there is no component {name!r} (there are: {', '.join(CATALOGUE)})")
    return [name for name in CATALOGUE if not names or name in names]


def make_folder(out: str | None) -> Path:
    """Where everything is written. Raises `ConfigError` if it cannot be made."""
    folder = Path(out or f"zqueue-bench-{datetime.now():%Y%m%d-%H%M%S}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from None
    return folder


def _scale(options: Options) -> Scale:
    scale = QUICK if options.quick else FULL
    return dataclasses.replace(scale, runs=options.runs or scale.runs)


def measure(names: Sequence[str], scale: Scale, progress: Callable[[str], None]) -> Result:
    """Measure components one after the other. What fails is noted, and the rest measured."""
    result = Result(environment.look(), scale.name, scale.runs)
    began = monotonic()
    for name in names:
        component = result.components[name] = Component(name)
        started = monotonic()
        try:
            measurer(name)(Lab(component, scale, progress, CATALOGUE[name].role))
        except Exception as error:
            # Whatever it is, the other components can still be measured.
            logger.debug("%s could not be measured", name, exc_info=True)
            component.error = f"{error}" if isinstance(error, ZQueueError) else repr(error)
        component.seconds = monotonic() - started
    result.seconds = monotonic() - began
    return result


def write(result: Result, folder: Path) -> None:
    """Write result, plots and report."""
    (folder / RESULT).write_text(json.dumps(result.as_data(), indent=1) + "\n")
    drawn, why_not = plots.draw(result, folder)
    (folder / REPORT).write_text(report.build(result, drawn, why_not))


def summary(result: Result) -> str:
    """The short table, of what was measured."""
    rows = []
    for component, case, subject, name in HEADLINES:
        found = result.find(component, case, subject)
        if found is not None and found.get(name) is not None:
            noisy = "  noisy" if name in found.noisy() else ""
            rows.append((f"{component}: {found.title}, {name}", of(found.get(name)) + noisy))
    for component, ratio in HEADLINE_RATIOS:
        measured = result.components.get(component)
        if measured is not None and ratio in measured.ratios:
            rows.append((f"{component}: {ratio}", f"{measured.ratios[ratio].median:.2f} ×"))
    rows += [(f"{name}: failed", component.error) for name, component in result.components.items()
             if component.error]  # fmt: skip
    width = max((len(text) for text, _ in rows), default=0)
    return "\n".join(f"{text:{width}}  {value}" for text, value in rows)


class _Progress:
    """Tells on stderr what is being measured: in one line of a terminal, else a line each."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._is_terminal = sys.stderr.isatty()

    def show(self, text: str) -> None:
        line = f"[{monotonic() - self._began:4.0f} s] {text}"
        if self._is_terminal:
            click.echo(f"\r\x1b[K{line[:100]}", err=True, nl=False)
        else:
            click.echo(line, err=True)

    def end(self) -> None:
        if self._is_terminal:
            click.echo("\r\x1b[K", err=True, nl=False)
