"""The report: what it says follows from the figures, and without figures it says nothing."""

from __future__ import annotations

from typing import Any

import pytest
from lab import findings, page, plots, profiles
from lab.components import CATALOGUE
from lab.measure import Figure, Sample
from lab.result import Case, Component, Result, figures_of
from lab.watch.sitecustomize import role_of

ENVIRONMENT: dict[str, Any] = {
    "zqueue": "0.1.0", "compiled": ["zqueue.wire.codec"], "outdated": [], "date": "2026-01-01",
    "python": "3.11.7", "libraries": {"pyzmq": "27.2"}, "system": "Linux 6.18 x86_64",
    "cpu": "a processor", "cores": 4, "cores_usable": 4, "memory_bytes": 1 << 33,
    "load_before": 0.0,
}  # fmt: skip


def case(name: str, subject: str, *runs: Sample, family: str = "", x: float | None = None) -> Case:
    return Case(name, subject, "task", family, x, figures_of(runs))


def result_of(cases: dict[str, list[Case]], runs: int = 2) -> Result:
    """All components were measured, and these found something."""
    components = {name: Component(name, cases.get(name, [])) for name in CATALOGUE}
    return Result(dict(ENVIRONMENT), "quick", runs, components)


def busy(family: str = "", x: float | None = None, **cores: float) -> Case:
    sample = {f"cpu:{role}" if role != "others" else role: used for role, used in cores.items()}
    return case("send", "zqueue", sample, family=family, x=x)


class TestLimit:
    @pytest.mark.parametrize(
        ("cores", "found", "words"),
        [
            (4, busy(producer=0.6, worker=0.98), "the limit, 98 % of a core, was the worker"),
            (2, busy(producer=0.95, worker=0.9), "the machine was the limit, 1.85 of 2 cores"),
            (4, busy(producer=0.5, worker=0.7, others=0.1), "time went into waiting: the busiest"),
            (2, busy(producer=0.95, others=0.4), "not known, other programs used 0.40 of 2 cores"),
            # Two workers are busy when each of them is.
            (4, busy("workers", 2.0, producer=0.5, worker=1.2), "no process used a whole core"),
            (8, busy("workers", 2.0, worker=1.96), "the limit, 98 % of a core, was the worker"),
        ],
    )
    def test_who_was_it(self, cores: int, found: Case, words: str) -> None:
        result = result_of({"pool": [found]})
        result.environment["cores_usable"] = cores
        (said,) = findings.bottlenecks(result)
        assert words in said


class TestRisks:
    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("load_before", 3.0, "not idle when it began (load 3.00 on 4 cores)"),
            ("outdated", ["zqueue.a"], "older than their sources: `zqueue.a`"),
            ("compiled", [], "No module was compiled"),
        ],
    )
    def test_of_the_environment(self, key: str, value: object, words: str) -> None:
        result = result_of({})
        result.environment[key] = value
        (said,) = findings.risks(result)
        assert words in said

    @pytest.mark.parametrize(
        ("found", "words"),
        [
            (case("200 tasks/s", "zqueue", {"p50": 1e6, "p99": 9e6}, family="latency"),
             "one task in a hundred waits 9 times"),
            (case("200 tasks/s", "zqueue", {"p50": 1e6, "late_p50": 0.6e6}),
             "600 µs of the 1 ms that half the tasks waited are the sender's own"),
            (case("full", "broker", {"grew": 300.0, "bound": 200.0, "grew_by_task:broker": 9.0}),
             "the broker grew by 300 B, more than the 200 B"),
            (case("passed", "broker", {"grew_by_task:broker": 2.0}), "the broker kept 2 B of each"),
            (case("load", "zqueue", {"gc_pause_max:worker": 11.0}), "stopped the worker for 11 ms"),
            (case("send", "zqueue", {"others": 0.5}), "In 1 of 1 cases other programs"),
            (case("send", "zqueue", {"rate": 1.0}, {"rate": 9.0}), "1 of 1 figures are noisy"),
        ],
    )  # fmt: skip
    def test_of_the_cases(self, found: Case, words: str) -> None:
        (said,) = findings.risks(result_of({"pool": [found]}))
        assert words in said


class TestAims:
    def test_a_ratio_is_met_missed_or_was_not_measured(self) -> None:
        ours = case("send", "zqueue", {"rate": 30.0}, {"rate": 20.0})
        raw = case("send", "raw pyzmq", {"rate": 10.0}, {"rate": 10.0})
        rows = {row[0]: row for row in findings.aims(result_of({"pool": [ours, raw]}))}
        row = rows["`send`, beside one in a frame, ratio"]
        assert row[2:] == ("≥ 2", "2.50 (2.00 to 3.00)", "met")
        assert rows["`send`, 2 workers, ratio"][-1] == "not measured"


class TestPage:
    def test_every_figure_is_in_the_table(self) -> None:
        ours = case("send", "zqueue", {"rate": 2e6, "p50": 350_000.0}, {"rate": 2.2e6, "p50": 4e5})
        report = page.build(result_of({"pool": [ours]}), {"pool": ["pool-batch.svg"]})
        assert "| pool | send | zqueue | rate | 2.10 M/s | 2 M/s | 2.20 M/s | 10 % |  |" in report
        assert "| send | zqueue | task | 2.10 M/s | 375 µs |" in report
        assert "![pool-batch.svg](pool-batch.svg)" in report


def test_ratios_are_of_the_first_to_each_other() -> None:
    cases = [case("send", who, {"rate": rate}) for who, rate in (("a", 6.0), ("b", 3.0), ("c", 2))]
    assert Component("pool", cases).ratios == {
        "send: a / b, rate": Figure((2.0,), "×"), "send: a / c, rate": Figure((3.0,), "×")
    }  # fmt: skip


def test_a_plot_has_its_points_in_order() -> None:
    lines = next(lines for lines in plots.LINES if lines.family == "workers")
    cases = [case(f"{x} workers", "zqueue", {"rate": x}, family="workers", x=x) for x in (2.0, 1.0)]
    shown = plots.series(Component("pool", cases), lines)
    assert [x for x, _ in shown["zqueue"]] == [1.0, 2.0]


class TestProfiles:
    BROKER = "/x/site-packages/zqueue/broker/process.py"

    def test_a_process_is_known_by_its_command(self) -> None:
        for command, role in (
            ("python -m zqueue -l error broker --bind x", "broker"),
            ("python -m zqueue -l error worker peers.ours -p 1", "supervisor"),
            ("python -c from zqueue.worker.start import main", "worker"),
            ("python -m peers ours", "producer"),
            ("python -m peers.pyzmq proxy", "raw pyzmq"),
            ("python perf/report.py", "process"),
        ):
            assert role_of(command) == role

    def test_samples_are_counted_by_process_and_function(self) -> None:
        frames = [
            {"name": 'process 7:"python -m zqueue broker --bind x"'},
            {"name": "run", "file": self.BROKER},
            {"name": "send", "file": "/x/zqueue/net/channel.py"},
            {"name": "load", "file": "<frozen importlib._bootstrap>"},
        ]
        found = {"samples": [[0, 1, 2], [0, 1], [0, 3, 1], [0]], "weights": [3, 1, 100, 100]}
        assert profiles.hot_samples({"shared": {"frames": frames}, "profiles": [found]}) == {
            "broker": [("send (zqueue/net/channel.py)", 0.75),
                       ("run (zqueue/broker/process.py)", 0.25)],
        }  # fmt: skip
