"""What the gateway takes, beside the same server with an application that does nothing.

    python perf/gateway.py                     half a minute; needs wrk
    python perf/gateway.py --runs 5 --seconds 5
    python perf/gateway.py --beside-rq         beside RQ behind FastAPI, which it names what is
                                               missing for
Requests and tasks a second are closed-loop, by wrk with one thread. Beside them stands the
processor time of the server for each, which says more where other things run. The floor of lines is
decoding them, in this process. Only ratios within one run mean something.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any, NamedTuple

from lab.wording import table
from peers.environments import DEFAULT, Environments
from peers.registry import BY_NAME

from zqueue.client.ask import ask
from zqueue.gateway.decoding import decode_lines
from zqueue.http.asgi import Receive, Scope, Send, live
from zqueue.http.listening import Listener
from zqueue.http.patience import Limits
from zqueue.http.serving import Serving, until_signal
from zqueue.testing import Cluster, wait_until

BODY = (
    b'{"id": 12345, "name": "abcdefgh", "email": "someone@example.org", "tags": ["a", "b"], '
    b'"amount": 12.5}'
)
LINES = 1_000
CONNECTIONS, STREAM_CONNECTIONS = 32, 8
IDLE, STREAMS = 1_000, 200

APP = """
import zqueue

app = zqueue.App(retries=0)


@app.batch(queue="events")
def take(bodies):
    pass


@app.task
async def wait():
    import asyncio

    await asyncio.sleep(3600)
"""


class Load(NamedTuple):
    """What a server did."""

    per_s: float
    cpu_us: float
    """Processor time of the server for each."""
    refused: int
    """Requests, because the broker did not confirm in time."""


async def floor(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads a small body, and answers."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"15")]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"accepted": 1}'})


def serve_floor(port: int) -> None:
    """Run the floor until SIGTERM."""
    Serving(floor, Listener("127.0.0.1", port), Limits(4_096)).run(until_signal())


class Server:
    """A server as a process: a command of Python's, or of another program's."""

    def __init__(
        self, *command: str, program: str | Path = sys.executable, **environment: str
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        shown = [part.format(port=self.port) for part in command]
        self.process = subprocess.Popen(
            [program, *shown], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )  # fmt: skip
        wait_until(self.listens, what="a server")

    def listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1]) << 10

    def load(self, script: Path, connections: int, seconds: int) -> Load:
        """What wrk gets of it."""
        began_cpu_s, began = self.cpu_s(), perf_counter()
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script,
             f"http://127.0.0.1:{self.port}/v1/queues/events"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = re.search(r"(\d+) requests in", done.stdout)
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
        assert found is not None, done.stdout
        requests = int(found[1])
        taken = requests - int(refused[1] if refused else 0)
        return Load(taken / (perf_counter() - began),
                    1e6 * (self.cpu_s() - began_cpu_s) / requests, requests - taken)  # fmt: skip

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@contextlib.contextmanager
def servers() -> Iterator[tuple[Server, Server, str]]:
    """The floor, and a gateway beside a broker and a worker; and the broker's address."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        app = Path(folder, "app.py")
        app.write_text(APP)
        cluster = stack.enter_context(Cluster(str(app), workers=1))
        both = (
            Server(__file__, "--floor", "{port}"),
            Server("-m", "zqueue", "gateway", "--listen", "127.0.0.1:{port}", "--url",
                   cluster.broker.url),
        )  # fmt: skip
        for server in both:
            stack.callback(server.stop)
        yield (*both, cluster.broker.url)


def script_of(folder: Path, name: str, kind: str, body: bytes, times: int) -> Path:
    """What wrk posts."""
    path = folder / name
    path.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{kind}"\n'
        f"wrk.body = string.rep({json.dumps(body.decode())}, {times})\n"
    )
    return path


def decode_us() -> float:
    """Processor time to decode a line."""
    data = (BODY + b"\n") * LINES
    took = []
    for _ in range(20):
        began = process_time()
        decode_lines(data, 0)
        took.append(process_time() - began)
    return 1e6 * min(took) / LINES


def settle(url: str) -> None:
    """Wait until the worker has done what was posted: a full queue would be measured else."""
    wait_until(lambda: not ask(url)["queues"]["events"]["bytes"], 60, what="an empty queue")


def measure_load(options: argparse.Namespace, bare: Server, gateway: Server, url: str) -> list[Any]:
    """Rows of the table."""
    singles: list[tuple[Load, Load]] = []
    lines: list[Load] = []
    with tempfile.TemporaryDirectory() as folder:
        one = script_of(Path(folder), "one.lua", "application/json", BODY, 1)
        many = script_of(Path(folder), "many.lua", "application/x-ndjson", BODY + b"\n", LINES)
        for _ in range(options.runs):
            singles.append((
                bare.load(one, CONNECTIONS, options.seconds),
                gateway.load(one, CONNECTIONS, options.seconds),
            ))  # fmt: skip
            settle(url)
            lines.append(gateway.load(many, STREAM_CONNECTIONS, options.seconds))
            settle(url)
    floor_us, median = decode_us(), statistics.median
    of_line_us = median(load.cpu_us for load in lines) / LINES
    return [
        ("floor, requests/s", f"{median(a.per_s for a, _ in singles):,.0f}"),
        ("floor, processor time a request", f"{median(a.cpu_us for a, _ in singles):.1f} µs"),
        ("confirmed single posts/s", f"{median(b.per_s for _, b in singles):,.0f}"),
        ("processor time a post", f"{median(b.cpu_us for _, b in singles):.1f} µs"),
        ("posts refused, of a busy machine", f"{sum(b.refused for _, b in singles):,}"),
        ("single posts: gateway / floor, rate",
         f"{median(b.per_s / a.per_s for a, b in singles):.2f}"),
        ("single posts: floor / gateway, processor time",
         f"{median(a.cpu_us / b.cpu_us for a, b in singles):.2f}"),
        (f"confirmed tasks/s, {LINES:,} lines a request",
         f"{median(load.per_s for load in lines) * LINES:,.0f}"),
        ("processor time a line", f"{of_line_us:.2f} µs"),
        ("decoding a line", f"{floor_us:.2f} µs"),
        ("lines: decoding / gateway, processor time", f"{floor_us / of_line_us:.2f}"),
    ]  # fmt: skip


