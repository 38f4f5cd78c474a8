"""How much disk the store takes, after whatever was put and ended in whatever order."""

from __future__ import annotations

import random
from collections import deque

import pytest

from zqueue.core.records import PUT, Entry, Over, Record
from zqueue.store.segments import SLACK_SEGMENTS

from .disk import MemoryDisk
from .driving import drive
from .test_crash import store_on

SEGMENT_BYTES = 1 << 16
SOON = 64
"""Entries after which most are over."""


@pytest.mark.parametrize("stay", [0.01, 0.1])
@pytest.mark.parametrize("at_once", [16, 160])
def test_files_are_at_most_twice_what_is_open_and_five(stay: float, at_once: int) -> None:
    """Four hundred entries a segment, without a pause; each hundredth stays for 25 segments, or
    each tenth. However many come with a commit."""
    chance = random.Random(1)
    store = store_on(MemoryDisk(), segment_bytes=SEGMENT_BYTES)
    list(store.open().found)
    number, commit, most = 0, 0, 0.0
    soon: deque[int] = deque()
    late: deque[int] = deque()
    for commit in range(1, 30_000 // at_once):
        records: list[Record] = []
        for _ in range(at_once):
            number += 1
            records.append(Entry(number, PUT, "q", 1, b"meta", chance.randbytes(100)))
            (late if chance.random() < stay else soon).append(number)
        while len(soon) > SOON:
            records.append(Over(soon.popleft(), 0, 1))
        while late and late[0] < number - 10_000:
            records.append(Over(late.popleft(), 0, 1))
        store.begin(commit, records, list)
        assert store.end() == commit
        status = store.status()
        spares = status.disk_bytes - status.segments * SEGMENT_BYTES
        beyond = status.disk_bytes - spares - 2 * status.live_bytes
        most = max(most, beyond / SEGMENT_BYTES)
    assert store.status().moved, "there is nothing to see here else"
    assert most <= SLACK_SEGMENTS + 2, "one more is begun meanwhile, and one is about to go"
    for number in soon + late:
        store.read(number)
    commit += 1
    drive(store, commit, [Over(number, 0, 1) for number in soon + late], list)
    drive(store, commit + 1, [], list)
    assert store.status().segments <= SLACK_SEGMENTS
