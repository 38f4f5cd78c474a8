"""Settings of a process: addresses and limits, checked before anything runs.

Built once, from command line, environment and file (`cli`), or from a program's arguments, and
passed down; nothing here reads the environment at import time.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
from collections.abc import Mapping

from .auth.files import read_client_key
from .errors import ConfigError

DEFAULT_URL = "tcp://127.0.0.1:5555"

BROKERS_MAX = 64
"""Brokers that a client connects to. Each is a connection of every producer and every worker."""

CANCEL_GRACE_S = 5.0
"""How long a task that is cancelled while it runs may take to end, before its process is killed."""

THREADS_MAX = 256
"""Threads in one process: more only wait for the interpreter's lock, and ``async`` is for more."""

IPC_PATH_BYTES_MAX = 107
"""What the kernel allows a socket's path to be."""

SOURCES = ("dns+tcp://", "file://")
"""How a `Source` begins."""

_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.%\w]+\]|[^:/\[\]\s]+):(\d{1,5}|\*)")

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL: ``tcp://HOST:PORT`` or ``ipc:///PATH``, and ``?key=FILE`` behind it for who
    connects with a key."""

    url: str
    """Without the key."""
    host: str | None
    path: str | None
    key_file: str | None = None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Check a URL of one broker. Raises `ConfigError`."""
        if "," in url or url.startswith(SOURCES):
            raise ConfigError(f"{url!r} names several brokers, and here it must be one")
        url, has_key, key_file = url.partition("?key=")
        if has_key and not key_file:
            raise ConfigError(f"{url}?key= must name a key file, as 'zqueue keys add' writes it")
        transport, separator, rest = url.partition("://")
        if transport == "ipc" and separator and rest:
            if len(os.fsencode(rest)) > IPC_PATH_BYTES_MAX:
                raise ConfigError(f"{url!r}: the path is over {IPC_PATH_BYTES_MAX} bytes")
            return cls(url, None, rest, key_file or None)
        match = _HOST_AND_PORT.fullmatch(rest)
        if transport != "tcp" or not match or (match[2] != "*" and not 0 < int(match[2]) < 65536):
            raise ConfigError(f"{url!r} is not an address: use tcp://HOST:PORT or ipc:///PATH")
        return cls(url, match[1].strip("[]"), None, key_file or None)

    @property
    def full(self) -> str:
        """With the key: what `parse` makes this of."""
        return self.url if self.key_file is None else f"{self.url}?key={self.key_file}"

    def is_ipv6(self) -> bool:
        """Whether the host is written as an IPv6 address."""
        return self.host is not None and ":" in self.host

    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host is None:
            return True
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where addresses of brokers are found that may change: ``dns+tcp://NAME:PORT``, which is every
    address of a name, or ``file:///PATH``, a list of URLs. A key behind it is for all of them."""

    url: str
    """Without the key."""
    name: str | None
    port: int
    path: str | None
    key_file: str | None = None

    @classmethod
    def parse(cls, url: str) -> Source:
        """Check one. Raises `ConfigError`."""
        url, has_key, key_file = url.partition("?key=")
        if has_key and not key_file:
            raise ConfigError(f"{url}?key= must name a key file, as 'zqueue keys add' writes it")
        transport, _, rest = url.partition("://")
        if transport == "file":
            if not rest.startswith("/"):
                raise ConfigError(f"{url!r} is not a file: write file:///PATH")
            return cls(url, None, 0, rest, key_file or None)
        match = _HOST_AND_PORT.fullmatch(rest)
        if not match or match[2] == "*" or not 0 < int(match[2]) < 65536:
            raise ConfigError(f"{url!r} is not a name: write dns+tcp://NAME:PORT")
        return cls(url, match[1].strip("[]"), int(match[2]), None, key_file or None)


@dataclasses.dataclass(frozen=True, slots=True)
class BrokerList:
    """One broker or several, as a user writes them: URLs with commas between them."""

    addresses: tuple[Address, ...]
    sources: tuple[Source, ...] = ()

    @classmethod
    def parse(cls, url: str) -> BrokerList:
        """Check each. Reads no source. Raises `ConfigError`."""
        each = [one.strip() for one in url.split(",")]
        addresses = tuple(Address.parse(one) for one in each if not one.startswith(SOURCES))
        sources = tuple(Source.parse(one) for one in each if one.startswith(SOURCES))
        urls = [address.url for address in addresses] + [source.url for source in sources]
        if len(set(urls)) < len(each):
            raise ConfigError(f"{url!r} names a broker twice")
        if len(each) > BROKERS_MAX:
            raise ConfigError(f"{len(each)} brokers are named, and {BROKERS_MAX} may be")
        return cls(addresses, sources)

    def __str__(self) -> str:
        urls = [address.url for address in self.addresses]
        return ", ".join(urls + [source.url for source in self.sources])


