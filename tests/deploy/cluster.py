"""A cluster of three hosts, as data: its inventory, and what its hosts tell."""

from __future__ import annotations

import hashlib

from zqueue.deploy.facts import BROKER_UNIT, METRICS_UNIT, Facts, KeyFile, Unit, broker_words
from zqueue.deploy.inventory import Inventory, parse_inventory
from zqueue.deploy.plan import all_publics, clients_text, files_of
from zqueue.deploy.release import Release, Shipped, make_release

TEXT = """
[cluster]
brokers = ["h1"]
apps = { wordcount = "workers/wordcount.py", mail = "shop.mail:app" }

[hosts.h1]
address = "10.0.0.11"
[hosts.h2]
address = "10.0.0.12"
workers = { wordcount = 2 }
[hosts.h3]
ssh = "deploy@h3.example"
address = "10.0.0.13"
workers = { wordcount = 4, mail = 1 }

[broker]
data_dir = "/var/lib/zqueue/queues"
"""

TWO = TEXT.replace('["h1"]', '["h1", "h2"]')

BROKER_PUBLIC = "B" * 40
VENV = "0123456789abcdef"

SHIPPED = Shipped(
    apps={"workers/wordcount.py": b"app = 1\n"},
    units={
        BROKER_UNIT: b"ExecStart=/opt/zqueue/bin/zqueue --config /etc/zqueue/zqueue.toml broker\n",
        METRICS_UNIT: b"ExecStart=/opt/zqueue/bin/zqueue --config "
        b"/etc/zqueue/zqueue.toml metrics\n",
        "zqueue-worker@.service": b"EnvironmentFile=-/etc/zqueue/worker-%i.env\n"
        b"ExecStart=/opt/zqueue/bin/zqueue --config /etc/zqueue/zqueue.toml "
        b"worker /opt/zqueue/workers/%i.py\n",
    },
    monitoring={"prometheus.yml": b'targets: ["127.0.0.1:9464"]\n', "zqueue.json": b"{}"},
)


def inventory(text: str = TEXT) -> Inventory:
    return parse_inventory(text, "hosts.toml")


def releases(inventory: Inventory, shipped: Shipped = SHIPPED) -> dict[str, Release]:
    return {host.name: make_release(inventory, host, VENV, shipped)
            for host in inventory.in_order()}  # fmt: skip


def bare(name: str) -> Facts:
    """A host that is fit, and has nothing of ours."""
    return Facts(
        hostname=name, architecture="x86_64", libc="glibc-2.36", init="systemd",
        python=(3, 11, 2), has_venv=True, disk_kb=10_000_000, nofile=65536,
    )  # fmt: skip


def public(file: str, host: str) -> str:
    """A public key that tells where it is."""
    return f"{file[0]}{host}".ljust(40, "x")


def broker_public(host: str) -> str:
    """The same of a broker."""
    return BROKER_PUBLIC if host == "h1" else public("Broker", host)


def running(inventory: Inventory, found: dict[str, Release] | None = None) -> dict[str, Facts]:
    """Hosts that are as their releases say."""
    hosts = {}
    brokers = {inventory.url_of(name): (broker_public(name),) for name in inventory.brokers}
    words = broker_words(brokers)
    for name, release in (found or releases(inventory)).items():
        facts = hosts[name] = bare(name)
        facts.current, facts.releases, facts.venvs = release.id, {release.id}, {VENV}
        for number, (unit, stamp) in enumerate(release.units.items(), 100):
            facts.units[unit] = Unit("active", number, stamp)
        for file in files_of(inventory, inventory.hosts[name]):
            key = KeyFile(0o600, "zqueue", public(file, name), words, inventory.urls())
            facts.keys[file] = key
        if name in inventory.brokers:
            facts.keys["keys/broker.key"] = KeyFile(0o600, "zqueue", broker_public(name))
            facts.listening = {inventory.port}
    write_list(inventory, hosts)
    return hosts


def write_list(inventory: Inventory, hosts: dict[str, Facts]) -> None:
    """Let brokers have the list that belongs to the hosts' keys."""
    publics = all_publics(inventory, hosts)
    text = clients_text(inventory, publics)
    for name in inventory.brokers:
        hosts[name].clients = hashlib.sha256(text.encode()).hexdigest()
        hosts[name].listed = publics
