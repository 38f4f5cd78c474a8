"""A producer of a run: the real publisher, lanes and connection, and a program that sends."""

from __future__ import annotations

import functools
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from zqueue.client.connection import Connection
from zqueue.client.lane import Lane
from zqueue.client.named import NamedConnection
from zqueue.client.names import ROW_NUMBERS
from zqueue.client.publisher import Publisher
from zqueue.client.replies import TaskFuture
from zqueue.client.sent import BatchRefused, Confirmed, ResultsCame, Sent
from zqueue.errors import Closed
from zqueue.wire.link import Connected
from zqueue.wire.options import TaskOptions

from . import history
from .facts import OUT
from .network import Network, Port
from .plan import draw_options
from .world import INFINITY, Process

if TYPE_CHECKING:
    from .system import System

PADDING = (0, 0, 0, 60, 200)
"""Bytes that a body carries beside its number."""


class Watched(Connection):
    """As it is; what was published under which number, and which broker confirmed it, is noted."""

    _host: ProducerHost
    _broker = ""

    def _keep(self, sent: Sent, now: float) -> None:
        self._host.published(sent.sequence, sent.frames[1])
        super()._keep(sent, now)

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, Connected):
            hub = self._host.network_of(self).hub
            self._broker = "nobody" if hub is None else hub.process.name
            if event.same_broker and self._broker != "nobody":
                self._host.told_to_forget([*self._gone._open], self._broker)
        elif isinstance(event, Confirmed):
            for sent in event.batches:
                self._host.confirmed(sent.sequence, self._broker)
        elif isinstance(event, ResultsCame):
            self._host.came(event.sent.sequence, event.first, event.tasks)
        elif isinstance(event, BatchRefused):
            self._host.refused(event.sent.sequence, event.code)
        return event


class WatchedNamed(Watched, NamedConnection):
    """The same of a producer with a name."""


