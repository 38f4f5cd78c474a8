"""Worker programs, loaded to be called directly or started with a real broker."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from zqueue.ask import ask
from zqueue.errors import BrokerLost

WORKERS = Path(__file__).parents[2] / "workers"

WAIT_S = 20.0
"""How long anything may take that is waited for."""

LOOK_EVERY_S = 0.02

RUN_DOCTEST = """\
import doctest, sys
examples = doctest.DocTestParser().get_doctest(sys.stdin.read(), {}, "examples", None, 0)
failed, tried = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples)
sys.exit(0 if tried and not failed else 1)
"""


class Command(NamedTuple):
    """A command that a text shows, and what it prints."""

    line: str
    output: str


def commands(text: str) -> list[Command]:
    """Every line ``$ COMMAND`` of a text, with the lines below it up to an empty one."""
    found: list[Command] = []
    shown: list[str] | None = None
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        if stripped.startswith("$ "):
            shown = []
            found.append(Command(stripped[2:], ""))
        elif not stripped or stripped.startswith("```"):
            shown = None
        elif shown is not None:
            shown.append(stripped + "\n")
            found[-1] = Command(found[-1].line, "".join(shown))
    return found


class Shell:
    """A folder to run commands in, as the texts show them, with a broker of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"ipc://{folder}/broker"
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, ["workers", os.environ.get("PYTHONPATH")])),
            "ZQUEUE_BROKER_DRAIN_TIMEOUT": "5",
            "ZQUEUE_BROKER_BIND": self.url,
            "ZQUEUE_URL": self.url,
        }
        self._started: list[subprocess.Popen[bytes]] = []
        self._workers = 0
        (folder / "workers").symlink_to(WORKERS)

    @property
    def log(self) -> str:
        """What the started processes have said."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def start_broker(self) -> None:
        """Start a broker and wait until it answers."""
        self._start([sys.executable, "-m", "zqueue", "broker", "--bind", self.url])
        self.wait_for(lambda state: True)

    def start_worker(self, program: str, *options: str, **env: str) -> None:
        """Start a worker program and wait until the broker knows its processes."""
        command = [sys.executable, "-m", "zqueue", "worker", program, "--url", self.url, *options]
        self._start(command, **env)
        self._expect_workers(command)

    def run(self, line: str) -> str:
        """Run a command to its end. Returns what it printed; it must succeed."""
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}\n{self.log}"
        return done.stdout

    def follow(self, text: str) -> int:
        """Do what a text shows, in its order: first its commands, then its Python examples.

        Brokers and workers are left running. Returns the number of commands.
        """
        shown = commands(text)
        for line, output in shown:
            if re.match(r"(\w+=\S+ )*zqueue (broker|worker) ?", line):
                self._start(["bash", "-c", line.replace("zqueue ", "exec zqueue ", 1)])
                if "zqueue worker" in line:
                    self._expect_workers(shlex.split(line))
                else:
                    self.wait_for(lambda state: True)
            else:
                got = self.run(line)
                assert OutputChecker().check_output(output, got, ELLIPSIS), f"{line}\n{got}"
        if ">>> " in text:
            self.run_examples(text)
        self.wait_until_idle()
        return len(shown)

    def run_examples(self, text: str) -> None:
        """Run a text's Python examples in an interpreter of their own."""
        done = subprocess.run(
            [sys.executable, "-c", RUN_DOCTEST],
            input=text,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=WAIT_S * 2,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.log}"

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The broker's state, as soon as the condition holds for it."""
        deadline = monotonic() + WAIT_S
        while monotonic() < deadline:
            try:
                state = ask(self.url, timeout=0.2)
                if condition(state):
                    return state
            except BrokerLost:
                pass  # Not yet.
            try:
                self._started[-1].wait(LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                continue  # It is still running, as it should.
            pytest.fail(f"{self._started[-1].args} ended\n{self.log}")
        pytest.fail(f"waited {WAIT_S:g} s in vain\n{self.log}")

    def wait_until_idle(self) -> dict[str, Any]:
        """The broker's state, as soon as all tasks are done and all workers there."""
        return self.wait_for(
            lambda state: (
                len(state["workers"]) == self._workers
                and not any(queue["ready"] or queue["leased"] for queue in state["queues"].values())
            )
        )

    def stop(self) -> list[int]:
        """End what was started, the last first. Returns the exit codes."""
        codes = []
        for process in reversed(self._started):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                codes.append(process.wait(WAIT_S))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(process.wait())
        self._started.clear()
        return codes

    def _start(self, command: list[str], **env: str) -> None:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._started.append(process)

    def _expect_workers(self, command: list[str]) -> None:
        self._workers += int(command[command.index("-p") + 1]) if "-p" in command else 1
        self.wait_for(lambda state: len(state["workers"]) == self._workers)


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A folder with a link to the programs; what was started in it ends with the test."""
    # Not `tmp_path`: a socket's path may have 107 characters only.
    with tempfile.TemporaryDirectory(prefix="zqueue-") as folder:
        started = Shell(Path(folder))
        try:
            yield started
        finally:
            codes = started.stop()
        assert not any(codes), f"exit codes {codes}\n{started.log}"


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """Loads a worker program by its name, as a module that nobody else sees."""
    loaded: dict[str, ModuleType] = {}

    def load(name: str) -> ModuleType:
        if name not in loaded:
            spec = importlib.util.spec_from_file_location(f"_{name}", WORKERS / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            loaded[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded[name])
        return loaded[name]

    return load
