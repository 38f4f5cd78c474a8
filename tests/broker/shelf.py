"""A store in memory, for tests of the machine: what records, read in their order, leave."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zqueue.broker.journal import Journal
from zqueue.broker.machine import BrokerProtocol
from zqueue.core.lease import runs_of
from zqueue.core.records import Again, Entry, Fact, Found, Held, Over, Record, Recovered, Run


class Shelf:
    """Keeps records, and finds what is open."""

    def __init__(self) -> None:
        self.records: list[Record | list[Fact]] = []
        """What was told, in order; all facts in force take the place of those before them."""
        self.wall_s = 0.0
        """What the wall clock says when the next broker starts."""

    def add(self, records: Iterable[Record | list[Fact]]) -> None:
        self.records += records

    def store(self, broker: BrokerProtocol) -> list[Record]:
        """All that a broker wants to have stored now. Returns it."""
        commit = broker.to_store()
        if commit is None:
            return []
        self.add(commit[1])
        broker.stored(commit[0])
        return commit[1]

    def next_entry(self) -> int:
        return 1 + max((r.number for r in self.records if isinstance(r, Entry)), default=0)

    def entry(self, number: int) -> Entry:
        """The entry of that number."""
        return next(r for r in self.records if isinstance(r, Entry) and r.number == number)

    def body(self, number: int) -> bytes:
        """The body of an entry."""
        return self.entry(number).body

    def facts(self) -> list[Fact]:
        facts: list[Fact] = []
        for record in self.records:
            if isinstance(record, Fact):
                facts.append(record)
            elif isinstance(record, list):
                facts = list(record)
        return facts

    def found(self) -> list[Found]:
        """What is open."""
        entries: dict[int, Entry] = {}
        left: dict[int, int] = {}
        state: dict[int, dict[int, bytes]] = {}
        for record in self.records:
            if isinstance(record, Entry):
                entries[record.number] = record
                left[record.number] = (1 << record.tasks) - 1
                state[record.number] = {}
            elif isinstance(record, Over):
                left[record.entry] &= ~(((1 << record.tasks) - 1) << record.first)
            elif isinstance(record, Again):
                for task in range(record.first, record.first + record.tasks):
                    state[record.entry][task] = record.meta
        return [
            Found(*entries[number][:5], len(entries[number].body), _runs(bits, state[number]))
            for number, bits in left.items() if bits
        ]  # fmt: skip

    def broker(self, now: float, id: bytes, limits: Any, first_lease: int) -> BrokerProtocol:
        """The next broker of this id."""
        journal = Journal(self.next_entry())
        broker = BrokerProtocol(id, limits, first_lease=first_lease, journal=journal)
        broker.set_wall(self.wall_s, now)
        broker.recover(self.recovered(), self.body, now)
        while broker.recover_more(3, now):
            pass
        return broker

    def recovered(self) -> Recovered:
        """What the next broker is given."""
        found = self.found()
        held = [
            Held(
                kind, queue, len(here), sum(run.tasks for one in here for run in one.runs),
                sum(one.nbytes for one in here),
            )
            for kind, queue in {(one.kind, one.queue) for one in found}
            if (here := [one for one in found if (one.kind, one.queue) == (kind, queue)])
        ]  # fmt: skip
        return Recovered(b"the same", self.next_entry(), held, self.facts(), iter(found), 0)


def _runs(bits: int, state: dict[int, bytes]) -> list[Run]:
    runs: list[Run] = []
    for first, count in runs_of(bits):
        for task in range(first, first + count):
            meta = state.get(task, b"")
            if runs and runs[-1].first + runs[-1].tasks == task and runs[-1].meta == meta:
                runs[-1] = runs[-1]._replace(tasks=runs[-1].tasks + 1)
            else:
                runs.append(Run(task, 1, meta))
    return runs
