"""The verbs about tasks that wait or run: cancel, queue purge and queue peek."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from . import completing
from .client.everywhere import cancel_at, peek_at
from .client.questions import Cancellation
from .options import EXIT_CODES, json_option, url_option
from .wire.headers import check_name


@click.command(epilog=EXIT_CODES)
@click.argument("ids", nargs=-1)
@url_option
@json_option
@click.option("-q", "--queue", metavar="NAME", show_envvar=True,
              shell_complete=completing.queues,
              help="All tasks of this queue; with IDs, where they wait.")  # fmt: skip
@click.option("-t", "--task", metavar="NAME", show_envvar=True, shell_complete=completing.tasks,
              help="With --queue: only tasks of this name.")  # fmt: skip
@click.option("-k", "--key", metavar="KEY", show_envvar=True,
              help="With --queue: the task that has this key.")  # fmt: skip
@click.option("--running", is_flag=True, show_envvar=True,
              help="End those that workers have, too.")  # fmt: skip
def cancel(
    ids: tuple[str, ...], url: str, as_json: bool, queue: str | None, task: str | None,
    key: str | None, running: bool,
) -> None:  # fmt: skip
    """Cancel tasks: those with IDs, or all of a queue.

    An ID is TaskFuture.id where it was sent, and zqueue.current().id where it runs. What waits
    will not run, and its submitter hears that it was cancelled. What workers have goes on, but with
    --running: then Cancelled is raised in its handler.

    \b
    zqueue cancel 5f0c61d2a4b3-17-0
    zqueue cancel --queue thumbnails --task make_thumbnail --running
    zqueue cancel --queue orders --key order-7
    """
    if key and (ids or task or not queue):
        raise click.UsageError("--key is one of a --queue, without ids and --task")
    if not ids and not queue:
        raise click.UsageError("cancel which tasks? give their ids, or --queue")
    if task and ids:
        raise click.UsageError("--task is for all tasks of a --queue: leave it away, or the ids")
    counts = cancel_at(
        url, *ids, queue=queue or "", task=task or "", key=key or "", running=running
    )
    click.echo(json.dumps(counts._asdict()) if as_json else describe(counts, bool(ids or key)))


def describe(counts: Cancellation, named: bool) -> str:
    """What became of tasks, for people."""
    parts = [f"{counts.cancelled:,} cancelled"]
    if counts.stopping:
        parts.append(f"{counts.stopping:,} told to end")
    if counts.running:
        parts.append(f"{counts.running:,} left with workers (--running ends them)")
    if named and counts.unknown:
        parts.append(f"{counts.unknown:,} over already, or not there")
    return ", ".join(parts)


@click.command(epilog=EXIT_CODES)
@click.argument("name", shell_complete=completing.queues)
@url_option
@json_option
@click.option("-t", "--task", metavar="NAME", show_envvar=True, shell_complete=completing.tasks,
              help="Only tasks of this name.")  # fmt: skip
@click.option("-y", "--yes", is_flag=True, show_envvar=True,
              help="Do not ask, on a terminal either.")  # fmt: skip
def purge(name: str, url: str, as_json: bool, task: str | None, yes: bool) -> None:
    """Drop what waits in queue NAME, and print how many tasks that were.

    Their submitters hear that they were cancelled. What workers have goes on.

    \b
    zqueue queue purge events --yes
    zqueue queue purge mail --task send_mail
    """
    check_name(name, "queue")
    if not yes and sys.stdin.isatty():
        ready = sum(told["ready"] for _, told in peek_at(url, name, limit=1))
        which = f"those of {ready:,} tasks that are {task!r}" if task else f"{ready:,} tasks"
        click.confirm(f"drop {which} in queue {name!r}?", abort=True)
    counts = cancel_at(url, queue=name, task=task or "")
    if as_json:
        click.echo(json.dumps({"queue": name, "dropped": counts.cancelled}))
    else:
        click.echo(f"dropped {counts.cancelled:,} tasks of queue {name!r}")


@click.command(epilog=EXIT_CODES)
@click.argument("name", shell_complete=completing.queues)
@url_option
@json_option
@click.option("-n", "--limit", default=10, type=click.IntRange(1, 100), show_envvar=True,
              help="How many tasks.")  # fmt: skip
@click.option("-t", "--task", metavar="NAME", show_envvar=True, shell_complete=completing.tasks,
              help="Only tasks of this name.")  # fmt: skip
def peek(name: str, url: str, as_json: bool, limit: int, task: str | None) -> None:
    """Show the first tasks of queue NAME, and leave them there.

    Those that are ready, and those that are delayed, by their sender or until they are tried again,
    with the time until they are due.
    Bodies are shown as JSON where they can be; large ones are not shown.

    \b
    zqueue queue peek events
    zqueue queue peek events -n 100 --json | jq -c '.tasks[].body'
    """
    from .report import describe_peek, peek_as_data

    check_name(name, "queue")
    found = peek_at(url, name, task=task or "", limit=limit)
    for each, answer in found:
        told: dict[str, Any] = peek_as_data(answer)
        if as_json:
            click.echo(json.dumps(told if len(found) == 1 else {"broker": each, **told}))
        else:
            click.echo(describe_peek(told) if len(found) == 1 else f"{each}\n{describe_peek(told)}")