def check_bind(address: Address, *, insecure: bool, has_keys: bool = False) -> Address:
    """Refuse an address that other machines can reach, or other users. Raises `ConfigError`."""
    if address.path is not None and address.path.startswith("@"):
        raise ConfigError(
            f"{address.url} has no file, so the system does not check who connects to it: use a "
            "path (ipc:///PATH), which is open to its owner only, or tcp://127.0.0.1:PORT"
        )
    if address.key_file is not None:
        raise ConfigError(f"{address.url}: who binds has all keys in a directory: give --keys DIR")
    if not address.is_local() and not insecure and not has_keys:
        raise ConfigError(
            f"{address.url} can be reached from other machines, and anybody there could send "
            "and take tasks: give --keys DIR (make it with 'zqueue keys init'), bind to 127.0.0.1, "
            "or give --insecure-no-auth if the network keeps strangers out"
        )
    return address


def default_url() -> str:
    """``ZQUEUE_URL``, or the broker's default address; with the key of ``ZQUEUE_KEY_FILE``, and the
    address that is in it. Raises `ConfigError`."""
    url, key_file = os.environ.get("ZQUEUE_URL"), os.environ.get("ZQUEUE_KEY_FILE")
    return url_with_key(url, key_file) if key_file else url or DEFAULT_URL


def url_with_key(url: str | None, key_file: str) -> str:
    """An address with a key; without one, that which the key file has. Raises `ConfigError`."""
    if url:
        return ",".join(each if "?key=" in each else f"{each}?key={key_file}"
                        for each in url.split(","))  # fmt: skip
    urls = read_client_key(key_file).urls
    if not urls:
        raise ConfigError(f"{key_file} has no address of a broker: give --url too")
    return ",".join(f"{each}?key={key_file}" for each in urls)


def split_urls(*urls: str) -> tuple[str, ...]:
    """Each address of some lists of them, with its key, once. Raises `ConfigError`."""
    each = tuple(dict.fromkeys(one.strip() for url in urls for one in url.split(",")))
    BrokerList.parse(",".join(each))
    return each


