"""Two brokers on hosts of their own: work goes on without either."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zqueue.testing import wait_until

from .lab import WORK_S, Lab, Load

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster(boot: Callable[..., Lab]) -> Lab:
    """Three hosts, of which two have a broker."""
    lab = boot(3, brokers=2)
    assert lab.last("up") == "3 of 3 ready"
    return lab


def published(cluster: Lab, host: str) -> int:
    count: int = cluster.info(host)["counters"]["published"]
    return count


def test_every_worker_is_with_both_and_work_flows_through_both(
    cluster: Lab, load: Callable[..., Load]
):
    for host in cluster.brokers:
        assert len(cluster.info(host)["workers"]) == 6
    work = load()
    work.flows()
    wait_until(lambda: all(published(cluster, host) for host in cluster.brokers), WORK_S,
               every=0.3, what="tasks at both")  # fmt: skip
    assert set(work.finish().values()) == {1}, "nothing ran twice"
    assert cluster.last("up") == "3 of 3 ready, nothing to change"


@pytest.mark.parametrize("lost", ["h1", "h2"])
def test_a_broker_s_host_loses_its_power_and_work_goes_on(
    cluster: Lab, load: Callable[..., Load], lost: str
):
    """What the lost one had confirmed runs when it is back."""
    work = load()
    work.flows()
    cluster.do("kill", lost)
    work.flows(400)
    out, said = cluster.deploy("status", code=3)
    assert f"zqueue: {lost}: " in said
    assert out.startswith("2 of 3 reachable")
    cluster.do("boot", lost)
    wait_until(cluster.is_ready, WORK_S, every=0.5, what=lambda: cluster.deploy("status")[1])
    assert work.finish()


def test_brokers_are_changed_one_after_the_other_while_work_goes_on(
    cluster: Lab, load: Callable[..., Load]
):
    work = load()
    work.flows()
    assert cluster.last("restart") == "3 of 3 ready"
    work.flows()
    before = {host: cluster.broker_keys(host) for host in cluster.brokers}
    assert cluster.last("rotate") == "3 of 3 ready"
    assert work.finish()
    work = load()  # It has read both keys of each.
    work.flows()
    assert cluster.last("rotate", "--finish") == "3 of 3 ready"
    for host, keys in before.items():
        (key,) = cluster.broker_keys(host)
        assert key not in keys
    work.flows()
    assert work.finish()
    assert cluster.last("up") == "3 of 3 ready, nothing to change"
