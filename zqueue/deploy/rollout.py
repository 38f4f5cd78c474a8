"""Carries out a plan: asks hosts for facts, sends them archives, and waits until they are ready."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, time
from typing import Any, NamedTuple, TypeVar

from ..errors import ConfigError, ProtocolError, ZQueueError
from .bundle import FILES, Kind, Wheels, default_cache, gather, shipped
from .facts import BROKER_UNIT, Facts, Fault, KeyFile, broker_publics, find_faults, parse_facts
from .inventory import Host, Inventory
from .plan import (
    Change,
    Keys,
    Plan,
    Stage,
    all_publics,
    client_name,
    clients_text,
    files_of,
    going_back,
    make_plan,
    way_back,
)
from .readiness import Info, Losses, harm, unready
from .release import Release, make_release
from .ssh import HostFailed, HostLost, Ssh, pack

AT_ONCE = 16
"""Hosts that are spoken with at the same time."""

FACTS_S = 30.0
LOOK_EVERY_S = 0.2

Tell = Callable[[str, str], None]
"""Is told a host's name and what it has done."""

T = TypeVar("T")


class Stopped(ZQueueError):
    """Hosts are not as they must be, and nothing was changed; or they failed, and others stay."""

    def __init__(self, faults: Iterable[Fault], *, is_lost: bool = False) -> None:
        self.faults = list(faults)
        self.is_lost = is_lost
        super().__init__("\n".join(f"{fault.host}: {fault.text}" for fault in self.faults))


class HostUnready(HostFailed):
    """A host did all that it was asked, and does not work."""


class Patience(NamedTuple):
    """How long is waited for hosts, seconds."""

    ready_s: float = 60.0
    """Until one that changed is ready."""
    watch_s: float = 2.0
    """For losses, once one that had worked before is ready again."""


