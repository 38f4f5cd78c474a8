"""The publisher: everything a producer has accepted, until each body and each future has its end.

Theory of operation. Bodies gather in lanes. A lane whose batch is due gives it to a connection,
which numbers it and keeps it until it is confirmed (`connection`); then the lane may be due again.
So batches form by themselves: a body alone when its lane is idle, full ones under load, and there
is no delay to tune. A lane that is due and finds no connection with room waits for the next batch
of any lane that is settled.

Results are not given out here, for that runs the user's code: what ended is noted in `endings`, and
whoever drives this machine gives it out when it holds no lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..errors import AlreadySent, NameTaken, Refused, ResultLost, ZQueueError
from ..stats.histogram import Histogram
from ..wire.link import Connected, Disconnected, Elsewhere, LinkEvent, Rejected, State
from ..wire.messages import RUNNING
from .choice import Choice
from .confirmation import Promise
from .connection import Connection
from .earlier import task_id
from .endings import Earlier, Ending, News, Verdict
from .fleet import Fleet
from .flow import BATCHES_LEAST
from .lane import Lane, LaneState
from .lanes import Lanes
from .moves import Moves
from .promises import Promises
from .questions import Asked, Place
from .replies import Reply, SharedReply
from .sent import (
    AlreadyKnown,
    Answered,
    BatchRefused,
    Confirmed,
    ConnectionEvent,
    Dismissed,
    EarlierCame,
    Postponed,
    Progressed,
    Resubmitted,
    ResultsCame,
    ResultsLost,
    Sent,
)

REPORT_EVERY_S = 1.0
"""How often a producer reports its confirm latencies, seconds."""

REFUSALS_MAX = 100
"""Refusals that the next flush may report; those before are in the log."""


class Publisher:
    """Lanes, and the results of what they sent, over connections to brokers."""

    def __init__(
        self, connections: list[Connection], names: list[str], own_name: str | None = None,
        *, patience_s: float = float("inf"), make: Callable[[int], Connection] | None = None,
    ) -> None:  # fmt: skip
        self.connections = connections
        self.fleet = Fleet(connections, names, make)
        self.dismissed: ZQueueError | None = None
        """Why nothing more can be sent, if another process has taken our name."""
        self._own_name = own_name
        self.state = LaneState.WAITING
        """As that of each lane: waiting until there was a broker, open, closed."""
        self.endings: deque[Ending | Verdict] = deque()
        self.news: deque[News] = deque()
        self._lost: set[Connection] = set()
        """Those that were connected, and are not."""
        self.trouble = ""
        """Why no broker welcomes us, as far as one has said."""
        self.lanes = Lanes()
        self._due: dict[Lane, None] = {}
        """Lanes to look at, the oldest first."""
        self._stalled: dict[Lane, None] = {}
        """Lanes that were due, and no connection had room."""
        self._choice = Choice(connections)
        self._moves = Moves(connections, self._choice)
        self.promises = Promises(connections, self.endings, patience_s)
        self._refusals: deque[Refused] = deque(maxlen=REFUSALS_MAX)
        self._told_of_earlier = False
        self._confirms = Histogram()
        self._report_at = 0.0

    def __repr__(self) -> str:
        return f"<Publisher {self.state.name.lower()}: {self.connections}>"

    # --- lanes ---

    def add(self, lane: Lane) -> Lane:
        """A new lane, or the one that is shared already."""
        lane = self.lanes.share(lane)
        self._welcome(lane)
        return lane

    def has_room_for(self, lane: Lane) -> bool:
        """Whether such a lane may be added: of options there are as many as are not idle."""
        return self.lanes.has_room_for(lane)

    def add_stream(self, lane: Lane) -> None:
        """A lane of one call. It is forgotten when it was finished and all of it is settled."""
        self.lanes.add_stream(lane)
        self._welcome(lane)

    def finish(self, lane: Lane) -> None:
        """Nothing more will gather in a lane of one call."""
        lane.hurry()
        self._due[lane] = None
        self.lanes.finish(lane)

    def flush(self) -> None:
        """Let what gathered leave, company or not, as far as there is room."""
        for lane in self.lanes:
            if lane.gathered:
                lane.hurry()
                self._due[lane] = None

    def mark(self, lane: Lane) -> None:
        """A lane may be due."""
        self._due[lane] = None
        self.lanes.hold(lane)

    def _welcome(self, lane: Lane) -> None:
        if self.state is LaneState.OPEN:
            lane.open()
        elif self.state is LaneState.CLOSED:
            lane.close()

    # --- what is not wanted any more ---

    def cancel(self, queue: str, places: list[Place], running: bool, *, waits: bool) -> list[Asked]:
        """Ask for tasks to be cancelled that were sent to a queue. Returns the questions, if who
        wants that ``waits`` for their answers."""
        asked, flags = list[Asked](), RUNNING if running else 0
        for connection in self.connections:
            theirs = sorted({place for place in places if connection.may_have(place)})
            if waits:
                asked += connection.questions.cancel_places(queue, theirs, flags)
            elif theirs:
                connection.questions.cancel_soon(queue, theirs, flags)
        return asked

    # --- batches ---

    def form_batches(self, now: float) -> None:
        """Give the batches that are due to connections."""
        while self._due:
            lane = next(iter(self._due))
            del self._due[lane]
            while lane.is_due():
                connection = self._choice.choose(lane, now)
                if connection is None:
                    self._stalled[lane] = None
                    break
                batch = lane.cut()
                if batch is None:
                    break
                frame, tasks, since, reply = batch
                sent = connection.publish(lane, frame, tasks, reply=reply, now=now,
                                          age_s=max(0.0, now - since))  # fmt: skip
                self._numbered(connection, sent)

    def publish(
        self, lane: Lane, frame: bytes, tasks: int, promise: Promise, now: float,
        since: float | None,
    ) -> bool:  # fmt: skip
        """Give a connection a batch that did not gather here, if there is room for it."""
        connection = self._choice.choose(lane, now)
        if connection is None or not lane.window.has_room(lane.in_flight):
            return False
        age_s = 0.0 if since is None else now - since
        sent = connection.publish(lane, frame, tasks, reply=promise.reply(), now=now, age_s=age_s,
                                  promise=promise)  # fmt: skip
        self._numbered(connection, sent)
        promise.numbered(connection.origin, sent.sequence)
        self.promises.add(sent)
        return True

    def _numbered(self, connection: Connection, sent: Sent) -> None:
        sent.lane.numbered(sent.nbytes)
        if sent.reply is not None:
            sent.reply.numbered(connection.origin, sent.sequence)

    @property
    def unconfirmed(self) -> int:
        """Tasks that were accepted and are not confirmed."""
        gathered = sum(lane.gathered for lane in self.lanes)
        return gathered + sum(connection.unconfirmed_tasks for connection in self.connections)

    def is_awaiting(self) -> bool:
        """Whether any result is to come."""
        return any(connection.is_awaiting() for connection in self.connections)

    def is_over(self) -> bool:
        """Whether every connection has left."""
        return all(connection.link.state is State.LEFT for connection in self.connections)

    def why_no_room(self, lane: Lane) -> str:
        """Why a lane stays full, though a broker is there."""
        if lane.window.why_full:
            why: str = lane.window.why_full
            return why
        if lane.in_flight < BATCHES_LEAST:
            return "too many batches wait for room in other queues"
        return f"queue {lane.queue!r} is full"

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called at the latest."""
        deadlines = [self.promises.next_deadline(), self._moves.next_deadline()]
        deadlines += [connection.next_deadline() for connection in self.connections]
        return min((each for each in deadlines if each is not None), default=None)

    def tick(self, now: float) -> bool:
        """Time has passed. Says whether anything changed."""
        happened = self._moves.tick(now)
        for connection in self.connections:
            connection.tick(now)
            happened |= self.handle(connection, now)
        self._leave_some(now)
        return self.promises.tick(now, self.trouble) or happened

    def has_earlier(self) -> bool:
        """Whether results are here that are for an earlier process of our name."""
        return any(len(connection.earlier) for connection in self.connections)

    def take_earlier(self) -> Earlier | None:
        """Results that are for an earlier process of our name, if any are here."""
        for connection in self.connections:
            run = connection.earlier.give()
            if run is not None:
                return Earlier(connection, run)
        return None

    def take_refusal(self) -> Refused | None:
        """The first refusal since it was asked for last."""
        first = self._refusals[0] if self._refusals else None
        self._refusals.clear()
        return first

    # --- events ---

    def cut(self, connection: Connection, is_cut: bool, now: float) -> None:
        """The network's connection broke, or is there again: seen long before a silence is."""
        connection.is_cut = is_cut
        self._look_for_broker(now)

    def _look_for_broker(self, now: float) -> None:
        there = (each.link.is_ready and not each.is_cut for each in self.connections)
        self.promises.broker_is(any(there), now)

    def handle(self, connection: Connection, now: float) -> bool:
        """See to what happened at a connection. Says whether anything did."""
        happened = False
        while (event := connection.next_event()) is not None:
            happened = True
            self._on_event(connection, event, now)
        if connection.is_leaving:
            self._leave_some(now)
        return happened

    def _leave_some(self, now: float) -> None:
        for connection in self.fleet.tick(now):
            self.handle(connection, now)
            self._moves.forget(connection)
            self._lost.discard(connection)

    def _on_event(
        self, connection: Connection, event: ConnectionEvent | LinkEvent, now: float
    ) -> None:
        if isinstance(event, Confirmed):
            for sent in event.batches:
                self._confirms.record(now - sent.since)
                sent.lane.window.confirmed(now)
                self.promises.confirmed(sent)
                self._settled(sent)
            self._moves.settled(now)
            if now >= self._report_at:
                self._report_at = now + REPORT_EVERY_S
                connection.report({"confirm": self._confirms.take().to_wire()})
        elif isinstance(event, ResultsCame | Progressed):
            self.endings.append(Ending(event.sent.reply, event))
        elif isinstance(event, Resubmitted):
            self._numbered(connection, event.sent)
        elif isinstance(event, ResultsLost):
            self.endings.append(Ending(event.sent.reply, ResultLost(event.text)))
        elif isinstance(event, BatchRefused):
            self._settled(event.sent)
            if not self.promises.refused(connection, event):
                self._on_refused(event)
        elif isinstance(event, AlreadyKnown):
            self._on_known(event)
        elif isinstance(event, Postponed):
            if not self._moves.postponed(connection, event, now):
                event.sent.lane.window.narrow(event.text)
                self.promises.postponed(connection, event, now)
        else:
            self._on_other_event(connection, event, now)

    def _on_other_event(
        self, connection: Connection, event: EarlierCame | Answered | Dismissed | LinkEvent,
        now: float,
    ) -> None:  # fmt: skip
        """What is about none of our batches."""
        if isinstance(event, LinkEvent):
            self._moves.on_link(connection, event, now)
            self._look_for_broker(now)
        if isinstance(event, Connected):
            self._on_connected(connection)
        elif isinstance(event, Disconnected):
            self._lost.add(connection)
            if len(self.connections) > 1:
                self.promises.abandoned(connection)
            text = f"the broker at {connection.name} is lost: {event.reason}"
            self.news.append(News("warning", text))
        elif isinstance(event, Elsewhere):
            self.fleet.met(connection, event)
        elif isinstance(event, Rejected):
            self.trouble = f": {event.text} ({event.code})"
        elif isinstance(event, Dismissed):
            self._on_dismissed(connection, event)
        elif isinstance(event, EarlierCame) and not self._told_of_earlier:
            self._told_of_earlier = True
            text = f"results came of what an earlier process {self._own_name!r} submitted"
            self.news.append(News("info", f"{text}: earlier_results() gives them"))

    def _on_known(self, event: AlreadyKnown) -> None:
        reply: Reply = event.sent.reply
        reply.numbered(event.origin, event.sequence)
        if event.first is not None:
            event.first.reply = SharedReply(event.first.reply, reply)
        else:
            known = task_id(event.origin, event.sequence, 0)
            self.endings.append(Ending(reply, AlreadySent(known)))

    def _on_refused(self, event: BatchRefused) -> None:
        sent, error = event.sent, Refused(event.code, event.text)
        if sent.reply is not None:
            self.endings.append(Ending(sent.reply, error))
            return
        self._refusals.append(error)
        text = f"the broker refused {sent.tasks} tasks for queue {sent.lane.queue!r}: {error}"
        self.news.append(News("error", text))

    def _on_dismissed(self, connection: Connection, event: Dismissed) -> None:
        text = (
            f"producer {self._own_name!r} has ended: {event.text} ({connection.name}). "
            f"Give each process a name of its own; {self.unconfirmed} tasks are not confirmed"
        )
        self.dismissed = NameTaken(text)
        self.close()
        self.give_up(self.dismissed)
        self.news.append(News("error", text))

    def _on_connected(self, connection: Connection) -> None:
        self.trouble = ""
        if connection in self._lost:
            self._lost.remove(connection)
            self.news.append(News("info", f"the broker at {connection.name} is back"))
        if self.state is LaneState.WAITING:
            self.state = LaneState.OPEN
        for lane in self.lanes:
            lane.open()
            self._due[lane] = None

    def _settled(self, sent: Sent) -> None:
        lane: Lane = sent.lane
        lane.settled(sent.nbytes)
        if lane.gathered:
            self._due[lane] = None
        self.lanes.forget(lane)
        self._due.update(self._stalled)
        self._stalled.clear()

    # --- the end ---

    def close(self) -> None:
        """Accept no more."""
        self.state = LaneState.CLOSED
        for lane in self.lanes:
            lane.close()
            self._due[lane] = None

    def leave(self, now: float) -> None:
        """Take leave of all brokers."""
        self.fleet.close(now)

    def give_up(self, error: ZQueueError) -> int:
        """Nothing more is sent, and results that did not come end with the error.

        Returns how many tasks were not confirmed.
        """
        left = self.unconfirmed
        for connection in self.connections:
            for sent in connection.sent.values():
                if sent.open:
                    sent.open = 0
                    self.endings.append(Ending(sent.reply, error))
        self.promises.give_up(error)
        for lane in list(self.lanes):
            self.endings.extend(Ending(reply, error) for reply in lane.give_up())
        return left

    def forked(self, error: ZQueueError) -> None:
        """In a child process: nothing is sent from here, and no result comes here."""
        self.state = LaneState.CLOSED
        for lane in list(self.lanes):
            lane.forked(error)
        sent = [sent for c in self.connections for sent in list(c.sent.values())]
        waiting = [who for each in sent for who in (each.reply, each.promise)]
        for whom in [*waiting, *list(self.endings)]:
            if whom is not None:
                whom.forked(error)
        self.endings.clear()
