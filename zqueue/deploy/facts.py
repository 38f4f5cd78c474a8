"""What a host has, as `install.sh facts` tells it, and what is wrong with that.

A line is a fact: its name, and words. What is not known here is left out, so that an installer
may tell more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import ProtocolError
from .inventory import Host, Inventory

FIRST_LINE = "zqueue-facts 1"
PYTHON_MIN = (3, 11)
DISK_KB_MIN = 200_000
"""Two environments and some releases."""
NOFILE_MIN = 4_096
SKEW_S_MAX = 2.0
ARCHITECTURES = {"x86_64", "aarch64"}
NO_STAMP = "-"
"""Of a service that no deployment has started."""

BROKER_UNIT, METRICS_UNIT = "zqueue-broker.service", "zqueue-metrics.service"


BROKER_FILES = ("keys/broker.key", "keys/broker-next.key")


def worker_unit(app: str) -> str:
    """The unit of an app's workers."""
    return f"zqueue-worker@{app}.service"


class KeyFile(NamedTuple):
    """A key file, but for its secret."""

    mode: int
    owner: str
    public: str
    broker_keys: tuple[str, ...] = ()
    """Of several brokers with their addresses, each before its keys."""
    urls: tuple[str, ...] = ()


class Unit(NamedTuple):
    """A service as it is now."""

    state: str
    """``active``, or what it is instead."""
    pid: int
    stamp: str
    """Of what it was started with."""


@dataclasses.dataclass(slots=True)
class Facts:
    """One host."""

    hostname: str = ""
    architecture: str = ""
    libc: str = ""
    clock: float = 0.0
    """How far its clock is ahead of ours, seconds; 0 if it may be the same."""
    init: str = "plain"
    python: tuple[int, ...] = ()
    has_venv: bool = False
    disk_kb: int = 0
    nofile: int = 0
    current: str = ""
    previous: str = ""
    releases: set[str] = dataclasses.field(default_factory=set)
    venvs: set[str] = dataclasses.field(default_factory=set)
    """Those that are whole."""
    keys: dict[str, KeyFile] = dataclasses.field(default_factory=dict)
    previous_units: dict[str, str] = dataclasses.field(default_factory=dict)
    """Services of the previous release, with their stamps."""
    clients: str = ""
    """The digest of the list of clients."""
    listed: dict[str, str] = dataclasses.field(default_factory=dict)
    """Clients of that list, with their newest keys."""
    units: dict[str, Unit] = dataclasses.field(default_factory=dict)
    listening: set[int] = dataclasses.field(default_factory=set)
    reach: dict[str, str] = dataclasses.field(default_factory=dict)
    """``ADDRESS:PORT`` to ``ok``, ``refused``, or why not."""

    def is_active(self, unit: str) -> bool:
        """Whether a service runs."""
        return unit in self.units and self.units[unit].state == "active"


class Fault(NamedTuple):
    """What stands in the way: one sentence, with what to do."""

    host: str
    text: str


def parse_facts(text: str, asked: float, answered: float) -> Facts:
    """Read what the installer printed; ``asked``, ``answered``: our clock then, seconds since 1970.

    Raises `ProtocolError` if it is something else.
    """
    lines = text.splitlines()
    if FIRST_LINE not in lines:
        raise ProtocolError("malformed", f"the host answered {text[:80]!r} instead of facts")
    facts = Facts()
    for line in lines[lines.index(FIRST_LINE) + 1 :]:
        name, *words = line.split()
        try:
            _take(facts, name, words, asked, answered)
        except (ValueError, IndexError):
            raise ProtocolError("malformed", f"the host told {line[:80]!r} as a fact") from None
    return facts


def _take(facts: Facts, name: str, words: list[str], asked: float, answered: float) -> None:
    if name == "clock":
        there = float(words[0])
        facts.clock = there - min(max(there, asked), answered)
    elif name == "python":
        facts.python = tuple(map(int, words[0].split(".")))
        facts.has_venv = words[1] == "venv"
    elif name in WORDS:
        setattr(facts, name, words[0] if words else "")
    elif name in NUMBERS:
        setattr(facts, name, int(words[0]))
    elif name in SETS:
        getattr(facts, SETS[name]).add(int(words[0]) if name == "listening" else words[0])
    elif name in PAIRS:
        getattr(facts, PAIRS[name])[words[0]] = words[1]
    elif name == "key":
        facts.keys[words[0]] = KeyFile(int(words[1], 8), words[2], (*words[3:4], "")[0])
    elif name == "broker_keys":
        facts.keys[words[0]] = facts.keys[words[0]]._replace(broker_keys=tuple(words[1:]))
    elif name == "urls":
        facts.keys[words[0]] = facts.keys[words[0]]._replace(urls=tuple(words[1:]))
    elif name == "unit":
        facts.units[words[0]] = Unit(words[1], int(words[2]), words[3])


WORDS = {"hostname", "architecture", "libc", "init", "current", "previous", "clients"}
NUMBERS = {"disk_kb", "nofile"}
SETS = {"release": "releases", "venv": "venvs", "listening": "listening"}
PAIRS = {"previous_unit": "previous_units", "client": "listed", "reach": "reach"}


