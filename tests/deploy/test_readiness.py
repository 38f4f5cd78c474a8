"""zqueue/deploy/readiness.py"""

from __future__ import annotations

from typing import Any

from zqueue.deploy.facts import BROKER_UNIT, Facts
from zqueue.deploy.readiness import LISTED_MAX, Losses, harm, unready

from .cluster import TWO, inventory, running

HOST = inventory().hosts["h3"]


def facts() -> Facts:
    return running(inventory())["h3"]


def info(workers: int = 5, **changes: Any) -> dict[str, dict[str, Any]]:
    """What a broker says with which all of h3 are."""
    units = facts().units
    told = {
        "pid": running(inventory())["h1"].units[BROKER_UNIT].pid,
        "supervisors": [{"host": "h3", "pid": unit.pid} for unit in units.values()],
        "workers": [{"host": "h3"}] * workers + [{"host": "h2"}] * 9,
        "counters": {"workers_lost": 3, "dead": 2},
        **changes,
    }
    return {"h1": told}


def test_all_are_there():
    assert unready(HOST, facts(), info()) == []


def test_workers_of_other_hosts_do_not_count():
    assert unready(HOST, facts(), info(4)) == ["4 of 5 workers are with the broker"]


def test_supervisors_of_before_do_not_count():
    """A broker may not know yet that they are gone."""
    old = [{"host": "h3", "pid": 1}, {"host": "h2", "pid": 100}]
    missing = unready(HOST, facts(), info(supervisors=old))
    assert missing == ["the workers of wordcount are not with the broker",
                       "the workers of mail are not with the broker"]  # fmt: skip


def test_a_service_that_has_ended():
    found = facts()
    unit = "zqueue-worker@mail.service"
    found.units[unit] = found.units[unit]._replace(state="failed")
    assert unready(HOST, found, info()) == [f"{unit} is failed"]


def test_no_broker():
    assert unready(HOST, facts(), {}) == ["no broker answers"]


def test_a_broker_of_before_or_one_that_still_looks_through_its_queues():
    host, found = inventory().hosts["h1"], running(inventory())["h1"]
    assert unready(host, found, info()) == []
    assert unready(host, found, info(pid=1)) == ["the broker that answers is another process"]
    store = {"level": "disk", "recovering": True}
    assert unready(host, found, info(store=store)) == ["the broker looks through its data dir"]


def test_a_broker_lists_only_so_many():
    many = [{"host": "h2"}] * LISTED_MAX
    assert unready(HOST, facts(), {"h1": info(0)["h1"] | {"workers": many}}) == []


def test_two_brokers():
    """Workers must be with each that answers; a host that has one needs its own."""
    both = {**info(), "h2": info(4)["h1"]}
    assert unready(HOST, facts(), both) == ["4 of 5 workers are with the broker of h2"]
    both = {**info(), "h2": info()["h1"]}
    assert unready(HOST, facts(), both) == []
    host, found = inventory(TWO).hosts["h2"], running(inventory(TWO))["h2"]
    assert "its broker does not answer" in unready(host, found, info())


def test_harm_is_what_has_grown():
    before = Losses.of(info())
    assert harm(before, info()) == []
    assert harm(before, info(counters={"workers_lost": 0, "dead": 0})) == [], "a new broker counts"
    assert harm(before, info(counters={"workers_lost": 5, "dead": 3})) == [
        "2 workers were lost", "1 tasks became dead letters",
    ]  # fmt: skip
    assert harm(before, {}) == ["the broker of h1 does not answer"]
    assert harm({}, info()) == [], "one that did not answer before"
