"""``zqueue top`` in a real terminal of 80 columns and 24 lines."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.system.harness import wait_until

pyte = pytest.importorskip("pyte")

pytestmark = pytest.mark.system

IN_A_TERMINAL = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"

QUERY = re.compile(rb"\x1b\[[?>=][\d;$]*[a-zA-Z]+|\x1b[P_][^\x1b]*\x1b\\")
"""What is asked of a terminal or set in it; pyte knows only some of it."""


class Terminal:
    """A program in a pseudo-terminal, and what is to be seen there."""

    def __init__(self, *arguments: str, **env: str) -> None:
        self._master, slave = os.openpty()
        self.resize(80, 24)
        self._slave = slave
        self.modes = termios.tcgetattr(slave)
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        # Where these are set, as in a test run of several processes, nobody asks the terminal.
        own = {name: at for name, at in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.popen = subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL, sys.executable, "-m", "zqueue", *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**own, "TERM": "xterm-256color", **env},
        )  # fmt: skip

    def resize(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def read(self) -> None:
        while select.select([self._master], [], [], 0)[0]:
            data = os.read(self._master, 65536)
            self.raw += data
            self._stream.feed(QUERY.sub(b"", data))

    @property
    def text(self) -> str:
        self.read()
        return "\n".join(self.screen.display)

    def wait_for(self, *words: str) -> str:
        wait_until(lambda: all(word in self.text for word in words),
                   what=lambda: f"{words} in\n{self.text}")  # fmt: skip
        return self.text

    def wait(self) -> int:
        """Its exit code; its output is read, so it never waits for us."""

        def ended() -> bool:
            self.read()
            return self.popen.poll() is not None

        wait_until(ended, what="its end")
        self.read()
        return self.popen.returncode

    def is_as_before(self) -> bool:
        """Whether it is left as it was found."""
        return termios.tcgetattr(self._slave) == self.modes and b"\x1b[?1049l" in self.raw

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Starts ``zqueue …`` in a terminal of its own."""
    opened: list[Terminal] = []

    def start(*arguments: str, **env: str) -> Terminal:
        opened.append(Terminal(*arguments, **env))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_it_shows_a_broker_in_80_by_24_and_in_another_size(terminal: Any, mail: Any) -> None:
    seen = terminal("top", "--url", mail.url)
    text = seen.wait_for("answers", "1 Queues 1", "mail", "No worker is connected", "q Quit")
    assert "oldest" in text
    assert "wait p99" not in text
    seen.screen.resize(30, 140)
    seen.resize(140, 30)
    seen.wait_for("wait p99", "mail")
    seen.press("q")
    assert seen.wait() == 0
    assert seen.is_as_before()
    assert b"Traceback" not in seen.raw


def test_the_absence_of_a_broker_is_on_the_screen_and_not_across_it(
    terminal: Any, start_broker: Any, tmp_path: Any
) -> None:
    url = f"ipc://{tmp_path}/b"
    seen = terminal("-l", "debug", "top", "--url", url)
    seen.wait_for("does not answer", "No broker answers at")
    started = start_broker(url=url)
    seen.wait_for("answers", "There are no queues yet")
    started.process.kill()
    seen.wait_for("is gone; figures are")
    assert b"WARNING" not in seen.raw
    assert b"INFO" not in seen.raw
    seen.press("\x03")
    assert seen.wait() == 0
    assert seen.is_as_before()
    assert b"Traceback" not in seen.raw


def test_without_a_terminal(run: Any, mail: Any) -> None:
    done = run("top", "--url", mail.url)
    assert done.returncode == 2
    assert done.stderr == (
        "zqueue: zqueue top needs a terminal: without one, there is 'zqueue info -i 1'\n"
    )


def test_without_textual(processes: Any) -> None:
    process = processes.python(
        "import sys; sys.modules['textual'] = None\n"
        "from zqueue.cli import main\n"
        "sys.argv = ['zqueue', 'top']\n"
        "main()"
    )
    assert process.wait() == 2
    assert process.err.count("\n") == 1
    assert "pip install 'zqueue-pool[top]'" in process.err


def test_a_bad_url(run: Any) -> None:
    done = run("top", "--url", "nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr
