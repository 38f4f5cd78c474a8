"""The command line: options in, one call of an assembly out.

The verbs that start a process of a pool are here, those that try one out in `cli_trying`, those
that talk to a running broker in `cli_client`, and what their options have in common in `options`. A
user's mistake is one sentence and an exit code, never a traceback.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError
from click.shell_completion import get_completion_class

from .cli_client import VERBS
from .cli_dead import dlq
from .cli_deploy import deploy
from .cli_gateway import gateway, tokens
from .cli_keys import keys
from .cli_store import store
from .cli_trying import bench, demo, up
from .config import (
    BROKERS_MAX,
    CANCEL_GRACE_S,
    DEFAULT_URL,
    LEVELS,
    THREADS_MAX,
    BrokerConfig,
    BrokerList,
    Limits,
    MetricsConfig,
    WorkerConfig,
    split_urls,
)
from .errors import BrokerLost, LocalError, ZQueueError
from .logs import FORMATS, set_up_logs
from .options import (
    EXIT_CODES,
    FAILURE,
    RUNNING,
    UNREACHABLE,
    USAGE,
    Bytes,
    Egresses,
    Seconds,
    key_file_option,
    name_variables,
    read_file,
    unknown_variables,
)
from .streams import ReaderGone, set_up_streams
from .version import __version__
from .wire.headers import check_name


class Commands(click.Group):
    """Turns whatever ends a verb into one line and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except ZQueueError as error:
            if isinstance(error, ReaderGone):
                sys.exit(128 + signal.SIGPIPE)
            if logging.getLogger("zqueue").isEnabledFor(logging.DEBUG):
                logging.getLogger("zqueue").debug("%s", error, exc_info=True)
            click.echo(f"zqueue: {error}", err=True)
            sys.exit(_exit_code(error))
        except click.ClickException as error:
            _show(error)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(128 + signal.SIGINT)


def _show(error: click.ClickException) -> None:
    """In the form of all our errors, and not in click's."""
    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return
    click.echo(f"zqueue: {error.format_message()}", err=True)
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(f"Try '{error.ctx.command_path} --help'.", err=True)


def _exit_code(error: ZQueueError) -> int:
    from .net.sockets import AddressInUse
    from .store.store import StoreDamaged, StoreLocked

    if isinstance(error, AddressInUse | StoreLocked | StoreDamaged):
        return RUNNING
    if isinstance(error, LocalError):
        return USAGE
    if isinstance(error, BrokerLost):
        return UNREACHABLE
    return FAILURE


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
    callback=read_file,
    is_eager=True,
    expose_value=False,
    help="Configuration file.  [default: zqueue.toml, if there is one]",
)
@click.option(
    "-l",
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    help="Least severity that is logged, to stderr.",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS, case_sensitive=False),
    default="text",
    help="Form of the log; as JSON, with the task that runs.",
)
@click.pass_context
def cli(ctx: click.Context, log_level: str, log_format: str) -> None:
    """A distributed worker pool with no service to install.

    \b
    zqueue demo                                 see it work, right now
    zqueue up workers/wordcount.py              broker, workers and page, for development
    zqueue broker                               start a broker
    zqueue worker workers/wordcount.py -p 4     start four workers
    zqueue send count_words '"to be or not"'    send a task
    zqueue gateway                              take tasks over HTTP
    zqueue metrics                              live statistics, on a page
    zqueue top                                  live statistics, in the terminal

    Every option is also ZQUEUE_<VERB>_<OPTION> in the environment and a key of the table
    [verb] in zqueue.toml. The command line wins over the environment, that over the file.
    """
    set_up_logs(form=log_format, level=logging.WARNING)
    logging.getLogger("zqueue").setLevel(log_level.upper())
    ctx.obj = log_format
    verb = ctx.invoked_subcommand or ""
    for name, nearest in unknown_variables(verb, cli.commands[verb], os.environ):
        click.echo(f"zqueue: {name} is not an option: did you mean {nearest}?", err=True)


