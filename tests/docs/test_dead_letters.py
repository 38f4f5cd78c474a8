"""docs/dead-letters.md is run from top to bottom."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.docs.commands import commands, file_block
from tests.shell import Shell
from zqueue.testing import Process

PAGE = "docs/dead-letters.md"


@pytest.mark.system
def test_from_top_to_bottom(shell: Shell) -> None:
    for name in ("orders.py", "orders-mended.py", "mend.py"):
        (shell.folder / name).write_text(shell.here(file_block(PAGE, name)))
    workers: list[Process] = []
    for command, output in commands(PAGE):
        if command.startswith(("zqueue broker", "zqueue worker")):
            if "mended" in command:
                shell.wait_for(lambda state: state["dead"]["kept"] == 2)
            started = shell.start(command)
            if "mended" in command:
                workers[0].send(signal.SIGTERM)
                workers[0].wait()
            elif "worker" in command:
                workers.append(started)
                shell.wait_for(lambda state: "book" in state["tasks"])
            continue
        if command == "zqueue dlq ls" and not output:
            shell.wait_for(lambda state: state["dead"]["kept"] == 2)
        done = shell.run(command)
        assert done.returncode == 0, done.stderr
        if output:
            assert done.stdout == output, command
        elif "ls" in command:
            assert "ValueError" in done.stdout, command
        elif "show" in command:
            assert "could not convert string to float: '" in done.stdout  # Of either of them.
            assert "Traceback" in done.stdout
    shell.wait_for(lambda state: state["counters"]["done"] == 3)
    done = shell.run(f'"{sys.executable}" mend.py')
    assert (done.returncode, done.stdout) == (0, "0 replayed\n0 dropped\n"), done.stderr
