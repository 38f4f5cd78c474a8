"""The inventory: which hosts there are, and what each of them is to run.

An inventory is data (`hosts.toml`). Whatever of it comes near a command line was matched here.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..auth.users import EVERY_QUEUE, KEY, NAME, PATTERN, ROLES, User
from ..config import BROKERS_MAX
from ..errors import ConfigError

HOSTS_MAX = 1_000
APPS_MAX = 100
PROCESSES_MAX = 1_024

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOSTNAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_SSH = re.compile(r"(?=.{1,253}\Z)(?:[A-Za-z_][A-Za-z0-9_.-]{0,31}@)?[A-Za-z0-9_][A-Za-z0-9_.:-]*")
"""A hostname, an address, or an alias of ~/.ssh/config."""
_PYTHON = re.compile(r"(?:/[A-Za-z0-9_.+-]+)+|python3(?:\.\d+)?")
_APP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?::[A-Za-z_]\w*)?")
_PATH = re.compile(r"[A-Za-z0-9_./ -]{1,255}")

OURS = {
    "broker": {"bind", "keys", "insecure_no_auth", "ingest", "egress"},
    "worker": {"url", "key_file", "processes"},
    "metrics": {"url", "key_file", "insecure_no_auth"},
}
"""Options that follow from the inventory, or that it cannot make safe."""

SERVICES = ("auto", "systemd", "plain")


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """One host."""

    name: str
    ssh: str
    """Where ssh finds it."""
    address: str
    """Where other hosts find it."""
    workers: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Processes for each app."""
    python: str = "python3"
    service: str = "auto"


class Options(NamedTuple):
    """What is passed on to the processes' configuration."""

    broker: Mapping[str, Any]
    worker: Mapping[str, Any]
    metrics: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Inventory:
    """All hosts, and what they have in common."""

    hosts: Mapping[str, Host]
    brokers: tuple[str, ...]
    monitor: str
    """The host with the sidecar; empty: none."""
    apps: Mapping[str, str]
    """Files (``workers/wordcount.py``) or modules (``shop.tasks:app``) by name."""
    files: tuple[str, ...]
    """What apps need beside them."""
    requirements: str
    wheels: str
    port: int
    options: Options
    clients: tuple[User, ...]
    """Producers and people, whose keys were made elsewhere."""

    def url_of(self, name: str) -> str:
        """Where clients find the broker of a host."""
        return f"tcp://{self.hosts[name].address}:{self.port}"

    def urls(self) -> tuple[str, ...]:
        """Where clients find the brokers."""
        return tuple(map(self.url_of, self.brokers))

    def in_order(self) -> list[Host]:
        """The hosts, brokers first."""
        first = [self.hosts[name] for name in self.brokers]
        return first + [host for name, host in self.hosts.items() if name not in self.brokers]

    def limited(self, names: Iterable[str]) -> list[Host]:
        """Those of some names; no name: all. Raises `ConfigError`."""
        names = list(names)
        for name in names:
            _known(name, self.hosts, "--limit", "a host of the inventory")
        return [host for host in self.in_order() if not names or host.name in names]

    def scaled(self, host: str, app: str, processes: int) -> Inventory:
        """With another number of processes of an app on a host. Raises `ConfigError`."""
        _known(host, self.hosts, "scale", "a host of the inventory")
        workers = self.hosts[host].workers
        if not app and len(workers) != 1:
            raise ConfigError(f"{host} runs {len(workers)} apps: write {host}/APP={processes}")
        app = app or next(iter(workers))
        _known(app, self.apps, "scale", "an app of the inventory")
        counts = {**workers, app: _processes(f"scale {host}", processes)}
        changed = dataclasses.replace(self.hosts[host], workers=counts)
        return dataclasses.replace(self, hosts={**self.hosts, host: changed})


def is_file(program: str) -> bool:
    """Whether an app is a file that is shipped, and not a module of a wheel."""
    return program.endswith(".py")


