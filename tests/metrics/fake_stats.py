"""A sidecar with fake statistics, for states that a real one cannot be brought into at will."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import zqueue
from zqueue.metrics.site import load_page

WINDOWS = ("10", "60", "300")

Json = dict[str, Any]


def rates(value: float) -> Json:
    return {window: round(value, 1) for window in WINDOWS}


def quantiles(middle_ms: float, count: int = 1000) -> Json:
    figures = {
        "count": count,
        "p50": middle_ms,
        "p95": middle_ms * 3,
        "p99": middle_ms * 6,
        "max": middle_ms * 11,
    }
    return {window: figures if count else dict.fromkeys(figures, None) for window in WINDOWS}


def made_queue(name: str, *, seed: int = 0, rate: float = 1000.0, **other: Any) -> Json:
    """A healthy queue."""
    chance = random.Random(seed)
    taken = [rate * (1 + 0.3 * math.sin(i / 7 + seed) + chance.uniform(-0.1, 0.1))
             for i in range(60)]  # fmt: skip
    done = [value * chance.uniform(0.9, 1.05) for value in taken]
    ready = int(chance.uniform(0, 20000)) if rate else 0
    return {
        "name": name, "state": "running", "ready": ready, "delayed": 7,
        "due_in_s": 4.5, "leased": 120, "tasks_max": 1_000_000,
        "bytes": ready * 200, "bytes_max": 256 << 20, "workers": 4, "withheld": 0,
        "oldest_s": ready / max(rate, 1), "plain": False, "in": rates(taken[-1]),
        "out": rates(done[-1]), "failed": rates(0.0),
        "counters": {"published": 9, "done": 1_234_567, "failed": 0, "redelivered": 0, "dead": 0},
        "history": {"in": taken, "out": done, "ready": [ready * v / (rate or 1) for v in taken]},
        "wait_ms": quantiles(1.7 + seed % 9), "run_ms": quantiles(0.4 + seed % 5), **other,
    }  # fmt: skip


def made_task(name: str, *, seed: int = 0, **other: Any) -> Json:
    return {
        "name": name, "queue": "events", "done": 100_000 - seed, "failed": 0, "rate": rates(820.0),
        "failed_rate": rates(0.0), "run_ms": quantiles(0.4 + seed % 7),
        "total_ms": quantiles(3.0 + seed % 11), **other,
    }  # fmt: skip


def made_worker(number: int, **other: Any) -> Json:
    chance = random.Random(number + time.monotonic_ns() // 10**9)
    return {
        "id": f"{number:032x}", "pid": 4000 + number, "host": f"node-{number // 32 + 1}",
        "version": zqueue.__version__, "compiled": True, "queues": ["events", "mail"],
        "credit": 64, "in_flight": chance.randrange(60), "done": 50_000 + number, "failed": 0,
        "rate": rates(chance.uniform(300, 500)), "busy": chance.uniform(0.3, 0.95),
        "cpu": chance.uniform(0.3, 1.0), "rss_bytes": 40 << 20,
        "strip": {"tasks": {"index": "123456789" * 6 + "000000"}},
        "running": None if number % 3 else {"task": "index", "for_s": 0.4, "progress": None},
        "gc": {"count": 300 + number, "total_ms": 90.0, "max_ms": 2.5}, **other,
    }  # fmt: skip


def made_heatmap(columns: int = 60) -> Json:
    """Most tasks take some 3 ms; in the middle there was a burst."""
    bounds = [0.1 * 10 ** (i / 4) for i in range(25)]
    counts = []
    for column in range(columns):
        centre = 6.0 + math.sin(column / 6) + 5 * math.exp(-(((column - 35) / 4) ** 2))
        counts.append([int(9000 * math.exp(-(((row - centre) / 1.7) ** 2) + 0.05 * (row - centre)))
                     for row in range(25)])  # fmt: skip
    return {"bounds_ms": bounds, "column_s": 5, "columns": counts}


def made_pauses(role: str) -> Json:
    chance = random.Random(role)
    return {
        "count": 812, "total_ms": 431.2, "max_ms": 6.3,
        "generations": [[740, 120.0, 0.6], [65, 90.1, 2.1], [7, 40.0, 6.3]],
        "pause_ms": quantiles(0.3), "interval_ms": quantiles(320.0),
        "history": [[ago, chance.expovariate(1.5) + 0.1] for ago in range(299, 0, -3)],
    }  # fmt: skip


def made_broker(**other: Any) -> Json:
    """A healthy broker."""
    names = ("events", "mail", "thumbnails", "reports", "webhooks")
    queues = [made_queue(name, seed=i, rate=9000 / 3**i) for i, name in enumerate(names)]
    return {
        "url": "tcp://127.0.0.1:5555", "state": "ok", "problem": "", "seen_s": 0.2,
        "conditions": [], "id": "ab" * 16, "version": zqueue.__version__, "compiled": True,
        "pid": 4711, "host": "node-1", "uptime_s": 8054.0, "rss_bytes": 81 << 20, "cpu": 0.37,
        "bytes": 12 << 20, "bytes_max": 1 << 30, "draining": False, "producers": 3,
        "in": rates(13_400.0), "out": rates(13_150.0), "failed": rates(0.0),
        "counters": {"done": 45_678_901, "redelivered": 12, "workers_lost": 1},
        "queues": queues, "other_queues": 0,
        "tasks": [made_task(name, seed=i) for i, name in enumerate(
            ("index", "send_mail", "make_thumbnail", "write_report", "call_hook"))],
        "workers": [made_worker(number) for number in range(8)],
        "supervisors": [{"pid": 4000, "host": "node-1", "processes": 8, "restarts": 1,
                         "rss_bytes": 30 << 20, "cpu": 0.01}],
        "dead": {"kept": 0, "evicted": 0, "total": 0}, "confirm_ms": quantiles(0.9),
        "gc": {role: made_pauses(role) for role in ("broker", "worker", "supervisor", "producer")},
        "heatmap": made_heatmap(), **other,
    }  # fmt: skip


def made_snapshot(*brokers: Json) -> Json:
    return {"schema": 1, "time": time.time(), "version": "0", "brokers": list(brokers)}


class FakeSidecar:
    """Serves the page, and the snapshot that it was given last: to streams at once when there is a
    new one, and every ``every_s`` seconds. Clear ``streams`` to refuse and end them."""

    def __init__(self) -> None:
        self.streams = True
        self.every_s = 1.0
        self.body = b""
        self._shown = threading.Condition()
        self._number = 0
        self.show()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def show(self, *brokers: Json) -> None:
        """Serve a snapshot of these brokers."""
        body = json.dumps(made_snapshot(*brokers)).encode()
        with self._shown:
            self.body = body
            self._number += 1
            self._shown.notify_all()

    def end_streams(self) -> None:
        """Refuse streams from now on."""
        self.streams = False
        with self._shown:
            self._shown.notify_all()

    def events(self) -> Iterator[bytes]:
        """What a stream sends, until streams end."""
        while self.streams:
            with self._shown:
                body, number = self.body, self._number
            yield b"data: %b\n\n" % body
            with self._shown:
                self._shown.wait_for(
                    lambda seen=number: self._number != seen or not self.streams, self.every_s
                )


@contextmanager
def fake_sidecar() -> Iterator[FakeSidecar]:
    """A sidecar while it lasts."""
    sidecar = FakeSidecar()
    thread = threading.Thread(target=sidecar.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield sidecar
    finally:
        sidecar.end_streams()
        sidecar.server.shutdown()
        sidecar.server.server_close()
        thread.join()


def _handler(sidecar: FakeSidecar) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

        def do_GET(self) -> None:
            if self.path == "/":
                page = load_page()
                headers = (f"{name.decode()}: {value.decode()}" for name, value in page.headers)
                self.answer(page.status, page.kind.decode(), page.body, *headers)
            elif self.path == "/api/stats.json":
                self.answer(200, "application/json", sidecar.body)
            elif self.path == "/api/stream" and sidecar.streams:
                self.stream()
            else:
                self.answer(503, "text/plain", b"no")

        def answer(self, status: int, kind: str, body: bytes, *headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            for header in headers:
                self.send_header(*header.split(": ", 1))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                for event in sidecar.events():
                    self.wfile.write(event)
            except OSError:
                pass  # The page went away.

    return Handler
