"""Everything in one terminal."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
import urllib.request

import pytest

from tests.system.harness import APPS, ask, free_port, is_running, wait_until
from zqueue import up as up_module
from zqueue.client.ask import ask as ask_or_raise
from zqueue.errors import BrokerLost

pytestmark = pytest.mark.system


@pytest.fixture
def up(processes, tmp_path, record):
    """Starts ``zqueue up`` at an address of its own, and waits for its workers."""
    own = {**os.environ, "ZQUEUE_METRICS_LISTEN": "127.0.0.1:0"}  # No other test takes it.

    def start(*arguments, url=f"ipc://{tmp_path}/up", workers=1):
        process = processes.zqueue("up", *arguments, "--url", url, env=own)
        process.url = url
        wait_until(
            lambda: len(state(url).get("workers", ())) == workers and "metrics at" in process.err,
            what=lambda: f"{workers} workers: {process.err}",
        )
        process.children()
        return process

    return start


def state(url):
    try:
        return ask_or_raise(url, timeout=0.5)
    except BrokerLost:
        return {}


def family_of(process):
    """Its children and theirs."""
    found = process.children()
    for pid in list(found):
        found += [int(p) for p in _children(pid)]
    process.remember(found)
    return found


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return children.read().split()


def test_it_runs_tasks_and_ends_in_order(up, run):
    process = up(str(APPS / "jobs.py"), "-p", "2", workers=2)
    done = run("send", "add", "1", "2", "--wait", "--url", process.url)
    assert (done.returncode, done.stdout) == (0, "3\n")
    page = re.search(r"metrics at (\S+) ", process.err)[1]
    with urllib.request.urlopen(f"{page}metrics") as answer:
        assert b"zqueue" in answer.read()
    family = family_of(process)
    assert len(family) == 5
    process.send(signal.SIGINT)
    assert process.wait() == 0, process.err
    assert not any(map(is_running, family))
    lines = process.err.splitlines()
    assert {line.split("|")[0] for line in lines} == {"broker  ", "metrics ", "worker  "}


def test_what_a_task_prints_is_shown_at_once(up, run, tmp_path):
    app = tmp_path / "mine.py"
    app.write_text(
        "import zqueue\napp = zqueue.App()\n@app.task\ndef say(x):\n    print('said', x)\n"
    )
    process = up(str(app))
    run("send", "say", '"hü"', "--wait", "--url", process.url)
    wait_until(lambda: "worker  | said hü\n" in process.err, what=lambda: process.err)


def test_it_ends_when_one_of_its_processes_does(up):
    process = up(str(APPS / "jobs.py"))
    family = family_of(process)
    os.kill(state(process.url)["pid"], signal.SIGKILL)
    assert process.wait() == 128 + signal.SIGKILL
    assert not any(map(is_running, family))


def test_an_app_that_cannot_be_loaded(run, tmp_path):
    done = run("up", "nothing.py", "--url", f"ipc://{tmp_path}/up")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "no file nothing.py" in done.stderr


def test_an_address_that_is_taken(broker, run):
    done = run("up", "--url", broker.url)
    assert done.returncode == 4
    assert broker.url in done.stderr
    assert broker.info()["workers"] == []


def test_its_processes_end_with_it(up):
    process = up(str(APPS / "jobs.py"))
    family = family_of(process)
    process.kill()
    wait_until(lambda: not any(map(is_running, family)), what="all of them to end")


def test_without_an_address_it_takes_a_free_one(processes, start_broker):
    """Whoever has the usual one, be it the test's or another's."""
    process = processes.zqueue("up")
    found = wait_until(lambda: re.search(r"broker at (\S+) ", process.err), what="a broker")
    assert found[1].startswith("tcp://127.0.0.1:")
    assert ask(found[1])["pid"] in process.children()
    second = processes.zqueue("up")
    other = wait_until(lambda: re.search(r"broker at (\S+) ", second.err), what="a second one")
    assert other[1] != found[1]
    for one in (process, second):
        wait_until(lambda one=one: "metrics at" in one.err, what="its sidecar")
        one.send(signal.SIGTERM)
        assert one.wait() == 0


def test_a_second_signal_does_not_wait_for_what_runs(up, run, record):
    process = up(str(APPS / "jobs.py"), url=f"tcp://127.0.0.1:{free_port()}")
    run("send", "run_slowly", "1", "30", "--url", process.url)
    wait_until(lambda: state(process.url)["queues"]["default"]["leased"], what="the task")
    process.send(signal.SIGINT)
    wait_until(lambda: "draining" in process.err, what=lambda: process.err)
    process.send(signal.SIGINT)
    assert process.wait(20) == 5, process.err


GREETER = "import zqueue\napp = zqueue.App()\n@app.task\ndef greet(name):\n    return {!r} + name\n"


@pytest.fixture
def watchfiles():
    if importlib.util.find_spec("watchfiles") is None:
        assert "CI" not in os.environ, "tox installs watchfiles for this"
        pytest.skip("watchfiles is not installed")


def test_workers_are_replaced_when_the_app_changes(watchfiles, up, run, tmp_path):
    app = tmp_path / "app" / "greeter.py"
    app.parent.mkdir()
    app.write_text(GREETER.format("good morning, "))
    process = up(str(app), "--reload")

    def greeting():
        done = run("send", "greet", '"you"', "--wait", "--url", process.url)
        return done.stdout.strip()

    assert greeting() == '"good morning, you"'
    app.write_text("this is no Python\n")
    wait_until(lambda: "greeter.py changed: reloading" in process.err, what=lambda: process.err)
    app.write_text(GREETER.format("good evening, "))
    wait_until(lambda: greeting() == '"good evening, you"', what=lambda: process.err)
    process.send(signal.SIGINT)
    assert process.wait() == 0, process.err
    assert "Traceback" not in process.err


def test_without_watchfiles_it_says_what_to_install(run, tmp_path):
    if importlib.util.find_spec("watchfiles") is not None:
        pytest.skip("watchfiles is installed")
    done = run("up", "--reload", "--url", f"ipc://{tmp_path}/up")
    assert done.returncode == 2
    assert "pip install 'zqueue-pool[up]'" in done.stderr


def test_on_a_terminal_the_log_has_colours(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    up_module._show("worker", "2030-01-01 10:00:00 ERROR worker[7] no")
    line = "2030-01-01 10:00:00 ERROR worker[7] no"
    assert capsys.readouterr().err == f"\x1b[32mworker  |\x1b[0m \x1b[31m{line}\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    up_module._show("worker", "it runs")
    assert capsys.readouterr().err == "worker  | it runs\n"
