"""The benchmarks run, small, and report what they measured. (How fast it is, no test says.)"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from lab.components import CATALOGUE
from lab.lab import PROBE as SCALE
from lab.lab import Lab
from lab.result import KINDS, Component
from scenarios.judging import Found, checks
from scenarios.plans import SCENARIOS, due
from scenarios.site import Post

PERF = Path(__file__).parents[2] / "perf"

pytestmark = pytest.mark.system


def run(script: str, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(PERF / script), *options], capture_output=True, text=True, timeout=110,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def test_compare(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    options = ("--runs", "1", "--tasks", "5000", "--paced", "20", "--json", str(results))
    assert "| send_many: zqueue / raw pyzmq, rate |" in run("compare.py", *options).stdout
    ratios = json.loads(results.read_text())["ratios"]
    assert {"send, 2 workers: zqueue / raw pyzmq, rate",
            "200 tasks/s: zqueue / raw pyzmq, call_p50"} <= set(ratios)  # fmt: skip
    assert all(len(values) == 1 and values[0] > 0 for values in ratios.values())


def test_awaiting() -> None:
    out = run("awaiting.py", "--runs", "1", "--calls", "5").stdout
    rows = [line.split("|")[1:-1] for line in out.splitlines()[2:]]
    assert [row[0].split(":")[0].strip() for row in rows] == ["call", "confirm", "amap", "many"]
    assert all(float(row[1].replace(",", "")) > 0 for row in rows)


def test_memory() -> None:
    out = run("memory.py", "--tasks", "20000", "--queue-mib", "2").stdout
    assert out.count("full queue") == 2
    assert "20,000 tasks through" in out


@pytest.mark.parametrize("part", ["redelivery", "restart", "delays", "waiting"])
def test_recovery(part: str) -> None:
    out = run("recovery.py", part, "--runs", "1", "--tasks", "200", "--waiting", "2000").stdout
    lines = [line.split("|")[1:3] for line in out.splitlines()[2:]]
    assert lines
    for name, found in lines:
        assert re.search(r"\d", found), name
        if "missing" in name:
            assert found.strip() == "0"


def test_waiting() -> None:
    out = run("waiting.py", "--only", "zqueue", "--runs", "1", "--tasks", "100").stdout
    assert re.search(r"\| zqueue, 8 threads \| +\d", out)


def test_idle() -> None:
    out = run("idle.py", "--peers", "2", "5", "--windows", "2", "--seconds", "0.2").stdout
    assert re.findall(r"^\| (\d) \| +[\d.]+ %", out, re.M) == ["2", "5"]


def test_shards() -> None:
    few = ("--runs", "1", "--seconds", "0.1", "--callers", "1", "--threads", "2", "--workers", "1")
    out = run("shards.py", *few).stdout
    assert re.findall(r"^\| (\d) \| +[\d,]+ ", out, re.M) == ["1", "2"]


def test_storm() -> None:
    out = run("storm.py", "--workers", "5", "--runs", "1", "--watched", "0.1").stdout
    assert "5 workers" in out
    assert "taken for dead: 0; tasks that workers have: 5" in out


@pytest.mark.parametrize("name", SCENARIOS)
def test_posts_are_due_as_the_rates_say(name: str) -> None:
    scenario = SCENARIOS[name]
    dues = list(due(scenario, 100.0, 20.0))
    assert dues == sorted(dues)
    for (begin, low), (end, high) in pairwise(scenario.rates):
        wanted = (low + high) / 2 * (end - begin) * 2_000
        found = sum(begin * 20 < at <= end * 20 + 1e-6 for at in dues)
        assert abs(found - wanted) <= 1.01


@pytest.mark.parametrize(
    ("status", "noted", "missed"),
    [
        (202, {1: 1}, []),
        (202, {1: 2}, []),
        (202, {}, ["accepted, and lost"]),
        (503, {}, []),
        (0, {1: 1}, ["not answered"]),
    ],
    ids=["run", "run twice", "lost", "refused", "no answer"],
)
def test_what_is_lost_is_missed(status: int, noted: dict[int, int], missed: list[str]) -> None:
    posts = [Post(0, 0.5, 0.5, 0.6, 202, False), Post(1, 5.0, 5.0, 5.1, status, True)]
    found = Found(SCENARIOS["killed"], 10.0, 2, posts, Counter({0: 1, **noted}), [])
    made = [check for check in checks(found) if not check.timed]
    assert [check.text for check in made if not check.holds] == missed


@pytest.mark.skipif(find_spec("locust") is None, reason="needs perf/requirements.txt")
def test_scenarios_count_what_is_lost(tmp_path: Path) -> None:
    options = ("full", "--seconds", "8", "--rate", "40", "--only-counts", "--out", str(tmp_path))
    out = run("scenarios/run.py", *options).stdout
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()]
    rows = {row[0]: row[1] for row in cells if len(row) > 1}
    assert (rows["posts"], rows["accepted, and lost"], rows["not answered"]) == ("320", "0", "0")
    assert int(rows["429: the queue is full"]) > 0
    posts = json.loads((tmp_path / "full.json").read_text())
    assert sorted({post[4] for post in posts}) == [202, 429]
    assert (tmp_path / "report.md").read_text().count("## full") == 1


def test_metering_says_what_it_needs(tmp_path: Path) -> None:
    assert "--setup" in run("metering.py", "--envs", str(tmp_path), code=2).stderr


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_component_is_measured(name: str) -> None:
    component = Component(name)
    CATALOGUE[name].measure(Lab(component, SCALE, lambda text: None, with_memory=False))
    assert component.cases
    for case in component.cases:
        assert {figure.partition(":")[0] for figure in case.figures} <= set(KINDS)
        wanted = {"grew", "held"} if name == "memory" else {"rate", "p50"}
        assert wanted & set(case.figures), case.title
        assert all(figure.lowest >= 0 for n, figure in case.figures.items() if "grew" not in n)


def test_report(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    done = run("report.py", "task", "--scale", "probe", "--runs", "2", "--out", str(folder))
    assert done.stdout.rstrip().endswith(f"report: {folder / 'report.md'}")
    assert "task: lane.add, run 1 of 2" in done.stderr
    result = json.loads((folder / "result.json").read_text())
    report = (folder / "report.md").read_text()
    assert list(result["components"]) == ["task"]
    for case in result["components"]["task"]["cases"]:
        for name, figure in case["figures"].items():
            assert 1 <= len(figure["values"]) <= 2
            assert f"| task | {case['name']} | {case['subject']} | {name} | " in report
    assert "lane.add: zqueue / msgpack, rate" in result["components"]["task"]["ratios"]


@pytest.mark.parametrize(
    "options", [("nothing",), ("pool", "--runs", "0"), ("pool", "--profile", "time")], ids=" ".join
)
def test_what_makes_no_sense_is_refused(options: tuple[str, ...]) -> None:
    assert "report.py: error" in run("report.py", *options, code=2).stderr


def test_the_readme_names_what_is_there() -> None:
    text = (PERF / "README.md").read_text()
    assert {
        f"{name}.py" for name in ("check", "compare", "report", "memory", "metering", "recovery")
    } <= set(re.findall(r"`python perf/(\w+\.py)", text))
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (PERF / link).exists(), link
