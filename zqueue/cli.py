"""The command line: options, files and environment in, one call of an assembly out.

Every option is also an environment variable ``ZQUEUE_<VERB>_<OPTION>`` and a key of the table
``[verb]`` in ``zqueue.toml``; the command line wins over the environment, and that over the
file. A user's mistake is one sentence and an exit code, never a traceback.
"""

from __future__ import annotations

import json
import logging
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .ask import Asker, ask, control
from .config import (
    DEFAULT_URL,
    Address,
    BrokerConfig,
    MetricsConfig,
    WorkerConfig,
    parse_bytes,
)
from .errors import BrokerLost, ConfigError, LocalError, ZQueueError
from .logs import FORMATS, set_up_logs
from .protocol.messages import NAME, check_name
from .version import __version__

FAILURE, USAGE, UNREACHABLE, RUNNING, DEADLINE, NOT_READY = 1, 2, 3, 4, 5, 6

F = TypeVar("F", bound=Callable[..., Any])

EXIT_CODES = """\b
Exit codes: 0 ok, 1 failure, 2 usage or import, 3 broker unreachable,
4 already running, 5 drain deadline hit (work returned), 6 not ready."""


class Bytes(click.ParamType[int]):
    """A size: ``65536``, ``512M``, ``2G``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if type(value) is int:
            return value
        try:
            return parse_bytes(str(value))
        except ConfigError as error:
            self.fail(str(error), param, ctx)


class Egresses(click.ParamType[tuple[str, str]]):
    """``QUEUE=URL``"""

    name = "queue=url"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        queue, separator, url = value.partition("=")
        if not separator or not NAME.match(queue) or not url:
            self.fail(f"{value!r}: write QUEUE=URL, as in events=tcp://127.0.0.1:5558", param, ctx)
        return queue, url


class Commands(click.Group):
    """Turns errors into one sentence and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except ZQueueError as error:
            if logging.getLogger("zqueue").isEnabledFor(logging.DEBUG):
                logging.getLogger("zqueue").debug("%s", error, exc_info=True)
            click.echo(f"zqueue: {error}", err=True)
            sys.exit(_exit_code(error))


def _exit_code(error: ZQueueError) -> int:
    from .net.sockets import AddressInUse

    if isinstance(error, AddressInUse):
        return RUNNING
    if isinstance(error, LocalError):
        return USAGE
    if isinstance(error, BrokerLost):
        return UNREACHABLE
    return FAILURE


