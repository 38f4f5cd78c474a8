"""Each sentence has its figures, and without the figures there is no sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zqueue.bench.components import CATALOGUE
from zqueue.bench.findings import bottlenecks, limit_of, missing, next_steps, risks
from zqueue.bench.measure import Figure
from zqueue.bench.result import Case, Component, Result, make_figures

Put = Callable[..., None]


def case(family: str = "", x: float | None = None, **cores: float) -> Case:
    values = {f"cpu:{role}": (used,) for role, used in cores.items() if role != "others"}
    if "others" in cores:
        values["others"] = (cores["others"],)
    return Case("send_many", "zqueue", "task", family, x, make_figures(values))


def on(cores: int, result: Result) -> Result:
    result.environment["cores_usable"] = cores
    return result


class TestLimit:
    def test_a_process_that_uses_its_core(self, result: Result) -> None:
        said = limit_of(on(4, result), case(producer=0.6, worker=0.98, broker=0.2))
        assert "the worker was the limit, it used 98 % of a core" in said
        assert "the producer used 60 %" in said
        assert "the broker used 20 %" in said

    def test_cores_that_are_all_busy(self, result: Result) -> None:
        said = limit_of(on(2, result), case(producer=0.95, worker=0.85, broker=0.1))
        assert "the machine was the limit, 1.90 of 2 cores" in said
        assert "most of it went to the producer" in said

    def test_nobody(self, result: Result) -> None:
        said = limit_of(on(4, result), case(producer=0.5, worker=0.7, others=0.1))
        assert "no process used a whole core" in said
        assert "the busiest was the worker" in said

    def test_others_took_the_cores(self, result: Result) -> None:
        """Then it is not known what the limit would have been."""
        said = limit_of(on(2, result), case(producer=0.95, worker=0.6, others=0.4))
        assert "not known, other programs used 0.40 of 2 cores" in said
        assert "limit, it used" not in said

    def test_two_workers_are_busy_when_each_is(self, result: Result) -> None:
        pair = case("workers", 2.0, producer=0.5, worker=1.2)
        assert "no process used a whole core" in limit_of(on(4, result), pair)
        pair = case("workers", 2.0, producer=0.5, worker=1.96)
        assert "the worker was the limit, it used 98 %" in limit_of(on(8, result), pair)

    def test_nothing_is_said_where_it_was_not_measured(self, result: Result) -> None:
        assert limit_of(result, case()) == ""
        result.components = {}
        assert bottlenecks(result) == []

    def test_of_the_recorded_run(self, result: Result) -> None:
        said = bottlenecks(result)
        assert any(sentence.startswith("send_many, zqueue: ") for sentence in said)
        assert any(sentence.startswith("full load, send, zqueue: ") for sentence in said)


def quiet(result: Result) -> Result:
    """With nothing in it that is a risk."""
    for component, found in list(result.cases()):
        found.figures = {
            name: Figure((figure.median,) * 2, figure.unit, figure.better)
            for name, figure in found.figures.items()
            if name.partition(":")[0] in ("rate", "cpu", "p50", "gc_count")
        }
        component.error = ""
    for name in CATALOGUE:
        result.components.setdefault(name, Component(name))
    result.environment["load_before"] = 0.0
    return result


class TestRisks:
    def test_a_quiet_run_has_none(self, result: Result) -> None:
        assert risks(quiet(result)) == []

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("load_before", 1.9, "was not idle when it began (load 1.90"),
            ("outdated", ["zqueue.core.lease"], "older than their sources: `zqueue.core.lease`"),
            ("compiled", {"zqueue.core.lease": False}, "No module was compiled"),
        ],
    )
    def test_of_the_machine(self, result: Result, key: str, value: Any, words: str) -> None:
        quiet(result).environment[key] = value
        (said,) = risks(result)
        assert words in said

    def test_one_run(self, result: Result) -> None:
        quiet(result).runs = 1
        assert risks(result) == ["Everything was measured once: nothing is known of noise."]

    @pytest.mark.parametrize(
        ("where", "values", "words"),
        [
            (("pool", "send", "zqueue"), {"rate": (1.0, 3.0)}, "rate of “send, zqueue”"),
            (("pool", "send", "zqueue"), {"others": (0.5, 0.5)},
             "In 1 of 1 cases other programs used more than 0.25 cores meanwhile; most, 0.50"),
            (("pool", "200 tasks/s", "zqueue"), {"p50": (1e6, 1e6), "p99": (6e6, 6e6)},
             "waits 6 times as long as the usual one (6 ms, p50 1 ms)"),
            (("pool", "200 tasks/s", "zqueue"), {"p50": (1e6, 1e6), "p99": (1e6, 1e6),
                                                 "late_p50": (6e5, 6e5)},
             "600 µs of the 1 ms that half the tasks waited are the sender's own"),
            (("memory", "full queue, full batches", "broker process"),
             {"grew": (2048.0,), "bound": (1024.0,)}, "grew by 2 KiB, more than the 1 KiB"),
            (("memory", "passed through", "broker process"), {"grew_by_task": (2.0,)},
             "kept 2 B of each task"),
            (("gc", "full load, send", "zqueue"), {"blocks_kept_of_worker": (0.5, 0.5)},
             "the worker kept 0.50 blocks of each task"),
            (("gc", "full load, send", "zqueue"), {"gc_pause_max_of_broker": (25.0, 25.0)},
             "a collection stopped the broker for 25 ms"),
        ],
    )  # fmt: skip
    def test_of_the_figures(
        self, result: Result, put: Put, where: tuple[str, str, str], values: Any, words: str
    ) -> None:
        quiet(result)
        put(*where, **values)
        (said,) = risks(result)
        assert words in said

    def test_what_is_missing_is_said_to_be(self, result: Result) -> None:
        quiet(result)
        del result.components["codec"]
        result.components["pool"].error = "the broker ended"
        said = missing(result)
        assert [sentence.split()[0] for sentence in said] == ["`codec`", "`pool`"]
        assert "to the end: the broker ended" in said[1]
        assert risks(result) == said


class TestNextSteps:
    def test_what_was_missed_is_named_with_its_figure(self, result: Result, put: Put) -> None:
        put("queue", "pair", "MemoryQueue", p95=(290.0, 290.0))
        (said,) = [step for step in next_steps(result) if "bench queue --profile" in step]
        assert "MemoryQueue, p95 of a pair 290 ns, wanted 200 ns" in said

    def test_what_was_met_is_not(self, result: Result, put: Put) -> None:
        put("queue", "pair", "MemoryQueue", p95=(190.0, 190.0))
        assert not any("p95 of a pair" in step for step in next_steps(result))

    def test_noise_failure_and_gaps(self, result: Result, put: Put) -> None:
        put("pool", "send", "zqueue", rate=(1.0, 9.0))
        result.components["gc"].error = "it ended"
        said = " ".join(next_steps(result))
        assert "`--runs 5`" in said
        assert "why `gc` could not" in said
        assert "`zqueue bench codec machine broker`" in said

    def test_of_nothing(self, result: Result) -> None:
        result.components = {name: Component(name) for name in CATALOGUE}
        assert next_steps(result) == []
