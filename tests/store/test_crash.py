"""The machine stops at any moment: what was stored is there, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from zqueue.core.records import Again, Entry, Fact, Over, Record, Recovered
from zqueue.store.segment_store import SegmentStore

from .disk import Crash, Inline, MemoryDisk
from .driving import Model, Traffic, check, drive, facts_of, run

SEGMENT_BYTES = 1 << 14
STAMP_END = 24
"""So much of a record's head tells whose it is."""


def store_on(
    disk: MemoryDisk, seed: int = 1, *, sync: bool = True, segment_bytes: int = SEGMENT_BYTES
) -> SegmentStore:
    chance = random.Random(seed)
    writer: Any = Inline
    return SegmentStore("data", sync=sync, segment_bytes=segment_bytes, disk=disk, writer=writer,
                        chance=lambda: chance.getrandbits(32))  # fmt: skip


def found_as_model(store: SegmentStore, found: Recovered) -> Model:
    model = Model()
    for number, kind, queue, tasks, meta, _, runs in found.found:
        left = {t: r.meta for r in runs for t in range(r.first, r.first + r.tasks)}
        model.entries[number] = kind, queue, tasks, meta, store.read(number), left
    model.facts = facts_of(found)
    model.next_entry = found.next_entry
    return model


def some_of(records: list[Record]) -> Iterator[list[Record]]:
    for count in range(len(records) + 1):
        for chosen in combinations(records, count):
            yield list(chosen)


def check_legal(found: Model, stored: Model, flying: list[Record]) -> None:
    """What is found is what was stored, and of the commit that was being written the first records;
    what it says of entries may be missing, but is there only where all new entries are."""
    new = [record for record in flying if isinstance(record, Entry)]
    there = [record for record in new if record.number < found.next_entry]
    assert there == new[: len(there)]
    for number in {*stored.entries, *found.entries, *(entry.number for entry in there)}:
        about = [r for r in flying if isinstance(r, Over | Again) and r.entry == number]
        legal: list[tuple[Any, bool]] = []
        for some in some_of(about):
            model = Model()
            if number in stored.entries:
                *fields, left = stored.entries[number]
                model.entries[number] = (*fields, dict(left))  # type: ignore[assignment]
            model.apply([record for record in there if record.number == number])
            model.apply(some)
            ends = any(isinstance(record, Over) for record in some)
            legal.append((model.entries.get(number), ends))
        entry = found.entries.get(number)
        hits = [ends for state, ends in legal if state == entry]
        assert hits, f"entry {number} is {entry}"
        assert not all(hits) or len(there) == len(new), f"entry {number} is over too early"
    facts = [record for record in flying if isinstance(record, Fact)]
    possible = []
    for count in range(len(facts) + 1):
        model = Model()
        model.facts = dict(stored.facts)
        model.apply(list(facts[:count]))
        possible.append(model.facts)
    assert found.facts in possible


@settings(max_examples=100)
@given(seed=st.integers(0, 1 << 30), lives=st.lists(st.integers(1, 400), min_size=1, max_size=4))
@example(seed=33571, lives=[184, 366, 23])  # What is told of goes before another is told of.
def test_power_is_lost_at_any_call(seed: int, lives: list[int]) -> None:
    chance = random.Random(seed)
    traffic = Traffic(seed, body_max=800)
    disk = MemoryDisk()
    stored, flying = traffic.model.copy(), []
    for life, calls in enumerate(lives):
        disk.calls_left = calls
        try:
            store = store_on(disk, seed + life)
            found = found_as_model(store, store.open())
            check_legal(found, stored, flying)
            stored, flying = found.copy(), []
            traffic.model = found
            while True:
                flying = traffic.commit()
                drive(store, traffic.ticket, flying, traffic.model.all_facts)
                stored, flying = traffic.model.copy(), []
        except Crash:
            disk = disk.crashed(chance) if chance.random() < 0.7 else disk.killed()
    store = store_on(disk, seed - 1)
    check_legal(found_as_model(store, store.open()), stored, flying)


@settings(max_examples=25)
@given(seed=st.integers(0, 1 << 30), calls=st.integers(1, 1500))
@example(seed=536870911, calls=439)  # A cold segment whose last entry was not its highest.
def test_what_is_synced_later_survives_a_kill_and_power_loss_but_for_the_end(
    seed: int, calls: int
) -> None:
    traffic = Traffic(seed, body_max=800)
    disk = MemoryDisk()
    store = store_on(disk, seed, sync=False)
    list(store.open().found)
    disk.calls_left = calls
    models, flying = [traffic.model.copy()], []
    synced = 0
    try:
        while True:
            flying = traffic.commit()
            drive(store, traffic.ticket, flying, traffic.model.all_facts)
            models.append(traffic.model.copy())
            if store._writer.synced == store._composer.begun:
                synced = len(models) - 1
    except Crash:
        pass
    again = store_on(disk.killed(), sync=False)
    check_legal(found_as_model(again, again.open()), models[-1], flying)
    again = store_on(disk.crashed(random.Random(seed)), sync=False)
    found = found_as_model(again, again.open())
    always = set.intersection(*[set(m.entries) for m in (*models[synced:], traffic.model)])
    assert always <= set(found.entries)
    ever = set.union(*[set(m.entries) for m in (*models[synced:], traffic.model)])
    new = [record.number for record in flying if isinstance(record, Entry)]
    assert set(found.entries) <= {*ever, *new}


def test_the_end_is_missing_from_any_byte_on() -> None:
    disk = MemoryDisk()
    store = store_on(disk)
    store.open()
    traffic = Traffic(2, body_max=50)
    run(store, traffic, 3)
    before = traffic.model.copy()
    start = store._composer.tails[0].start
    flying: list[Record] = [
        Entry(before.next_entry, 1, "q", 1, b"meta", b"body" * 9),
        Entry(before.next_entry + 1, 1, "q", 1, b"", b""),
        Over(min(before.entries), 0, 9),
    ]
    traffic.model.apply(flying)
    drive(store, 4, flying, list)
    end = store._composer.tails[0].start
    (name,) = [n for n, data in disk.now.items() if bytes(data[start : start + 4]).strip(b"\0")]
    for at in range(start, end):
        files = {other: bytes(data) for other, data in disk.now.items()}
        files[name] = files[name][:at].ljust(SEGMENT_BYTES, b"\0")
        here = MemoryDisk(files)
        again = store_on(here)
        found = again.open()
        model = found_as_model(again, found)
        check_legal(model, before, flying)
        left = at - again._composer.tails[0].start
        assert (found.torn > 0) == (left >= STAMP_END), "it is told, if there is a head of it"
        more = Traffic(3)
        more.model = model
        run(again, more, 3)
        again.close()
        last = store_on(here.killed())
        check(last, last.open(), more.model)
