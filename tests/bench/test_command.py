"""``zqueue bench``, as a process: what it writes, what it refuses, what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.harness import Process, children_of, is_running, wait_until
from zqueue.bench import command
from zqueue.bench.components import CATALOGUE, measurer
from zqueue.bench.lab import Lab
from zqueue.bench.optional import find, need_program
from zqueue.bench.result import Result
from zqueue.bench.scale import PROBE
from zqueue.bench.wording import of
from zqueue.errors import BrokerLost, ConfigError

pytestmark = pytest.mark.system

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("ZQUEUE_")}


def bench(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zqueue", "bench", *arguments], capture_output=True, text=True,
        check=False, timeout=110, cwd=folder, env={**ENVIRONMENT, **more},
    )  # fmt: skip


def has_sampler() -> bool:
    """Whether py-spy is there and works: not every container lets it."""
    try:
        sampler = need_program("py-spy", "a test")
    except ConfigError:
        return False
    work = "import time; any(time.process_time() > 0.3 for _ in iter(int, 1))"
    command = [sampler, "record", "-o", os.devnull, "--", sys.executable, "-c", work]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def test_result_and_report_agree(tmp_path: Path) -> None:
    done = bench(tmp_path, "queue", "codec", "--quick", "--out", "found")
    assert done.returncode == 0, done.stderr
    result = Result.from_data(json.loads((tmp_path / "found/result.json").read_text()))
    assert list(result.components) == ["queue", "codec"]
    assert (result.scale, result.runs) == ("quick", 3)
    report = (tmp_path / "found/report.md").read_text()
    for component, case in result.cases():
        for name, figure in case.figures.items():
            assert len(figure.values) <= 3
            row = f"| {component.name} | {case.name} | {case.subject} | {name} | {of(figure)} |"
            assert row in report
    pair = result.figure("queue", "pair", "MemoryQueue", "cost")
    assert pair is not None
    assert of(pair) in done.stdout
    assert "`pool` was not measured" in report
    assert done.stdout.rstrip().endswith("report: found/report.md")
    assert "queue: pair, run 1 of 3" in done.stderr
    plots = [path.name for path in (tmp_path / "found").glob("*.svg")]
    assert all(f"({name})" in report for name in plots)
    assert plots or "matplotlib" in report


def test_json_and_the_default_folder(tmp_path: Path) -> None:
    done = bench(tmp_path, "machine", "--quick", "--runs", "1", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    (folder,) = tmp_path.glob("zqueue-bench-*")
    assert json.loads((folder / "result.json").read_text()) == printed
    assert printed["runs"] == 1
    assert list(printed["components"]) == ["machine"]


def test_the_list(tmp_path: Path) -> None:
    done = bench(tmp_path, "--list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(CATALOGUE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sing",), "no component 'sing'"),
        (("queue", "--runs", "0"), "0"),
        (("queue", "--profile", "soul"), "soul"),
        (("queue", "--out", "/dev/null/x"), "/dev/null/x"),
    ],
)
def test_mistakes(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = bench(tmp_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "module"), [("memory", "memray"), ("trace", "viztracer")])
def test_a_tool_that_is_missing(tmp_path: Path, kind: str, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("raise ImportError")
    done = bench(tmp_path, "queue", "--profile", kind, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert f"--profile {kind} needs {module}" in done.stderr
    assert "extra 'bench'" in done.stderr


def family_of(process: Process) -> list[int]:
    """Its broker, supervisor, worker, and the processes of raw pyzmq."""
    below = process.children()
    found = [*below, *(pid for child in below for pid in children_of(child))]
    process.remember(found)
    return found if len(found) >= 5 else []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_it_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    started = [sys.executable, "-m", "zqueue", "bench", "pool", "--quick"]
    process = Process("bench", tmp_path, started, cwd=tmp_path, env=ENVIRONMENT)
    try:
        pids: list[int] = wait_until(lambda: family_of(process), what="its processes")
        process.send(number)
        assert process.wait() != 0
        wait_until(lambda: not any(map(is_running, pids)), what="the end of all")
        assert "Traceback" not in process.err
    finally:
        process.end()


def test_a_component_that_fails_is_said_to_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are measured all the same."""

    def broken(lab: Lab) -> None:
        lab.note("so far")
        raise BrokerLost("there is no broker today")

    def measurer_with_a_fault(name: str) -> Callable[[Lab], None]:
        return broken if name == "broker" else measurer(name)

    monkeypatch.setattr(command, "measurer", measurer_with_a_fault)
    result = command.measure(["machine", "broker"], PROBE, lambda text: None)
    assert result.components["broker"].error == "there is no broker today"
    assert result.components["broker"].notes == ["so far"]
    assert result.components["machine"].error == ""
    assert result.components["machine"].cases
    assert "broker: failed" in command.summary(result)


@pytest.mark.skipif(
    find("viztracer") is None or find("memray") is None, reason="the extra 'bench' is not there"
)
def test_memory_and_trace_can_be_opened(tmp_path: Path) -> None:
    arguments = ("--quick", "--runs", "1", "--profile", "memory", "--profile", "trace")
    done = bench(tmp_path, "machine", *arguments, "--out", "found")
    assert done.returncode == 0, done.stderr
    memory, trace = json.loads((tmp_path / "found/result.json").read_text())["profiles"]
    assert (memory["kind"], trace["kind"]) == ("memory", "trace")
    (page,) = [tmp_path / "found" / name for name in memory["files"]]
    assert "<html" in page.read_text()
    (events,) = [tmp_path / "found" / name for name in trace["files"]]
    assert json.loads(events.read_text())["traceEvents"]
    (hot,) = trace["hot"].values()
    assert any("machine.py" in where for where, _ in hot)
    report = (tmp_path / "found/report.md").read_text()
    assert all(f"({name})" in report for name in memory["files"] + trace["files"])


@pytest.mark.skipif(not has_sampler(), reason="there is no py-spy, or it may not look at processes")
def test_processor_time_is_sampled_in_all_processes(tmp_path: Path) -> None:
    done = bench(tmp_path, "gc", "--quick", "--runs", "1", "--profile", "cpu", "--out", "found")
    assert done.returncode == 0, done.stderr
    (profile,) = json.loads((tmp_path / "found/result.json").read_text())["profiles"]
    (name,) = profile["files"]
    assert "speedscope.app" in (tmp_path / "found" / name).read_text()
    assert {"broker", "worker"} <= set(profile["hot"])
    for hot in profile["hot"].values():
        assert 0 < sum(part for _, part in hot) <= 1.000_001
