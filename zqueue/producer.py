"""The producer: takes bodies from any number of threads and sends them in batches.

Each (queue, task) is a *lane* (`lane`), where bodies gather until a batch of them is due
(`publisher`). Sockets, threads and waiting are the `exchange`'s, which lives on when a producer is
dropped, until what was accepted is confirmed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import random
import socket as stdlib_socket
import time
import warnings
from collections.abc import Iterable, Iterator, Sized
from typing import Any

from .client.confirmation import Confirmation
from .client.connection import Connection
from .client.earlier import EarlierResult
from .client.exchange import Exchange
from .client.lane import Lane
from .client.loop_calls import LoopCalls
from .client.named import NamedConnection
from .client.names import NAMED_ROW_NUMBERS, NAMED_ROWS, ROW_NUMBERS, ROWS, id_of
from .client.publisher import Publisher
from .client.replies import TaskFuture
from .config import BrokerList, default_url
from .errors import ConfigError, ZQueueError
from .seconds import check_seconds
from .wire.codec import pack_batch
from .wire.headers import check_name
from .wire.options import TaskOptions
from .wire.results import Outcome

logger = logging.getLogger(__name__)

TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0

INTERRUPTS = (KeyboardInterrupt, asyncio.CancelledError)
"""Ctrl-C in a program with a loop cancels what runs there."""

INTERRUPTED_S = 1.0
"""How long leaving a ``with`` block waits for confirms after Ctrl-C. Nobody waits half a minute
then; what is not confirmed is counted in the log."""


def _connection(id: bytes, about: dict[str, Any], is_named: bool, row: int) -> Connection:
    chance = random.Random().random
    if not is_named:
        return Connection(id, about, chance, base=row % ROWS * ROW_NUMBERS)
    # Microseconds of the clock: above all that an earlier process used, also where the broker
    # has forgotten that one. Where the clock was set back, the broker says what is above.
    first = row % NAMED_ROWS * NAMED_ROW_NUMBERS + time.time_ns() // 1000
    return NamedConnection(id, about, chance, first=first)


class Producer(LoopCalls):
    """Sends bodies to queues of one broker, or of several. Any number of threads may share it.

    Parameters:
        url: the broker's address, ``tcp://HOST:PORT`` or ``ipc:///PATH``; or those of several, with
            commas between them; ``dns+tcp://NAME:PORT`` is every address of a name, and
            ``file:///PATH`` a list of URLs, which both may change while this producer lives. By
            default ``ZQUEUE_URL``, or ``tcp://127.0.0.1:5555``.
        timeout: seconds a call waits for room, or `flush` for confirms, before it raises. None
            waits as long as it takes.
        connect_timeout: seconds the first call waits for a broker.
        name: what the next process that does this work calls itself, too, 1 to 128 of
            ``A-Z a-z 0-9 _ . -``. The broker then keeps results for it (`earlier_results`). Only
            one process at a time may have a name: if another one comes, this one's calls raise
            `NameTaken`.

    Every accepted body is kept until the broker has confirmed it, and sent again if the
    connection or the broker was lost meanwhile, so a body may arrive twice but does not vanish.
    `close` (or leaving the ``with`` block, or the end of the program) waits for the confirms
    and says so if some did not come.

    Raises `ConfigError`, `InvalidName`: the address, a time-out or the name makes no sense.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout: float | None = TIMEOUT_S,
        connect_timeout: float | None = CONNECT_TIMEOUT_S,
        name: str | None = None,
    ) -> None:
        self.url = url or default_url()
        self.timeout = check_seconds(timeout, "timeout")
        self.connect_timeout = check_seconds(connect_timeout, "connect_timeout")
        self.name = None if name is None else check_name(name, "producer")
        about = {"pid": os.getpid(), "host": stdlib_socket.gethostname()}
        brokers = BrokerList.parse(self.url)
        own_id = os.urandom(16) if name is None else id_of(name)
        make = functools.partial(_connection, own_id, about, name is not None)
        self._publisher = Publisher(
            [make(row) for row in range(len(brokers.addresses))],
            [address.url for address in brokers.addresses], name,
            patience_s=self.connect_timeout, make=make,
        )  # fmt: skip
        self._exchange = Exchange(
            brokers, self._publisher, timeout_s=self.timeout, connect_s=self.connect_timeout
        )
        super().__init__(self._exchange)

    @property
    def is_alone(self) -> bool:
        """Whether no broker is there, as far as is known: one was and is lost, or none came while
        something that was published waited for one."""
        return self._publisher.promises.is_alone

    def __repr__(self) -> str:
        return f"<Producer {self.url}: {self._publisher!r}>"

    def __del__(self) -> None:
        exchange = getattr(self, "_exchange", None)
        if exchange is not None and exchange.is_open:
            exchange.abandon()
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=1)

    # --- sending ---

    def send(
        self,
        queue: str,
        body: object,
        *,
        task: str = "",
        timeout: float | None = None,
        options: TaskOptions | None = None,
    ) -> None:
        """Send one body to a queue. Returns when it is accepted; its confirm comes later.

        Parameters:
            body: anything msgpack carries: None, bool, int, float, str, bytes, list, dict.
            task: name of the handler; by default the queue's only one.
            timeout: seconds to wait if there is no room, 0 for not at all (default: the
                producer's).
            options: when it may run, how often it is tried again …: see `task_options`.

        Raises:
            BodyError, InvalidName: the body or a name cannot be sent.
            QueueFull: no room within the time.
            BrokerLost: no room within the time, and no broker answers.
        """
        if timeout is not None:
            check_seconds(timeout, "timeout")
        if options is None:
            self.lane(queue, task).add(body, timeout)
        else:
            self.lane(queue, task, options=options, timeout=timeout).add(body, timeout)

    def send_many(
        self,
        queue: str,
        bodies: Iterable[object],
        *,
        task: str = "",
        timeout: float | None = None,
        options: TaskOptions | None = None,
    ) -> int:
        """Send bodies, in full batches if they come fast. Returns how many; raises as `send` does.

        A body is on its way soon after ``bodies`` gave it. When it raises, or they do, the bodies
        before have been accepted.
        """
        self._check(timeout, options)
        lane = self.lane(queue, task, options=options, timeout=timeout)
        source = iter(bodies)
        sent = 0
        while count := self._exchange.fill(lane, source, sent, timeout):
            sent += count
        return sent

    def submit(
        self,
        queue: str,
        body: object,
        *,
        task: str = "",
        timeout: float | None = None,
        options: TaskOptions | None = None,
    ) -> TaskFuture[Any]:
        """Send one body and get a future of its result. Raises as `send` does.

        The future fails with `RemoteError` if the handler raised, with `Refused` if the broker
        refused the task, and with `ResultLost` if what became of it cannot be known. It can be
        cancelled until a worker has it (`TaskFuture.cancel`).
        """
        self._check(timeout)
        lane = self.lane(queue, task, reply=True, options=options, timeout=timeout)
        future: TaskFuture[Any] = TaskFuture(lane)
        self._exchange.submit(lane, body, future, timeout)
        return future

    def publish(
        self,
        queue: str,
        bodies: Iterable[object],
        *,
        task: str = "",
        results: bool = False,
        options: TaskOptions | None = None,
    ) -> Confirmation:
        """Send bodies at once, as one batch, and get a future of its confirm. Never waits.

        The future is done once the broker has confirmed the batch: durably, if it has a store. It
        fails, and so do the tasks' futures, with `QueueFull` if the broker has no room now: then
        none of the bodies was taken. It fails with `BrokerLost` if no broker answers within
        ``connect_timeout``, and with `Refused` if the broker will not take the batch; its ``code``
        is ``draining`` where it will later, or another broker will. None of the bodies is sent any
        more then; but if the connection was lost meanwhile, they may have been taken before.

        The batch does not wait for what gathers after `send`, and may overtake it.

        Parameters:
            bodies: 4096 at most.
            results: whether to make a future of each task's result, too: `Confirmation.tasks`.
            task, options: as for `send`. With a key there is one body.

        Raises:
            BodyError, BodyTooLarge, InvalidName, ConfigError: this cannot be sent.
            QueueFull: so much is unconfirmed that there is no room for more.
            BrokerLost: the same, and no broker answers.
            Closed, NameTaken: this producer has ended.
        """
        frame, tasks = pack_batch(bodies)
        return self.publish_packed(queue, frame, tasks, task=task, results=results, options=options)

    def publish_packed(
        self, queue: str, frame: bytes, tasks: int, *, task: str = "", results: bool = False,
        options: TaskOptions | None = None,
    ) -> Confirmation:  # fmt: skip
        """`publish` for bodies that `wire.codec.pack_batch` has packed: trying again is cheap."""
        if options is not None and options.key is not None and tasks > 1:
            raise ConfigError("a key= is of one task: publish each with its own")
        lane = self._publisher.lanes.find(queue, task, results, options)
        if lane is None:
            lane = self._make_lane(queue, task, reply=results, options=options)
        futures = [TaskFuture[Any](lane) for _ in range(tasks if results else 0)]
        confirmation = Confirmation(lane, futures)
        if tasks:
            self._exchange.publish(lane, frame, tasks, confirmation)
        else:
            confirmation.end()
        return confirmation

    def call_many(
        self,
        queue: str,
        bodies: Iterable[object],
        *,
        task: str = "",
        timeout: float | None = None,
        wait: float | None = None,
        aside: bool | None = None,
        options: TaskOptions | None = None,
    ) -> Iterator[Any]:
        """Send bodies and give their results in order, each as soon as it is there.

        Reads the bodies some batches ahead of the results. A failed task raises its
        `RemoteError` where its result would stand, and what ``bodies`` raises comes behind the
        results of those before.

        Parameters:
            timeout: as for `send`.
            wait: seconds that the next result may take, once it is asked for, before `TimedOut` is
                raised. None waits as long as it takes.
            aside: whether to read the bodies in a thread of its own, so that results come while
                ``bodies`` pauses; by default, unless they have a length, as lists do.
        """
        for outcomes in self._call_many(queue, bodies, task, timeout, wait, aside, options):
            for ok, value in outcomes:
                if not ok:
                    raise value
                yield value

    def outcomes(
        self,
        queue: str,
        bodies: Iterable[object],
        *,
        task: str = "",
        timeout: float | None = None,
        wait: float | None = None,
        aside: bool | None = None,
        options: TaskOptions | None = None,
    ) -> Iterator[Outcome]:
        """As `call_many`, giving ``(True, value)`` or ``(False, exception)`` for each body."""
        for outcomes in self._call_many(queue, bodies, task, timeout, wait, aside, options):
            yield from outcomes

    def _call_many(
        self,
        queue: str,
        bodies: Iterable[object],
        task: str,
        timeout: float | None,
        wait: float | None,
        aside: bool | None,
        options: TaskOptions | None,
    ) -> Iterator[list[Outcome]]:
        if aside is None:
            aside = not isinstance(bodies, Sized)
        call = self._map_call(queue, task, timeout, wait, options)
        return call.outcomes(iter(bodies), wait, aside)

    # --- what an earlier process submitted ---

    def earlier_results(self, timeout: float | None = 1.0) -> Iterator[EarlierResult]:
        """Results of what an earlier process of this name submitted and did not hear of.

        The iterator ends when none came for ``timeout`` seconds (None: never). Each result comes
        at least once: the broker drops it when the one behind it is asked for, so a process that
        dies while it deals with one leaves it, and those that came with it, to the next. If the
        loop is left early, the rest is for the next call.

        Raises:
            ConfigError: this producer has no name, or the time-out makes no sense.
            BrokerLost: no broker answers.
            NameTaken, Closed: this producer has ended.
        """
        if self.name is None:
            raise ConfigError("only a producer with a name has earlier results: give it name=…")
        return self._earlier_results(check_seconds(timeout, "timeout"))

    def _earlier_results(self, seconds: float) -> Iterator[EarlierResult]:
        exchange = self._exchange
        while (earlier := exchange.take_earlier(time.monotonic() + seconds)) is not None:
            is_done = False
            try:
                yield from earlier.run.results()
                is_done = True
            finally:
                if is_done:
                    exchange.took_earlier(earlier)
                else:
                    exchange.give_back_earlier(earlier)

    # --- lanes ---

    def lane(
        self,
        queue: str,
        task: str = "",
        *,
        reply: bool = False,
        options: TaskOptions | None = None,
        timeout: float | None = None,
    ) -> Lane:
        """The lane of a queue, task and options. Raises `InvalidName`; with options as `send`."""
        lane = self._publisher.lanes.find(queue, task, reply, options)
        if lane is None:
            lane = self._make_lane(queue, task, reply=reply, options=options)
            lane = self._exchange.add_lane(lane, timeout)
        return lane

    # --- the end ---

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything that was accepted is confirmed.

        Raises:
            BrokerLost, TimedOut: not confirmed within ``timeout`` seconds; it is kept, and
                still sent when the broker is back.
            Refused: the broker refused a batch since the last flush (the first of them).
        """
        self._exchange.flush(self._exchange.deadline(timeout))

    def close(self, timeout: float | None = None) -> None:
        """`flush`, then leave. Raises as `flush` does; the producer is closed all the same."""
        self._exchange.close(self._exchange.deadline(timeout))

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        interrupted = kind is not None and issubclass(kind, INTERRUPTS)
        try:
            self.close(INTERRUPTED_S if interrupted else None)
        except ZQueueError as error:
            if kind is None:
                raise
            logger.error("not all that was sent before the error is confirmed: %s", error)
