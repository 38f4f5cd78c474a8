"""From bare hosts to a cluster, and from one release to the next."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from .lab import Lab, Load

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_bare_hosts_become_a_cluster_in_which_work_flows(cluster: Lab, load: Callable[..., Load]):
    info = cluster.info()
    assert len(info["workers"]) == 6
    assert {worker["host"] for worker in info["workers"]} == {"h1", "h2", "h3"}
    work = load()
    work.flows()
    runs = work.finish()
    assert set(runs.values()) == {1}, "nothing ran twice"


def pids_of(info: dict) -> list[int]:
    return [info["pid"], *(told["pid"] for told in info["supervisors"])]


def test_a_second_run_changes_nothing(cluster: Lab):
    pids = pids_of(cluster.info())
    assert cluster.last("up") == "3 of 3 ready, nothing to change"
    assert pids_of(cluster.info()) == pids
    assert cluster.deploy("plan")[0] == "nothing is to be done\n"


def test_it_is_secured(cluster: Lab):
    """Nobody without a key is heard, and no secret is where others can read it."""
    ask = "/opt/zqueue/current/venv/bin/zqueue info --timeout 2 --url tcp://10.99.0.11:5555"
    said = cluster.on("h2", f"{ask} 2>&1 || true")
    assert "queues" not in said
    for host in cluster.hosts:
        listed = cluster.on(host, "find /etc/zqueue -name '*.key' -exec stat -c '%a %U' {} +")
        assert set(listed.splitlines()) == {"600 zqueue"}
        secrets = cluster.on(host, "sed -n 's/^secret = \"\\(.*\\)\"$/\\1/p' /etc/zqueue/*.key")
        everything = cluster.on(
            host, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'"
        )
        for secret in secrets.split():
            assert secret not in everything
            assert secret not in cluster.on(host, "journalctl -o cat")


def test_it_is_monitored(cluster: Lab):
    figures = cluster.on(
        "h1",
        'python3 -c "import urllib.request as u; '
        "print(u.urlopen('http://127.0.0.1:9464/metrics').read().decode())\"",
    )
    assert re.search(r"^zqueue_up\{.*\} 1", figures, re.MULTILINE) or "zqueue_" in figures
    scraped = cluster.on("h1", "cat /opt/zqueue/current/monitoring/prometheus.yml")
    assert "127.0.0.1:9464" in scraped
    assert json.loads(cluster.on("h1", "cat /opt/zqueue/current/monitoring/zqueue.json"))["panels"]


def test_status_and_logs(cluster: Lab):
    out, said = cluster.deploy("status")
    assert out == "3 of 3 ready\n"
    assert said.count("zqueue-worker@load active") == 3
    found = json.loads(cluster.deploy("status", "--json")[0])
    assert (found["ready"], found["of"]) == (3, 3)
    lines = cluster.deploy("logs", "--limit", "h2", "-n", "5")[0].splitlines()
    assert len(lines) == 5
    assert all(line.startswith("h2  ") for line in lines)


def test_an_upgrade_under_load_loses_nothing_and_can_be_taken_back(
    cluster: Lab, load: Callable[..., Load]
):
    work = load()
    work.flows()
    cluster.write_app(2)
    assert cluster.last("upgrade") == "3 of 3 ready"
    work.flows()
    assert cluster.versions()[2] > 0
    assert cluster.last("upgrade", "--back") == "3 of 3 ready"
    before = cluster.versions()[2]
    work.flows()
    assert cluster.versions()[2] == before
    assert set(work.finish().values()) == {1}, "workers finish what they have"
    cluster.write_app(1)


def test_an_upgrade_that_fails_goes_back_and_touches_no_other_host(
    cluster: Lab, load: Callable[..., Load]
):
    work = load()
    work.flows()
    releases = cluster.on("h1", "readlink /opt/zqueue/current")
    cluster.write_app(0)
    (cluster.folder / "load.py").write_text("import nothing_of_that_name\n")
    out, said = cluster.deploy("upgrade", code=1)
    assert out == "2 of 3 without a fault\n"
    assert re.search(r"zqueue: h1: .*nothing_of_that_name.*it has release \w+ again, and not", said)
    assert cluster.on("h1", "readlink /opt/zqueue/current") == releases
    assert "switch" not in "".join(line for line in said.splitlines() if line.startswith("h2"))
    cluster.write_app(1)
    assert cluster.last("status") == "3 of 3 ready"
    work.flows()
    assert set(work.finish().values()) == {1}


def test_scale_and_restart(cluster: Lab, load: Callable[..., Load]):
    assert cluster.last("scale", "h3=4") == "1 of 1 ready"
    assert sum(told["host"] == "h3" for told in cluster.info()["workers"]) == 4
    work = load()
    work.flows()
    assert cluster.last("restart", "--limit", "h2") == "1 of 1 ready"
    assert set(work.finish().values()) == {1}
    assert cluster.last("up") == "3 of 3 ready"
    assert sum(told["host"] == "h3" for told in cluster.info()["workers"]) == 2


def test_down_leaves_the_queues_and_up_serves_them(cluster: Lab, load: Callable[..., Load]):
    work = load(wait_s=0.02)
    work.flows(20)
    assert cluster.last("down") == "3 of 3 down"
    assert work.waiting(), "workers end first, and what is sent then stays"
    work.stop()
    for host in cluster.hosts:
        assert cluster.on(host, "systemctl list-units --plain --no-legend 'zqueue-*'") == ""
        assert cluster.on(host, "pgrep -u zqueue || true") == ""
    assert cluster.last("up") == "3 of 3 ready"
    assert work.finish()
