"""The body that is sent."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from zqueue.bench import bodies
from zqueue.protocol.codec import pack

PERF = Path(__file__).parents[2] / "perf"


def test_has_32_bytes() -> None:
    assert len(pack(bodies.body(1_000))) == 32
    assert len(bodies.payload(100)) == 100


def test_others_are_sent_the_same() -> None:
    """`perf/bodies.py` stands by itself, for peers in environments without zqueue."""
    spec = importlib.util.spec_from_file_location("peers_bodies", PERF / "bodies.py")
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    assert theirs.BATCH == bodies.BATCH
    assert [theirs.body(i) for i in (0, 7, 1000)] == [bodies.body(i) for i in (0, 7, 1000)]
