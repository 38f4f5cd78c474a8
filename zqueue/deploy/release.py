"""A release: all that a host runs, by the digest of its content.

Its environment is another directory, by the digest of its wheels, which releases share. Keys, the
list of clients and queues are in neither: going back to an earlier release leaves them as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .facts import BROKER_UNIT, METRICS_UNIT, worker_unit
from .inventory import Host, Inventory, is_file

ROOT, ETC = "/opt/zqueue", "/etc/zqueue"
CURRENT = f"{ROOT}/current"
DIGEST_CHARS = 16

WORKER_TEMPLATE = "zqueue-worker@.service"
METRICS_LISTEN = "127.0.0.1:9464"

PLACES = {
    "/opt/zqueue/bin/": f"{CURRENT}/venv/bin/",
    "/opt/zqueue/workers/%i.py": "${ZQUEUE_APP}",
    "/etc/zqueue/zqueue.toml": f"{CURRENT}/zqueue.toml",
    "/etc/zqueue/worker-%i.env": f"{CURRENT}/worker-%i.env",
}
"""Where the units look by hand, and where in a release."""


class Shipped(NamedTuple):
    """What every host gets, of the controller's files."""

    apps: Mapping[str, bytes]
    """By paths below the inventory's folder."""
    units: Mapping[str, bytes]
    monitoring: Mapping[str, bytes]
    """Rules, scrape configuration and dashboard, by names."""


class Release(NamedTuple):
    """What a host is to run."""

    id: str
    venv: str
    files: Mapping[str, bytes]
    units: Mapping[str, str]
    """Services, in the order of their starts, with stamps: each changes when its service must be
    started anew."""


def digest(*parts: bytes | str) -> str:
    """A name for content, in which the borders of the parts count."""
    made = hashlib.sha256()
    for part in parts:
        packed = part.encode() if isinstance(part, str) else part
        made.update(b"%d:" % len(packed) + packed)
    return made.hexdigest()[:DIGEST_CHARS]


def make_release(inventory: Inventory, host: Host, venv: str, shipped: Shipped) -> Release:
    """What a host of an inventory is to run, in an environment."""
    tables = _tables(inventory, host)
    files = {"zqueue.toml": _toml(tables)}
    units: dict[str, str] = {}

    def serve(unit: str, template: str, *parts: bytes | str) -> None:
        text = _placed(shipped.units[template])
        files[f"units/{template}"] = text
        units[unit] = digest(venv, text, *parts)

    if host.name in inventory.brokers:
        serve(BROKER_UNIT, BROKER_UNIT, json.dumps(tables["broker"]))
    if host.name == inventory.monitor:
        serve(METRICS_UNIT, METRICS_UNIT, json.dumps(tables["metrics"]))
        listen = str(tables["metrics"]["listen"])
        for name, content in shipped.monitoring.items():
            files[f"monitoring/{name}"] = content.replace(METRICS_LISTEN.encode(), listen.encode())
    running = {app: count for app, count in host.workers.items() if count}
    apps = {f"apps/{path}": content for path, content in shipped.apps.items()} if running else {}
    files.update(apps)
    for app, count in sorted(running.items()):
        program = inventory.apps[app]
        place = f"{CURRENT}/apps/{program}" if is_file(program) else program
        env = f"ZQUEUE_APP={place}\nZQUEUE_WORKER_PROCESSES={count}\n".encode()
        files[f"worker-{app}.env"] = env
        parts = [part for path in sorted(apps) for part in (path, apps[path])]
        serve(worker_unit(app), WORKER_TEMPLATE, env, json.dumps(tables["worker"]), *parts)
    files["starts"] = "".join(f"{unit} {stamp}\n" for unit, stamp in units.items()).encode()
    parts = [part for path in sorted(files) for part in (path, files[path])]
    return Release(digest(venv, *parts), venv, files, units)


def _tables(inventory: Inventory, host: Host) -> dict[str, dict[str, Any]]:
    """The configuration of the processes of a host."""
    options = inventory.options
    tables: dict[str, dict[str, Any]] = {}
    if host.name in inventory.brokers:
        bind = {"bind": f"tcp://0.0.0.0:{inventory.port}", "keys": f"{ETC}/keys"}
        tables["broker"] = {**options.broker, **bind}
    if host.name == inventory.monitor:
        key = {"key_file": f"{ETC}/observe.key"}
        tables["metrics"] = {"listen": METRICS_LISTEN, **options.metrics, **key}
    if any(host.workers.values()):
        tables["worker"] = {**options.worker, "key_file": f"{ETC}/worker.key"}
    return tables


def _placed(unit: bytes) -> bytes:
    text = unit.decode()
    for by_hand, in_release in PLACES.items():
        text = text.replace(by_hand, in_release)
    return text.encode()


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> bytes:
    lines = ["# Written by 'zqueue deploy': change the inventory instead."]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_pairs(table.items())]
    return ("\n".join(lines) + "\n").encode()


def _pairs(items: Iterable[tuple[str, Any]]) -> list[str]:
    # JSON's text and numbers are TOML's, but for the escaped slash that `dumps` does not write.
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in items]
