"""Every command and code block of the README and of docs/operations.md is run here."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

ROOT = Path(__file__).parents[2]
DEFAULT = "tcp://127.0.0.1:5555"


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a document in one language."""
    text = (ROOT / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def file_block(document: str, name: str, language: str = "python") -> str:
    """The block that begins with the name of the file it is meant for."""
    (found,) = [b for b in blocks(document, language) if b.startswith(f"# {name}\n")]
    return found


def commands(document: str) -> list[tuple[str, str]]:
    """``(command, expected output)`` of all console blocks, in order."""
    found = []
    for block in blocks(document, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


class Shell:
    """A folder, an environment and the processes started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"ipc://{folder}/broker"
        (folder / "bin").mkdir()
        script = folder / "bin" / "zqueue"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zqueue "$@"\n')
        script.chmod(0o755)
        self.env = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "ZQUEUE_URL": self.url,
            "ZQUEUE_BROKER_BIND": self.url,
        }
        self.started: list[subprocess.Popen[str]] = []

    def here(self, text: str) -> str:
        """A text with our own address in the place of the default one."""
        return text.replace(DEFAULT, self.url)

    def run(self, command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.here(command), shell=True, cwd=self.folder, env=self.env, text=True,
            capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip

    def start(self, command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            f"exec {self.here(command)}", shell=True, cwd=self.folder, env=self.env, text=True,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        return process

    def wait_for(self, command: str, text: str, timeout: float = 20) -> None:
        deadline = monotonic() + timeout
        while text not in (last := self.run(command).stdout):
            assert monotonic() < deadline, last
            sleep(0.05)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    for process in reversed(shell.started):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_the_two_commands_are_those_that_ci_runs() -> None:
    setup = [command for command, _ in commands("README.md") if "-m venv" in command]
    assert setup == [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/zqueue demo",
        "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox",
    ]
    ci = (ROOT / ".ci" / "run").read_text()
    for step in ("python3 -m venv .venv", ".venv/bin/pip install", "tox", ".venv/bin/tox"):
        assert step in ci
    assert "zqueue demo" in (ROOT / "tox.ini").read_text()


@pytest.mark.system
def test_readme_from_top_to_bottom(shell: Shell) -> None:
    for name in ("shop.py", "client.py"):
        (shell.folder / name).write_text(shell.here(file_block("README.md", name)))
    for command, output in commands("README.md"):
        if "-m venv" in command:
            continue
        if command.startswith(("zqueue broker", "zqueue worker")):
            shell.start(command)
            if "worker" in command:
                shell.wait_for("zqueue info", "pid")
                shell.wait_for("zqueue info --json", '"tasks": {"')
                client = shell.run(f'"{sys.executable}" client.py')
                assert client.returncode == 0, client.stderr
                assert client.stdout == "2\n5\n99990000.0\n" or client.stdout == "2\n5\n99990000\n"
            continue
        done = shell.run(command)
        assert done.returncode == 0, done.stderr
        if output:
            assert done.stdout == output, command


@pytest.mark.system
def test_operations_commands_and_configuration(shell: Shell) -> None:
    (shell.folder / "workers").symlink_to(ROOT / "workers")
    (shell.folder / "zqueue.toml").write_text(
        shell.here(file_block("docs/operations.md", "zqueue.toml", "toml"))
    )
    for command, _ in commands("docs/operations.md"):
        shell.start(command)
    shell.wait_for("zqueue info --json", '"count_words": "words"')
    state = shell.run("zqueue info --json").stdout
    assert '"bytes_max": 2147483648' in state
    assert '"bytes_max": 536870912' in state


def test_every_link_leads_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.name}: {link}"