@contextlib.contextmanager
def rq_behind_fastapi(environments: Environments) -> Iterator[Server]:
    """A Redis in memory, and uvicorn before it. No worker takes anything of its time."""
    peer = BY_NAME["rq"]
    if lacks := environments.missing(peer):
        raise SystemExit("".join(f"{what} is missing: {how}\n" for what, how in lacks.items()))
    with contextlib.ExitStack() as stack:
        redis = Server(
            "--bind", "127.0.0.1", "--port", "{port}", "--save", "", "--appendonly", "no",
            program="redis-server",
        )  # fmt: skip
        stack.callback(redis.stop)
        web = Server(
            "-m", "uvicorn", "peers.rq_web:web", "--port", "{port}", "--log-level", "warning",
            "--no-access-log", "--app-dir", str(Path(__file__).parent),
            program=environments.python(peer), REDIS_URL=f"redis://127.0.0.1:{redis.port}",
        )  # fmt: skip
        stack.callback(web.stop)
        yield web


def measure_beside(options: argparse.Namespace, gateway: Server, url: str) -> list[Any]:
    """Rows of the table: posts, each run of the one beside a run of the other."""
    pairs: list[tuple[Load, Load]] = []
    environments = Environments(options.envs)
    with rq_behind_fastapi(environments) as web, tempfile.TemporaryDirectory() as folder:
        one = script_of(Path(folder), "one.lua", "application/json", BODY, 1)
        for _ in range(options.runs):
            theirs = web.load(one, CONNECTIONS, options.seconds)
            pairs.append((theirs, gateway.load(one, CONNECTIONS, options.seconds)))
            settle(url)
    ratios = [ours.per_s / theirs.per_s for theirs, ours in pairs]
    return [
        ("RQ behind FastAPI, posts/s", f"{statistics.median(a.per_s for a, _ in pairs):,.0f}"),
        ("processor time a post there, without Redis",
         f"{statistics.median(a.cpu_us for a, _ in pairs):,.0f} µs"),
        ("confirmed single posts/s beside it",
         f"{statistics.median(b.per_s for _, b in pairs):,.0f}"),
        ("single posts: gateway / RQ behind FastAPI, rate",
         f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"),
    ]  # fmt: skip


def measure_idle(gateway: Server) -> list[Any]:
    """What it takes while nothing is asked, and to hold connections and streams open."""
    began_cpu_s, began = gateway.cpu_s(), perf_counter()
    sleep(5)
    share = (gateway.cpu_s() - began_cpu_s) / (perf_counter() - began)
    rss = gateway.rss_bytes()
    address = ("127.0.0.1", gateway.port)
    with contextlib.ExitStack() as opened:
        for _ in range(IDLE):
            idle = opened.enter_context(socket.create_connection(address))
            idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            idle.recv(4096)
        for _ in range(STREAMS):
            client = http.client.HTTPConnection(*address)
            opened.callback(client.close)
            client.request("POST", "/v1/tasks/wait", b"[]", {"Content-Type": "application/json"})
            answer = client.getresponse()
            answer.read()
            assert answer.status == 202
            place = answer.headers["Location"]
            stream = opened.enter_context(socket.create_connection(address))
            stream.sendall(
                f"GET {place} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
                .encode()
            )  # fmt: skip
            assert b"200 OK" in stream.recv(4096)
        more = gateway.rss_bytes() - rss
    return [
        ("idle, of a processor", f"{100 * share:.2f} %"),
        ("resident memory", f"{rss / 2**20:.0f} MiB"),
        (f"{IDLE:,} idle connections and {STREAMS} event streams", f"{more / 2**20:.1f} MiB more"),
    ]


def main() -> int:
    """The entry point. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each load")
    parser.add_argument("--floor", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--beside-rq", action="store_true", help="only beside RQ behind FastAPI")
    parser.add_argument("--envs", type=Path, default=DEFAULT, help="as of peers/compare.py")
    options = parser.parse_args()
    if options.floor is not None:
        serve_floor(options.floor)
        return 0
    if shutil.which("wrk") is None:
        print("wrk is not installed: apt-get install wrk", file=sys.stderr)
        return 2
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with servers() as both:
        if options.beside_rq:
            print(table(("what", "measured"), measure_beside(options, both[1], both[2])))
            return 0
        # The load first: tasks that wait would leave the worker no credit for it.
        load = measure_load(options, *both)
        print(table(("what", "measured"), [*load, *measure_idle(both[1])]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
