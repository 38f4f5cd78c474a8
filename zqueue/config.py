"""What a process is told when it starts: addresses and limits, checked before anything runs.

Built once, from command line, environment and file (`cli`), or from a program's arguments, and
passed down; nothing here reads the environment at import time.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
from collections.abc import Mapping

from .errors import ConfigError

DEFAULT_URL = "tcp://127.0.0.1:5555"

IPC_PATH_BYTES_MAX = 107
"""What the kernel allows a socket's path to be."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """A URL that was looked at: ``tcp://HOST:PORT`` or ``ipc:///PATH``."""

    url: str
    host: str | None
    path: str | None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Check a URL. Raises `ConfigError`."""
        if "," in url:
            raise ConfigError(f"{url!r} names several brokers: this version speaks to one")
        transport, separator, rest = url.partition("://")
        if transport == "ipc" and separator and rest:
            if len(os.fsencode(rest)) > IPC_PATH_BYTES_MAX:
                raise ConfigError(f"{url!r}: the path is over {IPC_PATH_BYTES_MAX} bytes")
            return cls(url, None, rest)
        match = re.fullmatch(r"(\[[0-9a-fA-F:.%\w]+\]|[^:/\[\]\s]+):(\d{1,5}|\*)", rest)
        if transport != "tcp" or not match or (match[2] != "*" and not 0 < int(match[2]) < 65536):
            raise ConfigError(f"{url!r} is no address: use tcp://HOST:PORT or ipc:///PATH")
        return cls(url, match[1].strip("[]"), None)

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


def check_bind(address: Address, *, insecure: bool) -> Address:
    """Refuse to listen where strangers can reach us. Raises `ConfigError`."""
    if not address.is_local() and not insecure:
        raise ConfigError(
            f"{address.url} can be reached from other machines, and anybody there could send "
            "and take tasks: bind to 127.0.0.1, or give --insecure-no-auth if the network keeps "
            "strangers out"
        )
    return address


def default_url() -> str:
    """``ZQUEUE_URL``, or the broker's default address."""
    return os.environ.get("ZQUEUE_URL") or DEFAULT_URL


def parse_bytes(text: str) -> int:
    """``512M``, ``2G``, ``65536``: a number of bytes, in binary units. Raises `ConfigError`."""
    match = re.fullmatch(r"\s*(\d+)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if not match:
        raise ConfigError(f"{text!r} is no size: write 65536, 512M or 2G")
    return int(match[1]) * _UNITS[match[2].upper()]


@dataclasses.dataclass(frozen=True, slots=True)
class BrokerConfig:
    """All that a broker is told."""

    bind: str = DEFAULT_URL
    ingest: str | None = None
    egress: Mapping[str, str] = dataclasses.field(default_factory=dict)
    queue_tasks_max: int = 1_000_000
    queue_bytes_max: int = 256 << 20
    bytes_max: int = 1 << 30
    peers_max: int = 1_000
    crashes_max: int = 3
    heartbeat_s: float = 1.0
    liveness_s: float = 5.0
    drain_timeout_s: float = 30.0
    insecure: bool = False
    roam: bool = False
    """Never stay on one processor (`net.processor`)."""

    def __post_init__(self) -> None:
        for name in ("queue_tasks_max", "queue_bytes_max", "bytes_max", "peers_max"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1")
        if self.crashes_max < 2:
            raise ConfigError(
                "crashes_max must be at least 2: the first crash only tells that the culprit is "
                "among several tasks"
            )
        if not 0 < self.heartbeat_s * 2 <= self.liveness_s:
            raise ConfigError("liveness_s must be at least twice heartbeat_s")


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All that a pool of workers is told."""

    app: str
    url: str | None = None
    processes: int = 1
    concurrency: int = 100
    queues: tuple[str, ...] = ()
    drain_timeout_s: float = 30.0
    log_format: str = "text"

    def __post_init__(self) -> None:
        if not 1 <= self.processes <= 1024:
            raise ConfigError("processes must be 1 to 1024")
        if not 1 <= self.concurrency <= 10_000:
            raise ConfigError("concurrency must be 1 to 10000")


@dataclasses.dataclass(frozen=True, slots=True)
class MetricsConfig:
    """All that a sidecar is told."""

    listen: str = "127.0.0.1:9464"
    urls: tuple[str, ...] = (DEFAULT_URL,)
    ready_workers: int = 0
    """Workers without which a broker is not ready."""
    insecure: bool = False

    def __post_init__(self) -> None:
        host, _ = parse_listen(self.listen)
        if not Address(self.listen, host, None).is_local() and not self.insecure:
            raise ConfigError(
                f"{self.listen} can be reached from other machines, and anybody there could read "
                "the names of queues, tasks and hosts: listen at 127.0.0.1, or give "
                "--insecure-no-auth if the network keeps strangers out"
            )
        if not self.urls:
            raise ConfigError("there must be a broker to ask")
        for url in self.urls:
            Address.parse(url)
        if len(set(self.urls)) < len(self.urls):
            raise ConfigError("every broker is named once")
        if self.ready_workers < 0:
            raise ConfigError("ready_workers must be at least 0")

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
        raise ConfigError(f"{listen!r} is no place to listen: use HOST:PORT or [IPV6]:PORT")
    return match[1] or match[2], int(match[3])
