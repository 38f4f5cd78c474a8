"""The fenced blocks of a document, and a place to run them in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

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
