"""``zqueue demo``: the whole thing on real text, checked, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from tests.system.harness import children_of, cpu_s, is_running, wait_until
from zqueue.demo import chunks, fails_at_first

pytestmark = pytest.mark.system

WORDS = ["broker", "worker", "queue", "Ärger", "naïve", "the", "the", "of", "x1y2"]


@pytest.fixture
def tree(tmp_path):
    """A small folder of text, with things in it that are no text."""
    root = tmp_path / "text"
    (root / "deep" / "er").mkdir(parents=True)
    line = " ".join(WORDS) + "\n"
    for number in range(30):
        (root / f"{number}.txt").write_text(line * (number * 20))
    (root / "deep" / "er" / "one line.md").write_text(line.strip() * 3_000)
    (root / "deep" / "empty.txt").write_text("")
    (root / "deep" / "cut.txt").write_bytes(b"abc " * 5_000 + "€".encode()[:2])
    (root / "binary.bin").write_bytes(bytes(range(256)) * 100)
    (root / "zeros.bin").write_bytes(b"words words\0words")
    (root / "latin-1.txt").write_bytes("Ärger\n".encode("latin-1"))
    (root / "dangling").symlink_to(root / "nowhere")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture(autouse=True)
def folder(monkeypatch):
    """Where demos keep their sockets. Every test here ends with a look at what is left."""
    made = Path(tempfile.mkdtemp(prefix="zq-"))  # A socket's path must be short.
    monkeypatch.setenv("TMPDIR", str(made))
    try:
        yield made
        wait_until(lambda: not processes_of(made), what="the end of the demo's processes")
    finally:
        shutil.rmtree(made)


def processes_of(folder):
    """The processes whose command line names the folder."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.fsencode(folder) in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return found


def test_the_demo_on_a_small_tree(run, tree):
    done = run("demo", str(tree), "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["verified"] is True
    assert data["tasks"] > 10
    assert data["tasks_per_s"] > 0
    text = "".join(
        file.read_text(errors="replace")
        for file in sorted(tree.rglob("*"))
        if file.suffix in (".txt", ".md") and "latin" not in file.name
    )
    words = Counter(re.findall(r"[^\W\d_]+", text.lower()))
    assert data["words"] == words.total()
    assert data["top_words"]["the"] == words["the"]
    latency = data["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert set(data["gc_pause_ms"]) >= {"broker", "worker"}
    assert isinstance(data["redelivered"], int)


def test_what_fails_at_first_is_tried_again_and_counted(run, tmp_path):
    for number in range(300):
        (tmp_path / f"{number}.txt").write_text(f"text number {number}\n")
    failing = sum(map(fails_at_first, chunks(sorted(tmp_path.iterdir()))))
    assert failing > 0
    done = run("demo", str(tmp_path), "--json", "--no-kill")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["verified"], data["retried"], data["words"]) == (True, failing, 600)
    assert "Traceback" not in done.stderr


def test_the_demo_on_the_standard_library_survives_its_kill(run):
    done = run("demo", "--json", "-p", "2")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["verified"] is True
    assert data["killed_pid"]
    assert data["redelivered"] >= 1
    assert data["tasks"] > 1_000


def test_the_demo_for_people(run, tree):
    done = run("demo", str(tree), "--no-kill")
    assert done.returncode == 0
    for word in ("tasks", "throughput", "words", "latency", "p99", "GC", "retried", "redelivered",
                 "OK"):  # fmt: skip
        assert word in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", ["empty", "binary", "missing", "one file"])
def test_paths_with_and_without_text(run, tmp_path, path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "x").write_bytes(b"\0\xff" * 100)
    (tmp_path / "one file").write_text("to be or not to be\n")
    done = run("demo", str(tmp_path / path), "--json")
    if path == "one file":
        assert done.returncode == 0, done.stderr
        data = json.loads(done.stdout)
        assert (data["verified"], data["words"], data["tasks"]) == (True, 6, 1)
    else:
        assert done.returncode == (2 if path == "missing" else 1)
        assert "Traceback" not in done.stderr
        assert str(tmp_path / path) in done.stderr


@pytest.fixture
def long(tmp_path):
    """More text than any machine counts before it is looked at; a Debian's library is small."""
    file = tmp_path / "long.txt"
    file.write_text((" ".join(WORDS) + "\n") * 600_000)
    return file


def workers_of_the_demo(process):
    """Pids of its broker, supervisor and workers, once the workers are at work."""
    below = process.children()
    found = [pid for child in below for pid in children_of(child)]
    process.remember(found)
    return [*below, *found] if len(found) >= 2 else []


def gone(pids):
    return not any(map(is_running, pids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_demo_is_stopped_in_the_middle(processes, number, folder, long):
    process = processes.zqueue("demo", str(long), "--json", "--no-kill")
    pids = wait_until(lambda: workers_of_the_demo(process), what="workers")
    wait_until(lambda: _has_worked(pids), what="work")
    process.send(number)
    assert process.wait() != 0
    assert "Traceback" not in process.err
    wait_until(lambda: gone(pids), what="the end of its processes")
    if number != signal.SIGKILL:
        assert list(folder.iterdir()) == []


def _has_worked(pids):
    return cpu_s(pids[-1]) > 0.3


def test_ctrl_c_in_a_terminal_reaches_everybody_at_once(processes, folder, long):
    process = processes.zqueue("demo", str(long), "--json", "--no-kill", start_new_session=True)
    pids = wait_until(lambda: workers_of_the_demo(process), what="workers")
    wait_until(lambda: _has_worked(pids), what="work")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() != 0
    assert "Traceback" not in process.err
    wait_until(lambda: gone(pids), what="the end of its processes")
    assert list(folder.iterdir()) == []