class ProducerHost(Process):
    """One life of a producer. It sends so many tasks, waits for all it is owed, and leaves.

    One that ``is_named`` is the same producer as the one before it, of which it awaits ``earlier``
    results as well.
    """

    def __init__(
        self, system: System, name: str, id: bytes, tasks: int, is_named: bool, earlier: set[int]
    ) -> None:
        super().__init__(system.world, name)
        self.is_named = is_named
        self.earlier = earlier
        self._unheard: set[int] = set()
        """Tasks whose results are wanted, and that have none yet."""
        self._confirmed: set[int] = set()
        self.system = system
        self.id = id
        self.left = tasks
        self._history = system.history
        self._ports: dict[int, Port] = {}
        """By the broker that they lead to."""
        self._pairs: list[tuple[Connection, Port]] = []
        self._version = -1
        sites = system.named
        self._publisher = Publisher(
            [self._connection(row) for row in range(len(sites))], [*map(str, sites)],
            make=self._connection,
        )  # fmt: skip
        self._named = sites
        self._send_at = 0.0
        self._futures: dict[TaskFuture[Any], tuple[int, Lane]] = {}
        """Those without an outcome: their tasks, and where they were sent."""
        self._open = 0
        """Futures without an outcome."""
        self._is_leaving = False
        self.wake()

    def _connection(self, row: int) -> Connection:
        wall, chance = int(self.system.world.wall() * 1e6), self.system.world.random.random
        made: Watched
        if self.is_named:
            made = WatchedNamed(self.id, {}, chance, first=wall)
        else:
            made = Watched(self.id, {}, chance, base=row * ROW_NUMBERS)
        made._host = self
        return made

    def network_of(self, connection: Connection) -> Network:
        return self.system.networks[int(connection.name)]

    def told_to_forget(self, numbers: list[int], broker: str) -> None:
        """A broker is back that had batches which went elsewhere since."""
        for number in numbers:
            for task in self.system.tasks_of(self.id, number):
                self._history.add(history.Withdrawn(self.world.now, task, broker))

    def _follow(self) -> None:
        """Have a port for each connection, as `client.wires` does."""
        if self._named != self.system.named:
            self._named = self.system.named
            self._publisher.fleet.named([*map(str, self._named)])
        if self._version == self._publisher.fleet.version:
            return
        self._version = self._publisher.fleet.version
        connections = self._publisher.connections
        sites = {int(connection.name) for connection in connections}
        for site in self._ports.keys() - sites:
            self._ports.pop(site).close()
        for site in sorted(sites - self._ports.keys()):
            self._ports[site] = Port(self, self.system.networks[site])
        self._pairs = [(each, self._ports[int(each.name)]) for each in connections]

    def published(self, sequence: int, body: bytes) -> None:
        self.system.published(self.id, sequence, body)

    def confirmed(self, sequence: int, broker: str) -> None:
        for task in self.system.tasks_of(self.id, sequence):
            self._confirmed.add(task)
            self._history.add(history.Confirmed(self.world.now, task, broker))

    def came(self, sequence: int, first: int, tasks: int) -> None:
        """Results are here: whether or not this process lives to give them out, no other will."""
        self._unheard -= set(self.system.tasks_of(self.id, sequence)[first : first + tasks])

    def refused(self, sequence: int, code: str) -> None:
        for task in self.system.tasks_of(self.id, sequence):
            self._history.add(history.Refused(self.world.now, task, code))

    @property
    def owes_nothing(self) -> bool:
        """Whether all that it accepted is confirmed, and all that it awaits has an outcome."""
        return not (self.left or self._open or self._publisher.unconfirmed or self.earlier)

    def unheard(self) -> set[int]:
        """What the next process of its name has to hear of."""
        return self.earlier | (self._unheard & self._confirmed)

    def why_not_over(self) -> str:
        """What it still waits for."""
        return (
            f"{self}: {self.left} to send, {self._publisher.unconfirmed} unconfirmed, "
            f"{self._open} results to come, {len(self.earlier)} of before; {self._publisher!r}"
        )

    # --- its loop ---

    def turn(self) -> float:
        now = self.clock()
        publisher = self._publisher
        publisher.tick(now)
        self._pump()
        self._take_earlier()
        if self.left and self.world.now >= self._send_at and not publisher.state:
            self._send_some()
            self._pump()
        if self.owes_nothing and not self._is_leaving:
            self._is_leaving = True
            publisher.close()
            publisher.leave(now)
            self._pump()
        if publisher.is_over():
            self.kill()
            return INFINITY
        deadline = publisher.next_deadline() or INFINITY
        waits = not self.left or publisher.state
        return deadline if waits else min(deadline, self._send_at + self.offset_s)

    def _pump(self) -> None:
        now = self.clock()
        publisher, has_received = self._publisher, True
        while has_received:
            has_received = False
            self._follow()
            if len(self._pairs) > 1:
                for connection, port in self._pairs:
                    publisher.cut(connection, not port.is_connected, now)
            publisher.form_batches(now)
            for connection, port in self._pairs:
                has_received |= self._converse(connection, port, now)
        publisher.news.clear()
        while publisher.endings:
            publisher.endings.popleft().give_out()

    def _converse(self, connection: Connection, port: Port, now: float) -> bool:
        messages, has_received = connection.to_send(), False
        if messages:
            port.send(messages, afresh=connection.link.is_greeting)
        port.flush()
        while (frames := port.receive()) is not None:
            has_received = True
            connection.receive(frames, now)
        if has_received:
            self._publisher.handle(connection, now)
        return has_received

    def _take_earlier(self) -> None:
        """Results of what an earlier process of the name submitted: each comes at least once."""
        while (given := self._publisher.take_earlier()) is not None:
            for result in given.run.results():
                _, sequence, position = result.id.split("-")
                task = self.system.tasks_of(self.id, int(sequence))[int(position)]
                if task in self.earlier:
                    self.earlier.discard(task)
                    self._tell(task, result.error, result.value)
            given.connection.took(given.run)
        if self.system.may_lose_results:
            self.earlier.clear()

    def _send_some(self) -> None:
        random = self.world.random
        plan = self.system.plan
        for _ in range(min(self.left, random.choice((1, 1, 3, 10, 40)))):
            name, queue = self.system.draw_task()
            is_reply = random.random() < plan.replies
            options = None
            if random.random() < plan.options:
                options = draw_options(random, self.world.wall())
            if random.random() < plan.plain:
                name, queue, is_reply = "", OUT, False
            lane = Lane(self, queue, name, reply=is_reply, options=options)
            lane = self._publisher.add(lane)
            if lane.must_ask:
                break  # The program waits for room.
            self._send(lane, is_reply, options)
        self._send_at = self.world.now + random.expovariate(
            plan.tasks / (0.5 * plan.seconds * plan.producers)
        )

    def _send(self, lane: Lane, is_reply: bool, options: TaskOptions | None) -> None:
        task = self.system.new_task()
        self.left -= 1
        body = [task, b"x" * self.world.random.choice(PADDING)]
        self._history.add(
            history.Sent(self.world.now, task, self.name, lane.queue, lane.task, is_reply)
        )
        if options is not None:
            self.system.has_options(task, options)
        if not is_reply:
            lane.add(body)
            return
        future: TaskFuture[Any] = TaskFuture()
        future.add_done_callback(functools.partial(self._told, task))
        self._open += 1
        self._futures[future] = task, lane
        if options is None or options.key is None:  # Its result may be that of another process.
            self._unheard.add(task)
        lane.put(body, future)
        if lane.is_idle or lane.is_full:
            self.service(lane)

    def cancel(self, running: bool) -> None:
        """The program does not want some of its tasks any more: as `Exchange.cancel` does it, for
        one that does not wait for the answer."""
        random = self.world.random
        chosen: dict[Lane, dict[TaskFuture[Any], int]] = {}
        for future, (task, lane) in self._futures.items():
            if random.random() < 0.3:
                chosen.setdefault(lane, {})[future] = task
                self._history.add(history.Unwanted(self.world.now, task))
        for lane, futures in chosen.items():
            dropped = lane.drop([*futures])
            places = [f.place for f in futures if f.place and f not in dropped]
            self._publisher.cancel(lane.queue, places, running, waits=len(places) > 1)
            for future in dropped:
                self._unheard.discard(futures[future])
                future.set_cancelled()
        self.wake()

    def _told(self, task: int, future: TaskFuture[Any]) -> None:
        self._open -= 1
        del self._futures[future]
        error = CancelledError() if future.cancelled() else future.exception()
        if not isinstance(error, Closed):
            self._tell(task, error, None if error is not None else future.result())

    def _tell(self, task: int, error: BaseException | None, value: object) -> None:
        if error is None:
            told = history.Told(self.world.now, task, "value", value)
        else:
            told = history.Told(
                self.world.now, task, getattr(error, "type_name", type(error).__name__)
            )
        self._history.add(told)

    # --- what lanes ask for ---

    def service(self, lane: Lane | None = None) -> None:
        if lane is not None:
            self._publisher.mark(lane)
        self._pump()

    def make_room(self, lane: Lane, timeout: float | None) -> None:
        raise AssertionError("there is room: it was asked before")

    def step_aside(self) -> None:
        raise AssertionError("nobody waits in a callback")

    def ended(self) -> None:
        for port in self._ports.values():
            port.close()
        self.system.producer_ended(self)
