"""The whole protocol under a bad network: nothing confirmed is lost, nothing comes twice.

Real machines of every role are joined through a network that the test holds in its hand: two
lists of messages for each connection. Hypothesis decides what is delivered, dropped, sent twice,
settled, tried again, how much time passes, who dies (the broker, too), and which queues are paused,
drained and resumed; after every step the broker's books are checked against a recount, and at the
end everything is resumed and delivered, and every promise must have been kept.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)

from zqueue.broker.machine import BrokerProtocol
from zqueue.broker.peers import Queue, origin_number
from zqueue.broker.skills import Names
from zqueue.core.batch import OVERHEAD_BYTES, Batch
from zqueue.core.ready import SUSPECTS_MAX
from zqueue.core.records import Entry, Fact, Record
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import (
    CRASHED,
    DRAIN,
    FAILED,
    PAUSE,
    RESULTS,
    RESUME,
    RETRY,
    RETURNED,
    RUNNING,
    STOPPED,
    TIMEOUT,
    Cancel,
    Confirm,
    Control,
    Hello,
    Publish,
    Result,
)
from zqueue.wire.unpacking import unpack, unpack_bodies
from zqueue.worker.leases import Run

from .draws import BATCHES, SETTLEMENTS, SKILLS, Wanted
from .network import (
    BATCH_MAX,
    DRAIN_ROUNDS,
    LIMITS,
    QUEUES,
    TASKS_MAX,
    Network,
    ProducerClient,
    WorkerClient,
    runs_of,
)
from .shelf import Shelf
from .times import Ask


class Lane(NamedTuple):
    """All that a connection knows of a lane."""

    queue: str
    task: str
    options: bytes = b""
    resubmit: bool = False


class Broken(Network):
    """What may happen, and what must always hold."""

    # --- rules: publishing ---

    @initialize(batches=st.lists(BATCHES, min_size=1, max_size=6))
    def begin(self, batches: list[Wanted]) -> None:
        for batch in batches:
            self._publish(*batch)
        self._deliver_all()

    @rule(batch=BATCHES)
    def publish(self, batch: Wanted) -> None:
        self._publish(*batch)

    @rule(batches=st.lists(BATCHES, min_size=1, max_size=4))
    def publish_and_deliver(self, batches: list[Wanted]) -> None:
        """Batches get as far as the workers; what the broker answers is on the wire."""
        for batch in batches:
            client = self._publish(*batch)
            while client.up:
                self._deliver_up(client)
        for worker in self.workers:
            while worker.down:
                self._deliver_down(worker)

    def _publish(
        self, who: int, queue: str, count: int, padding: int, reply: bool, task: str, ask: Ask
    ) -> ProducerClient:
        client = self.producers[who]
        ids = list(range(self.tasks, self.tasks + count))
        self.tasks += count
        self.published.update(ids)
        self.times.publish(ids, ask, self.now)
        body = pack([[number, b"x" * padding] for number in ids])
        self.biggest_bytes = max(self.biggest_bytes, len(body) + OVERHEAD_BYTES)
        sent = client.machine.publish(
            Lane(queue, task, ask.options(self.now)),
            body,
            count,
            reply=client if reply else None,
            now=self.now,
        )
        sequence = sent.sequence
        assert sequence == len(client.tasks) + 1
        client.tasks[sequence] = ids
        if reply:
            client.awaited[sequence] = set(range(count))
        self._flush(client)
        return client

    @rule(who=st.integers(0, 1), which=st.integers(0, 100))
    def resend(self, who: int, which: int) -> None:
        """A batch that is on the wire comes twice (never behind a greeting: after that a producer
        sends all that is unconfirmed, lowest number first)."""
        client = self.producers[who]
        messages = [decode(frames[0]) for frames in client.up]
        batches = [
            frames
            for frames, message in zip(client.up, messages, strict=True)
            if isinstance(message, Publish)
        ]
        if batches and not any(isinstance(message, Hello) for message in messages):
            client.up.append(batches[which % len(batches)])

    # --- rules: the network ---

    @rule(who=st.integers(0, 20), up=st.booleans())
    def deliver_one(self, who: int, up: bool) -> None:
        client = self.clients[who % len(self.clients)]
        if up and client.up:
            self._deliver_up(client)
        elif client.down:
            self._deliver_down(client)

    @rule(who=st.integers(0, 20))
    def deliver_link(self, who: int) -> None:
        client = self.clients[who % len(self.clients)]
        while client.up:
            self._deliver_up(client)
        while client.down:
            self._deliver_down(client)

    @rule()
    def deliver_everything(self) -> None:
        self._deliver_all()

    @rule(who=st.integers(0, 20), lose_up=st.booleans())
    def drop(self, who: int, lose_up: bool) -> None:
        self._drop(self.clients[who % len(self.clients)], lose_up=lose_up)

    @rule(who=st.integers(0, 1), kind=st.sampled_from((Confirm, Result)))
    def lose(self, who: int, kind: type[Any]) -> None:
        """The connection breaks just before a confirm or a result would have come."""
        client = self.producers[who]
        if not any(isinstance(decode(frames[0]), kind) for frames in client.down):
            return
        while not isinstance(decode(client.down[0][0]), kind):
            self._deliver_down(client)
        self._drop(client, lose_up=False)

    @rule(lose_up=st.booleans())
    def replace_broker(self, lose_up: bool) -> None:
        """The broker dies with all that it held, and another one is there at once."""
        self._set_aside()
        self.times.forget()
        self._start_broker()
        for client in self.clients:
            self._drop(client, lose_up=lose_up)
        for producer in self.producers:
            producer.gone |= producer.confirmed
            producer.confirmed.clear()
            unconfirmed = producer.tasks.keys() - producer.gone
            producer.resent |= unconfirmed
            for sequence in unconfirmed:  # These must run, whether they did before or not.
                self.executed.difference_update(producer.tasks[sequence])
                self.failed.difference_update(producer.tasks[sequence])
                self.cancelled.difference_update(producer.tasks[sequence])

    @rule(elapsed_s=st.sampled_from((0.001, 0.02, 0.5, 1.0)))
    def tick(self, elapsed_s: float) -> None:
        self._tick(elapsed_s)

    @precondition(lambda self: self._dues())
    @rule()
    def wait_until_due(self) -> None:
        self._tick(min(self._dues()) - self.now + 0.001)

    @rule()
    def stall(self) -> None:
        """Nothing moves for longer than anybody waits."""
        self._tick(LIMITS.liveness_s + 1)

    # --- rules: workers ---

    @rule(who=st.integers(0, 20), credit=st.sampled_from((0, 1, 2, 3, 20)))
    def set_credit(self, who: int, credit: int) -> None:
        worker = self.workers[who % len(self.workers)]
        worker.machine.set_credit(credit)
        self._flush(worker)

    @rule(settlement=SETTLEMENTS)
    def settle(self, settlement: tuple[int, int, int, int, int, int, int]) -> None:
        """A worker settles a part of what it holds, in any order."""
        self._settle_some(*settlement)

    @rule(settlements=st.lists(SETTLEMENTS, min_size=1, max_size=5))
    def settle_and_deliver(
        self, settlements: list[tuple[int, int, int, int, int, int, int]]
    ) -> None:
        """The broker hears of it, and what it says to the producers is on the wire."""
        for settlement in settlements:
            worker = self._settle_some(*settlement)
            while worker is not None and worker.up:
                self._deliver_up(worker)

    def _settle_some(
        self, who: int, which: int, skip: int, most: int, status: int, credit: int, delay_ms: int
    ) -> WorkerClient | None:
        holders = [worker for worker in self.workers if worker.held]
        if not holders:
            return None
        worker = holders[who % len(holders)]
        lease = list(worker.held)[which % len(worker.held)]
        self._settle(worker, lease, skip, most, status, credit, delay_ms)
        return worker

    def _settle(
        self, worker: WorkerClient, lease: int, skip: int, most: int, status: int, credit: int,
        delay_ms: int = -1,
    ) -> None:  # fmt: skip
        runs: list[Run] = []
        frames: list[bytes] = []
        for index, (batch, left) in enumerate(worker.held[lease]):
            chosen = left[skip:][:most]
            if len(left) <= skip:
                chosen = left[:most]
            ids = [number for number, _ in unpack_bodies(batch.body)]
            for first, count in runs_of(chosen):
                run = ids[first : first + count]
                runs.append(Run(index, first, count, status, delay_ms if status == RETRY else -1))
                if status == RESULTS:
                    frames.append(pack(run))
                elif status in (FAILED, RETRY):
                    frames.append(pack([["Error", str(number), ""] for number in run]))
                if status not in (RETURNED, RETRY):
                    self.executed.update(run)
            left[:] = [position for position in left if position not in chosen]
        last = not any(left for _, left in worker.held[lease])
        if last:
            del worker.held[lease]
        worker.machine.settle(lease, runs, frames, credit=credit, last=last)
        messages = worker.machine.to_send()
        self.settles += messages
        worker.up.extend(messages)

    @rule(who=st.integers(0, 20), which=st.integers(0, 20), delivered=st.booleans())
    def progress(self, who: int, which: int, delivered: bool) -> None:
        """A worker tells of a task that it has or had; `done` says of which."""
        worker = self.workers[who % len(self.workers)]
        if worker.held:
            lease = list(worker.held)[which % len(worker.held)]
            batches = [batch for batch, _ in worker.held[lease]]
            ids = [number for batch in batches for number, _ in unpack_bodies(batch.body)]
            worker.machine.progress(lease, which % len(ids), ids[which % len(ids)], 0)
            self._flush(worker)
            while delivered and worker.up:
                self._deliver_up(worker)

    # --- rules: what is not wanted any more ---

    @rule(
        who=st.integers(0, 1),
        which=st.integers(0, 100),
        first=st.integers(0, BATCH_MAX),
        count=st.integers(0, BATCH_MAX),
        running=st.booleans(),
    )
    def cancel(self, who: int, which: int, first: int, count: int, running: bool) -> None:
        """Anybody may; here it is the supervisor, who names tasks of a producer."""
        client = self.producers[who]
        sequence = 1 + which % max(1, len(client.tasks))
        named = set(client.tasks.get(sequence, [])[first : first + count])
        run = [origin_number(client.id), sequence, first, count]
        self._cancel([run], "", running=running, named=named)

    @rule(queue=st.sampled_from(QUEUES), task=st.sampled_from(("", "t", "u")))
    def purge(self, queue: str, task: str) -> None:
        if queue in self.broker.book.queues:
            self._cancel([], queue, task=task, named=self.published)

    def _cancel(
        self, tasks: list[list[int]], queue: str, *, task: str = "", running: bool = False,
        named: set[int],
    ) -> None:  # fmt: skip
        ready, leased = self._here()
        before = set(self._set_aside())
        message = encode(Cancel(7, RUNNING if running else 0, tasks, queue, task))
        self.broker.receive(self.supervisor.peer, "", [message], self.now)
        waiting = self.broker.commands._waiting  # For the store, where there is one.
        answer = unpack(waiting[-1][2][0] if waiting else self.broker._out[-1][1][1])
        self._flush_broker()
        gone = ready - self._here()[0] - self._here()[1]  # Some were given out at once,
        gone -= self._set_aside() - before  # and some had expired by then.
        assert gone <= named
        assert len(gone) == answer["cancelled"]
        touched = leased & named if not queue else leased
        assert answer["stopping" if running else "running"] <= len(touched)
        assert not answer["running" if running else "stopping"]
        if not queue:
            assert answer["stopping"] + answer["running"] == len(touched)
        self.cancelled |= gone
        if running:
            self.stopping |= touched

    def _here(self) -> tuple[set[int], set[int]]:
        """What the broker holds: ready tasks, and leased ones."""
        ready, leased = self._present()
        return (
            {number for row in ready.values() for batch in row for number in self._ids_in(batch)}
            | self._far_ids(),
            {
                self._ids_in(batch)[place]
                for row in leased.values()
                for batch, places in row
                for place in places
            },
        )

    # --- rules: queues ---

    @rule(queue=st.sampled_from(QUEUES), action=st.sampled_from((PAUSE, DRAIN, RESUME, RESUME)))
    def control(self, queue: str, action: str) -> None:
        """Anybody may; here it is the supervisor."""
        self.broker.receive(self.supervisor.peer, "", [encode(Control(action, queue))], self.now)
        known = self.broker.book.queues.get(queue)
        if known is not None and action == DRAIN:
            self.published_before.setdefault(known, known.counters.published)
        elif known is not None and action == RESUME:
            self.published_before.pop(known, None)
        self._flush_broker()

    @precondition(lambda self: self.settles)
    @rule(who=st.integers(0, 20), age=st.integers(1, 30))
    def settle_again(self, who: int, age: int) -> None:
        """A settlement comes twice, late, or from somebody else."""
        worker = self.workers[who % len(self.workers)]
        if worker.machine.link.is_ready:
            frames = self.settles[-min(age, len(self.settles))]
            self._tell_broker(worker, frames)

    @rule(
        who=st.integers(0, 20),
        how=st.sampled_from((CRASHED, CRASHED, STOPPED, TIMEOUT)),
        delivered=st.booleans(),
        queues=st.sampled_from(("a", "ab", "abc")),
        which=st.integers(0, 10),
        tasks=st.sampled_from(SKILLS),
    )
    def kill(
        self, who: int, how: str, delivered: bool, queues: str, which: int, tasks: dict[str, str]
    ) -> None:
        """A worker dies, its supervisor reports it (if it has one), and another one starts."""
        worker = self.workers.pop(who % len(self.workers))
        if delivered:
            while worker.up:
                self._deliver_up(worker)
        del self.routes[worker.peer]
        if worker.supervised:
            lease = position = 0
            if how == TIMEOUT and worker.held:
                lease = list(worker.held)[which % len(worker.held)]
                position = which % sum(batch.tasks for batch, _ in worker.held[lease])
            self.supervisor.machine.departed(
                worker.id, how, lease=lease, position=position, text="it died"
            )
            self._flush(self.supervisor)
        self._worker(queues, worker.supervised, credit=3, tasks=tasks)

    # --- what must always hold ---

    def _present(self) -> tuple[dict[str, list[Batch]], dict[str, list[tuple[Batch, list[int]]]]]:
        """All that the broker has in memory: ready and delayed batches, and leased ones with their
        open positions."""
        ready: dict[str, list[Batch]] = {}
        leased: dict[str, list[tuple[Batch, list[int]]]] = {}
        for name, queue in self.broker.book.queues.items():
            r = queue.ready
            rows = (r._suspects, r._returned, r._new, *r._rows.values())
            ready[name] = [batch for row in rows for batch in row]
            ready[name] += [batch for _, batch in r.delayed if batch.frame.body]
            leased[name] = []
        for lease in self.broker.dispatch.leases._leases.values():
            assert lease.holder.leases[lease.number] is lease
            for index, batch in enumerate(lease.batches):
                places = [
                    first + i for first, count in lease.open_runs(index) for i in range(count)
                ]
                if places:
                    leased[batch.frame.queue].append((batch, places))
        return ready, leased

    @invariant()
    def books_are_right(self) -> None:
        """Counters equal a recount; nothing is there twice; bounds hold."""
        ready, leased = self._present()
        all_bytes = far_bytes = 0
        places: Counter[tuple[int, int, int]] = Counter()
        for name, queue in self.broker.book.queues.items():
            r = queue.ready
            stored = [batch for _, batch in r.delayed if not batch.frame.body]
            waiting, free = [*ready[name], *stored], OVERHEAD_BYTES * len(stored)
            assert r.ready_tasks + r.delayed_tasks == sum(batch.count for batch in waiting)
            assert r.ready_bytes + r.delayed_bytes == sum(b.nbytes for b in waiting) - free
            assert r.delayed.memory_bytes <= r.delayed_bytes + free
            assert r.delayed_tasks == sum(batch.count for _, batch in r.delayed)
            assert r.suspect_tasks == sum(batch.count for batch in r._suspects)
            assert r.leased_tasks == sum(len(left) for _, left in leased[name])
            assert r.leased_bytes == sum(batch.nbytes for batch, _ in leased[name])
            all_bytes += r.ready_bytes + r.leased_bytes + r.delayed.memory_bytes
            far_bytes += r.far.memory_bytes
            assert r.far_tasks == sum(run.tasks for found in r.far for run in found.runs)
            near_bytes = r.ready_bytes + r.leased_bytes + r.delayed_bytes
            assert r.bytes == near_bytes + sum(f.nbytes for f in r.far)
            # Of a commit that was torn, what it put is found, and not what was over by then.
            assert r.tasks <= max(TASKS_MAX + max(TASKS_MAX // 4, BATCH_MAX), self.recovered)
            # Cutting adds overhead, and what came back of a lease counts twice while it is open.
            slack = OVERHEAD_BYTES * (len(ready[name]) + len(leased[name]))
            slack += sum(b.nbytes for b, left in leased[name] if len(left) < b.count)
            limit = LIMITS.queue_bytes_max
            assert (
                r.bytes
                <= limit + max(limit // 4, self.biggest_bytes) + slack + self.recovered_bytes
            )
            for batch in ready[name]:
                for position in range(batch.first, batch.first + batch.count):
                    places[id(batch.frame.origin), batch.frame.sequence, position] += 1
            for batch, left in leased[name]:
                for position in left:
                    places[
                        id(batch.frame.origin), batch.frame.sequence, batch.first + position
                    ] += 1
        assert self.broker.book.budget.bytes == all_bytes + far_bytes + self.broker.book.budget.held
        batches = [b for row in ready.values() for b in row]
        batches += [b for row in leased.values() for b, _ in row]
        frames = {id(batch.frame): len(batch.frame.body) for batch in batches}
        assert sum(frames.values()) <= 2 * all_bytes, "of what is alive half is counted"
        assert not [place for place, times in places.items() if times > 1]

    @invariant()
    def nothing_confirmed_is_missing(self) -> None:
        """A confirmed task is ready, delayed, or leased, or ran, or was set aside."""
        ready, leased = self._present()
        present: set[int] = set()
        for batches in ready.values():
            for batch in batches:
                present |= set(self._ids_in(batch))
        for pairs in leased.values():
            for batch, left in pairs:
                ids = self._ids_in(batch)
                present |= {ids[position] for position in left}
        present |= self._far_ids()
        over = self.executed | self._set_aside() | self.cancelled | self.stopping
        for client in self.producers:
            for sequence in client.confirmed:
                missing = set(client.tasks[sequence]) - present - over
                assert not missing, f"tasks {missing} were confirmed and are nowhere"

    def _far_ids(self) -> set[int]:
        """Tasks that are in no memory."""
        return set()

    @invariant()
    def everything_is_counted(self) -> None:
        c = self.broker.book.totals()
        held = sum(queue.ready.tasks for queue in self.broker.book.queues.values())
        assert c.published + self.recovered == c.done + c.failed + c.expired + c.cancelled + held
        assert c.dead + self.recovered_dead == self.broker.dead.total == len(self.broker.dead)
        assert c.garbage == c.refused == 0
        assert c.results_lost == self.dropped

    @invariant()
    def nothing_is_tried_too_often(self) -> None:
        ready, leased = self._here()
        for number in ready | leased:
            assert self.times.failures[number] <= self.times.retries(number), number

    @invariant()
    def what_drains_takes_nothing(self) -> None:
        for queue, published in self.published_before.items():
            assert queue.draining
            assert queue.counters.published == published

    @invariant()
    def nobody_waits_behind_another(self) -> None:
        """A task that is no suspect waits for room of those that have it, and for nothing else."""
        for queue in self.broker.book.queues.values():
            r = queue.ready
            waiting = {b.frame.task for b in (*r._returned, *r._new)} | set(r._rows)
            for worker, names in queue.servers.items() if not queue.paused else ():
                room = worker.credit - worker.in_flight
                if room >= min(BATCH_MAX, max(1, worker.credit // 2)):
                    is_kept = worker.alone or worker.reserved
                    has_some = any(self._has(queue, names, task) for task in waiting)
                    assert is_kept or not has_some, (queue, worker)

    @staticmethod
    def _has(queue: Queue, names: Names, task: str | None) -> bool:
        if not queue.ready.is_sorted:
            return True
        if task in queue.skills.known:
            return names is None or task in names
        return queue.skills.has_rest(names)

    @invariant()
    def workers_hold_what_they_may(self) -> None:
        for worker in self.broker.roster.workers.values():
            assert worker.in_flight == sum(lease.tasks for lease in worker.leases.values())
            if worker.alone:
                ((batch,),) = (lease.batches for lease in worker.leases.values())
                assert batch.count <= (1 if batch.crashes > 1 else SUSPECTS_MAX)

    def _set_aside(self) -> set[int]:
        """Tasks that the broker gave up itself: in dead letters, or answered as failed."""
        for letter in self.broker.dead.newest(10_000):
            ((number, _),) = unpack_bodies(letter.body)
            self.failed.add(number)
        for client in self.producers:
            known = self.broker.roster.producers.get(client.id)
            for one in known.held.values() if known is not None else ():
                self._note_failure(client, one.result)
        return self.failed

    # --- the end ---

    def teardown(self) -> None:
        """The network heals, workers are well: every promise must have been kept."""
        for queue in QUEUES:
            self.control(queue, RESUME)
        self._worker("abc", False, credit=4)
        for _ in range(DRAIN_ROUNDS):
            self._deliver_all()
            self._store_all()
            for worker in self.workers:
                worker.machine.set_credit(4)
                for lease in list(worker.held):
                    self._settle(worker, lease, 0, 100, RESULTS, 4)
            self._tick(0.3)
            if self._is_over():
                break
        self.books_are_right()
        self.everything_is_counted()
        assert self.broker.book.is_empty(), self.broker.teller.info()["queues"]
        assert self.broker.book.budget.bytes == 0
        assert len(self.broker.dispatch.leases) == 0
        for client in self.producers:
            assert not client.machine.unconfirmed, "never confirmed"
            assert not client.machine.sent, "nothing is to come of it, and it is kept"
            assert client.confirmed | client.gone == set(client.tasks)
            assert not client.awaited, "neither a result nor a word that it is lost"
            for sequence in client.confirmed:
                over = self.executed | self._set_aside() | self.cancelled | self.stopping
                missing = set(client.tasks[sequence]) - over
                assert not missing, "confirmed and never run"

    def _is_over(self) -> bool:
        return (
            self.broker.book.is_empty()
            and not any(client.up or client.down for client in self.clients)
            and not any(c.machine.unconfirmed or c.awaited for c in self.producers)
        )


class Stored(Broken):
    """A broker whose journal is stored, some time later; it dies, and what was stored is recovered.

    Nothing that it confirmed may be missing then.
    """

    def _make_broker(self) -> BrokerProtocol:
        self.shelf = getattr(self, "shelf", Shelf())
        self.shelf.wall_s = self.now
        self.commits: deque[tuple[int, list[Record | list[Fact]]]] = deque()
        """Handed out, and not known to be stored."""
        broker = self.shelf.broker(self.now, b"the only", LIMITS, self.brokers << 40)
        assert broker.book.overflow is not None
        broker.book.overflow.near_bytes = 2 * OVERHEAD_BYTES
        self.recovered = broker.book.tasks()
        self.recovered_bytes = broker.book.budget.bytes
        self.recovered_dead = len(broker.dead)
        return broker

    def _far_ids(self) -> set[int]:
        journal = self.broker.book.journal
        assert journal is not None
        noted = [*self.shelf.records, *(r for _, rs in self.commits for r in rs), *journal._entries]
        bodies = {record.number: record.body for record in noted if isinstance(record, Entry)}
        places: list[tuple[int, int, int]] = []
        for queue in self.broker.book.queues.values():
            far, waits = queue.ready.far, queue.ready.delayed
            places += [(found.number, *run[:2]) for found in far for run in found.runs]
            places += [(b.frame.entry, b.first, b.count) for _, b in waits if not b.frame.body]
        found = [unpack_bodies(bodies[entry])[first : first + n] for entry, first, n in places]
        return {body[0] for some in found for body in some}

    @rule(with_facts=st.booleans())
    def begin_to_store(self, with_facts: bool) -> None:
        """Facts in force may take the place of all that were told."""
        commit = self.broker.to_store()
        if commit is not None:
            ticket, records = commit
            facts = [self.broker.facts()] if with_facts else []
            self.commits.append((ticket, [*records, *facts]))

    @precondition(lambda self: self.commits)
    @rule(commits=st.integers(1, 3))
    def finish_to_store(self, commits: int) -> None:
        for _ in range(min(commits, len(self.commits))):
            ticket, records = self.commits.popleft()
            self.shelf.add(records)
        self.broker.stored(ticket)
        self._flush_broker()

    def _store_all(self) -> None:
        self.begin_to_store(with_facts=False)
        while self.commits:
            self.finish_to_store(1)
        self._deliver_all()

    @rule(lose_up=st.booleans(), written=st.integers(0, 20))
    def replace_broker(self, lose_up: bool, written: int) -> None:
        """It dies between `to_store` and `stored`: some of that was written, or nothing."""
        self._set_aside()
        handed_out = [record for _, records in self.commits for record in records]
        self.shelf.add(handed_out[:written])
        self.times.forget()
        self._start_broker()
        for client in self.clients:
            self._drop(client, lose_up=lose_up)
        for producer in self.producers:  # Results were lost with it, and some tasks run again.
            producer.broken |= set(producer.awaited)
            producer.resent |= set(producer.tasks)
        self.stopping |= self.cancelled  # As what is done: what was not written comes again.
        self.cancelled.clear()


SETTINGS = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    print_blob=True,
    # A failure is told as it was found: to make it small takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

Broken.TestCase.settings = Stored.TestCase.settings = SETTINGS

TestBroken = pytest.mark.timeout(240)(Broken.TestCase)
TestStored = pytest.mark.timeout(240)(Stored.TestCase)