class Rollout:
    """What is done with the hosts of one inventory.

    Parameters:
        folder: where the inventory is, and below it what it names.
        limit: hosts that may be changed; none: all.
    """

    def __init__(
        self, inventory: Inventory, folder: Path, ssh: Ssh, tell: Tell,
        *, limit: Iterable[str] = (), patience: Patience | None = None,
    ) -> None:  # fmt: skip
        self.inventory = inventory
        self.chosen = inventory.limited(limit)
        self._folder = folder
        self._ssh = ssh
        self._tell = tell
        self._patience = patience or Patience()
        self._pause = threading.Event()
        self.facts: dict[str, Facts] = {}
        self.releases: dict[str, Release] = {}
        self._wheels: dict[Kind, Wheels] = {}
        self._shipped = shipped(inventory, folder)
        self.has_begun = False
        """Whether anything was changed anywhere."""

    # --- asking ---

    def look(self) -> None:
        """Ask all hosts that matter for facts. Raises `Stopped` if one does not answer."""
        brokers = [self.inventory.hosts[name] for name in self.inventory.brokers]
        asked = list({host.name: host for host in [*brokers, *self.chosen]}.values())
        self.facts = self._each(asked, self._connect)

    def check(self, *, renews: bool = False) -> None:
        """Raises `Stopped` with all that is wrong with the hosts."""
        self.look()
        faults = find_faults(self.inventory, self.facts, renews=renews)
        chosen = {host.name for host in self.chosen}
        for name in self.inventory.brokers:
            if name not in chosen and not self.facts[name].current:
                text = "it runs no broker yet, and --limit leaves it out: set it up first"
                faults.append(Fault(name, text))
        if faults:
            raise Stopped(faults)

    def plan(self, *, restarts: bool = False, renews: bool = False) -> Plan:
        """What there is to do, by the facts."""
        for host in self.chosen:
            kind = Kind.of(self.facts[host.name])
            if kind not in self._wheels:
                self._wheels[kind] = gather(self.inventory, self._folder, kind, default_cache())
            venv = self._wheels[kind].venv
            self.releases[host.name] = make_release(self.inventory, host, venv, self._shipped)
        names = [host.name for host in self.chosen]
        return make_plan(self.inventory, self.releases, self.facts, limit=names,
                         restarts=restarts, renews=names if renews else ())  # fmt: skip

    def plan_back(self) -> Plan:
        """To the release before. Raises `ConfigError` if no host has one."""
        plan = going_back({host.name: self.facts[host.name] for host in self.chosen})
        if plan.is_empty():
            raise ConfigError("no host has an earlier release to go back to")
        return plan

    def problems(self) -> dict[str, list[str]]:
        """What each chosen host lacks, by facts and the broker's word."""
        infos = self.infos()
        return {
            host.name: unready(host, self.facts[host.name], infos)
            if self.facts[host.name].current
            else ["nothing is installed"]
            for host in self.chosen
        }

    def settled(self) -> dict[str, list[str]]:
        """The same after a change: workers that did not change need a moment to come back to a
        broker that did."""
        deadline = monotonic() + self._patience.ready_s
        while any((problems := self.problems()).values()) and monotonic() < deadline:
            self._pause.wait(LOOK_EVERY_S)
        return problems

    def broker_keys(self) -> dict[str, str]:
        """The public keys of brokers, by hosts, as far as they have one."""
        files = {name: self.facts[name].keys.get("keys/broker.key") for name in
                 self.inventory.brokers if name in self.facts}  # fmt: skip
        return {name: file.public for name, file in files.items() if file is not None}

    def infos(self) -> dict[str, Info]:
        """What the brokers say of themselves, by hosts: of those that answer."""

        def ask(host: Host) -> Info | None:
            command = f"info {self.inventory.url_of(host.name)}"
            try:
                found: Info = json.loads(self._run(host, [command], timeout_s=FACTS_S))
            except (HostFailed, ValueError):
                return None
            return found

        brokers = [self.inventory.hosts[name] for name in self.inventory.brokers
                   if self.facts[name].current]  # fmt: skip
        told = self._each(brokers, ask)
        return {name: info for name, info in told.items() if info is not None}

    # --- doing ---

    def perform(self, plan: Plan) -> None:
        """Carry out a plan. Raises `Stopped`, with what failed, and nothing half done."""
        self.has_begun = self.has_begun or not plan.is_empty()
        publics = self._prepare(plan)
        for wave in plan.waves:
            self._perform_wave({change.host: change for change in wave}, publics)

    def rotate(self, *, finish: bool) -> dict[str, str]:
        """Change the brokers' keys, in two steps: all hosts learn the next one, and then it is the
        only one. Returns the brokers' public keys, the next ones if there are such.

        Raises `ConfigError` where the steps are out of order, and as `perform` does.
        """
        self.check()
        brokers = [self.inventory.hosts[name] for name in self.inventory.brokers]
        if finish:  # Those that have none have it behind them: a run was interrupted.
            brokers = [h for h in brokers if "keys/broker-next.key" in self.facts[h.name].keys]
            if not brokers:
                raise ConfigError("no broker has a next key: begin with 'zqueue deploy rotate'")
        for host in brokers:
            self.has_begun = True
            wanted = json.dumps({"rotate": "finish" if finish else "begin"}).encode()
            release = self.facts[host.name].current
            self._run(host, [f"keyring {release}"], {"keyring.json": wanted})
            if finish:
                stamp = self.facts[host.name].units[BROKER_UNIT].stamp
                change = Change(host.name, release, release, ((BROKER_UNIT, stamp),))
                self._perform_wave({host.name: change}, {})
        self.look()
        self.perform(self.plan())
        keys = {name: self.facts[name].keys for name in self.inventory.brokers}
        return {name: found.get("keys/broker-next.key", found["keys/broker.key"]).public
                for name, found in keys.items()}  # fmt: skip

    def _perform_wave(self, changes: Mapping[str, Change], publics: Mapping[str, str]) -> None:
        before = Losses.of(self.infos())

        def change(host: Host) -> Facts:
            return self._change_or_back(host, changes[host.name], publics, before)

        self._each([self.inventory.hosts[name] for name in changes], change)

    def bundles(self) -> dict[str, bytes]:
        """An archive for each chosen host that has all, to be sent by other means. The facts are
        those of hosts that have nothing."""
        made = {}
        for host in self.chosen:
            release = self.releases[host.name]
            stage = Stage(host.name, release.id, release.venv, needs_venv=True)
            made[host.name] = self._archive(host, [_words(stage)], self._staged(stage))
        return made

    def assume_alike(self) -> None:
        """Take all hosts for bare ones like this machine, without asking them."""
        here = Kind.here()
        for host in self.chosen:
            self.facts[host.name] = Facts(python=here.python, architecture=here.architecture)
        self.plan()

    def _prepare(self, plan: Plan) -> dict[str, str]:
        """Put in place what is sent, and make keys. Returns the clients' public keys."""
        stages = {step.host: step for step in plan.stages}
        keys = {step.host: step for step in plan.keys}
        first = {*stages, *(name for name, step in keys.items() if step.is_broker)}

        def put(host: Host) -> list[str]:
            return self._put(host, stages.get(host.name), keys.get(host.name))

        told = self._each([h for h in self.inventory.in_order() if h.name in first], put)
        publics = all_publics(self.inventory, self.facts)
        for name, lines in told.items():
            for _, file, public in (line.split() for line in lines if line.startswith("public ")):
                self.facts[name].keys[file] = KeyFile(0o600, "zqueue", public)
        brokers = broker_publics(self.inventory, self.facts)
        client_steps = [step for step in plan.keys if step.files]

        def make(host: Host) -> dict[str, str]:
            return self._make_keys(host, keys[host.name], brokers)

        hosts = [self.inventory.hosts[step.host] for step in client_steps]
        for made in self._each(hosts, make).values():
            publics.update(made)
        return publics

    def _put(self, host: Host, stage: Stage | None, keys: Keys | None) -> list[str]:
        commands: list[str] = []
        files: dict[str, bytes | Path] = {}
        if stage is not None:
            commands.append(_words(stage))
            files.update(self._staged(stage))
        if keys is not None and keys.is_broker:
            commands.append(f"keyring {self.releases[host.name].id}")
            files["keyring.json"] = json.dumps({"broker": True}).encode()
        started = monotonic()
        told = self._run(host, commands, files)
        if stage is not None:
            self._tell(host.name, f"{stage} ({monotonic() - started:.1f} s)")
        return told.splitlines()

    def _make_keys(
        self, host: Host, step: Keys, brokers: Mapping[str, tuple[str, ...]]
    ) -> dict[str, str]:
        clients = [
            {"file": file, "name": client_name(file, host.name), "brokers": brokers,
             "renew": step.renews}
            for file in step.files
        ]  # fmt: skip
        wanted = json.dumps({"clients": clients}).encode()
        release = self.releases[host.name].id
        told = self._run(host, [f"keyring {release}"], {"keyring.json": wanted})
        self._tell(host.name, str(step))
        lines = [line.split() for line in told.splitlines() if line.startswith("public ")]
        return {client_name(file, host.name): public for _, file, public in lines
                if file in files_of(self.inventory, host)}  # fmt: skip

    def _change_or_back(
        self,
        host: Host,
        change: Change,
        publics: Mapping[str, str],
        before: Mapping[str, Losses],
    ) -> Facts:
        """Change a host and wait until it is ready; if it fails, undo that."""
        was = self.facts[host.name]
        try:
            facts = self._change(host, change, publics)
            return self._wait_ready(host, facts, change, before)
        except HostFailed as error:
            back = way_back(change, was)
            text = error.text + (self._last_words(host) if isinstance(error, HostUnready) else "")
            try:
                self._change(host, back, publics)
            except HostFailed as failed:
                raise HostFailed(
                    host.name, f"{text}; and it could not be undone: {failed.text}"
                ) from (error)
            undone = "what was started is stopped"
            if change.before and change.switches():
                undone = f"it has release {change.before} again, and not {change.release}"
            raise HostFailed(host.name, f"{text}; {undone}") from error

    def _change(self, host: Host, change: Change, publics: Mapping[str, str]) -> Facts:
        commands: list[str] = []
        files: dict[str, bytes | Path] = {}
        if change.writes_clients:
            wanted = {"list": clients_text(self.inventory, publics)}
            files["keyring.json"] = json.dumps(wanted).encode()
            commands.append(f"keyring {change.release}")
            if BROKER_UNIT not in dict(change.starts):
                commands.append(f"reload {BROKER_UNIT}")
        if change.switches():
            commands.append(f"switch {change.release}")
        commands += [f"stop {unit}" for unit in change.stops]
        commands += [f"start {unit} {stamp}" for unit, stamp in change.starts]
        started = monotonic()
        facts = self._ask(host, commands, files)
        if commands:
            self._tell(host.name, f"{change} ({monotonic() - started:.1f} s)")
        return facts

    def _wait_ready(
        self, host: Host, facts: Facts, change: Change, before: Mapping[str, Losses]
    ) -> Facts:
        """Until a host works again, and then a while longer if it had worked before."""
        self.facts[host.name] = facts
        deadline = monotonic() + self._patience.ready_s
        while missing := unready(host, facts, self.infos()):
            if monotonic() > deadline:
                within = f"within {self._patience.ready_s:g} s"
                raise HostUnready(host.name, f"it is not ready {within}: {', '.join(missing)}")
            self._pause.wait(LOOK_EVERY_S)
            self.facts[host.name] = facts = self._ask(host, [])
        is_broker = host.name in self.inventory.brokers
        if change.before and change.starts and not is_broker:
            self._pause.wait(self._patience.watch_s)
            if lost := harm(before, self.infos()):
                raise HostUnready(host.name, f"it does harm: {', '.join(lost)}")
        self._tell(host.name, "ready")
        return facts

    def _last_words(self, host: Host) -> str:
        """What the services there said last, for who reads why a host failed."""
        try:
            lines = self._run(host, ["logs 20 end"], timeout_s=FACTS_S).splitlines()
        except HostFailed:
            return ""
        bad = [line.strip() for line in lines if " ERROR " in line or " WARNING " in line or
               "zqueue: " in line][-2:]  # fmt: skip
        return "".join(f" | {line[:300]}" for line in bad)

    # --- speaking with hosts ---

    def send(self, commands: list[str], hosts: Iterable[Host]) -> dict[str, str]:
        """Have hosts run commands of the installer, side by side. Raises `Stopped`."""
        return self._each(list(hosts), lambda host: self._run(host, commands))

    def follow(self, lines: int, show: Tell) -> None:
        """Show what the services of all chosen hosts say, until all connections end."""

        def read(host: Host) -> None:
            archive = self._archive(host, [f"logs {lines} follow"], {})
            with self._ssh.follow(host.ssh, archive) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    show(host.name, line.decode(errors="replace").rstrip("\n"))

        readers = [threading.Thread(target=read, args=(host,), daemon=True) for host in self.chosen]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()

    def _each(self, hosts: list[Host], act: Callable[[Host], T]) -> dict[str, T]:
        """Act on hosts side by side, on all of them whatever happens. Raises `Stopped`."""
        if not hosts:
            return {}
        done: dict[str, T] = {}
        faults, is_lost = [], False
        with ThreadPoolExecutor(min(AT_ONCE, len(hosts)), "zqueue-deploy") as pool:
            for host, future in [(host, pool.submit(act, host)) for host in hosts]:
                try:
                    done[host.name] = future.result()
                except (HostFailed, ProtocolError) as error:
                    text = error.text if isinstance(error, HostFailed) else str(error)
                    faults.append(Fault(host.name, text))
                    is_lost = is_lost or isinstance(error, HostLost)
        if faults:
            raise Stopped(faults, is_lost=is_lost)
        return done

    def _connect(self, host: Host) -> Facts:
        self._ssh.connect(host.name, host.ssh)
        return self._ask(host, [])

    def _ask(
        self, host: Host, commands: list[str], files: Mapping[str, bytes | Path] | None = None
    ) -> Facts:
        """Run commands, and ask for facts behind them."""
        archive = self._archive(host, [*commands, "facts"], files or {})
        asked = time()
        told = self._ssh.run(host.name, host.ssh, archive)
        return parse_facts(told, asked, time())

    def _run(
        self, host: Host, commands: list[str], files: Mapping[str, bytes | Path] | None = None,
        **options: Any,
    ) -> str:  # fmt: skip
        archive = self._archive(host, commands, files or {})
        return self._ssh.run(host.name, host.ssh, archive, **options)

    def _archive(self, host: Host, commands: list[str], files: Mapping[str, bytes | Path]) -> bytes:
        settings = [f"python {host.python}", f"service {host.service}"]
        if any(host.workers.values()):
            urls = self.inventory.urls()
            settings.append("reach " + " ".join(url.removeprefix("tcp://") for url in urls))
        return pack({
            "install.sh": FILES / "install.sh",
            "settings": ("\n".join(settings) + "\n").encode(),
            "commands": ("\n".join(commands) + "\n").encode(),
            **files,
        })  # fmt: skip

    def _staged(self, stage: Stage) -> dict[str, bytes | Path]:
        release = self.releases[stage.host]
        files: dict[str, bytes | Path] = {
            f"release/{path}": content for path, content in release.files.items()
        }
        if stage.needs_venv:
            wheels = next(w for w in self._wheels.values() if w.venv == stage.venv)
            files |= {"lock.txt": wheels.lock, **wheels.files}
        return files


def _words(stage: Stage) -> str:
    return f"stage {stage.venv} {stage.release}"