def _read_file(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Take option values from the configuration file."""
    path = Path(value) if value else Path("zqueue.toml")
    if not value and not path.exists():
        return None
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.BadParameter(f"cannot read {path}: {error}") from None
    assert isinstance(ctx.command, click.Group)
    _check_tables(path, ctx.command, tables)
    ctx.default_map = tables
    return str(path)


def _check_tables(path: Path, group: click.Group, tables: dict[str, Any]) -> None:
    """Values by verb, as click wants them; a verb of a group is a table in that of the group."""
    for verb, table in tables.items():
        command = group.commands.get(verb)
        if command is None or not isinstance(table, dict):
            verbs = ", ".join(group.commands)
            raise click.BadParameter(f"{path}: [{verb}] is no verb (there are: {verbs})")
        if isinstance(command, click.Group):
            _check_tables(path, command, table)
        else:
            _check_options(path, verb, command, table)


def _check_options(path: Path, verb: str, command: click.Command, table: dict[str, Any]) -> None:
    known = {p.name: p.multiple for p in command.params if isinstance(p, click.Option)}
    for key in list(table):
        name = key.replace("-", "_")
        if name not in known:
            raise click.BadParameter(f"{path}: {verb!r} has no option {key!r}")
        table[name] = table.pop(key)
        if name == "egress" and isinstance(table[name], dict):
            table[name] = [f"{queue}={url}" for queue, url in table[name].items()]
        if known[name] and isinstance(table[name], str):
            table[name] = [table[name]]
        is_list = isinstance(table[name], list)
        if isinstance(table[name], dict) or (is_list and not known[name]):
            raise click.BadParameter(f"{path}: {verb}.{key} must be one value")


def url_option(function: F) -> F:
    """Where the broker is."""
    option = click.option(
        "--url",
        envvar=["ZQUEUE_URL"],
        default=DEFAULT_URL,
        show_default=True,
        help="The broker's address.  [env: ZQUEUE_URL]",
    )
    return option(function)


json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group(
    cls=Commands,
    context_settings={
        "auto_envvar_prefix": "ZQUEUE",
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 100,
    },
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name="zqueue")
@click.option(
    "--config",
    metavar="FILE",
    callback=_read_file,
    is_eager=True,
    expose_value=False,
    help="Configuration file.  [default: zqueue.toml, if there is one]",
)
@click.option(
    "-l",
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    help="What is logged (to stderr).",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS, case_sensitive=False),
    default="text",
    help="How it is logged; as JSON, with the task that runs.",
)
@click.pass_context
def cli(ctx: click.Context, log_level: str, log_format: str) -> None:
    """A distributed worker pool with no service to install.

    \b
    zqueue demo                                 see it work, right now
    zqueue broker                               start a broker
    zqueue worker workers/wordcount.py -p 4     start four workers
    zqueue send count_words '"to be or not"'    send a task
    zqueue metrics                              see how they are, on a page
    zqueue top                                  see how they are, in the terminal

    Every option is also ZQUEUE_<VERB>_<OPTION> in the environment and a key of the table
    [verb] in zqueue.toml. The command line wins over the environment, that over the file.
    """
    set_up_logs(form=log_format, level=logging.WARNING)
    logging.getLogger("zqueue").setLevel(log_level.upper())
    ctx.obj = log_format


@cli.command(epilog=EXIT_CODES)
@click.option("-b", "--bind", metavar="URL", default=DEFAULT_URL, show_envvar=True,
              help="Where producers and workers connect: tcp://HOST:PORT (a port of * takes a "
                   "free one) or ipc:///PATH.")  # fmt: skip
@click.option("--ingest", metavar="URL", show_envvar=True,
              help="Plain lane in: a PULL socket for frames [queue, msgpack array].")  # fmt: skip
@click.option("--egress", metavar="QUEUE=URL", type=Egresses(), multiple=True, show_envvar=True,
              help="Plain lane out: a PUSH socket that gives this queue away, at most once. "
                   "May be repeated.")  # fmt: skip
@click.option("--queue-tasks", default=1_000_000, type=click.IntRange(1), show_envvar=True,
              help="Tasks that one queue may hold.")  # fmt: skip
@click.option("--queue-bytes", default="256M", type=Bytes(), show_envvar=True,
              help="Bytes that one queue may hold.")  # fmt: skip
@click.option("--max-bytes", default="1G", type=Bytes(), show_envvar=True,
              help="Bytes that all queues together may hold.")  # fmt: skip
@click.option("--peers", default=1_000, type=click.IntRange(1), show_envvar=True,
              help="Producers, workers and supervisors that may be connected.")  # fmt: skip
@click.option("--max-crashes", default=3, type=click.IntRange(2), show_envvar=True,
              help="Workers that may die under a task before it is set aside.")  # fmt: skip
@click.option("--heartbeat", default=1.0, type=click.FloatRange(0.01), show_envvar=True,
              help="Seconds between signs of life.")  # fmt: skip
@click.option("--liveness", default=5.0, type=click.FloatRange(0.02), show_envvar=True,
              help="Seconds of silence after which a peer counts as lost.")  # fmt: skip
@click.option("--drain-timeout", default=30.0, type=click.FloatRange(0), show_envvar=True,
              help="Seconds to go on handing out tasks after SIGTERM.")  # fmt: skip
@click.option("--insecure-no-auth", is_flag=True, show_envvar=True,
              help="Listen on addresses that other machines can reach, without any "
                   "authentication.")  # fmt: skip
@click.option("--roam", is_flag=True, show_envvar=True,
              help="Let the system move the broker between processors also while it has little to "
                   "do. (It stays on one then: a lone task is served sooner.)")  # fmt: skip
def broker(
    bind: str, ingest: str | None, egress: tuple[tuple[str, str], ...], queue_tasks: int,
    queue_bytes: int, max_bytes: int, peers: int, max_crashes: int, heartbeat: float,
    liveness: float, drain_timeout: float, insecure_no_auth: bool, roam: bool,
) -> None:  # fmt: skip
    """Start a broker, in the foreground.

    Queues are made at first use and live in memory: they outlive producers and workers, and end
    with the broker.

    \b
    zqueue broker
    zqueue broker --bind tcp://127.0.0.1:6000 --queue-bytes 1G --max-bytes 4G
    zqueue broker --ingest tcp://127.0.0.1:5557 --egress events=tcp://127.0.0.1:5558

    SIGTERM or SIGINT: take nothing new, hand out what is there, stop. Again: stop now.
    """
    from .broker import run_broker

    config = BrokerConfig(
        bind=bind,
        ingest=ingest,
        egress=dict(egress),
        queue_tasks_max=queue_tasks,
        queue_bytes_max=queue_bytes,
        bytes_max=max_bytes,
        peers_max=peers,
        crashes_max=max_crashes,
        heartbeat_s=heartbeat,
        liveness_s=liveness,
        drain_timeout_s=drain_timeout,
        insecure=insecure_no_auth,
        roam=roam,
    )
    sys.exit(run_broker(config))


@cli.command(epilog=EXIT_CODES)
@click.argument("app")
@click.option("-p", "-c", "--processes", default=1, type=click.IntRange(1, 1024),
              show_envvar=True, help="Worker processes.")  # fmt: skip
@click.option("-a", "--concurrency", default=100, type=click.IntRange(1, 10_000),
              show_envvar=True, help="Async tasks that one process runs side by side.")  # fmt: skip
@click.option("-Q", "--queues", metavar="NAME,…", show_envvar=True,
              help="Queues to serve.  [default: those of the app's tasks]")  # fmt: skip
@click.option("--url", envvar=["ZQUEUE_WORKER_URL", "ZQUEUE_URL"],
              help="The broker's address.  [env: ZQUEUE_WORKER_URL, ZQUEUE_URL; default: the "
                   "app's]")  # fmt: skip
@click.option("--drain-timeout", default=30.0, type=click.FloatRange(0), show_envvar=True,
              help="Seconds that running tasks may take to finish after SIGTERM.")  # fmt: skip
@click.pass_obj
def worker(
    log_format: str, app: str, processes: int, concurrency: int, queues: str | None,
    url: str | None, drain_timeout: float,
) -> None:  # fmt: skip
    """Start worker processes that run the tasks of APP, in the foreground.

    APP is a file (workers/wordcount.py) or a module (shop.tasks); :NAME behind it chooses among
    several apps.

    \b
    zqueue worker workers/wordcount.py
    zqueue worker shop.tasks:app -p 4 --url tcp://127.0.0.1:6000

    SIGTERM or SIGINT: finish what runs, return the rest, stop. Again: return what runs, too.
    A third time: end everything at once. SIGHUP: restart the processes one after the other.
    """
    from .supervisor import run_supervisor

    if url is not None:
        Address.parse(url)
    served = tuple(filter(None, (queues or "").split(",")))
    for name in served:
        check_name(name, "queue")
    config = WorkerConfig(
        app=app,
        url=url,
        processes=processes,
        concurrency=concurrency,
        queues=served,
        drain_timeout_s=drain_timeout,
        log_format=log_format,
    )
    sys.exit(run_supervisor(config))


@cli.command(epilog=EXIT_CODES)
@click.argument("name")
@click.argument("arguments", nargs=-1)
@url_option
@click.option("-q", "--queue", is_flag=True, show_envvar=True,
              help="NAME is a queue, and each argument a body for it.")  # fmt: skip
@click.option("-w", "--wait", is_flag=True, show_envvar=True,
              help="Wait for the result and print it.")  # fmt: skip
@click.option("--timeout", default=30.0, type=click.FloatRange(0), show_envvar=True,
              help="Seconds to wait for room, the confirm, or the result.")  # fmt: skip
def send(
    name: str, arguments: tuple[str, ...], url: str, queue: bool, wait: bool, timeout: float
) -> None:
    """Send one task, or bodies to a queue.

    Arguments are JSON: '"text"', 42, '{"id": 1}'. For a task they are its parameters.

    \b
    zqueue send count_words '"to be or not to be"' --wait
    zqueue send --queue events '{"id": 1}' '{"id": 2}'
    """
    from .pipe import send_one

    send_one(url, name, arguments, is_queue=queue, wait=wait, timeout_s=timeout)


@cli.command(epilog=EXIT_CODES)
@click.argument("name")
@url_option
@click.option("-q", "--queue", is_flag=True, show_envvar=True,
              help="NAME is a queue: send the lines as bodies, with no results.")  # fmt: skip
@click.option("--timeout", default=30.0, type=click.FloatRange(0), show_envvar=True,
              help="Seconds to wait for room or a confirm.")  # fmt: skip
@click.option("--progress/--no-progress", default=None, show_envvar=True,
              help="Show progress on stderr.  [default: on a terminal]")  # fmt: skip
def pipe(name: str, url: str, queue: bool, timeout: float, progress: bool | None) -> None:
    """Send each line of standard input, and print the results in order.

    Lines are JSON. For a task, an array holds its parameters in order, an object holds them by
    name, anything else is the only one. A result is one line of JSON; a failed task gives
    {"error": …} in its place, and exit code 1 in the end.

    \b
    zqueue pipe count_words < texts.ndjson > counts.ndjson
    zqueue pipe --queue events < events.ndjson
    """
    from .pipe import run_pipe

    shown = sys.stderr.isatty() if progress is None else progress
    sys.exit(
        run_pipe(url, name, sys.stdin.buffer, sys.stdout, is_queue=queue,
                 timeout_s=timeout, progress=shown)
    )  # fmt: skip


@cli.command(epilog=EXIT_CODES)
@url_option
@json_option
@click.option("--dead", is_flag=True, show_envvar=True, help="The newest dead letters.")
@click.option("-i", "--interval", type=click.FloatRange(0.1), show_envvar=True,
              help="Print again every so many seconds, until Ctrl-C. As JSON, a line each "
                   "time.")  # fmt: skip
def info(url: str, as_json: bool, dead: bool, interval: float | None) -> None:
    """Show a broker's queues, workers and counters.

    \b
    zqueue info
    zqueue info --json | jq .queues
    zqueue info --interval 1
    zqueue info --dead
    """
    from .report import dead_as_data, describe_dead, describe_info, repeat

    def look(asker: Asker) -> str:
        state = asker.ask("dead" if dead else "info")
        if dead:
            return json.dumps(dead_as_data(state)) if as_json else describe_dead(state)
        return json.dumps(state, default=repr) if as_json else describe_info(state, url)

    with Asker(url) as asker:
        if interval is None:
            click.echo(look(asker))
        else:
            clears = not as_json and sys.stdout.isatty()
            repeat(lambda: look(asker), interval, clears=clears)


@cli.command(epilog=EXIT_CODES)
@url_option
@json_option
@click.option("--ready", is_flag=True, show_envvar=True,
              help="Also demand a worker for every queue that has tasks.")  # fmt: skip
@click.option("--timeout", default=1.0, type=click.FloatRange(0), show_envvar=True,
              help="Seconds to wait for the broker's answer.")  # fmt: skip
def health(url: str, as_json: bool, ready: bool, timeout: float) -> None:
    """Tell whether a broker is well: exit code 0, 3 (no answer) or 6 (not ready).

    \b
    zqueue health --ready || echo "look after it"
    """
    from .report import health_problems

    state = ask(url, timeout=timeout)
    problems = health_problems(state, need_workers=ready)
    if as_json:
        click.echo(json.dumps({"ready": not problems, "problems": problems}))
    else:
        click.echo("\n".join(problems) or f"the broker at {url} is well")
    sys.exit(NOT_READY if problems else 0)


@cli.command(epilog=EXIT_CODES)
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:9464", show_envvar=True,
              help="Where to answer HTTP requests.")  # fmt: skip
@click.option("--url", multiple=True, envvar=["ZQUEUE_METRICS_URL", "ZQUEUE_URL"],
              default=[DEFAULT_URL], show_default=True,
              help="A broker's address. May be repeated.  [env: ZQUEUE_METRICS_URL, "
                   "ZQUEUE_URL]")  # fmt: skip
@click.option("--ready-workers", default=0, type=click.IntRange(0), show_envvar=True,
              help="Workers that every broker needs for /readyz.")  # fmt: skip
@click.option("--insecure-no-auth", is_flag=True, show_envvar=True,
              help="Listen on addresses that other machines can reach, without any "
                   "authentication.")  # fmt: skip
def metrics(
    listen: str, url: tuple[str, ...], ready_workers: int, insecure_no_auth: bool
) -> None:  # fmt: skip
    """Show how brokers and workers are: to Prometheus, and to people on a page.

    Asks brokers once a second, wherever they are, and may come and go: nothing depends on it.
    Serves / (the page), /metrics, /livez, /readyz, /api/stats.json and /api/stream.

    \b
    zqueue metrics
    zqueue metrics --listen 127.0.0.1:9000 --url tcp://10.0.0.1:5555 --url tcp://10.0.0.2:5555
    curl -s http://127.0.0.1:9464/metrics | grep ready_tasks

    SIGTERM or SIGINT: stop.
    """
    from .metrics.command import run_metrics

    config = MetricsConfig(
        listen=listen,
        urls=tuple(dict.fromkeys(url)),
        ready_workers=ready_workers,
        insecure=insecure_no_auth,
    )
    sys.exit(run_metrics(config))


@cli.command(epilog=EXIT_CODES)
@click.option("--url", multiple=True, envvar=["ZQUEUE_TOP_URL", "ZQUEUE_URL"],
              default=[DEFAULT_URL], show_default=True,
              help="A broker's address. May be repeated.  [env: ZQUEUE_TOP_URL, "
                   "ZQUEUE_URL]")  # fmt: skip
@click.option("-i", "--interval", default=1.0, type=click.FloatRange(1), show_envvar=True,
              help="Seconds after which the figures change.")  # fmt: skip
def top(url: tuple[str, ...], interval: float) -> None:
    """Show how brokers, queues, tasks and workers are, in the terminal.

    Asks the brokers itself, and may come and go: nothing depends on it. Queues can be paused,
    drained and resumed from it; ? shows the keys. Needs the extra 'top'.

    \b
    zqueue top
    zqueue top --url tcp://10.0.0.1:5555 --url tcp://10.0.0.2:5555
    """
    from .top.command import run_top

    for one in url:
        Address.parse(one)
    sys.exit(run_top(tuple(dict.fromkeys(url)), interval))


@cli.group(epilog=EXIT_CODES)
def queue() -> None:
    """Show queues, and pause, drain or resume one.

    \b
    zqueue queue ls                             show them
    zqueue queue pause events                   hand nothing out
    zqueue queue drain events                   take nothing new
    zqueue queue resume events                  neither any more
    """


@queue.command(epilog=EXIT_CODES)
@url_option
@json_option
def ls(url: str, as_json: bool) -> None:
    """Show the queues and their states.

    \b
    zqueue queue ls
    zqueue queue ls --json | jq '.[] | select(.state != "running")'
    """
    from .report import describe_queues, queues_as_data

    queues = queues_as_data(ask(url))
    click.echo(json.dumps(queues) if as_json else describe_queues(queues))


@queue.command(epilog=EXIT_CODES)
@click.argument("name")
@url_option
@json_option
def pause(name: str, url: str, as_json: bool) -> None:
    """Hand out nothing of queue NAME, until it is resumed.

    What workers have, they finish. It goes on taking what is sent, until it is full.

    \b
    zqueue queue pause events
    """
    _control(url, "pause", name, as_json)


@queue.command(epilog=EXIT_CODES)
@click.argument("name")
@url_option
@json_option
def drain(name: str, url: str, as_json: bool) -> None:
    """Let queue NAME take nothing new, until it is resumed.

    What is in it is handed out as ever. Producers keep what they have, and wait.

    \b
    zqueue queue drain events
    """
    _control(url, "drain", name, as_json)


@queue.command(epilog=EXIT_CODES)
@click.argument("name")
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
    answer = control(url, action, name)
    click.echo(json.dumps(answer) if as_json else describe_control(answer))


@cli.command(epilog=EXIT_CODES)
@click.argument("path", required=False, type=click.Path(exists=True))
@click.option("-p", "--processes", default=2, type=click.IntRange(1, 64), show_envvar=True,
              help="Worker processes.")  # fmt: skip
@click.option("--kill/--no-kill", default=True, show_envvar=True,
              help="Kill one worker in the middle, with SIGKILL.")  # fmt: skip
@json_option
def demo(path: str | None, processes: int, kill: bool, as_json: bool) -> None:
    """Count the words of every text file under PATH through a real pool, and check the result.

    PATH is by default the Python standard library's own sources. Starts a broker and workers as
    processes of their own, kills one of them in the middle, and leaves nothing behind.

    \b
    zqueue demo
    zqueue demo ~/notes -p 4
    """
    from .demo import run_demo

    sys.exit(run_demo(path, processes=processes, kill=kill, as_json=as_json))


@cli.command(epilog=EXIT_CODES)
@click.argument("components", nargs=-1, metavar="[COMPONENT]...")
@click.option("--list", "listed", is_flag=True, help="Show the components and stop.")
@click.option("--quick", is_flag=True, show_envvar=True,
              help="About a minute, to see that all is well; figures are rougher.")  # fmt: skip
@click.option("--runs", type=click.IntRange(1), show_envvar=True,
              help="How often everything is measured.  [default: 5, quick 3]")  # fmt: skip
@click.option("--out", metavar="DIR", show_envvar=True,
              help="Where result and report go.  [default: zqueue-bench-DATE-TIME]")  # fmt: skip
@click.option("--profile", type=click.Choice(["cpu", "memory", "trace"]), multiple=True,
              show_envvar=True,
              help="Also profile each component. May be repeated. Needs the extra "
                   "'bench'.")  # fmt: skip
@json_option
def bench(
    components: tuple[str, ...], listed: bool, quick: bool, runs: int | None, out: str | None,
    profile: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Measure this installation on this machine, and write a report.

    Starts brokers and workers of its own, measures each COMPONENT (by default all) beside what
    it competes with, and leaves a result (JSON) and a report with plots in a folder. Use an idle
    machine. All takes less than ten minutes.

    \b
    zqueue bench --quick
    zqueue bench queue codec --runs 9
    zqueue bench pool --profile cpu
    """
    from .bench.command import Options, catalogue, run_bench

    if listed:
        click.echo(catalogue())
        return
    sys.exit(run_bench(Options(components, quick, runs, out, profile, as_json)))


def main() -> None:
    """The entry point of the command."""
    cli(prog_name="zqueue")
