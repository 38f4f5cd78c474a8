"""Real brokers and workers, in processes of their own, for the bare client to talk to."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic

from .bare_client import Peer
from .page import ROOT

HEARTBEAT_S, LIVENESS_S = 0.2, 1.0
STOP_S = 20.0


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """A zqueue process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ZQUEUE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "zqueue", "--log-level", "error", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def stop(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to end, and wait for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(STOP_S)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process while the block runs."""
    process = start(*arguments)
    try:
        yield process
    finally:
        process.kill()
        process.wait(STOP_S)


def broker(url: str, *options: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """A broker process with short times."""
    times = ("--heartbeat", str(HEARTBEAT_S), "--liveness", str(LIVENESS_S))
    return running("broker", "--bind", url, *times, "--drain-timeout", "10", *options)


def outlive(*peers: Peer) -> None:
    """Go on until the peers' heartbeats have been answered for longer than the liveness time."""
    begun = monotonic()
    wanted = {peer: peer.answered + 2 + int(LIVENESS_S / HEARTBEAT_S) for peer in peers}
    peers[0].wires.until(lambda: all(peer.answered >= wanted[peer] for peer in peers))
    assert monotonic() - begun > LIVENESS_S