for verb in (*VERBS, demo, bench, up, dlq, store, keys, deploy, gateway, tokens):
    cli.add_command(verb)


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
@click.option("--queues-max", default=10_000, type=click.IntRange(1), show_envvar=True,
              help="Queues that there may be. One that nobody uses ends.")  # fmt: skip
@click.option("--peers", default=1_000, type=click.IntRange(1), show_envvar=True,
              help="Producers, workers and supervisors that may be connected.")  # fmt: skip
@click.option("--max-crashes", default=3, type=click.IntRange(2), show_envvar=True,
              help="Workers that may die under a task before it is set aside.")  # fmt: skip
@click.option("--dead-max", default=10_000, type=click.IntRange(1, 1_000_000), show_envvar=True,
              help="Dead letters to keep. Beyond it the oldest are dropped.")  # fmt: skip
@click.option("--dead-bytes", default="64M", type=Bytes(), show_envvar=True,
              help="Bytes of dead letters to keep.")  # fmt: skip
@click.option("--heartbeat", default=1.0, type=Seconds(0.01), show_envvar=True,
              help="Seconds between signs of life.")  # fmt: skip
@click.option("--liveness", default=5.0, type=Seconds(0.02), show_envvar=True,
              help="Seconds of silence after which a peer counts as lost.")  # fmt: skip
@click.option("--drain-timeout", default=30.0, type=Seconds(), show_envvar=True,
              help="Seconds to go on handing out tasks after SIGTERM.")  # fmt: skip
@click.option("--data-dir", metavar="DIR", type=click.Path(file_okay=False), show_envvar=True,
              help="Keep queues in this directory, so that they outlive the broker. Made at first "
                   "use.")  # fmt: skip
@click.option("--durability", type=click.Choice(LEVELS), show_envvar=True,
              help="What a confirmed task survives. memory: nothing; os: the end of the broker; "
                   "disk: that of the machine.  [default: disk with --data-dir, else "
                   "memory]")  # fmt: skip
@click.option("--keys", "key_dir", metavar="DIR", type=click.Path(file_okay=False),
              show_envvar=True,
              help="Let in only clients of whom this directory knows, encrypted (see 'zqueue keys "
                   "--help').")  # fmt: skip
@click.option("--shards", default=1, type=click.IntRange(1, BROKERS_MAX), show_envvar=True,
              help="Brokers, each a process, at consecutive ports from --bind on. Bounds and "
                   "limits are of each; clients name all of them in --url.")  # fmt: skip
@click.option("--insecure-no-auth", is_flag=True, show_envvar=True,
              help="Listen on addresses that other machines can reach, without any "
                   "authentication.")  # fmt: skip
def broker(
    bind: str, ingest: str | None, egress: tuple[tuple[str, str], ...], queue_tasks: int,
    queue_bytes: int, max_bytes: int, queues_max: int, peers: int, max_crashes: int,
    dead_max: int, dead_bytes: int, heartbeat: float, liveness: float, drain_timeout: float,
    data_dir: str | None, durability: str | None, key_dir: str | None, shards: int,
    insecure_no_auth: bool,
) -> None:  # fmt: skip
    """Start a broker, in the foreground.

    Queues are made at first use and live in memory: they outlive producers and workers, and end
    with the broker. With --data-dir they outlive it, too: start it again with the same.

    \b
    zqueue broker
    zqueue broker --data-dir /var/lib/zqueue
    zqueue broker --bind tcp://0.0.0.0:5555 --keys keys
    zqueue broker --bind tcp://127.0.0.1:6000 --queue-bytes 1G --max-bytes 4G
    zqueue broker --ingest tcp://127.0.0.1:5557 --egress events=tcp://127.0.0.1:5558
    zqueue broker --shards 2          at tcp://127.0.0.1:5555 and tcp://127.0.0.1:5556

    SIGTERM or SIGINT: take nothing new, hand out what is there, stop. Again: stop now. What is in
    a data dir stays there: only what workers have is waited for.
    """
    from .broker.process import run_broker
    from .shards import VARIABLE, plan, run_shards

    config = BrokerConfig(
        bind=bind,
        ingest=ingest,
        egress=dict(egress),
        limits=Limits(
            queue_tasks_max=queue_tasks,
            queue_bytes_max=queue_bytes,
            bytes_max=max_bytes,
            queues_max=queues_max,
            peers_max=peers,
            crashes_max=max_crashes,
            dead_max=dead_max,
            dead_bytes_max=dead_bytes,
            heartbeat_s=heartbeat,
            liveness_s=liveness,
        ),
        drain_timeout_s=drain_timeout,
        insecure=insecure_no_auth,
        data_dir=data_dir,
        durability=durability or "",
        keys=key_dir,
        shard=os.environ.get(VARIABLE, ""),
    )
    if shards == 1:
        sys.exit(run_broker(config))
    if ingest or egress:
        raise click.UsageError("--ingest and --egress are of one broker: leave --shards away")
    sys.exit(run_shards(plan(bind, shards, data_dir)))


