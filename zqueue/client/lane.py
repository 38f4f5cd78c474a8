"""A lane: the packed bodies that gather in a producer for one queue, task and options.

Theory of operation. `Lane.add` runs for every task and takes no lock. It packs the body into the
batch that is gathering, and only when the lane is idle or a batch is full calls the lane's owner,
which holds its lock. A confirm makes the lane idle *before* it looks for gathered bodies, and `add`
packs *before* it looks whether the lane is idle, so whichever comes second sees the other: no body
is left behind.

When a batch is due, and what follows from its being numbered, settled or given up, is decided here
and nowhere else, in methods that need the owner's lock.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..arguments import Arguments
from ..errors import BodyError
from ..handlers import call_body
from ..wire.codec import Packer, array_header, array_length
from ..wire.options import TaskOptions
from ..wire.unpacking import index_bodies
from .flow import Window
from .ordered import Stream
from .questions import Cancellation
from .replies import FutureReply, Reply, TaskFuture

if TYPE_CHECKING:
    from .. import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from .. import _cython as cython

BATCH_TASKS = 2048
"""Tasks in a full batch. Four times 512 takes the broker's share of a small task from 350 to
120 ns (docs/benchmarks.md); frames much larger fit no cache, and must be cut for slow workers."""

BATCH_BYTES = 128 << 10
"""A batch is also full at this size. Bodies of a few KiB then still travel by the dozen: with half
as much, a word count of 2 KiB pieces took producer and broker a quarter longer."""


class LaneState(enum.IntEnum):
    """Whether bodies may gather. Open is 0: `Lane.add` asks for every task."""

    OPEN = 0
    WAITING = 1
    """There was no broker yet."""
    CLOSED = 2
    """For good."""


class LaneOwner(Protocol):
    """What a lane needs of its producer."""

    def make_room(self, lane: Lane, timeout: float | None) -> None:
        """Return when another body may gather."""

    def service(self, lane: Lane | None = None) -> None:
        """Send what should go, and take what came."""

    def step_aside(self) -> None:
        """The calling thread is about to wait for a result."""

    def cancel(
        self, lane: Lane, futures: list[TaskFuture[Any]], running: bool, seconds: float
    ) -> Cancellation:
        """See `Exchange.cancel`."""


class Batch(NamedTuple):
    """What is cut from a lane."""

    frame: bytes
    tasks: int
    since: float
    """When the oldest of its bodies came; of delayed ones the youngest."""
    reply: Reply | None
    """Where its results go, if they are wanted."""


class Lane:
    """What gathers for one queue, task and equal options, with or without results.

    With a ``stream``, which the results of all go to, the first batches are small: 1, 2, 4 … tasks,
    so that they spread over the workers.
    """

    def __init__(
        self,
        owner: LaneOwner,
        queue: str,
        task: str,
        *,
        reply: bool = False,
        stream: Stream | None = None,
        options: TaskOptions | None = None,
    ) -> None:
        self._owner = owner
        self._lock = threading.RLock()
        asked = options or TaskOptions()
        self.is_delayed = asked.delay_ms is not None
        # A task with a key is a batch of its own; and one that must not run before its time, which
        # the youngest of a batch decides, nor after it, which the oldest does.
        has_two_times = self.is_delayed and asked.expires_ms is not None
        self.is_alone = asked.key is not None or has_two_times
        """Whether each task is a batch."""
        begins_small = stream is not None or self.is_alone
        self._packer = Packer(1 if begins_small else BATCH_TASKS, BATCH_BYTES)
        self._packer.is_eager = True
        self._stream = stream
        self._futures: deque[TaskFuture[Any]] = deque()
        self._dropped: set[TaskFuture[Any]] = set()
        """Those of them that are cancelled."""
        self.queue = queue
        self.task = task
        self.reply = reply or stream is not None
        self.options = b"" if options is None else options.pack()
        """As they travel."""
        self.resubmit = bool(asked.resubmit)
        self.state: int = LaneState.WAITING
        self.in_flight = 0
        """Batches that are not confirmed."""
        self.key = asked.key
        """What pins its batch to a broker."""
        self.home: Any = None
        """Where its last batch went."""
        self.window = Window()
        self._is_hurried = False
        self._since = 0.0
        """When the oldest of the bodies came that gather now; of delayed ones the youngest, for
        none may run before its time."""
        self._is_empty = True

    def __repr__(self) -> str:
        state = LaneState(self.state).name.lower()
        name = f"{self.queue}/{self.task}"
        return f"<Lane {name} {state}: {self.gathered} gathered, {self.in_flight} in flight>"

    def add(self, body: object, timeout: float | None = None) -> None:
        """Send a body: see `Producer.send`."""
        if self.state or self._packer.is_full:
            self._owner.make_room(self, timeout)
        self.put(body)
        if self._packer.is_eager or self._packer.is_full:
            self._owner.service(self)

    def put(self, body: object, future: TaskFuture[Any] | None = None) -> None:
        """Pack a body, and leave it to the caller to ask for room and service.

        Its future comes with it in the same step: whoever sends or is interrupted in between
        would give all that follow the results of others.
        """
        if self.is_delayed:
            self._since = monotonic()
        if cython.compiled:
            self._packer.add(body)
            if future is not None:
                self._futures.append(future)
        else:
            with self._lock:
                before = len(self._packer)
                try:
                    self._packer.add(body)
                finally:
                    if future is not None and len(self._packer) > before:
                        self._futures.append(future)
        if self._is_empty:
            self._is_empty = False
            self._since = monotonic()

    def fill(self, bodies: Iterator[object], first: int = 0) -> int:
        """Pack bodies until the owner is to be asked for service: see `Packer.fill`."""
        count = 0
        try:
            if cython.compiled:
                count = self._packer.fill(bodies, first)
            else:
                for body in bodies:
                    try:
                        self.put(body)
                    except BodyError as error:
                        raise type(error)(f"body {first + count}: {error}") from None
                    count += 1
                    if self.is_idle or self.is_full:
                        break
        finally:
            if self._is_empty or self.is_delayed:
                self._is_empty = False
                self._since = monotonic()
        return count

    @property
    def must_ask(self) -> bool:
        """Whether there must be room before another body is put."""
        return bool(self.state) or self._packer.is_full

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is unconfirmed, so that a body leaves at once."""
        return self._packer.is_eager

    @property
    def is_full(self) -> bool:
        """Whether what gathered is a full batch, by number or by size."""
        return self._packer.is_full

    @property
    def gathered(self) -> int:
        """Bodies that were added and not cut."""
        with self._lock:
            return len(self._packer)

    def step_aside(self) -> None:
        """The calling thread is about to wait for a result."""
        self._owner.step_aside()

    def cancel(self, futures: list[TaskFuture[Any]], running: bool, seconds: float) -> Cancellation:
        """Cancel tasks that were sent here: see `Exchange.cancel`."""
        return self._owner.cancel(self, futures, running, seconds)

    # --- with the owner's lock ---

    def open(self) -> None:
        """There is a broker. A lane that is closed stays so."""
        if self.state == LaneState.WAITING:
            self.state = LaneState.OPEN

    def close(self) -> None:
        """Nothing more may gather."""
        self.state = LaneState.CLOSED
        self._is_hurried = True

    def hurry(self) -> None:
        """Let what gathered leave as soon as there is room, without waiting for company."""
        self._is_hurried = True

    def is_due(self) -> bool:
        """Whether a batch should be cut now."""
        if not self.window.has_room(self.in_flight):
            return False
        if self._packer.is_full:
            return True
        gathered = self.gathered > 0
        if self._is_hurried and not gathered:
            self._is_hurried = False  # All has left.
        return gathered and (not self.in_flight or self._is_hurried)

    def drop(self, futures: list[TaskFuture[Any]]) -> list[TaskFuture[Any]]:
        """Leave out those that gather here still when a batch is cut. Returns them."""
        wanted = set(futures)
        dropped = [future for future in self._futures if future in wanted]
        self._dropped.update(dropped)
        return dropped

    def cut(self) -> Batch | None:
        """Remove the oldest batch, full or not. It is numbered, or nothing of it is sent."""
        was_empty, self._is_empty = self._is_empty, True
        if cython.compiled:
            frame = self._packer.take()
        else:
            with self._lock:
                frame = self._packer.take()
        if not frame:
            return None
        tasks = array_length(frame)
        reply: Reply | None = None
        if self._stream is not None:
            if not self.is_alone:
                self._packer.tasks_max = min(2 * self._packer.tasks_max, BATCH_TASKS)
            reply = self._stream.reply(tasks)
        elif self.reply:
            futures = [self._futures.popleft() for _ in range(tasks)]
            if self._dropped:
                frame, futures = self._without_dropped(frame, futures)
                tasks = len(futures)
                if not tasks:
                    return self.cut()
            reply = FutureReply(futures)
        # Another thread packed a body that it has not noted yet: it came just now.
        return Batch(frame, tasks, monotonic() if was_empty else self._since, reply)

    def _without_dropped(
        self, frame: bytes, futures: list[TaskFuture[Any]]
    ) -> tuple[bytes, list[TaskFuture[Any]]]:
        """What is left of a batch."""
        offsets = index_bodies(frame)
        kept = [place for place, future in enumerate(futures) if future not in self._dropped]
        self._dropped.difference_update(futures)
        bodies = [frame[offsets[place] : offsets[place + 1]] for place in kept]
        return array_header(len(kept)) + b"".join(bodies), [futures[place] for place in kept]

    def numbered(self, nbytes: int) -> None:
        """A batch of so many bytes is on its way."""
        self.in_flight += 1
        self.window.sent(nbytes)
        self._packer.is_eager = False

    def settled(self, nbytes: int) -> None:
        """A batch was confirmed or refused."""
        self.in_flight -= 1
        self.window.settled(nbytes)
        if not self.in_flight:
            self._packer.is_eager = True  # Before anybody looks at what gathered: see above.

    def give_up(self) -> list[Reply]:
        """What gathered is not sent. Returns whose results will not come; `fail` them.

        From now on each `add` asks for service, and is told of the error there.
        """
        self.close()
        self._packer.is_eager = True
        replies = []
        while (batch := self.cut()) is not None:
            if batch.reply is not None:
                replies.append(batch.reply)
        return replies

    def forked(self, error: Exception) -> None:
        """In a child process: whoever held the lock is not here, and nothing may gather."""
        self._lock = threading.RLock()
        self.close()
        if self._stream is not None:
            self._stream.forked(error)
        for future in list(self._futures):
            future.forked(error)


