"""The driver: the threads, sockets and locks of a producer. What to send, and what an answer means,
is decided in `publisher`; what callers wait for, in `exchange`.

The sockets belong to the lock: the caller's thread sends at once instead of waking another, and a
background thread waits for what comes when no caller is active. ZeroMQ signals new input by edge,
so whoever used a socket goes on until it has nothing more to say.

Results are given out without the lock. That runs callbacks, which may call us and wait. Where it is
the background thread that would wait, another one takes its place first.
"""

from __future__ import annotations

import logging
import threading
from time import monotonic

from ..config import Address, BrokerList
from ..errors import LocalError
from ..seconds import WAIT_S_MAX
from .giver import Giver
from .lane import Lane
from .publisher import Publisher
from .watcher import Watcher
from .wires import Wires

logger = logging.getLogger(__name__)

ASIDE_MAX = 64
"""Callbacks that may wait for something at once; each costs a thread."""

STOP_S = 1.0
"""How long to wait for the background thread to end: it may be in a callback."""


class Driver:
    """Drives a publisher over sockets. Any number of threads may share it."""

    def __init__(self, brokers: BrokerList, publisher: Publisher) -> None:
        self.publisher = publisher
        # Re-entrant: a finalizer or signal handler may send while this thread holds it.
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self.wires = Wires(publisher.fleet, brokers.addresses)
        self.watcher = Watcher(brokers, self._are_named)
        self._named: list[Address] | None = None
        """The brokers that there are from the next turn on, if that has changed."""
        self._giver = Giver(publisher.endings)
        self._thread: threading.Thread | None = None
        self._aside = 0
        """Threads whose place another one took, and that are in a callback still."""
        self.is_busy = False
        """Whether a turn is under way. Whoever holds the lock and finds it so is a finalizer."""
        self._armed_until = float("inf")
        self._is_abandoned = False

    def start(self) -> None:
        """Connect, and let a thread wait for what comes. With the lock. Raises `BrokerLost`."""
        self.wires.open()
        self._run_thread()
        self.watcher.start()

    def stop(self) -> None:
        """Close the sockets and end the threads. Without the lock."""
        self.watcher.stop()
        with self.lock:
            sockets = self.wires.detach()
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            self._wake()
            thread.join(STOP_S)
        sockets.close()

    def abandon(self) -> None:
        """Nobody will use it any more: `see_off` will be called, in a thread of its own. Takes no
        lock: a finalizer calls it."""
        self._is_abandoned = True
        self._wake()

    def see_off(self) -> None:
        """See to what was accepted, then `stop`."""
        raise NotImplementedError

    # --- turns ---

    def turn(self, lane: Lane | None = None) -> None:
        """Send what should go and take what came, until there is no more to do. With the lock."""
        if lane is not None:
            self.publisher.mark(lane)
        if self.is_busy or not self.wires.is_open:
            return  # Re-entered by a finalizer: the turn that is under way will see to it.
        self.is_busy = has_received = True
        try:
            if self._named is not None:
                named, self._named = self._named, None
                self.wires.know(named)
                self.publisher.fleet.named([address.url for address in named])
            while has_received:
                has_received, has_changed = self.wires.pump(self.publisher)
                if has_changed or (has_received and self.publisher.is_over()):
                    self._changed.notify_all()
        finally:
            self.is_busy = False
        deadline = self.publisher.next_deadline()
        if deadline is not None and deadline < self._armed_until:
            self._wake()

    def give_out_carefully(self) -> None:
        """Give out what runs none of the user's code, and leave the rest to the driver's thread: an
        event loop may be running in this one. Without the lock."""
        if not self._giver.give_out(careful=True) or self.publisher.news:
            self._wake()

    def give_out(self) -> None:
        """Give out results and news, without the lock."""
        self._giver.give_out()
        while self.publisher.news:
            try:
                level, text = self.publisher.news.popleft()
            except IndexError:
                return  # Another thread was quicker.
            getattr(logger, level)(text)

    def step_aside(self) -> None:
        """The calling thread is about to wait: let others do what it was doing for us."""
        if self._giver.step_aside():
            self._wake()
        if self._thread is threading.current_thread():
            with self.lock:
                if self._aside >= ASIDE_MAX:
                    raise LocalError(f"{ASIDE_MAX} callbacks wait already: return from some first")
                self._aside += 1
                self._run_thread()

    def wait(self, deadline: float) -> bool:
        """Wait for a change, without the lock that the caller holds. False: the time is up."""
        left = deadline - monotonic()
        if left <= 0:
            return False
        self.step_aside()  # Results that this thread received are for the driver to give out.
        self._changed.wait(min(left, WAIT_S_MAX))
        return True

    # --- the thread ---

    def _run_thread(self) -> None:
        """Start a thread, in the place of the one there is. With the lock."""
        self._thread = threading.Thread(target=self._run, name="zqueue-producer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """What it does: wait for input and for deadlines."""
        me = threading.current_thread()
        while True:
            with self.lock:
                if self._thread is not me:
                    self._aside -= 1
                    return
                if not self.wires.is_open:
                    return
                if self._is_abandoned:
                    self._is_abandoned = False
                    threading.Thread(target=self.see_off, name="zqueue-end", daemon=True).start()
                self._armed_until = float("inf")
                if self.publisher.tick(monotonic()) or self.publisher.is_over():
                    self._changed.notify_all()
                self.turn()
                deadline = self.publisher.next_deadline()
                self._armed_until = float("inf") if deadline is None else deadline
            try:
                self.give_out()
            except BaseException:  # Of a callback. All would stand still without this thread.
                logger.exception("a callback of a future failed")
            if self._thread is me:
                self.wires.wait(self._armed_until)

    def _are_named(self, addresses: list[Address]) -> None:
        """The watcher says so, in its own thread: ours sees to it."""
        self._named = addresses
        self.wires.wake()

    def _wake(self) -> None:
        """Let the thread look at what there is to do."""
        if threading.current_thread() is not self._thread:
            self.wires.wake()

    def forked(self) -> None:
        """In a child process: the sockets and threads are the parent's, and who held a lock too."""
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._thread = None
        self.is_busy = False
        self.wires.forked()
        self._giver.forked()
