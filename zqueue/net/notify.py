"""What a service tells systemd of itself: that it is ready, that it lives, that it stops.

A datagram to the socket that `NOTIFY_SOCKET` names (sd_notify(3)). Where nobody asked for it,
nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

PINGS = 3
"""Signs of life in the time that the watchdog waits for one."""


class Notifier:
    """Tells the system's manager how this process is.

    It takes the variables out of the environment: what a process starts is not asked.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        path = environment.pop("NOTIFY_SOCKET", "")
        wait_us = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", str(os.getpid()))
        self._address = "\0" + path[1:] if path.startswith("@") else path
        is_watched = bool(path) and wait_us.isdigit() and pid == str(os.getpid())
        self._every_s = int(wait_us) / 1e6 / PINGS if is_watched else 0.0
        self._due: float | None = 0.0 if is_watched else None
        self._said: set[str] = set()

    @property
    def next_deadline(self) -> float | None:
        """When `alive` is to be called again at the latest; None: never."""
        return self._due

    def ready(self) -> None:
        """It serves."""
        self._say("READY=1")

    def stopping(self) -> None:
        """It is about to end."""
        self._say("STOPPING=1")

    def alive(self, now: float) -> None:
        """Its loop turns; ``now``: monotonic seconds. Sent as often as the watchdog wants it."""
        if self._due is not None and now >= self._due:
            self._due = now + self._every_s
            self._send("WATCHDOG=1")

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._send(text)

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A manager that is gone or does not read must not hold up a service.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(), self._address)