class Entrance:
    """Where the calls of one task become bodies of a lane. Calling it sends its arguments.

    ``find`` finds what takes the bodies, as `Lane.add` does; a lane is found only once.
    ``wait`` is how many seconds to wait for room (None: as the producer does). The ``arguments``
    of a call are checked here.
    """

    def __init__(self, find: Callable[[], Any], wait: float | None, arguments: Arguments) -> None:
        self._find = find
        self._wait = wait
        self._arguments = arguments
        self._least = self._arguments.least
        self._most = self._arguments.most
        self._shape: tuple[Any, ...] = (-1,)
        """Of the last call with named arguments: their names, and how many there were beside."""
        self._lane: Lane | None = None
        self._forgotten = 0
        self.__name__ = "send"
        self.__doc__ = arguments.doc
        self.__signature__ = arguments.shown

    def __repr__(self) -> str:
        return f"<send{self.__signature__ or '(...)'}>"

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs:
            if not self._is_as_before(args, kwargs):
                self._arguments.check(args, kwargs)
                self._shape = (*kwargs, len(args))
        elif not self._least <= len(args) <= self._most:
            self._arguments.check(args, kwargs)
        try:
            self.add(args if not kwargs else call_body(args, kwargs))
        except BodyError as error:
            raise self._arguments.blamed(error, args, kwargs) from None

    def _is_as_before(self, args: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Whether the last call with named arguments, which fitted, had the same ones."""
        shape = self._shape
        names = len(shape) - 1
        if names != len(named) or shape[names] != len(args):
            return False
        for place in range(names):  # noqa: SIM110 -- compiled
            if shape[place] not in named:
                return False
        return True

    def add(self, body: object) -> None:
        """Send a body: see `Producer.send`."""
        lane = self._lane
        if lane is None:
            forgotten = self._forgotten
            found = self._find()
            if type(found) is not Lane:
                found.add(body, self._wait)
                return
            lane = self._lane = found
            if forgotten != self._forgotten:
                self._lane = None  # Another thread told us to forget it while it was found.
        lane.add(body, self._wait)

    def forget(self) -> None:
        """The lane is no more the one to be used."""
        self._forgotten += 1
        self._lane = None