def find_faults(
    inventory: Inventory, hosts: Mapping[str, Facts], *, renews: bool = False
) -> list[Fault]:
    """What is wrong with hosts, for what they are to run; ``renews``: client keys are made anew."""
    faults = []
    for name, facts in hosts.items():
        host = inventory.hosts[name]
        texts = [*_system(host, facts), *_network(inventory, host, facts), *_files(facts)]
        if not renews:
            texts += _strangers(inventory, host, facts, hosts)
        faults += [Fault(name, text) for text in texts]
    by_name: dict[str, str] = {}
    for name, facts in hosts.items():
        other = by_name.setdefault(facts.hostname, name)
        if other != name:
            text = (
                f"it calls itself {facts.hostname!r} as {other} does, so the broker cannot tell "
                "their workers apart: hostnamectl set-hostname"
            )
            faults.append(Fault(name, text))
    return faults


def _system(host: Host, facts: Facts) -> list[str]:
    texts = []
    found = ".".join(map(str, facts.python))
    if not facts.python:
        texts.append(f"there is no {host.python}: install Python 3.11 or later, or name it with "
                     f'python = "/path" in [hosts.{host.name}]')  # fmt: skip
    elif facts.python < PYTHON_MIN:
        texts.append(f"{host.python} is Python {found}: install 3.11 or later and name it with "
                     f'python = "/path" in [hosts.{host.name}]')  # fmt: skip
    elif not facts.has_venv:
        texts.append(f"{host.python} (Python {found}) has no module venv: install it (Debian: "
                     "apt install python3-venv)")  # fmt: skip
    if facts.architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        texts.append(f"its processor is {facts.architecture}: there are wheels for {known}")
    if abs(facts.clock) > SKEW_S_MAX:
        ahead = "ahead of" if facts.clock > 0 else "behind"
        texts.append(f"its clock is {abs(facts.clock):,.0f} s {ahead} ours: start its time "
                     "service (timedatectl set-ntp true)")  # fmt: skip
    if facts.disk_kb < DISK_KB_MIN:
        texts.append(f"/opt has {facts.disk_kb // 1000} MB free and needs "
                     f"{DISK_KB_MIN // 1000}: make room")  # fmt: skip
    if facts.nofile < NOFILE_MIN:
        texts.append(f"a process may open {facts.nofile} files and needs {NOFILE_MIN}: raise the "
                     "hard limit (ulimit -Hn)")  # fmt: skip
    if host.service == "systemd" and facts.init != "systemd":
        texts.append(f'systemd does not run there: leave service out of [hosts.{host.name}], or '
                     'write service = "plain"')  # fmt: skip
    return texts


def _network(inventory: Inventory, host: Host, facts: Facts) -> list[str]:
    texts = []
    port = inventory.port
    if (host.name in inventory.brokers and port in facts.listening
            and not facts.is_active(BROKER_UNIT)):  # fmt: skip
        texts.append(f"port {port} is taken by another program (ss -ltnp shows it): stop that, or "
                     "write another port in [cluster]")  # fmt: skip
    for place, how in facts.reach.items():
        if how not in ("ok", "refused"):
            texts.append(f"it does not reach the broker at {place} ({how}): open the port in the "
                         "firewall between them, in both directions")  # fmt: skip
    return texts


def _files(facts: Facts) -> list[str]:
    texts = []
    for name, key in facts.keys.items():
        path = f"/etc/zqueue/{name}"
        if key.mode & 0o077:
            texts.append(f"{path} can be read by others (mode {key.mode:04o}): chmod 600 {path}; "
                         "if somebody may have read it, remove it, and 'zqueue deploy up' makes "
                         "a new one")  # fmt: skip
        elif key.owner != "zqueue":
            texts.append(f"{path} belongs to {key.owner}, and zqueue cannot read it: "
                         f"chown zqueue {path}")  # fmt: skip
        elif not key.public:
            texts.append(f"{path} is no key file: move it away, and 'zqueue deploy up' makes "
                         "another")  # fmt: skip
    return texts


def _strangers(
    inventory: Inventory, host: Host, facts: Facts, hosts: Mapping[str, Facts]
) -> list[str]:
    """Whether its keys are of another cluster."""
    ours = {key for keys in broker_publics(inventory, hosts).values() for key in keys}
    return [
        f"/etc/zqueue/{name} is for another broker (key {key.broker_keys[-1]}): if this host left "
        f"that cluster, run 'zqueue deploy up --limit {host.name} --new-keys'"
        for name, key in facts.keys.items()
        if ours and key.broker_keys and not ours & set(key.broker_keys)
    ]


def broker_publics(inventory: Inventory, hosts: Mapping[str, Facts]) -> dict[str, tuple[str, ...]]:
    """The brokers' public keys by addresses, as far as they are known, the next one behind each."""
    found = {}
    for name in inventory.brokers:
        keys = hosts[name].keys if name in hosts else {}
        found[inventory.url_of(name)] = tuple(keys[file].public for file in BROKER_FILES
                                              if file in keys)  # fmt: skip
    return found


def broker_words(brokers: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """What facts tell of the broker keys in a key file for these brokers, by addresses."""
    if len(brokers) == 1:
        return next(iter(brokers.values()))
    return tuple(word for url, keys in brokers.items() for word in (url, *keys))