@cli.command(epilog=EXIT_CODES)
@click.argument("app")
@click.option("-p", "-c", "--processes", default=1, type=click.IntRange(1, 1024),
              show_envvar=True, help="Worker processes.")  # fmt: skip
@click.option("-a", "--concurrency", default=100, type=click.IntRange(1, 10_000),
              show_envvar=True, help="Async tasks that one process runs side by side.")  # fmt: skip
@click.option("-t", "--threads", default=1, type=click.IntRange(1, THREADS_MAX), show_envvar=True,
              help="Plain tasks that one process runs side by side, each in a thread: for tasks "
                   "that wait. A thread cannot be killed: a task that overruns its timeout, or "
                   "goes on though it was cancelled, ends its process, and what its other threads "
                   "ran runs again.")  # fmt: skip
@click.option("-Q", "--queues", metavar="NAME,…", show_envvar=True,
              help="Queues to serve.  [default: those of the app's tasks]")  # fmt: skip
@click.option("--url", envvar=["ZQUEUE_WORKER_URL", "ZQUEUE_URL"],
              help="The broker's address.  [env: ZQUEUE_WORKER_URL, ZQUEUE_URL; default: the "
                   "app's]")  # fmt: skip
@click.option("--drain-timeout", default=30.0, type=Seconds(), show_envvar=True,
              help="Seconds that running tasks may take to finish after SIGTERM, and in each "
                   "process after SIGHUP.")  # fmt: skip
@click.option("--cancel-grace", default=CANCEL_GRACE_S, type=Seconds(), show_envvar=True,
              help="Seconds that a task which is cancelled while it runs may take to end, before "
                   "its process is killed.")  # fmt: skip
@click.option("--max-tasks", default=0, type=click.IntRange(0), show_envvar=True,
              help="Replace a process once it has run so many tasks.  [0: never]")  # fmt: skip
@click.option("--max-memory", default="0", type=Bytes(), show_envvar=True,
              help="Replace a process that holds so many bytes.  [0: never]")  # fmt: skip
@key_file_option
@click.pass_obj
def worker(
    log_format: str, app: str, processes: int, concurrency: int, threads: int,
    queues: str | None, url: str | None, drain_timeout: float, cancel_grace: float,
    max_tasks: int, max_memory: int,
) -> None:  # fmt: skip
    """Start worker processes that run the tasks of APP, in the foreground.

    APP is a file (workers/wordcount.py) or a module (shop.tasks); :NAME behind it chooses among
    several apps.

    \b
    zqueue worker workers/wordcount.py
    zqueue worker shop.tasks:app -p 4 --url tcp://127.0.0.1:6000
    zqueue worker shop.tasks:app -p 2 --threads 16

    SIGTERM or SIGINT: finish what runs, return the rest, stop. Again: return what runs, too.
    A third time: end everything at once. SIGHUP: restart the processes one after the other.
    """
    from .worker.supervisor import run_supervisor

    if url is not None:
        BrokerList.parse(url)
    served = tuple(filter(None, (queues or "").split(",")))
    for name in served:
        check_name(name, "queue")
    config = WorkerConfig(
        app=app,
        url=url,
        processes=processes,
        concurrency=concurrency,
        threads=threads,
        queues=served,
        drain_timeout_s=drain_timeout,
        tasks_max=max_tasks,
        rss_bytes_max=max_memory,
        log_format=log_format,
        cancel_grace_s=cancel_grace,
    )
    sys.exit(run_supervisor(config))


