"""The verb ``dlq``: dead letters listed, shown, replayed, dropped, written to a file and read."""

from __future__ import annotations

import datetime
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import IO, Any

import click

from . import completing
from .dead_letters import DeadLetters, LetterGroup
from .errors import ConfigError
from .letter import BadLetter, DeadLetter
from .options import EXIT_CODES, F, Seconds, json_option, url_option
from .pipe import Progress
from .report import table
from .streams import input_lines, lines_of
from .wire.letters import DEATHS

TEXT_CHARS = 60
"""What a table shows of an error's text."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Since(click.ParamType[float]):
    """``10m``, ``2h``, ``3d``, or a date: seconds since 1970."""

    name = "when"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        if match := _DURATION.match(value):
            return time.time() - float(match[1]) * _SECONDS[match[2]]
        try:
            return max(0.0, datetime.datetime.fromisoformat(value).timestamp())
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a time: give how long ago (90s, 10m, 2h, 3d), or when "
                "(2026-11-28, 2026-11-28T18:30)",
                param,
                ctx,
            )


class Number(click.ParamType[str]):
    """A dead letter: ``17``, or ``3f9a01bc-17`` where there are several brokers."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"([0-9a-f]{8}-)?0*[1-9]\d{0,17}", str(value)):
            self.fail(f"{value!r} is no dead letter: 'zqueue dlq ls --letters' has their numbers",
                      param, ctx)  # fmt: skip
        return str(value)


