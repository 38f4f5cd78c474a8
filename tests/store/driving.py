"""How a test drives a store, and what it expects to be in it."""

from __future__ import annotations

import copy
import random
import select
from collections.abc import Callable
from typing import Any

from zqueue.core.records import Again, Entry, Fact, Over, Record, Recovered
from zqueue.store.store import Store

TIMEOUT_S = 30

State = dict[int, tuple[int, str, int, bytes, bytes, dict[int, bytes]]]


class Model:
    """What is open, task by task; and facts, of which each replaces those of its name."""

    def __init__(self) -> None:
        self.entries: State = {}
        self.facts: dict[bytes, bytes] = {}
        self.next_entry = 1

    def apply(self, records: list[Record]) -> None:
        for record in records:
            if isinstance(record, Entry):
                number, kind, queue, tasks, meta, body = record
                self.entries[number] = (
                    kind,
                    queue,
                    tasks,
                    meta,
                    body,
                    dict.fromkeys(range(tasks), b""),
                )
                self.next_entry = number + 1
            elif isinstance(record, Fact):
                name, _, value = record.meta.partition(b"=")
                self.facts[name] = value
            elif record.entry in self.entries:
                left = self.entries[record.entry][-1]
                for task in range(record.first, record.first + record.tasks):
                    if isinstance(record, Over):
                        left.pop(task, None)
                    elif task in left:
                        left[task] = record.meta
                if not left:
                    del self.entries[record.entry]

    def all_facts(self) -> list[Fact]:
        return [Fact(name + b"=" + value) for name, value in self.facts.items()]

    def copy(self) -> Model:
        return copy.deepcopy(self)


def drive(store: Store, ticket: int, records: list[Record], facts: Callable[[], list[Fact]]) -> int:
    """One commit, until it is stored, and what the store then has to do for itself."""
    store.begin(ticket, records, facts)
    stored = wait(store)
    for _ in range(1000):
        if not store.is_due:
            return stored
        store.begin(ticket, [], facts)
        wait(store)
    raise AssertionError("it never has done what it has to do")


def wait(store: Store) -> int:
    """Until a commit has ended. Returns the last ticket that is stored."""
    while store.busy:
        assert select.select([store], [], [], TIMEOUT_S)[0], "it does not end"
        store.end()
    return store.end()


def check(store: Store, found: Recovered, model: Model, *, bodies: int = 1000) -> None:
    """What was found is what the model has."""
    entries: State = {}
    for number, kind, queue, tasks, meta, nbytes, runs in found.found:
        left = {t: r.meta for r in runs for t in range(r.first, r.first + r.tasks)}
        body = store.read(number) if len(entries) < bodies else model.entries[number][4]
        assert nbytes == len(body)
        assert list(entries) < [number]
        entries[number] = kind, queue, tasks, meta, body, left
        firsts = [run.first for run in runs]
        assert firsts == sorted(firsts)
    assert entries == model.entries
    assert list(entries) == sorted(entries)
    assert found.next_entry == model.next_entry
    assert {(h.kind, h.queue): (h.entries, h.tasks, h.nbytes) for h in found.held} == held(model)
    assert facts_of(found) == model.facts


def held(model: Model) -> dict[tuple[int, str], tuple[int, int, int]]:
    sums: dict[tuple[int, str], tuple[int, int, int]] = {}
    for kind, queue, _, _, body, left in model.entries.values():
        a, b, c = sums.get((kind, queue), (0, 0, 0))
        sums[kind, queue] = a + 1, b + len(left), c + len(body)
    return sums


def facts_of(found: Recovered) -> dict[bytes, bytes]:
    model = Model()
    model.apply(list(found.facts))
    return model.facts


class Traffic:
    """Records as a broker makes them, at random: most entries are over soon, some stay long."""

    def __init__(self, seed: int, body_max: int = 3000, stay: float = 0.03) -> None:
        self.chance = random.Random(seed)
        self.model = Model()
        self.ticket = 0
        self._body_max = body_max
        self._stay = stay
        self._long: set[int] = set()

    def commit(self) -> list[Record]:
        """The records of the next commit, in the model when this returns."""
        chance, model = self.chance, self.model
        self.ticket += 1
        records: list[Record] = []
        for _ in range(chance.randrange(5)):
            number = model.next_entry + sum(isinstance(r, Entry) for r in records)
            body = chance.randbytes(chance.randrange(self._body_max))
            queue = f"q{chance.randrange(3)}"
            meta = chance.randbytes(chance.randrange(20))
            records.append(
                Entry(number, chance.randint(1, 4), queue, chance.randint(1, 5), meta, body)
            )
            if chance.random() < self._stay:
                self._long.add(number)
        live = [n for n in model.entries if n not in self._long or chance.random() < 0.01]
        most = len(live) if chance.random() < 0.02 else min(len(live), 8)
        for number in chance.sample(live, chance.randint(0, most)):
            tasks = model.entries[number][2]
            first = chance.choice([0, 0, chance.randrange(tasks)])
            count = chance.choice([tasks, chance.randint(1, tasks)])
            if chance.random() < 0.2:
                records.append(Again(number, first, count, chance.randbytes(4)))
            else:
                records.append(Over(number, first, count))
        if chance.random() < 0.2:
            records.append(Fact(b"p%d=%d" % (chance.randrange(4), chance.randrange(99))))
        model.apply(records)
        return records


def run(store: Store, traffic: Traffic, commits: int) -> None:
    """So many commits of it, each stored before the next."""
    for _ in range(commits):
        records = traffic.commit()
        assert drive(store, traffic.ticket, records, traffic.model.all_facts) == traffic.ticket


Opened = Callable[..., Any]
