"""Hosts fail in every way, under load, and each task that was confirmed runs all the same."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from zqueue.testing import wait_until

from .lab import WORK_S, Lab, Load

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SHORT_CUT_S, LONG_CUT_S = 3.0, 30.0
"""Below the liveness time, and far beyond it."""


def hold(seconds: float) -> None:
    """How long a fault lasts is what is tested."""
    time.sleep(seconds)


def all_back(cluster: Lab) -> None:
    def look() -> bool:
        return len(cluster.info()["workers"]) == 6

    wait_until(look, WORK_S, every=0.3, what=lambda: cluster.info()["workers"])


def no_dead(cluster: Lab) -> None:
    assert cluster.info()["counters"]["dead"] == 0


@pytest.mark.parametrize("seconds", [SHORT_CUT_S, LONG_CUT_S])
def test_a_cut_between_broker_and_workers(cluster: Lab, load: Callable[..., Load], seconds: float):
    work = load()
    work.flows()
    cluster.do("cut", "h1", "h2")
    hold(seconds)
    work.flows()
    cluster.do("heal")
    all_back(cluster)
    assert work.finish()
    no_dead(cluster)


@pytest.mark.parametrize(("deaf", "to"), [("h1", "h2"), ("h2", "h1")])
def test_one_does_not_hear_the_other(cluster: Lab, load: Callable[..., Load], deaf: str, to: str):
    work = load()
    work.flows()
    cluster.do("deafen", deaf, to)
    hold(8)
    work.flows()
    cluster.do("heal")
    all_back(cluster)
    assert work.finish()
    no_dead(cluster)


def test_a_worker_s_host_loses_its_power(cluster: Lab, load: Callable[..., Load]):
    work = load()
    work.flows()
    cluster.do("kill", "h3")
    work.flows()
    cluster.do("boot", "h3")
    all_back(cluster)
    assert work.finish()
    no_dead(cluster)


def test_the_broker_s_host_loses_its_power(cluster: Lab, load: Callable[..., Load]):
    work = load()
    work.flows()
    cluster.do("kill", "h1")
    hold(2)
    cluster.do("boot", "h1")
    work.flows()
    all_back(cluster)
    assert work.finish()


def test_a_host_stands_still(cluster: Lab, load: Callable[..., Load]):
    """Its kernel goes on accepting, and nobody answers."""
    work = load()
    work.flows()
    cluster.do("freeze", "h2")
    hold(8)
    work.flows()
    cluster.do("thaw", "h2")
    all_back(cluster)
    assert work.finish()
    no_dead(cluster)


def test_a_cable_that_loses_a_tenth(cluster: Lab, load: Callable[..., Load]):
    work = load()
    work.flows()
    cluster.do("loss", "h1", "10")
    work.flows()
    cluster.do("heal")
    all_back(cluster)
    assert work.finish()
    no_dead(cluster)


def test_a_slow_cable(cluster: Lab, load: Callable[..., Load]):
    work = load()
    with cluster.cable("h2", 40):
        work.flows()
    all_back(cluster)
    assert work.finish()
    no_dead(cluster)


# --- keys ---


def test_a_stolen_key_is_worth_nothing_once_the_host_has_a_new_one(
    cluster: Lab, load: Callable[..., Load]
):
    work = load()
    work.flows()
    cluster.on("h3", "cp -p /etc/zqueue/worker.key /root/stolen.key")
    ask = "/opt/zqueue/current/venv/bin/zqueue info --json --key-file /root/stolen.key"
    assert '"queues"' in cluster.on("h3", f"timeout 20 {ask} 2>&1 || true")
    assert cluster.last("up", "--limit", "h3", "--new-keys") == "1 of 1 ready"
    assert '"queues"' not in cluster.on("h3", f"timeout 20 {ask} 2>&1 || true")
    work.flows()
    all_back(cluster)
    assert work.finish()
    assert cluster.last("up") == "3 of 3 ready, nothing to change"


def test_the_broker_s_key_changes_while_work_goes_on(cluster: Lab, load: Callable[..., Load]):
    work = load()
    work.flows()
    before = cluster.broker_keys()
    assert cluster.last("rotate") == "3 of 3 ready"
    assert len(cluster.broker_keys()) == 2
    assert work.finish()
    work = load()  # It has read both.
    work.flows()
    assert cluster.last("rotate", "--finish") == "3 of 3 ready"
    (key,) = cluster.broker_keys()
    assert key not in before
    work.flows()
    all_back(cluster)
    assert work.finish()
    assert cluster.last("up") == "3 of 3 ready, nothing to change"
