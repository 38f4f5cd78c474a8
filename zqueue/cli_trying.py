"""The verbs that try things out: each starts a whole pool, and ends it."""

from __future__ import annotations

import sys

import click

from .options import EXIT_CODES, json_option


@click.command(epilog=EXIT_CODES)
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


@click.command(epilog=EXIT_CODES)
@click.option("--url", metavar="URL", show_envvar=True,
              help="A running broker.  [default: one is started for it]")  # fmt: skip
@click.option("--tasks", type=click.IntRange(1), show_envvar=True,
              help="Tasks to send each way.  [default: 500,000; with --rate, for 5 s]")  # fmt: skip
@click.option("--size", default=32, type=click.IntRange(0, 8 << 20), show_envvar=True,
              help="Bytes of payload in a task.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, min_open=True), show_envvar=True,
              help="Tasks a second.  [default: as fast as they are taken]")  # fmt: skip
@click.option("--workers", default=1, type=click.IntRange(1, 64), show_envvar=True,
              help="Worker processes, on this machine.")  # fmt: skip
@click.option("--results/--no-results", default=None, show_envvar=True,
              help="Measure only the way with results, or without.  [default: both]")  # fmt: skip
@json_option
def bench(
    url: str | None, tasks: int | None, size: int, rate: float | None, workers: int,
    results: bool | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure throughput and latency, of this installation or of a running cluster.

    Sends tasks that do nothing to a queue of its own, 'zqueue.bench', and has them run by workers
    of its own, on this machine. Ctrl-C stops sending and prints what was measured so far.

    \b
    zqueue bench
    zqueue bench --rate 1000 --tasks 5000
    zqueue bench --url tcp://127.0.0.1:5555 --workers 2 --size 1024 --results
    zqueue bench --no-results --json
    """
    from .bench import Options, run_bench

    sys.exit(run_bench(Options(url, tasks, size, rate, workers, results, as_json)))


@click.command(epilog=EXIT_CODES)
@click.argument("app", required=False)
@click.option("--url", envvar=["ZQUEUE_URL"], show_envvar=True,
              help="Where the broker is to be.  [default: tcp://127.0.0.1:5555, or a free "
                   "port]")  # fmt: skip
@click.option("-p", "--processes", type=click.IntRange(1, 1024), show_envvar=True,
              help="Worker processes.  [default: as for 'zqueue worker']")  # fmt: skip
@click.option("--reload/--no-reload", default=None, show_envvar=True,
              help="Replace workers when Python files beside the app, or below, have changed. "
                   "Needs watchfiles.  [default: if that is installed]")  # fmt: skip
def up(app: str | None, url: str | None, processes: int | None, reload: bool | None) -> None:
    """Start a broker, the sidecar, and workers for APP, in this terminal.

    For development: all logs are here, each line behind the name of its process. APP is as for
    'zqueue worker'. Other options of the three come from the environment and from zqueue.toml.

    \b
    zqueue up shop.py -p 2

    SIGTERM or SIGINT: end workers, sidecar and broker. Again: return what runs, too.
    """
    from .up import run_up

    sys.exit(run_up(app, url=url, processes=processes, reload=reload))
