"""The pool: which worker processes there should be, and which must end. Pure; see `supervisor`.

Theory of operation. The driver reports what it sees: a process was started or could not be, what
a worker shows in its slot, that one has ended, that signals came, that time has passed (`tick`).
The pool answers with actions, and the driver carries out each of them at once (`next_action`).
Workers are named by their process ids.

- A task that overruns its time-out is judged by one look at the slot, and the place of the task in
  its lease travels with the kill. Whatever the worker does until it dies, no other is blamed.
- A task that was cancelled and goes on is not named: the broker knows which it was. All others of
  its worker are innocent.
- A worker that is asked to stop has a deadline, and its tasks still have their time-outs. Only one
  that is recycled may take as long as its tasks take: nothing waits for it.
- An end is no crash if the worker showed that it had left, or was killed on purpose, or was asked
  to stop before it was ready. All else is a crash, whatever the exit code.
- While it is not known that the app loads, one worker is started at a time; then several.
"""

from __future__ import annotations

import enum
import signal
from collections import deque
from typing import NamedTuple

from ..core.backoff import Backoff
from ..wire.messages import CRASHED, STOPPED, TIMEOUT
from .slot import LEFT, READY, STARTING, Shown

STABLE_S = 5.0
"""A worker that lived this long was no failed start: the next restart is quick again."""

LEAVE_S = 10.0
"""A worker that has left and has not ended after so long is killed: it bounds its end itself, but
an extension that hangs in it would keep its place for ever."""

RECYCLED_SHARE = 4
"""At most one of so many workers is recycled at a time: they reach their bounds together."""

LOAD_FAILED = 2
DEADLINE_HIT = 5
"""Exit codes, of a worker and of the pool."""


class Ending(enum.Enum):
    """Why a worker is to end."""

    TIMEOUT = "a task ran longer than its timeout"
    CANCELLED = "a task was cancelled and goes on"
    DRAIN = "the pool ends"
    RELOAD = "it is replaced by a worker with new code"
    RECYCLE = "it has run enough tasks, or holds too much memory"


class Start(NamedTuple):
    """Start a worker, and call `Pool.started` or `Pool.not_started`."""

    speaks: bool
    """It is alone, and logs what holds for all workers of the app."""


class Stop(NamedTuple):
    """Ask a worker to finish: SIGTERM."""

    pid: int


class Kill(NamedTuple):
    """End a worker now, with all that its tasks have started: SIGKILL to its process group."""

    pid: int
    ending: Ending | None
    """None: it has left, and does not end."""
    lease: int = 0
    position: int = 0
    """With `Ending.TIMEOUT`: where the task is that was late."""


class Departure(NamedTuple):
    """A worker has ended: report it to the broker, and forget the process."""

    pid: int
    reason: str
    lease: int = 0
    position: int = 0
    text: str = ""


class Log(NamedTuple):
    """A line for the log."""

    level: str
    text: str


Action = Start | Stop | Kill | Departure | Log


class Child:
    """What the pool knows of a worker process."""

    __slots__ = ("deadline", "ending", "killed", "pid", "rss_bytes", "shown", "started")

    def __init__(self, pid: int, now: float) -> None:
        self.pid = pid
        self.started = now
        self.shown = Shown(STARTING, 0, 0, 0, 0.0)
        self.rss_bytes = 0
        self.ending: Ending | None = None
        """Why it was asked to stop."""
        self.deadline: float | None = None
        """When it is killed, if it has not ended by itself."""
        self.killed: Kill | None = None

    @property
    def is_working(self) -> bool:
        """Whether it takes tasks, as far as is known here."""
        return self.shown.state == READY and self.ending is None and self.killed is None


