"""``zqueue top`` in a real terminal of 80 columns and 24 lines."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
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
        self.popen = subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL, sys.executable, "-m", "zqueue", *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **env},
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


@pytest.fixture
def mail(broker: Any, produce: Any) -> Any:
    """A broker with a queue."""
    producer = produce(broker)
    producer.send_many("mail", [1, 2, 3])
    producer.flush()
    return broker


def test_it_shows_a_broker_in_80_by_24(terminal: Any, mail: Any) -> None:
    seen = terminal("top", "--url", mail.url)
    text = seen.wait_for("answers", "1 Queues 1", "mail", "No worker is connected", "q Quit")
    assert "Traceback" not in text
    seen.press("q")
    assert seen.wait() == 0
    assert seen.is_as_before()


def test_pause_from_the_keyboard(
    terminal: Any, broker: Any, workers: Any, produce: Any, record: Any
) -> None:
    workers(broker, "jobs.py", 1, "-Q", "default")
    producer = produce(broker)
    producer.submit("default", ["a"], task="run").result(20)
    seen = terminal("top", "--url", broker.url)
    seen.wait_for("default")
    seen.press("p")
    seen.wait_for("Pause queue default?")
    seen.press("y")
    wait_until(lambda: broker.queue("default")["paused"], what="a paused queue")
    seen.wait_for("Queue default is paused: nothing")
    producer.send("default", ["b"], task="run")
    producer.flush()
    wait_until(lambda: broker.queue("default")["ready"] == 1, what="a task that waits")
    assert record.ids() == ["a"]
    seen.wait_for("ready 1")  # Told after it was paused.
    seen.press("p")
    seen.wait_for("Resume queue default?")
    seen.press("y")
    record.wait_for(["a", "b"])
    seen.press("q")
    assert seen.wait() == 0


@pytest.mark.parametrize("how", ["ctrl+c", "SIGTERM"])
def test_it_leaves_the_terminal_as_it_was(terminal: Any, mail: Any, how: str) -> None:
    seen = terminal("top", "--url", mail.url)
    seen.wait_for("mail")
    if how == "ctrl+c":
        seen.press("\x03")
    else:
        seen.popen.send_signal(signal.SIGTERM)
    assert seen.wait() == 0
    assert seen.is_as_before()
    assert b"Traceback" not in seen.raw


def test_the_absence_of_a_broker_is_on_the_screen_and_not_across_it(
    terminal: Any, start_broker: Any, tmp_path: Any
) -> None:
    url = f"ipc://{tmp_path}/b"
    seen = terminal("-l", "debug", "top", "--url", url)
    seen.wait_for("is not there", "No broker answers at")
    started = start_broker(url=url)
    seen.wait_for("answers", "There are no queues yet")
    started.process.kill()
    seen.wait_for("is gone; figures are")
    assert b"WARNING" not in seen.raw
    assert b"INFO" not in seen.raw
    seen.press("q")
    assert seen.wait() == 0


def test_without_colour_all_is_in_words(terminal: Any, mail: Any) -> None:
    seen = terminal("top", "--url", mail.url, NO_COLOR="1")
    seen.wait_for("mail", "running", "No worker is connected")
    for red, green, blue in re.findall(rb"\x1b\[[\d;]*?[34]8;2;(\d+);(\d+);(\d+)", seen.raw):
        assert red == green == blue, "a shade of grey"
    seen.press("q")
    assert seen.wait() == 0


def test_another_size(terminal: Any, mail: Any) -> None:
    seen = terminal("top", "--url", mail.url)
    seen.wait_for("mail", "oldest")
    assert "wait p99" not in seen.text
    seen.screen.resize(30, 140)
    seen.resize(140, 30)
    seen.wait_for("wait p99", "mail")
    seen.press("q")
    assert seen.wait() == 0


def test_without_a_terminal(run: Any, broker: Any) -> None:
    done = run("top", "--url", broker.url)
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