class Rate(click.ParamType[float]):
    """``5/s``, ``100/m``, ``5``: letters a second."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        match = re.match(r"(\d+(?:\.\d+)?)(?:/([smh]))?\Z", str(value))
        rate = float(match[1]) / _SECONDS[match[2] or "s"] if match else 0.0
        if not 0 < rate < math.inf:
            self.fail(f"{value!r} is not a rate: write 5/s, 100/m or 20/h", param, ctx)
        return rate


def filter_options(function: F) -> F:
    """Which letters are meant."""
    for option in reversed((
        click.option("--queue", show_envvar=True, shell_complete=completing.queues,
                     help="Only those of this queue."),
        click.option("--task", show_envvar=True, shell_complete=completing.tasks,
                     help="Only those of this task."),
        click.option("--error", show_envvar=True,
                     help="Only those with this type of error, as in ValueError."),
        click.option("--reason", type=click.Choice(DEATHS), show_envvar=True,
                     help="Only those that died of this."),
        click.option("--since", type=Since(), show_envvar=True,
                     help="Only those that died since then: 10m, 2h, 3d, or a date."),
    )):  # fmt: skip
        function = option(function)
    return function


all_option = click.option(
    "--all", "everything", is_flag=True, show_envvar=True, help="Mean all dead letters."
)

progress_option = click.option(
    "--progress/--no-progress", default=None, show_envvar=True,
    help="Show progress on stderr.  [default: on a terminal]",
)  # fmt: skip

numbers_argument = click.argument("numbers", nargs=-1, type=Number(), metavar="[NUMBER]…")


@click.group(epilog=EXIT_CODES)
def dlq() -> None:
    """Look at dead letters, replay them, or drop them.

    A dead letter is a task that failed for good, and whose result nobody awaits.

    \b
    zqueue dlq ls                               what failed, by task and error
    zqueue dlq ls --letters --since 1h          one by one
    zqueue dlq show 17                          arguments and traceback
    zqueue dlq replay --error ConnectionError   run those again
    zqueue dlq drop --task send_mail            forget those
    zqueue dlq export > letters.ndjson          keep them elsewhere
    """


@dlq.command(epilog=EXIT_CODES)
@filter_options
@click.option("--letters", is_flag=True, show_envvar=True, help="Show single letters, the newest "
              "first.")  # fmt: skip
@click.option("--limit", default=100, type=click.IntRange(1), show_envvar=True,
              help="Show at most so many.")  # fmt: skip
@url_option
@json_option
def ls(letters: bool, limit: int, url: str, as_json: bool, **which: Any) -> None:
    """Show dead letters: by queue, task, error and reason, or one by one.

    \b
    zqueue dlq ls
    zqueue dlq ls --letters --task send_mail --since 2h
    zqueue dlq ls --json | jq '.[] | select(.letters > 100)'
    """
    with DeadLetters(url) as dead:
        if letters:
            shown = list(islice(dead.select(newest=True, **which), limit))
            rows = [_as_data(letter) for letter in shown]
            text = _letters_table(shown)
        else:
            groups = dead.groups(**which)[:limit]
            rows = [{**group._asdict(), "newest": group.name} if group.broker else group._asdict()
                    for group in groups]  # fmt: skip
            text = _groups_table(groups)
        if as_json:
            click.echo(json.dumps(rows))
            return
        totals = dead.totals()
    if rows:
        click.echo(text)
        click.echo()
    chosen = any(value is not None for value in which.values())
    click.echo(_summary(totals, is_empty=not rows and chosen))


@dlq.command(epilog=EXIT_CODES)
@click.argument("number", type=Number())
@url_option
@json_option
def show(number: str, url: str, as_json: bool) -> None:
    """Show dead letter NUMBER: what it carries, why it died, and the traceback.

    \b
    zqueue dlq show 17
    zqueue dlq show 17 --json | jq .body
    """
    with DeadLetters(url) as dead:
        letter = dead.get(number)
    if letter is None:
        raise ConfigError(
            f"there is no dead letter {number}: it was replayed, dropped, or made room for newer "
            "ones; 'zqueue dlq ls --letters' shows those that there are"
        )
    click.echo(letter.to_json() if as_json else _describe(letter))


@dlq.command(epilog=EXIT_CODES)
@numbers_argument
@filter_options
@all_option
@click.option("--to", metavar="QUEUE", default="", show_envvar=True,
              help="The queue they go to.  [default: the one they were in]")  # fmt: skip
@click.option("--rate", type=Rate(), show_envvar=True,
              help="At most so many: 5/s, 100/m.  [default: as fast as there is room]")  # fmt: skip
@click.option("--timeout", default=30.0, type=Seconds(), show_envvar=True,
              help="Seconds to wait for room in a full queue.")  # fmt: skip
@progress_option
@url_option
@json_option
def replay(
    numbers: tuple[str, ...], everything: bool, to: str, rate: float | None, timeout: float,
    progress: bool | None, url: str, as_json: bool, **which: Any,
) -> None:  # fmt: skip
    """Make tasks of dead letters again, by NUMBER, filter, or --all.

    They have the same arguments and options, and start at their first attempt. What fails again is
    a new dead letter. Whenever this ends, what was not replayed is a dead letter still.

    \b
    zqueue dlq replay 17 18
    zqueue dlq replay --task send_mail --error ConnectionError --rate 50/s
    zqueue dlq replay --queue mail --to mail-again
    zqueue dlq replay --all
    """
    _check_chosen("replay", numbers, everything, which)

    def run(dead: DeadLetters, done: Callable[[int], None]) -> int:
        return dead.replay(
            numbers=numbers, all=everything, to=to, rate=rate or math.inf, timeout=timeout,
            done=done, **which,
        )  # fmt: skip

    _act(url, "replayed", run, progress, as_json)


@dlq.command(epilog=EXIT_CODES)
@numbers_argument
@filter_options
@all_option
@progress_option
@url_option
@json_option
def drop(
    numbers: tuple[str, ...], everything: bool, progress: bool | None, url: str, as_json: bool,
    **which: Any,
) -> None:  # fmt: skip
    """Forget dead letters, by NUMBER, filter, or --all.

    \b
    zqueue dlq drop 17 18
    zqueue dlq drop --error UnknownTask
    zqueue dlq drop --all
    """
    _check_chosen("drop", numbers, everything, which)

    def run(dead: DeadLetters, done: Callable[[int], None]) -> int:
        return dead.drop(numbers=numbers, all=everything, done=done, **which)

    _act(url, "dropped", run, progress, as_json)


@dlq.command(epilog=EXIT_CODES)
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@filter_options
@progress_option
@url_option
def export(file: str | None, progress: bool | None, url: str, **which: Any) -> None:
    """Write dead letters to FILE, or standard output: a line of JSON each, the oldest first.

    The broker keeps them. A body that JSON cannot carry is there as base64 (body_msgpack).

    \b
    zqueue dlq export letters.ndjson
    zqueue dlq export --since 1d | jq -r .error | sort | uniq -c
    """
    if file is None:
        _write(url, sys.stdout, progress, which)
        return
    try:
        # Not over a file that is there: half an export must not take the place of a whole one.
        with open(file, "x", encoding="utf-8") as out:
            _write(url, out, progress, which)
    except FileExistsError:
        raise ConfigError(f"{file} is there already: give another name, or remove it") from None
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None


@dlq.command(name="import", epilog=EXIT_CODES)
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False))
@progress_option
@url_option
@json_option
def import_(file: str | None, progress: bool | None, url: str, as_json: bool) -> None:
    """Let the broker keep the dead letters of FILE, or of standard input, as written by export.

    They get new numbers. None that the broker has makes room for them.

    \b
    zqueue dlq import letters.ndjson
    zqueue dlq export --url tcp://10.0.0.1:5555 | zqueue dlq import --url tcp://10.0.0.2:5555
    """

    def run(dead: DeadLetters, done: Callable[[int], None]) -> int:
        if file is None:
            return dead.add(_read(input_lines()), done=done)
        with open(file, "rb") as lines:
            return dead.add(_read(lines_of(lines.fileno())), done=done)

    _act(url, "imported", run, progress, as_json)


# --- doing ---


def _check_chosen(
    verb: str, numbers: tuple[str, ...], everything: bool, which: dict[str, Any]
) -> None:
    filters = any(value is not None for value in which.values())
    if bool(numbers) + filters + everything == 1:
        return
    if not (numbers or filters or everything):
        raise ConfigError(
            f"say which dead letters to {verb}: their numbers, a filter (--queue, --task, --error, "
            "--reason, --since), or --all for every one; 'zqueue dlq ls' shows what there is"
        )
    raise ConfigError(f"{verb} takes numbers, or a filter, or --all, and only one of these")


def _act(
    url: str, word: str, run: Callable[[DeadLetters, Callable[[int], None]], int],
    progress: bool | None, as_json: bool,
) -> None:  # fmt: skip
    """Do it, show how far it is, and print how many there were."""
    shown = Progress(sys.stderr.isatty() if progress is None else progress, "letters")
    with DeadLetters(url) as dead:
        try:
            count = run(dead, shown.set)
        finally:
            shown.end()
    if as_json:
        click.echo(json.dumps({word: count}))
    elif count:
        click.echo(f"{count:,} dead letters {word}" if count != 1 else f"1 dead letter {word}")
    else:
        click.echo(f"no dead letter was {word}")


def _write(url: str, out: IO[str], progress: bool | None, which: dict[str, Any]) -> None:
    shown = Progress(sys.stderr.isatty() if progress is None else progress, "letters")
    with DeadLetters(url) as dead:
        try:
            for letter in dead.select(**which):
                out.write(letter.to_json() + "\n")
                shown.add()
            out.flush()
        finally:
            shown.end()


def _read(lines: Iterable[bytes]) -> Iterator[DeadLetter]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield DeadLetter.from_json(line)
            except BadLetter as error:
                raise BadLetter(f"line {number} is {error}") from None


# --- words ---


def _when(wall_s: float) -> str:
    return datetime.datetime.fromtimestamp(wall_s).strftime("%Y-%m-%d %H:%M:%S")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_CHARS else line[: TEXT_CHARS - 1] + "…"


def _groups_table(groups: list[LetterGroup]) -> str:
    header = ("queue", "task", "error", "reason", "letters", "first", "last", "newest", "text")
    return table(header, (
        (g.queue, g.task or "-", g.error or "-", g.reason, g.letters, _when(g.first_s),
         _when(g.last_s), g.name, _short(g.text) or "-")
        for g in groups
    ))  # fmt: skip


def _letters_table(letters: list[DeadLetter]) -> str:
    header = ("number", "died", "queue", "task", "reason", "attempts", "error", "body")
    return table(header, (
        (letter.name, _when(letter.died_s), letter.queue, letter.task or "-", letter.reason,
         letter.deliveries, _short(f"{letter.error}: {letter.text}"), _short(repr(letter.body)))
        for letter in letters
    ))  # fmt: skip


def _summary(totals: dict[str, int], *, is_empty: bool) -> str:
    if is_empty:
        return f"no dead letter matches, of {totals['kept']:,}"
    if not totals["total"]:
        return "no dead letters"
    gone = ", ".join(
        f"{totals[key]:,} {word}"
        for key, word in (("replayed", "replayed"), ("dropped", "dropped"),
                          ("evicted", "made room for newer ones"))
        if totals[key]
    )  # fmt: skip
    kept = f"{totals['kept']:,} kept, of at most {totals['letters_max']:,}"
    return f"{kept}; {gone}" if gone else kept


def _describe(letter: DeadLetter) -> str:
    attempts = ", ".join(
        f"{count:,} {word}"
        for count, word in ((letter.failures, "failed"), (letter.timeouts, "timed out"),
                            (letter.crashes, "crashed"))
        if count
    )  # fmt: skip
    lines = [
        f"dead letter {letter.name}",
        f"  task      {letter.task or '-'} of queue {letter.queue}, id {letter.id}",
        f"  sent      {_when(letter.sent_s)}",
        f"  died      {_when(letter.died_s)}, {letter.reason}",
        f"  attempts  {letter.deliveries:,}" + (f": {attempts}" if attempts else ""),
        f"  error     {letter.error}: {letter.text}" if letter.error else "  error     -",
        f"  body      {_body(letter.body)}",
    ]
    if letter.options:
        lines.append(f"  options   {json.dumps(letter.options, default=repr)}")
    if letter.traceback:
        lines += ["", letter.traceback.rstrip()]
    return "\n".join(lines)


def _body(body: Any) -> str:
    try:
        return json.dumps(body, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(body)


def _as_data(letter: DeadLetter) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(letter.to_json())
    return data
