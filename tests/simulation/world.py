"""The world: one clock, one source of chance, one list of what is to come.

Everything that happens in a run is an event here, and every choice is drawn from one `Random`: so
the seed tells the whole run. A `Process` is whatever has a life of its own: it is woken, does its
turn, says when it wants to be woken again; and it can be frozen, or killed, also in the middle of
a turn (`Process.point`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

INFINITY = float("inf")


class Killed(Exception):
    """The process that runs ends here, in the middle of what it does."""


class World:
    """Virtual time, and what happens in it."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.steps = 0
        self.wall_jump_s = 0.0
        """How far the wall clock was set forward or back, all in all."""
        self.read_s = 0.0
        self._looks = 0
        self._events: list[tuple[float, int, Callable[..., None], Any]] = []
        self._count = 0
        self.trace = trace
        self.running: Process | None = None
        """Whose turn it is: modules that look at the clock look at this one's."""

    def clock(self) -> float:
        """In the place of `time.monotonic` where code that is driven here looks at the clock."""
        return self.now if self.running is None else self.running.clock()

    def slow_clock(self) -> float:
        """As `clock`, for code that reads a disk between two looks: that takes time."""
        self._looks += 1
        return self.clock() + self._looks * self.read_s

    def wall(self) -> float:
        """What wall clocks show, seconds since 1970."""
        return 1.7e9 + self.now + self.wall_jump_s

    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        """Call it at that instant."""
        self._count += 1
        heapq.heappush(self._events, (max(when, self.now), self._count, call, args))

    def after(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        """Call it so much later."""
        self.at(self.now + seconds, call, *args)

    def run(self, until: float, is_over: Callable[[], bool] | None = None) -> None:
        """Let time pass up to an instant, or until all is over."""
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, call, args = heapq.heappop(events)
            self.steps += 1
            call(*args)
            if is_over is not None and is_over():
                return
        self.now = max(self.now, until)

    def say(self, who: object, what: str) -> None:
        """A line of the trace, if one is wanted. Make the text only if `trace` is set."""
        if self.trace is not None:
            self.trace(f"{self.now:10.4f} {who} {what}")


class Process:
    """Something that runs by itself, with a monotonic clock of its own."""

    def __init__(self, world: World, name: str, offset_s: float | None = None) -> None:
        self.world = world
        self.name = name
        self.offset_s = world.random.uniform(1.0, 9999.0) if offset_s is None else offset_s
        self.is_alive = True
        self._thaws_at = 0.0
        self._wake_at = INFINITY
        self._fuse = -1
        self._note: Callable[[], None] = self.wake

    def __repr__(self) -> str:
        return self.name

    def clock(self) -> float:
        """What its monotonic clock shows."""
        return self.world.now + self.offset_s

    def turn(self) -> float:
        """Do what there is to do. Returns when to be woken at the latest, by its own clock."""
        raise NotImplementedError

    def ended(self) -> None:
        """It was killed: what the operating system does then."""

    # --- its fate ---

    def wake(self, at: float | None = None) -> None:
        """Let it have a turn: now, or at that instant of the world's clock."""
        when = self.world.now if at is None else at
        if when < self._wake_at and self.is_alive:
            self._wake_at = when
            self.world.at(when, self._woken, when)

    def _woken(self, at: float) -> None:
        if at != self._wake_at or not self.is_alive:
            return
        self._wake_at = INFINITY
        if self.world.now < self._thaws_at:
            self.wake(self._thaws_at)
            return
        self.world.running = self
        try:
            deadline = self.turn()
        except Killed:
            self.kill()
            return
        if deadline < INFINITY and self.is_alive:
            self.wake(max(deadline - self.offset_s, self.world.now + 1e-6))

    def freeze(self, seconds: float) -> None:
        """As SIGSTOP does, and SIGCONT later."""
        self._thaws_at = max(self._thaws_at, self.world.now + seconds)

    @property
    def is_frozen(self) -> bool:
        """Whether it is stopped just now."""
        return self.world.now < self._thaws_at

    def thaw(self) -> None:
        """It goes on at once, and does not die any more."""
        self._thaws_at = 0.0
        self._fuse = -1
        self.wake()

    def kill(self) -> None:
        """As SIGKILL does."""
        if self.is_alive:
            self.is_alive = False
            if self.world.trace is not None:
                self.world.say(self, "ends")
            self.ended()

    def light_fuse(self, points: int, note: Callable[[], None]) -> None:
        """Kill it in the middle of a turn: when it has passed so many points. ``note`` is called
        then."""
        self._fuse, self._note = points, note
        self.wake()

    def point(self) -> None:
        """A place in a turn between two effects: it may die here."""
        if self._fuse >= 0:
            self._fuse -= 1
            if self._fuse < 0:
                self._note()
                raise Killed
