"""Real brokers and workers, in processes of their own, for the bare client to talk to."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from zqueue.testing import Process, Processes

from .bare_client import Peer

HEARTBEAT_S, LIVENESS_S = 0.2, 1.0


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Process]:
    """``zqueue …`` while the block runs."""
    with tempfile.TemporaryDirectory(prefix="zqueue-") as folder:
        processes = Processes(Path(folder))
        try:
            yield processes.zqueue(*arguments)
        finally:
            processes.end()


def broker(url: str, *options: str) -> contextlib.AbstractContextManager[Process]:
    """A broker process with short times."""
    times = ("--heartbeat", str(HEARTBEAT_S), "--liveness", str(LIVENESS_S))
    return running("broker", "--bind", url, *times, "--drain-timeout", "10", *options)


def outlive(*peers: Peer) -> None:
    """Go on until the peers' heartbeats have been answered for longer than the liveness time."""
    begun = monotonic()
    wanted = {peer: peer.answered + 2 + int(LIVENESS_S / HEARTBEAT_S) for peer in peers}
    peers[0].wires.until(lambda: all(peer.answered >= wanted[peer] for peer in peers))
    assert monotonic() - begun > LIVENESS_S