def parse_inventory(text: str, path: str) -> Inventory:
    """Read an inventory. Raises `ConfigError` with the file, the place in it, and what to write."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    _check_keys(path, tables, {"cluster", "hosts", "clients", *OURS})
    cluster = _table(path, tables, "cluster")
    where = f"{path}: [cluster]"
    known = {"brokers", "monitor", "apps", "files", "requirements", "wheels", "port"}
    _check_keys(where, cluster, known)
    apps = _apps(where, cluster)
    hosts = _hosts(path, tables, apps)
    brokers = _brokers(where, cluster, hosts)
    monitor = _text(where, cluster, "monitor", brokers[0])
    if monitor:
        _known(monitor, hosts, f"{where} monitor", "a host of the inventory")
    if type(port := cluster.get("port", 5555)) is not int or not 0 < port < 65536:
        raise ConfigError(f"{where} port must be a number from 1 to 65535, not {port!r}")
    files: Any = cluster.get("files", [])
    if type(files) is not list or not all(map(_is_inside, files)):
        raise ConfigError(f'{where} files must be paths below the inventory, as in ["workers"]')
    return Inventory(
        hosts=hosts,
        brokers=brokers,
        monitor=monitor,
        apps=apps,
        files=tuple(files),
        requirements=_text(where, cluster, "requirements", ""),
        wheels=_text(where, cluster, "wheels", ""),
        port=port,
        options=Options(*(_options(path, tables, name) for name in OURS)),
        clients=_clients(path, tables),
    )


def _apps(where: str, cluster: Mapping[str, Any]) -> dict[str, str]:
    apps: Any = cluster.get("apps", {})
    if type(apps) is not dict or len(apps) > APPS_MAX:
        raise ConfigError(f'{where} apps must be a table, as in {{ wordcount = "wordcount.py" }}')
    for name, program in apps.items():
        if not _APP.fullmatch(name):
            raise ConfigError(f"{where} apps: {name!r} is no name: use A-Z a-z 0-9 _ -")
        if not (_is_inside(program) and is_file(program)) and not (
            type(program) is str and _MODULE.fullmatch(program)
        ):
            raise ConfigError(
                f"{where} apps.{name} must be a file below the inventory (workers/mail.py) or a "
                f"module of a wheel (shop.tasks:app), not {program!r}"
            )
    return apps


def _hosts(path: str, tables: Mapping[str, Any], apps: Mapping[str, str]) -> dict[str, Host]:
    found = _table(path, tables, "hosts")
    if not 1 <= len(found) <= HOSTS_MAX:
        raise ConfigError(f"{path}: [hosts] must name 1 to {HOSTS_MAX:,} hosts, as [hosts.h1]")
    hosts = {name: _host(f"{path}: [hosts.{name}]", name, what, apps)
             for name, what in found.items()}  # fmt: skip
    seen: dict[str, str] = {}
    for host in hosts.values():
        for what in {host.ssh, host.address}:
            if seen.setdefault(what, host.name) != host.name:
                raise ConfigError(f"{path}: {seen[what]} and {host.name} are both at {what}")
    return hosts


def _host(where: str, name: str, what: Any, apps: Mapping[str, str]) -> Host:
    if not HOSTNAME.fullmatch(name):
        raise ConfigError(f"{where}: {name!r} is not a hostname: use A-Z a-z 0-9 and -")
    if type(what) is not dict:
        raise ConfigError(f"{where} must be a table")
    _check_keys(where, what, {"ssh", "address", "workers", "python", "service"})
    address = _text(where, what, "address", name)
    if not HOSTNAME.fullmatch(address):
        raise ConfigError(f"{where} address must be a hostname or an IPv4 address: {address!r}")
    ssh = _text(where, what, "ssh", address)
    if not _SSH.fullmatch(ssh):
        raise ConfigError(f"{where} ssh must be a host, USER@HOST or an alias of ssh's: {ssh!r}")
    python = _text(where, what, "python", "python3")
    if not _PYTHON.fullmatch(python):
        raise ConfigError(f"{where} python must be a path or python3: {python!r}")
    service = _text(where, what, "service", "auto")
    _known(service, SERVICES, f"{where} service", "one of " + ", ".join(SERVICES))
    workers: Any = what.get("workers", {})
    if type(workers) is not dict:
        raise ConfigError(f"{where} workers must be a table, as in {{ wordcount = 4 }}")
    for app, count in workers.items():
        _known(app, apps, f"{where} workers", "an app of [cluster] apps")
        _processes(f"{where} workers.{app}", count)
    return Host(name, ssh, address, workers, python, service)


def _brokers(where: str, cluster: Mapping[str, Any], hosts: Mapping[str, Host]) -> tuple[str, ...]:
    brokers: Any = cluster.get("brokers")
    if type(brokers) is not list or not brokers or len(set(map(str, brokers))) < len(brokers):
        raise ConfigError(f'{where} brokers must name a host, as in ["h1"]')
    for name in brokers:
        _known(name, hosts, f"{where} brokers", "a host of the inventory")
    if len(brokers) > BROKERS_MAX:
        raise ConfigError(f"{where} brokers names {len(brokers)} hosts, and {BROKERS_MAX} may be")
    return tuple(brokers)


def _clients(path: str, tables: Mapping[str, Any]) -> tuple[User, ...]:
    users = []
    for name, what in _table(path, tables, "clients", {}).items():
        where = f"{path}: [clients.{name}]"
        if not NAME.fullmatch(name) or name.startswith(("worker-", "observe-")):
            raise ConfigError(f"{where}: choose a name that begins otherwise, of A-Z a-z 0-9 _ . -")
        _check_keys(where, what if type(what) is dict else {}, {"key", "roles", "queues"})
        key, roles = (what.get("key"), what.get("roles")) if type(what) is dict else (None, None)
        if type(key) is not str or not KEY.fullmatch(key):
            raise ConfigError(f"{where} key must be the public key that 'zqueue keys make' prints")
        if type(roles) is not list or not roles or not all(role in ROLES for role in roles):
            raise ConfigError(f"{where} roles must be some of {', '.join(ROLES)}")
        queues: Any = what.get("queues", list(EVERY_QUEUE))
        if type(queues) is not list or not all(
            type(each) is str and PATTERN.fullmatch(each) for each in queues
        ):
            raise ConfigError(f'{where} queues must be patterns, as in ["mail*"]')
        users.append(User(name, (key,), frozenset(roles), tuple(queues)))
    return tuple(users)


def _options(path: str, tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    options = dict(_table(path, tables, name, {}))
    for key, value in options.items():
        if key.replace("-", "_") in OURS[name]:
            raise ConfigError(f"{path}: [{name}] {key} follows from the inventory: leave it out")
        if type(value) not in (str, int, float, bool):
            raise ConfigError(f"{path}: [{name}] {key} must be one value")
    return options


def _is_inside(path: Any) -> bool:
    """Whether a path stays below the inventory's folder."""
    return (
        type(path) is str
        and bool(_PATH.fullmatch(path))
        and not path.startswith("/")
        and ".." not in path.split("/")
    )


def _processes(where: str, count: Any) -> int:
    if type(count) is not int or not 0 <= count <= PROCESSES_MAX:
        raise ConfigError(f"{where} must be 0 to {PROCESSES_MAX:,} processes, not {count!r}")
    return count


def _table(
    path: str, tables: Mapping[str, Any], name: str, default: dict[str, Any] | None = None
) -> dict[str, Any]:
    found = tables.get(name, default)
    if type(found) is not dict:
        raise ConfigError(f"{path}: [{name}] is missing: 'zqueue deploy init' writes an example")
    return found


def _text(where: str, table: Mapping[str, Any], key: str, default: str) -> str:
    value = table.get(key, default)
    if type(value) is not str:
        raise ConfigError(f"{where} {key} must be text, not {value!r}")
    return value


def _check_keys(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in table:
        _known(key, known, where, "known there")


def _known(name: Any, known: Iterable[str], where: str, what: str) -> None:
    if name in (names := list(known)):
        return
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f": did you mean {near[0]!r}?" if near else f" (there are: {', '.join(names)})"
    raise ConfigError(f"{where}: {name!r} is not {what}{hint}")
