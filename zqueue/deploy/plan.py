"""The plan: inventory, releases and facts in, steps out.

Theory of operation: first everything is put in place beside what runs, on all hosts at once
(`Stage`, `Keys`), and only if all of that went well is anything switched. Then hosts change in
waves (`Change`). Those that run nothing yet start together; of those that work, one at a time
leaves and comes back, and whether the next one may go is decided by `readiness`. A host on which
that fails goes back to the release it had, and nothing else is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..auth.listing import line_of, new_list
from ..auth.users import OBSERVE, WORK, User
from .facts import (
    BROKER_UNIT,
    METRICS_UNIT,
    NO_STAMP,
    Facts,
    KeyFile,
    broker_publics,
    broker_words,
)
from .inventory import Host, Inventory
from .release import Release

WORKER_KEY, OBSERVE_KEY = "worker.key", "observe.key"


class Stage(NamedTuple):
    """Put an environment and a release in place."""

    host: str
    release: str
    venv: str
    needs_venv: bool

    def __str__(self) -> str:
        what = f"environment {self.venv} and " if self.needs_venv else ""
        return f"install {what}release {self.release}"


class Keys(NamedTuple):
    """Make what keys are missing, and let those that are there name these brokers."""

    host: str
    is_broker: bool
    files: tuple[str, ...]
    """Of clients."""
    renews: bool = False

    def __str__(self) -> str:
        what = ["the broker's key"] if self.is_broker else []
        return f"make {' and '.join([*what, *self.files])}"


class Change(NamedTuple):
    """Switch to a release, stop services that are not to run, and start others, in order."""

    host: str
    release: str
    before: str
    """What it has now; empty: nothing."""
    starts: tuple[tuple[str, str], ...] = ()
    """Units and their stamps."""
    stops: tuple[str, ...] = ()
    writes_clients: bool = False

    def switches(self) -> bool:
        """Whether the host gets another release than it has."""
        return bool(self.release) and self.release != self.before

    def __str__(self) -> str:
        parts = [f"switch to release {self.release}"] if self.switches() else []
        parts += ["write the list of clients"] if self.writes_clients else []
        parts += [f"stop {unit}" for unit in self.stops]
        parts += [f"start {unit}" for unit, _ in self.starts]
        return ", ".join(parts)


class Plan(NamedTuple):
    """What is to be done, in this order."""

    stages: tuple[Stage, ...]
    keys: tuple[Keys, ...]
    waves: tuple[tuple[Change, ...], ...]

    def is_empty(self) -> bool:
        """Whether all is as it should be."""
        return not (self.stages or self.keys or self.waves)

    def lines(self) -> list[str]:
        """The plan for people, a step a line."""
        steps: list[Stage | Keys | Change] = [*self.stages, *self.keys]
        steps += [change for wave in self.waves for change in wave]
        return [f"{step.host}: {step}" for step in steps]


def make_plan(
    inventory: Inventory,
    releases: Mapping[str, Release],
    hosts: Mapping[str, Facts],
    *,
    limit: Iterable[str] = (),
    restarts: bool = False,
    renews: Iterable[str] = (),
) -> Plan:
    """What leads from the facts of hosts to their releases.

    Parameters:
        hosts: those of the limit, and of all brokers: the list of clients is kept there.
        limit: hosts that may be changed; none: all.
        restarts: start every service anew, also where nothing has changed.
        renews: hosts whose client keys are made anew.
    """
    allowed, renewed = set(limit) or set(hosts), set(renews)
    chosen = [host for host in inventory.in_order() if host.name in allowed]
    steps = [_keys(inventory, host, hosts, host.name in renewed) for host in chosen]
    keys = {step.host: step for step in steps if step is not None}
    listed = _digest(clients_text(inventory, all_publics(inventory, hosts)))
    stages, changes = [], []
    for host in inventory.in_order():
        if host.name not in hosts:
            continue
        facts = hosts[host.name]
        # New keys are in the list before those who have them start anew.
        writes = host.name in inventory.brokers and (bool(keys) or facts.clients != listed)
        if host.name not in allowed:
            if writes:
                changes.append(Change(host.name, facts.current, facts.current, writes_clients=True))
            continue
        release = releases[host.name]
        if release.id not in facts.releases or release.venv not in facts.venvs:
            needs_venv = release.venv not in facts.venvs
            stages.append(Stage(host.name, release.id, release.venv, needs_venv))
        made = keys[host.name].files if host.name in keys else ()
        if change := _change(host.name, release, facts, made, restarts=restarts, writes=writes):
            changes.append(change)
    return Plan(tuple(stages), tuple(keys.values()), _waves(inventory, changes, hosts))


def way_back(change: Change, facts: Facts) -> Change:
    """What undoes a change, by the facts from before it."""
    running = {unit: now.stamp for unit, now in facts.units.items() if now.state == "active"}
    stops = tuple(unit for unit, _ in reversed(change.starts) if unit not in running)
    touched = {unit for unit, _ in change.starts} | set(change.stops)
    starts = tuple((unit, stamp) for unit, stamp in running.items() if unit in touched)
    return Change(change.host, change.before, change.release, starts, stops)


def going_back(hosts: Mapping[str, Facts]) -> Plan:
    """To the release that each host had before the present one, where there is one."""
    waves = []
    for name, facts in hosts.items():
        if facts.previous and facts.previous != facts.current:
            starts = tuple(facts.previous_units.items())
            stops = tuple(
                unit for unit, now in facts.units.items()
                if unit not in facts.previous_units and now.state == "active"
            )  # fmt: skip
            waves.append((Change(name, facts.previous, facts.current, starts, stops),))
    return Plan((), (), tuple(waves))


def _keys(
    inventory: Inventory, host: Host, hosts: Mapping[str, Facts], renews: bool
) -> Keys | None:
    facts = hosts[host.name]
    brokers = broker_publics(inventory, hosts)
    lacks = host.name in inventory.brokers and "keys/broker.key" not in facts.keys

    def is_right(file: KeyFile | None) -> bool:
        if file is None or not all(brokers.values()):
            return False
        return (file.broker_keys, file.urls) == (broker_words(brokers), inventory.urls())

    wanted = files_of(inventory, host)
    files = tuple(f for f in wanted if renews or not is_right(facts.keys.get(f)))
    return Keys(host.name, lacks, files, renews) if lacks or files else None


def _change(
    host: str, release: Release, facts: Facts, made: tuple[str, ...], *, restarts: bool,
    writes: bool,
) -> Change | None:  # fmt: skip
    def is_due(unit: str, stamp: str) -> bool:
        if restarts or not facts.is_active(unit) or facts.units[unit].stamp != stamp:
            return True
        key = {BROKER_UNIT: "", METRICS_UNIT: OBSERVE_KEY}.get(unit, WORKER_KEY)
        return key in made

    starts = tuple((unit, stamp) for unit, stamp in release.units.items() if is_due(unit, stamp))
    stops = tuple(
        unit for unit, now in facts.units.items()
        if unit not in release.units and (now.state != "inactive" or now.stamp != NO_STAMP)
    )  # fmt: skip
    if facts.current == release.id and not (starts or stops or writes):
        return None
    return Change(host, release.id, facts.current, starts, stops, writes)


def _waves(
    inventory: Inventory, changes: list[Change], hosts: Mapping[str, Facts]
) -> tuple[tuple[Change, ...], ...]:
    """Brokers first, one by one; then whoever runs nothing, together; then the others."""
    brokers = [(change,) for change in changes if change.host in inventory.brokers]
    others = [change for change in changes if change.host not in inventory.brokers]

    def works(change: Change) -> bool:
        return any(now.state == "active" for now in hosts[change.host].units.values())

    idle = tuple(change for change in others if not works(change))
    working = [(change,) for change in others if works(change)]
    return (*brokers, *([idle] if idle else []), *working)


def files_of(inventory: Inventory, host: Host) -> tuple[str, ...]:
    """The key files of clients that a host needs."""
    observes = host.name in inventory.brokers or host.name == inventory.monitor
    works = any(host.workers.values())
    return ((OBSERVE_KEY,) if observes else ()) + ((WORKER_KEY,) if works else ())


def client_name(file: str, host: str) -> str:
    """What the broker calls who has a host's key file."""
    return f"{file.partition('.')[0]}-{host}"


def all_publics(inventory: Inventory, hosts: Mapping[str, Facts]) -> dict[str, str]:
    """The public keys of hosts' clients, by names: those that the hosts have, or else, where a host
    was not asked, those of the list that there is."""
    listed = {name: key for each in inventory.brokers if each in hosts
              for name, key in hosts[each].listed.items()}  # fmt: skip
    found = {
        client_name(file, host.name): hosts[host.name].keys[file].public
        for host in inventory.in_order()
        for file in files_of(inventory, host)
        if host.name in hosts and file in hosts[host.name].keys
    }
    return {**listed, **found}


def clients_text(inventory: Inventory, publics: Mapping[str, str]) -> str:
    """The list of clients of the brokers."""
    lines = [new_list(inventory.urls())]
    for host in inventory.in_order():
        for file in files_of(inventory, host):
            name = client_name(file, host.name)
            role = WORK if file == WORKER_KEY else OBSERVE
            if publics.get(name):
                lines.append(line_of(User(name, (publics[name],), frozenset({role}))) + "\n")
    lines += [line_of(user) + "\n" for user in inventory.clients]
    return "".join(lines)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