@cli.command(epilog=EXIT_CODES)
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:9464", show_envvar=True,
              help="Address of the HTTP server.")  # fmt: skip
@click.option("--url", multiple=True, envvar=["ZQUEUE_METRICS_URL", "ZQUEUE_URL"],
              default=[DEFAULT_URL], show_default=True, show_envvar=True,
              help="A broker's address. May be repeated.")  # fmt: skip
@click.option("--ready-workers", default=0, type=click.IntRange(0), show_envvar=True,
              help="Workers that every broker needs for /readyz.")  # fmt: skip
@click.option("--insecure-no-auth", is_flag=True, show_envvar=True,
              help="Listen on addresses that other machines can reach, without any "
                   "authentication.")  # fmt: skip
@click.option("--token-file", metavar="FILE", type=click.Path(dir_okay=False), show_envvar=True,
              help="A file that only its owner may read (0600), with the token that whoever asks "
                   "must show: as a bearer, or as the password of any name.")  # fmt: skip
@key_file_option
def metrics(
    listen: str, url: tuple[str, ...], ready_workers: int, insecure_no_auth: bool,
    token_file: str | None,
) -> None:  # fmt: skip
    """Serve live statistics of brokers and workers: a page, and metrics for Prometheus.

    Asks each broker once a second. Nothing depends on it: start and stop it at any time.
    Serves / (the page), /metrics, /livez, /readyz, /api/stats.json and /api/stream.

    \b
    zqueue metrics
    zqueue metrics --listen 127.0.0.1:9000 --url tcp://10.0.0.1:5555 --url tcp://10.0.0.2:5555
    curl -s http://127.0.0.1:9464/metrics | grep ready_tasks
    zqueue metrics --listen 10.0.0.1:9464 --token-file /etc/zqueue/metrics.token

    SIGTERM or SIGINT: stop.
    """
    from .metrics.process import run_metrics

    config = MetricsConfig(
        listen=listen,
        urls=split_urls(*url),
        ready_workers=ready_workers,
        insecure=insecure_no_auth,
        token_file=token_file,
    )
    sys.exit(run_metrics(config))


@cli.command(epilog=EXIT_CODES)
@click.option("--url", multiple=True, envvar=["ZQUEUE_TOP_URL", "ZQUEUE_URL"],
              default=[DEFAULT_URL], show_default=True, show_envvar=True,
              help="A broker's address. May be repeated.")  # fmt: skip
@click.option("-i", "--interval", default=1.0, type=Seconds(1), show_envvar=True,
              help="Seconds between two updates of the figures.")  # fmt: skip
@key_file_option
def top(url: tuple[str, ...], interval: float) -> None:
    """Show live statistics of brokers, queues, tasks and workers, in the terminal.

    Asks each broker itself. Nothing depends on it: start and stop it at any time. It can pause,
    drain and resume queues; ? shows the keys. Needs the extra 'top'.

    \b
    zqueue top
    zqueue top --url tcp://10.0.0.1:5555 --url tcp://10.0.0.2:5555
    """
    from .top.terminal import run_top

    sys.exit(run_top(split_urls(*url), interval))


@cli.command(epilog=EXIT_CODES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes verbs, options, and the broker's queues and tasks in SHELL.

    \b
    eval "$(zqueue completion bash)"            in ~/.bashrc
    eval "$(zqueue completion zsh)"             in ~/.zshrc
    zqueue completion fish | source             in ~/.config/fish/config.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "zqueue", "_ZQUEUE_COMPLETE").source())


name_variables(cli)


def main() -> None:
    """The entry point of the command."""
    set_up_streams()
    try:
        cli(prog_name="zqueue")
    except SystemExit as ended:
        if ended.code in (128 + signal.SIGINT, 128 + signal.SIGPIPE):
            # A shell goes on with its loop unless it sees that we died of the signal.
            signal.signal(ended.code - 128, signal.SIG_DFL)
            os.kill(os.getpid(), ended.code - 128)
        raise
