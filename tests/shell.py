"""What documents and docstrings show, and a place to run it in."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path
from typing import Any, NamedTuple

from zqueue.client.ask import ask
from zqueue.errors import BrokerLost
from zqueue.testing import Process, Processes, wait_until

ROOT = Path(__file__).parents[1]
DEFAULT = "tcp://127.0.0.1:5555"
RUN_S = 240.0

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
    """A folder to run commands in, as texts show them, with a broker's address of its own."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self.url = f"ipc://{folder}/broker"
        (folder / "bin").mkdir()
        script = folder / "bin" / "zqueue"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zqueue "$@"\n')
        script.chmod(0o755)
        self.env = {
            **os.environ,
            "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
            "ZQUEUE_BROKER_DRAIN_TIMEOUT": "5",
            "ZQUEUE_BROKER_BIND": self.url,
            "ZQUEUE_URL": self.url,
            **env,
        }
        (folder / "logs").mkdir()
        self.processes = Processes(folder / "logs")
        self._workers = 0

    @property
    def log(self) -> str:
        """What the started processes have said."""
        return "\n".join(text for _, text in self.processes.shown())

    def here(self, text: str) -> str:
        """A text with our own address in the place of the default one."""
        return text.replace(DEFAULT, self.url)

    def run(self, line: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", self.here(line)], cwd=self.folder, env=self.env,
            input=input or "", capture_output=True, text=True, timeout=RUN_S, check=False,
        )  # fmt: skip

    def output(self, line: str, input: str | None = None) -> str:
        """Run a command to its end. Returns what it printed; it must succeed."""
        done = self.run(line, input)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}\n{self.log}"
        return done.stdout

    def start(self, line: str, **env: str) -> Process:
        """Start a command. It ends with the test."""
        command = re.sub(r"^((\w+=\S+ )*)", r"\1exec ", self.here(line), count=1)
        return self.processes.start(
            "bash", "bash", "-c", command, cwd=self.folder, env={**self.env, **env}
        )

    def start_broker(self) -> None:
        """Start a broker and wait until it answers."""
        self.start("zqueue broker")
        self.wait_for(lambda state: True)

    def start_worker(self, program: str, *options: str, **env: str) -> None:
        """Start a worker program and wait until the broker knows its processes."""
        self._start_worker(shlex.join(["zqueue", "worker", program, *options]), **env)

    def _start_worker(self, line: str, **env: str) -> None:
        words = shlex.split(line)
        self.start(line, **env)
        self._workers += int(words[words.index("-p") + 1]) if "-p" in words else 1
        self.wait_for(lambda state: len(state["workers"]) == self._workers)

    def follow(self, text: str) -> int:
        """Do what a text shows, in its order: first its commands, then its Python examples.

        Brokers and workers are left running. Returns the number of commands.
        """
        shown = commands(text)
        for line, output in shown:
            if re.match(r"(\w+=\S+ )*zqueue broker\b", line):
                self.start(line)
                self.wait_for(lambda state: True)
            elif re.match(r"(\w+=\S+ )*zqueue worker\b", line):
                self._start_worker(line)
            else:
                got = self.output(line)
                assert OutputChecker().check_output(output, got, ELLIPSIS), f"{line}\n{got}"
        if ">>> " in text:
            self.run_examples(text)
        self.wait_idle()
        return len(shown)

    def run_examples(self, text: str) -> None:
        """Run a text's Python examples in an interpreter of their own."""
        self.output(shlex.join([sys.executable, "-c", RUN_DOCTEST]), text)

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The broker's state, as soon as the condition holds for it."""

        def state_if_so() -> dict[str, Any] | None:
            assert all(process.is_running() for process in self.processes.all[-1:]), self.log
            try:
                state = ask(self.url, timeout=0.2)
            except BrokerLost:
                return None  # Not yet.
            return state if condition(state) else None

        return wait_until(state_if_so, what=lambda: self.log)

    def wait_idle(self) -> dict[str, Any]:
        """The broker's state, as soon as all tasks are done and all workers there."""
        return self.wait_for(
            lambda state: (
                len(state["workers"]) == self._workers
                and not any(queue["ready"] or queue["leased"] for queue in state["queues"].values())
            )
        )

    def stop(self) -> list[int]:
        """SIGTERM for what still runs, the last first. Returns the exit codes of all."""
        return [process.stop() for process in reversed(self.processes.all)]
