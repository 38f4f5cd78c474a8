"""The verbs that talk to a running broker: send, pipe, info, health and queue; see `cli_cancel`."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Unpack

import click

from . import completing
from .cli_cancel import cancel, peek, purge
from .client.ask import Asker, ask, control
from .client.asked import Asked, task_options
from .errors import BrokerLost, Refused
from .net.lookup import urls_now
from .options import EXIT_CODES, NOT_READY, Moment, Seconds, json_option, url_option
from .streams import input_lines
from .wire.headers import check_name
from .wire.messages import UNKNOWN_QUEUE
from .wire.options import RETRIES_MAX


@click.command(epilog=EXIT_CODES)
@click.argument("name", shell_complete=completing.targets)
@click.argument("arguments", nargs=-1)
@url_option
@click.option("-q", "--queue", is_flag=True, show_envvar=True,
              help="NAME is a queue, and each argument a body for it.")  # fmt: skip
@click.option("-w", "--wait", is_flag=True, show_envvar=True,
              help="Wait for the result and print it.")  # fmt: skip
@click.option("--timeout", default=30.0, type=Seconds(), show_envvar=True,
              help="Seconds to wait for room, the confirm, or the result.")  # fmt: skip
@click.option("--delay", type=Seconds(), show_envvar=True,
              help="Seconds from now, before which it does not run.")  # fmt: skip
@click.option("--at", type=Moment(), show_envvar=True,
              help="When it may run at the earliest: 2030-01-31T08:00, local time unless it says "
                   "otherwise, or seconds since 1970.")  # fmt: skip
@click.option("--expires", type=Seconds(0.001), show_envvar=True,
              help="Seconds from now, after which it does not run any more.")  # fmt: skip
@click.option("--retries", type=click.IntRange(0, RETRIES_MAX), show_envvar=True,
              help="How often it is tried again if it fails.")  # fmt: skip
@click.option("--key", show_envvar=True, help="Text that names the task, of 256 bytes at most.")
def send(
    name: str, arguments: tuple[str, ...], url: str, queue: bool, wait: bool, timeout: float,
    **asked: Unpack[Asked],
) -> None:  # fmt: skip
    """Send one task, or bodies to a queue.

    Arguments are JSON: '"text"', 42, '{"id": 1}'. For a task they are its parameters, in order or
    as NAME=JSON.

    \b
    zqueue send count_words '"to be or not to be"' --wait
    zqueue send send_mail to='"a@b.c"' copies=2
    zqueue send --queue events '{"id": 1}' '{"id": 2}'
    zqueue send send_mail to='"a@b.c"' --delay 3600 --retries 5
    """
    from .pipe import send_one

    send_one(url, name, arguments, is_queue=queue, wait=wait, timeout_s=timeout,
             options=task_options(**asked))  # fmt: skip


@click.command(epilog=EXIT_CODES)
@click.argument("name", shell_complete=completing.targets)
@url_option
@click.option("-q", "--queue", is_flag=True, show_envvar=True,
              help="NAME is a queue: send the lines as bodies, with no results.")  # fmt: skip
@click.option("--timeout", default=30.0, type=Seconds(), show_envvar=True,
              help="Seconds to wait for room or a confirm.")  # fmt: skip
@click.option("--progress/--no-progress", default=None, show_envvar=True,
              help="Show progress on stderr.  [default: on a terminal]")  # fmt: skip
def pipe(name: str, url: str, queue: bool, timeout: float, progress: bool | None) -> None:
    """Send each line of standard input, and print the results in order.

    Lines are JSON. For a task, an array holds its arguments in order, an object holds them by
    name, anything else is the only argument. A result is one line of JSON; a failed task gives
    {"error": …} in its place, and exit code 1 in the end.

    \b
    zqueue pipe count_words < texts.ndjson > counts.ndjson
    zqueue pipe --queue events < events.ndjson
    """
    from .pipe import run_pipe

    shown = sys.stderr.isatty() if progress is None else progress
    sys.exit(
        run_pipe(url, name, input_lines(), sys.stdout, is_queue=queue,
                 timeout_s=timeout, progress=shown)
    )  # fmt: skip


@click.command(epilog=EXIT_CODES)
@url_option
@json_option
@click.option("-i", "--interval", type=Seconds(0.1), show_envvar=True,
              help="Print again every so many seconds, until Ctrl-C. As JSON, a line each "
                   "time.")  # fmt: skip
def info(url: str, as_json: bool, interval: float | None) -> None:
    """Show a broker's queues, workers and counters; of several in --url one after the other.

    \b
    zqueue info
    zqueue info --json | jq .queues
    zqueue info --interval 1
    """
    from .report import describe_info, repeat

    def look(asker: Asker) -> str:
        try:
            state = asker.ask()
        except BrokerLost as error:
            if len(askers) == 1:
                raise
            return json.dumps({"url": asker.url, "error": str(error)}) if as_json else str(error)
        return json.dumps(state, default=repr) if as_json else describe_info(state, asker.url)

    def look_at_all() -> str:
        return ("\n" if as_json else "\n\n\n").join(map(look, askers))

    with contextlib.ExitStack() as stack:
        askers = [stack.enter_context(Asker(each)) for each in urls_now([url])]
        if interval is None:
            click.echo(look_at_all())
        else:
            repeat(look_at_all, interval, clears=not as_json and sys.stdout.isatty())


@click.command(epilog=EXIT_CODES)
@url_option
@json_option
@click.option("--ready", is_flag=True, show_envvar=True,
              help="Also require a worker for every queue that has tasks.")  # fmt: skip
@click.option("--timeout", default=1.0, type=Seconds(), show_envvar=True,
              help="Seconds to wait for the broker's answer.")  # fmt: skip
def health(url: str, as_json: bool, ready: bool, timeout: float) -> None:
    """Check a broker's health: exit code 0, 3 (no answer) or 6 (not ready).

    Of several brokers in --url each must be healthy; 3 is that none answers.

    \b
    zqueue health --ready || echo "not ready"
    """
    from .report import health_problems

    urls, problems, lost = urls_now([url]), [], []
    for each in urls:
        try:
            found = health_problems(ask(each, timeout=timeout), need_workers=ready)
            problems += found if len(urls) == 1 else [f"{each}: {problem}" for problem in found]
        except BrokerLost as error:
            lost.append(error)
    if len(lost) == len(urls):
        raise lost[0]
    problems += map(str, lost)
    if as_json:
        click.echo(json.dumps({"ready": not problems, "problems": problems}))
    else:
        healthy = "\n".join(f"the broker at {each} is healthy" for each in urls)
        click.echo("\n".join(problems) or healthy)
    sys.exit(NOT_READY if problems else 0)


@click.group(epilog=EXIT_CODES)
def queue() -> None:
    """Show queues and what waits there; pause, drain, resume or purge one.

    \b
    zqueue queue ls                             show them
    zqueue queue pause events                   hand nothing out
    zqueue queue drain events                   take nothing new
    zqueue queue resume events                  end both
    zqueue queue peek events                    show the first tasks
    zqueue queue purge events                   drop what waits
    """


@queue.command(epilog=EXIT_CODES)
@url_option
@json_option
def ls(url: str, as_json: bool) -> None:
    """Show the queues and their states; of several brokers in --url with the broker's address.

    \b
    zqueue queue ls
    zqueue queue ls --json | jq '.[] | select(.state != "running")'
    """
    from .report import describe_queues, queues_as_data

    urls, found = urls_now([url]), []
    for each in urls:
        queues = queues_as_data(ask(each))
        if len(urls) == 1:
            found += queues
        elif as_json:
            found += [{"broker": each, **queue} for queue in queues]
        else:
            click.echo(f"{each}\n{describe_queues(queues)}\n")
    if as_json:
        click.echo(json.dumps(found))
    elif len(urls) == 1:
        click.echo(describe_queues(found))


@queue.command(epilog=EXIT_CODES)
@click.argument("name", shell_complete=completing.queues)
@url_option
@json_option
def pause(name: str, url: str, as_json: bool) -> None:
    """Hand out nothing of queue NAME, until it is resumed.

    Workers finish what they have. The queue goes on taking what is sent, until it is full.

    \b
    zqueue queue pause events
    """
    _control(url, "pause", name, as_json)


@queue.command(epilog=EXIT_CODES)
@click.argument("name", shell_complete=completing.queues)
@url_option
@json_option
def drain(name: str, url: str, as_json: bool) -> None:
    """Let queue NAME take nothing new, until it is resumed.

    It goes on handing out what it holds. Producers keep what they have, and wait.

    \b
    zqueue queue drain events
    """
    _control(url, "drain", name, as_json)


@queue.command(epilog=EXIT_CODES)
@click.argument("name", shell_complete=completing.queues)
@url_option
@json_option
def resume(name: str, url: str, as_json: bool) -> None:
    """Let queue NAME hand out and take tasks again.

    \b
    zqueue queue resume events
    """
    _control(url, "resume", name, as_json)


def _control(url: str, action: str, name: str, as_json: bool) -> None:
    from .report import describe_control

    check_name(name, "queue")
    answers, unknown = [], []
    for each in urls_now([url]):
        try:
            answers.append(control(each, action, name))
        except Refused as error:
            if error.code != UNKNOWN_QUEUE:
                raise
            unknown.append(error)
    if not answers:
        raise unknown[0]
    for answer in answers:
        click.echo(json.dumps(answer) if as_json else describe_control(answer))


queue.add_command(peek)
queue.add_command(purge)

VERBS: tuple[click.Command, ...] = (send, pipe, cancel, info, health, queue)
