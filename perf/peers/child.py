"""A driver's process, from the side of `compare.py`."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from peers import driver, processes, working

PERF = Path(__file__).parents[1]

ANSWER_S = 3 * driver.DEADLINE_S
"""A driver gives up by itself before."""

LOG_LINES = 12


class PeerFailed(Exception):
    """A system did not do what it was told. The text ends with the last lines of its log."""


class Child:
    """A driver with its servers and workers; a context manager that leaves none of them.

    Parameters:
        python: of the system's environment.
        name: the driver's module.
        folder: for its marks, logs and files; made if need be, and not removed.
    """

    def __init__(self, python: Path, name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "log"
        self._left = b""
        environ = {**os.environ, working.FOLDER: str(folder), "PYTHONPATH": str(PERF)}
        if python == Path(sys.executable) and "PYTHONPATH" in os.environ:
            environ["PYTHONPATH"] += os.pathsep + os.environ["PYTHONPATH"]
        with self._log.open("wb") as log:
            # Out of the terminal's group: Ctrl-C is for us, and we end it. Not of its session,
            # for the reason that `processes.Processes` gives.
            self._process = subprocess.Popen(
                [python, "-m", "peers", name], cwd=folder, env=environ, bufsize=0,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                process_group=0, preexec_fn=processes.end_with_parent,
            )  # fmt: skip

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The driver's process, which leads a group of its own."""
        return self._process.pid

    def ask(self, order: dict[str, Any], timeout: float = ANSWER_S) -> dict[str, Any]:
        """Send an order and return its answer, or raise `PeerFailed`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            answer: dict[str, Any] = json.loads(self._line(monotonic() + timeout))
        except BrokenPipeError:
            raise PeerFailed(f"the driver is gone\n{self._tail()}") from None
        if "error" in answer:
            raise PeerFailed(f"{answer['error']}\n{self._tail()}")
        return answer

    def end(self) -> None:
        """End it and all that it started."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        processes.end_group(self._process, 60)
        self._process.stdin.close()
        self._process.stdout.close()

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._left:
                if not selector.select(max(0, deadline - monotonic())):
                    raise PeerFailed(f"the driver does not answer\n{self._tail()}")
                got = self._process.stdout.read(1 << 16)
                if not got:
                    raise PeerFailed(f"the driver is gone\n{self._tail()}")
                self._left += got
        line, _, self._left = self._left.partition(b"\n")
        return line

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])
