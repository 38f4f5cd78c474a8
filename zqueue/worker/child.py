"""A child: one worker process, as its supervisor holds it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal

from ..net.processes import exit_code, start_python
from .slot import Slot
from .start import WorkerSpec


class Child:
    """One worker process: its slot, and a pipe that holds its spec and ends when we do."""

    def __init__(self, spec: WorkerSpec) -> None:
        """Start it. Raises `OSError` if that cannot be done now."""
        self.id = bytes.fromhex(spec.id)
        with contextlib.ExitStack() as undo:
            self.slot = Slot.create()
            undo.callback(self.slot.close)
            reader, self._pipe = os.pipe()
            undo.callback(os.close, self._pipe)
            try:
                self._write(dataclasses.replace(spec, slot_fd=self.slot.fd).to_bytes())
                self.process = start_python(
                    "zqueue.worker.start", "main", str(reader),
                    pass_fds=(self.slot.fd, reader), process_group=0,
                )  # fmt: skip
            finally:
                os.close(reader)
            undo.pop_all()
        self.pid = self.process.pid

    def __repr__(self) -> str:
        return f"<Child {self.pid}>"

    def _write(self, data: bytes) -> None:
        """Nobody reads yet: it must fit in the pipe."""
        os.set_blocking(self._pipe, False)
        if os.write(self._pipe, data) < len(data):
            raise OSError(errno.EMSGSIZE, "a worker's options are too long for a pipe")

    def exit_code(self) -> int | None:
        """How it has ended; None while it runs. Its slot can be read and its group killed still."""
        return exit_code(self.process)

    def stop(self) -> None:
        """Ask it to finish."""
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and all in its process group now."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Give back what it used. Waits for its end."""
        self.process.wait()
        os.close(self._pipe)
        self.slot.close()