def parse_bytes(text: str) -> int:
    """``512M``, ``2G``, ``65536``: a number of bytes, in binary units. Raises `ConfigError`."""
    match = re.fullmatch(r"\s*(\d+)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if not match:
        raise ConfigError(f"{text!r} is not a size: write 65536, 512M or 2G")
    return int(match[1]) * _UNITS[match[2].upper()]


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a broker may hold, and how long it waits for a sign of life."""

    queue_tasks_max: int = 1_000_000
    queue_bytes_max: int = 256 << 20
    bytes_max: int = 1 << 30
    queues_max: int = 10_000
    peers_max: int = 1_000
    crashes_max: int = 3
    heartbeat_s: float = 1.0
    liveness_s: float = 5.0
    dead_max: int = 10_000
    dead_bytes_max: int = 64 << 20

    def __post_init__(self) -> None:
        for option, value in (
            ("--queue-tasks", self.queue_tasks_max),
            ("--queue-bytes", self.queue_bytes_max),
            ("--max-bytes", self.bytes_max),
            ("--queues-max", self.queues_max),
            ("--peers", self.peers_max),
            ("--dead-max", self.dead_max),
            ("--dead-bytes", self.dead_bytes_max),
        ):
            if value < 1:
                raise ConfigError(f"{option} must be at least 1, not {value}")
        if self.crashes_max < 2:
            raise ConfigError(
                "--max-crashes must be at least 2: the first crash only tells that the culprit is "
                "among several tasks"
            )
        if not 0 < self.heartbeat_s * 2 <= self.liveness_s:
            raise ConfigError(
                f"--liveness ({self.liveness_s:g} s) must be at least twice --heartbeat "
                f"({self.heartbeat_s:g} s)"
            )


LEVELS = ("memory", "os", "disk")
"""Durability levels: what a confirm says."""


@dataclasses.dataclass(frozen=True, slots=True)
class BrokerConfig:
    """Settings of a broker.

    ``durability`` is one of `LEVELS`; empty: ``disk`` if there is a data dir, else ``memory``.
    """

    bind: str = DEFAULT_URL
    ingest: str | None = None
    egress: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limits: Limits = Limits()
    drain_timeout_s: float = 30.0
    insecure: bool = False
    data_dir: str | None = None
    durability: str = ""
    keys: str | None = None
    """The directory of its keys."""
    shard: str = ""
    """Which of how many, as ``2 of 4``; empty: it is alone."""

    def __post_init__(self) -> None:
        if self.durability not in ("", *LEVELS):
            raise ConfigError(f"--durability must be memory, os or disk, not {self.durability!r}")
        if self.data_dir == "":
            raise ConfigError("--data-dir must name a directory")
        if self.data_dir is None and self.level != "memory":
            raise ConfigError(
                f"--durability {self.durability} needs a place for what is to survive: give "
                "--data-dir DIR"
            )

    @property
    def level(self) -> str:
        """The durability level."""
        return self.durability or ("memory" if self.data_dir is None else "disk")


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Settings of a supervisor and its workers."""

    app: str
    url: str | None = None
    processes: int = 1
    concurrency: int = 100
    threads: int = 1
    """Plain tasks that one process runs side by side."""
    queues: tuple[str, ...] = ()
    drain_timeout_s: float = 30.0
    tasks_max: int = 0
    """Tasks after which a worker process is replaced; 0: never."""
    rss_bytes_max: int = 0
    """Resident memory at which it is; 0: never."""
    log_format: str = "text"
    cancel_grace_s: float = CANCEL_GRACE_S

    def __post_init__(self) -> None:
        if not 1 <= self.processes <= 1024:
            raise ConfigError("--processes must be 1 to 1024")
        if not 1 <= self.concurrency <= 10_000:
            raise ConfigError("--concurrency must be 1 to 10000")
        if not 1 <= self.threads <= THREADS_MAX:
            raise ConfigError(f"--threads must be 1 to {THREADS_MAX}")
        if self.tasks_max < 0 or self.rss_bytes_max < 0:
            raise ConfigError("--max-tasks and --max-memory must be at least 0")


@dataclasses.dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Settings of a metrics sidecar."""

    listen: str = "127.0.0.1:9464"
    urls: tuple[str, ...] = (DEFAULT_URL,)
    ready_workers: int = 0
    """Workers that a broker needs to be ready."""
    insecure: bool = False
    token_file: str | None = None
    """Has the token that readers must show; None: they need none."""

    def __post_init__(self) -> None:
        host, _ = parse_listen(self.listen)
        is_local = Address(self.listen, host, None).is_local()
        if not (is_local or self.insecure or self.token_file):
            raise ConfigError(
                f"{self.listen} can be reached from other machines, and anybody there could read "
                "the names of queues, tasks and hosts, and what errors say: give --token-file "
                "FILE, listen at 127.0.0.1, or give --insecure-no-auth if the network keeps "
                "strangers out"
            )
        if not self.urls:
            raise ConfigError("--url must name at least one broker")
        BrokerList.parse(",".join(self.urls))
        if len(set(self.urls)) < len(self.urls):
            raise ConfigError("--url names a broker twice")
        if self.ready_workers < 0:
            raise ConfigError("--ready-workers must be at least 0")

    @property
    def host(self) -> str:
        """Where to listen, without brackets."""
        return parse_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """Where to listen; 0 takes a free one."""
        return parse_listen(self.listen)[1]


@dataclasses.dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Settings of a gateway."""

    listen: str = "127.0.0.1:8080"
    url: str = DEFAULT_URL
    tokens: str | None = None
    """The file with the list of tokens; None: none is needed."""
    certificate: str | None = None
    private_key: str | None = None
    connections_max: int = 4_096
    insecure: bool = False

    def __post_init__(self) -> None:
        host, _ = parse_listen(self.listen)
        if not (Address(self.listen, host, None).is_local() or self.insecure or self.tokens):
            raise ConfigError(
                f"{self.listen} can be reached from other machines, and anybody there could send "
                "tasks and read results: give --tokens FILE (make it with 'zqueue tokens add'), "
                "listen at 127.0.0.1, or give --insecure-no-auth if the network keeps strangers out"
            )
        BrokerList.parse(self.url)
        if (self.certificate is None) != (self.private_key is None):
            raise ConfigError("--certificate and --private-key belong together: give both")
        if self.connections_max < 1:
            raise ConfigError("--connections must be at least 1")

    @property
    def host(self) -> str:
        """Where to listen, without brackets."""
        return parse_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """Where to listen; 0 takes a free one."""
        return parse_listen(self.listen)[1]


def parse_listen(listen: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[IPv6]:PORT`` of an HTTP server: host and port. Raises `ConfigError`."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%\w]+)\]|([^:/\[\]\s]+)):(\d{1,5})", listen)
    if not match or int(match[3]) > 65535:
        raise ConfigError(
            f"{listen!r} is not an address to listen at: use HOST:PORT or [IPV6]:PORT"
        )
    return match[1] or match[2], int(match[3])