class Pool:
    """The worker processes of one supervisor, as data.

    Parameters:
        processes: how many there should be.
        drain_timeout_s: seconds that one which is asked to stop may take.
        starts_max: workers that load the app at the same time.
        tasks_max, rss_bytes_max: a worker is recycled beyond these; 0 is no bound.
        restart: pauses between restarts of workers that do not live.
    """

    def __init__(
        self,
        processes: int,
        restart: Backoff,
        *,
        drain_timeout_s: float,
        starts_max: int,
        tasks_max: int = 0,
        rss_bytes_max: int = 0,
    ) -> None:
        self._processes = processes
        self._drain_timeout_s = drain_timeout_s
        self._starts_max = starts_max
        self._tasks_max = tasks_max
        self._rss_bytes_max = rss_bytes_max
        self._children: dict[int, Child] = {}
        self._starts = 0
        """Starts that were asked for, and have neither happened nor failed."""
        self._cannot_start = False
        self._restart = restart
        self._restart_at = float("-inf")
        self._has_loaded = False
        """Once the app was loaded, a broken reload does not end the pool."""
        self._loads = False
        """Whether the last worker that tried has loaded the app."""
        self._to_reload: deque[int] = deque()
        self._terms = self._reloads = 0
        self._actions: deque[Action] = deque()
        self.is_draining = False
        self.restarts = 0
        """Workers that ended by themselves, or were killed or recycled, and were replaced."""
        self.code = 0
        """The exit code, once it is over."""

    def __repr__(self) -> str:
        ready = sum(child.shown.state == READY for child in self._children.values())
        what = " draining" if self.is_draining else " reloading" if self._to_reload else ""
        return f"<Pool{what} {len(self._children)} of {self._processes}, {ready} ready>"

    def __len__(self) -> int:
        return len(self._children)

    @property
    def is_over(self) -> bool:
        """Nothing is left to do."""
        return self.is_draining and not self._children and not self._starts

    @property
    def is_settled(self) -> bool:
        """Every worker is there, and ready."""
        return len(self._children) == self._processes and all(
            child.shown.state == READY for child in self._children.values()
        )

    def next_action(self) -> Action | None:
        """What to do next; None when that is all."""
        return self._actions.popleft() if self._actions else None

    # --- what is seen ---

    def started(self, pid: int, now: float) -> None:
        """A worker process was started, as `Start` asked."""
        self._starts -= 1
        child = self._children[pid] = Child(pid, now)
        if self._cannot_start:
            self._cannot_start = False
            self._log("info", "workers can be started again")
        if self.is_draining:
            self._stop(child, Ending.DRAIN, now + self._drain_timeout_s)
            if self._terms > 1:
                child.deadline = now

    def not_started(self, why: str, now: float) -> None:
        """A worker process could not be started: those that live go on, and it is tried again."""
        self._starts -= 1
        self._back_off(now)
        if not self._cannot_start:
            self._cannot_start = True
            self._log("error", f"cannot start a worker: {why}; trying again until it is possible")

    def shows(self, pid: int, shown: Shown, now: float, *, rss_bytes: int = 0) -> None:
        """What a worker's slot shows, and how much memory it holds, if that was measured."""
        child = self._children[pid]
        if child.shown.state != shown.state:
            if shown.state == READY:
                self._has_loaded = self._loads = True
            elif shown.state == LEFT:
                child.deadline = now + LEAVE_S
        child.shown = shown
        child.rss_bytes = rss_bytes or child.rss_bytes

    def ended(self, pid: int, code: int, now: float) -> None:
        """A worker process has ended; what its slot showed last was reported before.

        ``code`` is its exit code, or the negative number of the signal that killed it.
        """
        child = self._children.pop(pid)
        departure = _verdict(child, code)
        self._actions.append(departure)
        if child.shown.state == STARTING and child.ending is None:
            self._loads = False
        if code == LOAD_FAILED and child.shown.state == STARTING:
            if not self._has_loaded:
                self.code = LOAD_FAILED
                if not self.is_draining:
                    self._drain(now)
                return
            self._log("error", f"worker {pid} could not load the app; trying again")
        elif departure.reason == CRASHED:
            self._log("error", f"worker {pid} died ({departure.text}); its tasks go to others")
        if self.is_draining:
            return
        self.restarts += child.ending is not Ending.RELOAD
        if now - child.started > STABLE_S:
            self._restart.reset()
        if departure.reason == CRASHED or (child.ending is None and child.killed is None):
            self._back_off(now)

    def signals(self, terms: int, reloads: int, now: float) -> None:
        """How many signals have come so far that ask for the end, and for new code."""
        is_new, self._terms = terms > self._terms, terms
        if is_new and not self.is_draining:
            self._log("info", f"draining, for up to {self._drain_timeout_s:g} s")
            self._drain(now)
        if is_new and terms > 1:
            for child in self._children.values():
                child.deadline = now
        is_new, self._reloads = reloads > self._reloads, reloads
        if is_new and not self.is_draining:
            self._reload(now)

    def tick(self, now: float) -> None:
        """Time has passed, or something was reported. ``now`` is before the slots were read."""
        self._enforce_timeouts(now)
        self._enforce_deadlines(now)
        if not self.is_draining:
            self._reload_next(now)
            self._recycle()
            self._start_missing(now)

    # --- who must end ---

    def _enforce_timeouts(self, now: float) -> None:
        for child in self._children.values():
            shown = child.shown
            if child.killed is not None:
                continue
            if shown.deadline and now > shown.deadline:
                self._log("warning", f"worker {child.pid} is killed: {Ending.TIMEOUT.value}")
                self._kill(child, Kill(child.pid, Ending.TIMEOUT, shown.lease, shown.position))
            elif shown.stop_by and now > shown.stop_by:
                self._log("warning", f"worker {child.pid} is killed: {Ending.CANCELLED.value}")
                self._kill(child, Kill(child.pid, Ending.CANCELLED))

    def _enforce_deadlines(self, now: float) -> None:
        """Those that were asked to stop, or have left, end in time."""
        for child in self._children.values():
            if child.deadline is None or now < child.deadline or child.killed is not None:
                continue
            if child.shown.state == LEFT:
                self._log("warning", f"worker {child.pid} is killed: it was done, and did not end")
            elif child.ending is Ending.DRAIN:
                self.code = DEADLINE_HIT
            else:
                self._log(
                    "warning",
                    f"worker {child.pid} is killed: it did not finish within "
                    f"{self._drain_timeout_s:g} s; its tasks go to others",
                )
            self._kill(child, Kill(child.pid, child.ending))

    def _kill(self, child: Child, kill: Kill) -> None:
        child.killed = kill
        self._actions.append(kill)

    def _stop(self, child: Child, ending: Ending, deadline: float | None) -> None:
        if child.killed is None:
            child.ending = ending
            if child.shown.state != LEFT:
                child.deadline = deadline
            self._actions.append(Stop(child.pid))

    def _drain(self, now: float) -> None:
        self.is_draining = True
        self._to_reload.clear()
        for child in self._children.values():
            self._stop(child, Ending.DRAIN, now + self._drain_timeout_s)

    def _reload(self, now: float) -> None:
        self._log("info", f"reloading {len(self._children)} workers, one after the other")
        self._loads = False
        self._to_reload = deque(self._children)
        for child in self._children.values():
            if child.ending is Ending.RECYCLE:  # The others wait for it from now on.
                self._stop(child, Ending.RELOAD, now + self._drain_timeout_s)

    def _reload_next(self, now: float) -> None:
        """Stop the next worker to be reloaded, once the one before is replaced."""
        while self._to_reload and self._to_reload[0] not in self._children:
            self._to_reload.popleft()
        if not self._to_reload or len(self._children) < self._processes:
            return
        if all(child.is_working for child in self._children.values()):
            child = self._children[self._to_reload[0]]
            self._stop(child, Ending.RELOAD, now + self._drain_timeout_s)

    def _recycle(self) -> None:
        """Replace workers that have run enough, or hold too much; a few at a time."""
        if self._to_reload or not (self._tasks_max or self._rss_bytes_max):
            return
        away = self._processes - sum(child.is_working for child in self._children.values())
        for child in list(self._children.values()):
            if away >= max(1, self._processes // RECYCLED_SHARE):
                return
            why = self._is_used_up(child)
            if why and child.is_working:
                away += 1
                self._log("info", f"worker {child.pid} is replaced: {why}")
                self._stop(child, Ending.RECYCLE, None)

    def _is_used_up(self, child: Child) -> str:
        tasks = child.shown.tasks
        if self._tasks_max and tasks >= self._tasks_max:
            return f"it has run {tasks:,} tasks"
        # One that has run nothing is as small as it gets: another would be no better.
        if self._rss_bytes_max and tasks and child.rss_bytes >= self._rss_bytes_max:
            return f"it holds {child.rss_bytes / (1 << 20):,.0f} MiB"
        return ""

    # --- who is missing ---

    def _start_missing(self, now: float) -> None:
        if now < self._restart_at:
            return
        loading = sum(child.shown.state == STARTING for child in self._children.values())
        room = (self._starts_max if self._loads else 1) - loading - self._starts
        missing = self._processes - len(self._children) - self._starts
        for _ in range(min(room, missing)):
            self._starts += 1
            self._actions.append(Start(speaks=not self._loads))

    def _back_off(self, now: float) -> None:
        if now >= self._restart_at:  # What fails together is one failure.
            self._restart_at = now + self._restart.next()

    def _log(self, level: str, text: str) -> None:
        self._actions.append(Log(level, text))


def _verdict(child: Child, code: int) -> Departure:
    """What became of a worker."""
    kill, state = child.killed, child.shown.state
    if kill is not None and kill.ending is Ending.TIMEOUT:
        text = "ran longer than its timeout; its process was killed"
        return Departure(child.pid, TIMEOUT, kill.lease, kill.position, text)
    was_asked = state == STARTING and (child.ending is not None or code == LOAD_FAILED)
    if kill is not None or state == LEFT or was_asked:
        return Departure(child.pid, STOPPED)
    return Departure(child.pid, CRASHED, text=_how(code))


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # A real-time signal.
        return f"killed by signal {-code}"
