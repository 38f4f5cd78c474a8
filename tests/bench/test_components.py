"""Every component measures what it says, however little."""

from __future__ import annotations

import pytest

from zqueue.bench.components import CATALOGUE, measurer
from zqueue.bench.lab import Lab
from zqueue.bench.result import KINDS, Component
from zqueue.bench.scale import PROBE

SPEEDY = {"queue", "codec", "machine"}


def run(name: str) -> Component:
    component = Component(name)
    measurer(name)(Lab(component, PROBE, lambda text: None, CATALOGUE[name].role,
                       with_memory=False))  # fmt: skip
    return component


def check(component: Component) -> None:
    assert component.cases
    names = {name.partition(":")[0] for case in component.cases for name in case.figures}
    assert names <= set(KINDS)
    for case in component.cases:
        if "rate" in case.figures:
            assert case.figures["rate"].median > 0
            assert case.figures["operations"].median > 0
        if "p50" in case.figures:
            p50, p95, p99, longest = (case.figures[n].median for n in ("p50", "p95", "p99", "max"))
            assert 0 <= p50 <= p95 <= p99 <= longest


@pytest.mark.parametrize("name", sorted(SPEEDY))
def test_within_this_process(name: str) -> None:
    check(run(name))


@pytest.mark.system
@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in SPEEDY])
def test_with_processes(name: str) -> None:
    component = run(name)
    check(component)
    if name == "pool":
        assert {case.subject for case in component.cases} == {"zqueue", "raw pyzmq"}
        assert component.ratios["send_many: zqueue / raw pyzmq, rate"].median > 0
        busy = component.find("send_many", "zqueue")
        assert busy is not None
        assert set(busy.of("cpu_ns")) == {"producer", "broker", "worker"}


@pytest.mark.system
def test_the_floor_with_several_workers() -> None:
    """None of them knows how many tasks it gets; together they get all."""
    from zqueue.bench import floor

    with floor.running(2) as raw:
        for _ in range(2):
            assert raw.many(20_000)["rate"] > 0
        assert raw.one_by_one(500)["rate"] > 0
