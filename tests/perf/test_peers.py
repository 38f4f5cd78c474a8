"""The comparison with other systems: what it refuses, what it computes, how drivers behave.

Only systems of the standard library and raw pyzmq are really run: nothing is downloaded.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from peers import compare, environments, table
from peers.child import Child, PeerFailed
from peers.registry import BY_NAME, ENVIRONMENTS, PEERS, PROGRAMS, REFERENCES

PERF = Path(__file__).parents[2] / "perf"
COMPARE = PERF / "peers" / "compare.py"
NAMES = [peer.name for peer in PEERS]


def pair(run: int, peer: str, theirs: dict[str, float], ours: dict[str, float]) -> dict[str, Any]:
    against = BY_NAME[peer].against
    return {"run": run, "peer": peer, "against": against, "theirs": theirs, "ours": ours}


def recorded(pairs: list[dict[str, Any]], **more: Any) -> table.Record:
    return {
        "zqueue": "zqueue 0.1.0", "python": "3.11.7", "machine": "x86_64", "cores": 2, "runs": 3,
        "seconds": 3.0, "pairs": pairs, "left_out": {}, "failed": [], "about": {}, **more,
    }  # fmt: skip


CELERY = [
    pair(0, "celery", {"W1": 1000, "W2 p50": 2.0}, {"W1": 400_000, "W2 p50": 1.0}),
    pair(1, "celery", {"W1": 1200, "W2 p50": 4.0}, {"W1": 600_000, "W2 p50": 1.0}),
    pair(2, "celery", {"W1": 1100, "W2 p50": 2.1}, {"W1": 495_000, "W2 p50": 1.05}),
]


def rows(report: str, first: str) -> list[list[str]]:
    lines = [line for line in report.splitlines() if line.startswith(f"| {first} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


class TestRegistry:
    def test_each_has_a_driver_and_an_opposite_with_as_many_workers(self) -> None:
        for peer in PEERS:
            assert (PERF / "peers" / f"{peer.driver}.py").exists()
            opposite = BY_NAME[peer.against]
            assert opposite in REFERENCES
            assert opposite.workers == peer.workers
            assert (opposite.bodies > 1) == (peer.bodies > 1)

    def test_what_is_installed_is_pinned(self) -> None:
        assert {peer.environment for peer in PEERS} - {""} == set(ENVIRONMENTS)
        for requirements in ENVIRONMENTS.values():
            assert all(re.search(r"==\d+\.([\d.]*)\*$", each) for each in requirements)


class TestTable:
    def test_ratios_are_taken_within_pairs(self) -> None:
        ratios = table.ratios(recorded(CELERY))["celery"]
        assert ratios["W1"] == [400, 500, 450]
        assert ratios["W2 p50"] == [0.5, 0.25, 0.5]

    def test_medians_and_ranges(self) -> None:
        values, ratios = rows(table.report(recorded(CELERY)), "Celery")
        assert values[2] == "1,100 (1,000 - 1,200)"
        assert values[3] == "2.10 (2.00 - 4.00)"
        assert ratios[1] == "send / submit, 2"
        assert ratios[2] == "450 (400 - 500)"
        assert ratios[3] == "0.5 (0.25 - 0.5)"

    def test_zqueue_has_a_row_with_what_was_measured_in_all_pairs(self) -> None:
        other = pair(0, "rq", {"W1": 500}, {"W1": 800_000})
        figures = table.figures(recorded([*CELERY, other]))
        assert list(figures) == ["celery", "rq", "zqueue-send-2"]
        assert figures["zqueue-send-2"]["W1"] == [400_000, 600_000, 495_000, 800_000]

    def test_says_what_is_not_there(self) -> None:
        report = table.report(
            recorded(
                CELERY, runs=1, left_out={"huey": "redis-server"},
                failed=[{"run": 1, "failed": "nats", "error": "TimeoutError: late"}],
            )
        )  # fmt: skip
        assert "Left out: Huey (huey): redis-server" in report
        assert "Failed: NATS core, 1 body a message in run 2: TimeoutError: late" in report
        assert "One run only" in report


class Answers:
    """Stands for a driver that does so many tasks a second, with a pause in one of its calls."""

    def __init__(self, tasks_s: float, pause_in: int = -1) -> None:
        self.tasks_s = tasks_s
        self.pause_in = pause_in
        self.asked: list[int] = []

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        seconds = order["tasks"] / self.tasks_s
        if len(self.asked) == self.pause_in:
            seconds += 1
        self.asked.append(order["tasks"])
        return {"tasks": order["tasks"], "seconds": seconds}


class TestHowMany:
    @pytest.mark.parametrize("tasks_s", [30, 800, 400_000])
    def test_a_call_lasts_as_long_as_was_said(self, tasks_s: float) -> None:
        driver = Answers(tasks_s)
        rate = compare.rate_of(driver, "throughput", 3.0)  # type: ignore[arg-type]
        assert rate == pytest.approx(tasks_s)
        assert driver.asked[-1] == pytest.approx(3 * tasks_s, rel=0.01)
        assert sum(driver.asked[:-1]) <= 2 * compare.WARM + driver.asked[-1]


class TestMissing:
    def test_an_environment_of_other_requirements_is_missing(self, tmp_path: Path) -> None:
        envs = environments.Environments(tmp_path)
        peer = dataclasses.replace(BY_NAME["celery"], programs=())
        assert len(envs.missing(peer)) == 1
        folder = tmp_path / "celery"
        folder.mkdir()
        (folder / environments.STAMP).write_text(environments._stamp("celery"))
        assert not envs.missing(peer)
        (folder / environments.STAMP).write_text("celery==4.*")
        assert len(envs.missing(peer)) == 1

    @pytest.mark.system
    def test_is_refused_with_the_command_that_gets_it(self, tmp_path: Path) -> None:
        done = run("celery", "nats-512", "pool", "--envs", str(tmp_path), path=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""
        script = os.path.relpath(COMPARE)
        assert f"celery: an environment in {tmp_path / 'celery'}" in done.stderr
        assert f"      python {script} --setup --envs {tmp_path} celery\n" in done.stderr
        assert f"      {PROGRAMS['redis-server']}\n" in done.stderr
        # It shares its environment, and is got in the same way.
        assert f"      python {script} --setup --envs {tmp_path} jetstream\n" in done.stderr
        assert "pool:" not in done.stderr
        assert "Nothing was measured" in done.stderr

    @pytest.mark.system
    def test_the_list_says_who_is_ready(self, tmp_path: Path) -> None:
        lines = run("--list", "--envs", str(tmp_path)).stdout.splitlines()
        assert [line.split()[0] for line in lines] == NAMES
        states = {line.split()[0]: line.split()[1] for line in lines}
        assert states["pool"] == states["pyzmq"] == "ready"
        assert states["celery"] == states["nats"] == "missing"


def run(
    *arguments: str, path: Path | None = None, tmpdir: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environ = dict(os.environ)
    if path is not None:
        environ["PATH"] = str(path)  # Nothing is found there.
    if tmpdir is not None:
        environ["TMPDIR"] = str(tmpdir)
    return subprocess.run(
        [sys.executable, str(COMPARE), *arguments], capture_output=True, text=True, timeout=110,
        check=False, env=environ,
    )  # fmt: skip


@pytest.mark.system
def test_compare(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    done = run(
        "pool", "pyzmq-512", "celery", "--skip-missing", "--runs", "1", "--seconds", "0.02",
        "--envs", str(tmp_path), "--json", str(results), tmpdir=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Left out: Celery (celery): an environment in" in done.stdout
    assert len(rows(done.stdout, "multiprocessing.Pool.map")) == 2
    record = json.loads(results.read_text())
    assert [p["peer"] for p in record["pairs"]] == ["pool", "pyzmq-512"]
    for each in record["pairs"]:
        assert set(each["theirs"]) == set(each["ours"])
        assert all(value > 0 for value in [*each["theirs"].values(), *each["ours"].values()])
    assert set(record["pairs"][0]["ours"]) == {"W1", "W2 p50", "W2 p99", "W3"}
    assert table.report(record) == done.stdout.rstrip("\n")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Child]]:
    children: list[Child] = []

    def start(name: str) -> Child:
        children.append(Child(Path(sys.executable), name, tmp_path / f"{len(children)}"))
        return children[-1]

    yield start
    for child in children:
        child.end()


def pids_under(folder: Path) -> set[int]:
    """Processes whose working directory is in a folder: drivers, and all that they started."""
    found = set()
    for process in Path("/proc").iterdir():
        try:
            where = (process / "cwd").readlink()
        except OSError:  # No process, another user's, or just gone.
            continue
        if process.name.isdigit() and where.is_relative_to(folder):
            found.add(int(process.name))
    return found


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = monotonic() + 60
    while not condition():
        assert monotonic() < deadline, what
        sleep(0.005)


@pytest.mark.system
class TestDriver:
    @pytest.mark.parametrize(
        "name",
        ["pool", "executor-512", "pyzmq-512",
         "zqueue-send-1", "zqueue-send-many-2", "zqueue-disk-send-2"],
    )  # fmt: skip
    def test_obeys(self, name: str, start: Callable[[str], Child], tmp_path: Path) -> None:
        peer = BY_NAME[name]
        child = start(peer.driver)
        assert re.search(r"\d", child.ask(peer.start)["ready"])
        answer = child.ask({"do": "throughput", "tasks": 1030})
        assert answer["tasks"] == 1030
        assert answer["seconds"] > 0
        answer = child.ask({"do": "latency", "tasks": 20, "rate": 200})
        assert len(answer["latencies_ns"]) == 20
        assert min(due for due, _ in answer["latencies_ns"]) > 0
        answer = child.ask({"do": "wordcount", "tasks": 70})
        assert answer["words"] > 70 * 50
        assert len(pids_under(tmp_path)) > peer.workers
        child.end()
        assert not pids_under(tmp_path)

    def test_answers_with_an_error(self, start: Callable[[str], Child]) -> None:
        child = start("pool")
        child.ask(BY_NAME["pool"].start)
        with pytest.raises(PeerFailed, match=r"AttributeError: .*obey_dance"):
            child.ask({"do": "dance"})
        assert child.ask({"do": "throughput", "tasks": 1})["tasks"] == 1

    def test_one_that_dies_is_told_with_its_last_words(self, start: Callable[[str], Child]) -> None:
        with pytest.raises(PeerFailed, match=r"is gone\n(.*\n)*.*No module named 'peers.nobody'"):
            start("nobody").ask({"do": "start"})

    def test_leaves_when_nobody_gives_orders(
        self, start: Callable[[str], Child], tmp_path: Path
    ) -> None:
        child = start("pyzmq")
        child.ask(BY_NAME["pyzmq"].start)
        assert child._process.stdin is not None
        child._process.stdin.close()
        assert child._process.wait(30) == 0
        wait_for(lambda: not pids_under(tmp_path), "its processes are still there")


@pytest.mark.system
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_nothing_is_left_of_an_interrupted_comparison(
    number: int, code: int, tmp_path: Path
) -> None:
    comparison = subprocess.Popen(
        [sys.executable, str(COMPARE), "pyzmq", "--seconds", "30"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)}, start_new_session=True,
    )  # fmt: skip
    try:
        # zqueue's driver, broker, supervisor and worker.
        wait_for(lambda: len(pids_under(tmp_path)) >= 4, "nothing was started")
        os.kill(comparison.pid, number)
        assert comparison.wait(60) == code
    finally:
        comparison.kill()
        comparison.wait()
    wait_for(lambda: not pids_under(tmp_path), "something was left behind")
    if code != -9:
        assert not list(tmp_path.iterdir())
