"""The verbs that look at a data dir, and mend it, without a broker: store ls, check and salvage."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .errors import ZQueueError
from .options import EXIT_CODES, FAILURE, json_option

if TYPE_CHECKING:
    from .store.salvage import Damage, Inspection, Offline

KINDS = {1: "tasks", 2: "dead letters", 3: "results", 4: "keys"}

LOST_MAX = 20
"""So many runs of lost entries are named; as JSON all are."""


@click.group(epilog=EXIT_CODES)
def store() -> None:
    """Look at a data dir, and mend one that is damaged.

    \b
    zqueue store ls /var/lib/zqueue             what is in it
    zqueue store check /var/lib/zqueue          read all of it
    zqueue store salvage /var/lib/zqueue        keep what is whole
    """


@store.command(epilog=EXIT_CODES)
@click.argument("directory")
@json_option
def ls(directory: str, as_json: bool) -> None:
    """Show what is open in data dir DIRECTORY, also while a broker has it.

    \b
    zqueue store ls /var/lib/zqueue
    zqueue store ls /var/lib/zqueue --json | jq '.held[] | select(.kind == "dead letters")'
    """
    from .store.salvage import Offline

    with _told(directory):
        there = Offline(directory, shared=True)
        survey = there.survey()
        there.disk.close()
    held = [
        {"kind": KINDS.get(h.kind, str(h.kind)), "queue": h.queue, "entries": h.entries,
         "tasks": h.tasks, "bytes": h.nbytes}
        for h in survey.ledger.held()
    ]  # fmt: skip
    hot, cold = map(len, survey.ledger.streams)
    segments = {"hot": hot, "cold": cold, "spare": len(survey.spares), "spent": len(survey.spent)}
    if as_json:
        click.echo(json.dumps({
            "directory": directory, "id": there.id.hex(), "in_use": there.is_in_use,
            "segment_bytes": there.segment_bytes, "segments": segments,
            "next_entry": survey.ledger.next_entry, "torn_bytes": survey.torn_bytes, "held": held,
        }))  # fmt: skip
        return
    click.echo(f"data dir {there.id.hex()}, {'in use' if there.is_in_use else 'not in use'}: " +
               ", ".join(f"{count} {name}" for name, count in segments.items()) +
               f" segments of {there.segment_bytes >> 20} MiB")  # fmt: skip
    if held:
        click.echo(f"{'queue':24} {'kind':14} {'entries':>10} {'tasks':>12} {'bytes':>16}")
    for row in held:
        click.echo(f"{row['queue'] or '-':24} {row['kind']:14} {row['entries']:>10,} "
                   f"{row['tasks']:>12,} {row['bytes']:>16,}")  # fmt: skip
    if not held:
        click.echo("nothing is open in it")


@store.command(epilog=EXIT_CODES)
@click.argument("directory")
@json_option
@click.option("--progress/--no-progress", default=None, show_envvar=True,
              help="Show progress on stderr.  [default: on a terminal]")  # fmt: skip
def check(directory: str, as_json: bool, progress: bool | None) -> None:
    """Read all of data dir DIRECTORY, and list what is damaged: exit code 1 if anything is.

    Nothing is changed. No broker may have it meanwhile.

    \b
    zqueue store check /var/lib/zqueue
    """
    from .store.salvage import Offline

    with _told(directory):
        there = Offline(directory)
        inspection = _inspect(there, progress)
        damages = inspection.damages()
        there.disk.close()
    _tell(directory, inspection, damages, as_json)
    if damages and not as_json:
        click.echo(f"'zqueue store salvage {directory}' keeps what is whole.")
    sys.exit(FAILURE if damages else 0)


@store.command(epilog=EXIT_CODES)
@click.argument("directory")
@json_option
@click.option("--progress/--no-progress", default=None, show_envvar=True,
              help="Show progress on stderr.  [default: on a terminal]")  # fmt: skip
def salvage(directory: str, as_json: bool, progress: bool | None) -> None:
    """Keep what is whole in data dir DIRECTORY, and list what is lost.

    A segment that is damaged is kept as it is, under a name that ends in .bad, and a new one takes
    its place that has all that can be read. That needs as much room again as the damaged segments.
    Of the entries that are listed as lost, some may have been over. Tasks that were over before may
    run again. Nothing is changed if nothing is damaged.

    \b
    zqueue store salvage /var/lib/zqueue
    """
    from .store.salvage import PASSES_MAX, Offline

    with _told(directory):
        there = Offline(directory)
        damages: list[Damage] = []
        for _ in range(PASSES_MAX):
            inspection = _inspect(there, progress)
            found = inspection.damages()
            inspection.salvage(found)
            damages += found
            if not found:
                break
        there.survey()
        there.disk.close()
    _tell(directory, inspection, damages, as_json)
    if damages and not as_json:
        click.echo("what is whole is kept: a broker can be started")


def _inspect(there: Offline, progress: bool | None) -> Inspection:
    from .store.salvage import Inspection

    inspection = Inspection(there.disk, there.segment_bytes)
    shown = sys.stderr.isatty() if progress is None else progress
    for count, name in enumerate(inspection.look(), 1):
        if shown:
            click.echo(f"\r{count} of {len(inspection.names)}: {name}", err=True, nl=False)
    if shown:
        click.echo(err=True)
    return inspection


def _tell(
    directory: str, inspection: Inspection, damages: list[Damage], as_json: bool
) -> None:  # fmt: skip
    if as_json:
        what = [
            {"segment": d.name, "missing": d.is_missing, "lost": d.lost, "all_known": d.known,
             "holes": [{"at": hole.at, "bytes": hole.nbytes} for hole in d.holes]}
            for d in damages
        ]  # fmt: skip
        click.echo(json.dumps({"directory": directory, "segments": len(inspection.names),
                               "records": inspection.records, "damages": what}))  # fmt: skip
        return
    click.echo(f"{directory}: {len(inspection.names)} segments, {inspection.records:,} records, "
               + (f"{len(damages)} segments damaged" if damages else "all whole"))  # fmt: skip
    for damage in damages:
        click.echo(f"{damage.name} {_describe(damage)}")


def _describe(damage: Damage) -> str:
    """What is wrong with a segment, in words."""
    places = ", ".join(f"{hole.nbytes:,} bytes at {hole.at:,}" for hole in damage.holes)
    what = "is missing" if damage.is_missing else f"is damaged: {places}"
    runs = [str(a) if a == b else f"{a} to {b}" for a, b in damage.lost[:LOST_MAX]]
    more = len(damage.lost) - LOST_MAX
    if not damage.known:
        return f"{what}; which entries were there is not known"
    if not runs:
        return f"{what}; no entry is lost"
    return f"{what}; lost: entries {', '.join(runs)}" + (f" and {more} more" if more > 0 else "")


@contextmanager
def _told(directory: str) -> Iterator[Any]:
    """What the system does not allow is one sentence."""
    try:
        yield
    except OSError as error:
        raise ZQueueError(f"cannot read {directory}: {error.strerror}") from error
