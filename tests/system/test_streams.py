"""Standard streams that are closed, full or without a reader."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.system.harness import wait_until

pytestmark = pytest.mark.system

PRINTING = (
    "--version", "--help", "info --help", "info", "info --json", "dlq ls", "info -i 1",
    "health", "health --json", "queue ls", "queue ls --json", "queue pause default",
    "queue resume default --json", "send add 1 2 --wait", "pipe echo",
)  # fmt: skip
"""Whatever prints. What `demo` and `bench` print comes late; they print as these do."""


@pytest.fixture
def shell(processes, broker, workers):
    """Runs ``zqueue ARGUMENTS REDIRECTION`` at a broker with a worker, by a shell."""
    workers(broker, "jobs.py", 1)

    def run(arguments, redirection, before=""):
        text = f"{before} {sys.executable} -m zqueue {arguments} {redirection}"
        env = {"ZQUEUE_URL": broker.url, "PATH": "/usr/bin:/bin", **_pythonpath()}
        return processes.start("shell", "bash", "-c", text, env=env)

    return run


def _pythonpath():
    return {"PYTHONPATH": ":".join(path for path in sys.path if path)}


def ends(process):
    code = process.wait()
    assert "Traceback" not in process.err
    assert "Exception" not in process.err
    assert "Fatal" not in process.err
    return code, process.out, process.err.splitlines()


@pytest.mark.parametrize(
    ("redirection", "why"),
    [(">&-", "it is closed"), (">/dev/full", "No space left on device")],
    ids=["closed", "full"],
)
def test_what_cannot_be_printed_is_a_failure(shell, redirection, why):
    for verb in PRINTING:
        code, out, err = ends(shell(verb, redirection, "echo 7 |"))
        assert (code, out) == (1, ""), verb
        assert err == [f"zqueue: cannot write to standard output: {why}"], verb


def test_what_prints_nothing_does_its_work_without_an_output(shell, broker):
    assert ends(shell("send --queue q 1", ">&- 2>&- <&-")) == (0, "", [])
    assert ends(shell("pipe --queue q", ">&- 2>&-", "echo 7 |")) == (0, "", [])
    assert broker.queue("q")["ready"] == 2


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"], ids=["closed", "full"])
def test_nothing_depends_on_the_log(shell, redirection):
    assert ends(shell("pipe echo --progress", redirection, "echo 7 |")) == (0, "7\n", [])
    assert ends(shell("send add 1 2 --wait", redirection)) == (0, "3\n", [])
    assert ends(shell("send no_such_task", redirection)) == (2, "", [])
    assert ends(shell("info --no-such-option", redirection)) == (2, "", [])
    assert ends(shell("health --url ipc:///none", redirection)) == (3, "", [])


def test_a_pipe_without_an_input(shell):
    for arguments in ("pipe echo", "pipe --queue default"):
        code, out, err = ends(shell(arguments, "<&-"))
        assert (code, out) == (1, "")
        assert err == ["zqueue: cannot read standard input: it is closed"]


def test_the_terminal_view_without_an_input(shell):
    code, _, err = ends(shell("top", "<&-"))
    assert (code, len(err)) == (2, 1)
    assert "needs a terminal" in err[0] or "needs textual" in err[0]


def test_a_broker_and_workers_without_streams(processes, broker, tmp_path, run):
    """No socket takes the number of a stream: what is printed would go there."""
    url = f"ipc://{tmp_path}/silent"
    jobs = tmp_path / "mine.py"
    jobs.write_text(
        "import os, zqueue\napp = zqueue.App()\n@app.task\n"
        "def streams():\n    print('here')\n    os.write(1, b'and here')\n"
        "    return [os.readlink(f'/proc/self/fd/{n}') for n in range(3)]\n"
    )
    closed = "<&- >&- 2>&-"
    for arguments in (f"broker --bind {url}", f"worker {jobs} --url {url}"):
        command = f"exec {sys.executable} -m zqueue {arguments} {closed}"
        processes.start("shell", "bash", "-c", command)

    def answer():
        done = run("send", "streams", "--wait", "--url", url)
        return done.stdout if done.returncode == 0 else None

    assert (
        wait_until(answer, what="the task's result") == '["/dev/null", "/dev/null", "/dev/null"]\n'
    )


def test_a_pipe_whose_reader_goes_while_its_input_is_open(broker, workers):
    workers(broker, "jobs.py", 1)
    with subprocess.Popen(
        [sys.executable, "-m", "zqueue", "pipe", "echo", "--url", broker.url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    ) as process:  # fmt: skip
        process.stdin.write(b"1\n")
        assert process.stdout.read(2) == b"1\n"
        process.stdout.close()
        process.stdin.write(b"2\n")
        assert process.wait() == -signal.SIGPIPE
        assert process.stderr.read() == b""


def test_a_pipe_whose_reader_goes_in_the_middle(shell):
    process = shell("pipe echo", '| head -1; echo "${PIPESTATUS[@]:1:1}"', "seq 300000 |")
    code, out, err = ends(process)
    assert (code, out.split(), err) == (0, ["1", str(128 + signal.SIGPIPE)], [])


@pytest.mark.parametrize("arguments", [["echo"], ["--queue", "default"]], ids=["task", "queue"])
def test_a_pipe_is_interrupted_while_its_input_is_silent(broker, workers, processes, arguments):
    workers(broker, "jobs.py", 1)
    process = processes.zqueue("pipe", *arguments, "--url", broker.url, stdin=subprocess.PIPE)
    process.popen.stdin.write(b"1\n")
    process.popen.stdin.flush()
    wait_until(lambda: broker.count("published") == 1, what="the first line's body")
    process.send(signal.SIGINT)
    assert process.wait() == -signal.SIGINT
    assert process.err.strip() == ""
    process.popen.stdin.close()
