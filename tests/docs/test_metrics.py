"""Every command and code block of docs/metrics.md is run here."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.docs.commands import commands, file_block
from tests.shell import ROOT, Shell
from tests.system.harness import free_port, wait_until

DOCUMENT = "docs/metrics.md"
LISTEN = "127.0.0.1:9464"


def get(place: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{place}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def test_the_blocks_are_those_that_are_run() -> None:
    assert [command for command, _ in commands(DOCUMENT)] == [
        f"zqueue metrics --listen {LISTEN}",
        "zqueue top",
        "zqueue info -i 1",
        "zqueue info -i 1 --json",
        "zqueue queue pause events",
        "zqueue queue drain events",
        "zqueue queue resume events",
        "zqueue --log-format json worker traced.py",
    ]


@pytest.fixture
def served(shell: Shell) -> Shell:
    """A broker, and workers for the files of the document."""
    for name in ("render.py", "watch.py", "traced.py"):
        (shell.folder / name).write_text(file_block(DOCUMENT, name))
    shell.env["ZQUEUE_BROKER_DRAIN_TIMEOUT"] = "1"  # There are tasks that nobody runs.
    shell.start("zqueue broker")
    shell.start("zqueue worker render.py")
    shell.wait_for(lambda state: "render" in state["tasks"])
    return shell


@pytest.mark.system
def test_progress(served: Shell) -> None:
    done = served.run(f'"{sys.executable}" watch.py')
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["2000 of 2000", "2000"]


@pytest.mark.system
def test_the_sidecar_and_what_it_answers(served: Shell) -> None:
    place = f"127.0.0.1:{free_port()}"
    command, _ = commands(DOCUMENT)[0]
    served.start(command.replace(LISTEN, place))

    def all_is_there() -> bool:
        try:
            return "zqueue_up" in get(place, "/metrics") and '"ok"' in get(place, "/api/stats.json")
        except OSError:
            return False

    wait_until(all_is_there, what="the sidecar")
    text = (ROOT / DOCUMENT).read_text()
    paths = re.findall(r"^\| (`/.*?) \|", text, re.MULTILINE)
    assert [path for cell in paths for path in re.findall("`(.*?)`", cell)] == [
        "/", "/metrics", "/api/stats.json", "/api/stream", "/livez", "/readyz"
    ]  # fmt: skip
    assert "<!doctype html>" in get(place, "/").lower()
    assert get(place, "/livez")
    assert get(place, "/readyz")
    (broker,) = json.loads(get(place, "/api/stats.json"))["brokers"]
    assert broker["state"] == "ok"


@pytest.mark.system
def test_queues_are_held_up(served: Shell) -> None:
    served.run("zqueue send --queue events 1")
    states = []
    for command, _ in commands(DOCUMENT)[4:7]:
        done = served.run(command)
        assert done.returncode == 0, done.stderr
        queue = json.loads(served.run("zqueue info --json").stdout)["queues"]["events"]
        states.append((queue["paused"], queue["draining"]))
    assert states == [(True, False), (True, True), (False, False)]


@pytest.mark.system
@pytest.mark.parametrize("command", ["zqueue info -i 1", "zqueue info -i 1 --json"])
def test_info_again_and_again(served: Shell, command: str) -> None:
    process = served.start(command)
    times = "uptime_s" if "json" in command else "broker ipc"
    wait_until(lambda: process.out.count(times) >= 2, what="two answers")
    process.send(signal.SIGINT)
    assert process.wait() == 0


@pytest.mark.system
def test_top(served: Shell) -> None:
    pytest.importorskip("textual")
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", "exec zqueue top"], cwd=served.folder, stdin=end, stdout=end, stderr=end,
        env={**served.env, "TERM": "xterm"}, start_new_session=True,
    )  # fmt: skip
    os.close(end)
    shown = b""
    while b"default" not in shown:
        assert select.select([terminal], [], [], 20)[0], shown.decode(errors="replace")
        shown += os.read(terminal, 65536)
    os.write(terminal, b"q")
    with contextlib.suppress(OSError):  # It is at its end when the process is.
        while select.select([terminal], [], [], 20)[0]:
            os.read(terminal, 65536)
    assert process.wait() == 0
    os.close(terminal)


@pytest.mark.system
def test_traces_and_logs(served: Shell) -> None:
    command, _ = commands(DOCUMENT)[-1]
    served.processes.all[1].send(signal.SIGTERM)  # Both files serve the default queue.
    process = served.start(command)
    served.wait_for(lambda state: "trace_id" in state["tasks"])
    program = "from traced import app, trace_id\nwith app: print(trace_id.submit().result(20))"
    done = served.run(f"\"{sys.executable}\" -c '{program}'")
    assert re.fullmatch("[0-9a-f]{32}\n", done.stdout), done.stderr
    lines = [json.loads(line) for line in process.err.splitlines()]
    assert {"time", "level", "logger", "pid", "message"} <= set(lines[0])
