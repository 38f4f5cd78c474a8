"""A link: one peer's side of its connection to a broker.

Theory of operation. A peer greets until it is welcomed, with growing, jittered pauses. Then it
sends a heartbeat every so often, which the broker answers. Only silence *after asking* counts:
if a heartbeat stays unanswered, and nothing else comes either, for the liveness time, the
broker is lost and greeting begins again. A peer that was busy or stopped for an hour has asked
nothing meanwhile, so it concludes nothing.

The broker tells a peer it does not know (because it, or the connection, is new) to greet
again; that is how both ends notice a restart at once.

Of several addresses two may be of one broker. Where a peer has several links, each *looks* first
who is there, and greets only a broker that none of the others has. One that has greeted would end
what the broker knew of this peer by another link.

Producer, worker and supervisor each hold a link and put their own messages through it.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from ..core.backoff import Backoff
from ..errors import ProtocolError
from .headers import decode, encode
from .messages import UNKNOWN_PEER, Goodbye, Heartbeat, Hello, Message, Refuse, Welcome

GREETING_LOW_S = 0.02
GREETING_HIGH_S = 2.0
"""Longest pause between greetings, seconds: a thousand peers then greet a broker that comes
back with ~1,000 messages a second on average, which costs it 1 % of a core."""


HEARTBEAT_WORKERS_MAX = 500
"""Workers that one heartbeat speaks for, so that its header stays within its limit."""


class State(enum.Enum):
    """Where a link stands."""

    GREETING = "greeting"
    READY = "ready"
    LEAVING = "leaving"
    LEFT = "left"


class Input(enum.Enum):
    """What moves it."""

    WELCOMED = "welcomed"
    UNKNOWN = "told to greet again"
    SILENCE = "silence"
    LEAVE = "asked to leave"
    ANSWERED = "goodbye answered"
    REPLACED = "replaced"
    RETURN = "asked to come back"


TRANSITIONS: dict[State, dict[Input, State]] = {
    State.GREETING: {
        Input.WELCOMED: State.READY,
        Input.LEAVE: State.LEFT,
        Input.REPLACED: State.LEFT,
    },
    State.READY: {
        # It had several greetings of ours before it, and has forgotten us at each.
        Input.WELCOMED: State.READY,
        Input.UNKNOWN: State.GREETING,
        Input.SILENCE: State.GREETING,
        Input.LEAVE: State.LEAVING,
        Input.REPLACED: State.LEFT,
    },
    State.LEAVING: {
        Input.ANSWERED: State.LEFT,
        Input.UNKNOWN: State.LEFT,
        Input.SILENCE: State.LEFT,
        Input.REPLACED: State.LEFT,
    },
    State.LEFT: {Input.RETURN: State.GREETING},
}
"""An input that is not listed for a state changes nothing: it crossed with another on the way."""


class Connected(NamedTuple):
    """The broker welcomed us. It holds nothing of what we were leased before."""

    same_broker: bool
    """It is the one that welcomed us before, so it remembers what it took."""
    next: int = 0
    """To a producer with a name: the number above all that it took. 0: it knows of no names."""


class Disconnected(NamedTuple):
    """The broker is lost; greeting goes on."""

    reason: str
    is_new: bool = False
    """It is there, and does not know us."""


class Rejected(NamedTuple):
    """The broker will not have us, for now."""

    code: str
    text: str


class Elsewhere(NamedTuple):
    """To a producer: the broker is here that another link had, which has lost it. That link's
    numbers go on, so it is to have this address."""

    other: Link


LinkEvent = Connected | Disconnected | Rejected | Elsewhere


_OWN = frozenset({Welcome, Refuse, Goodbye})
"""What a link itself acts upon."""


class Link:
    """Greets, keeps alive, notices loss. Messages to send gather in ``out``."""

    def __init__(self, role: str, id: bytes, about: bytes, random: Callable[[], float]) -> None:
        self.state = State.GREETING
        self.is_greeting = True
        """Whether all there is to say is hello: what waits from before is void."""
        self.is_ready = False
        """Whether the broker knows us."""
        self.out: list[list[bytes]] = []
        self.workers: list[bytes] = []
        """Supervisors only: whom the heartbeats speak for."""
        self.siblings: list[Link] = [self]
        """All links of this peer."""
        self.twin: Link | None = None
        """Which of them has the broker that is here, too."""
        self._keeps_numbers = role == "producer"
        self._hello = [encode(Hello(role, id)), about]
        self._look = [encode(Hello(role, id, 1)), about]
        self._entering = b""
        """The broker that was looked at and is greeted now."""
        self._backoff = Backoff(random, low_s=GREETING_LOW_S, high_s=GREETING_HIGH_S)
        self._broker = b""
        self._greet_at = float("-inf")
        self._heartbeat_at = 0.0
        self._heartbeat_s = 1.0
        self._liveness_s = 5.0
        self.is_durable = False
        """Whether what the broker confirmed survives it, as the last one said that welcomed us."""
        self._asked_at: float | None = None

    def __repr__(self) -> str:
        return f"<Link {self.state.value}>"

    def is_suspect(self, now: float) -> bool:
        """Whether the broker has not answered for two heartbeats. It may be lost."""
        return self._asked_at is not None and now >= self._asked_at + 2 * self._heartbeat_s

    def send(self, message: Message, frames: list[bytes] | None = None) -> None:
        """Queue a message."""
        self.out.append([encode(message), *frames] if frames else [encode(message)])

    def receive(self, message: Message, now: float) -> LinkEvent | None:
        """Take any message from the broker, its own or not."""
        self._asked_at = None
        if type(message) not in _OWN:
            return None
        if isinstance(message, Welcome):
            return self._welcomed(message, now)
        if isinstance(message, Refuse) and message.sequence == 0:
            if message.code != UNKNOWN_PEER:
                return Rejected(message.code, message.text)
            return self._lose(Input.UNKNOWN, "the broker is new", now)
        if isinstance(message, Goodbye):
            return self._dismissed(now)
        return None

    def tick(self, now: float) -> LinkEvent | None:
        """Time has passed."""
        if self.state is State.GREETING:
            if now >= self._greet_at:
                self._greet_at = now + self._backoff.next()
                self._entering = b""
                self.out = [list(self._look if len(self.siblings) > 1 else self._hello)]
            return None
        if self.state is State.LEFT:
            return None
        if self._asked_at is not None and now >= self._asked_at + self._liveness_s:
            return self._lose(Input.SILENCE, f"silent for {now - self._asked_at:.1f} s", now)
        if now >= self._heartbeat_at:
            self._heartbeat_at = now + self._heartbeat_s
            for i in range(0, max(1, len(self.workers)), HEARTBEAT_WORKERS_MAX):
                self.send(Heartbeat(self.workers[i : i + HEARTBEAT_WORKERS_MAX]))
            if self._asked_at is None:
                self._asked_at = now
        return None

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called at the latest."""
        if self.state is State.GREETING:
            return self._greet_at
        if self.state is State.LEFT:
            return None
        if self._asked_at is None:
            return self._heartbeat_at
        return min(self._heartbeat_at, self._asked_at + self._liveness_s)

    def leave(self, now: float) -> None:
        """Say goodbye; the state becomes LEFT when the broker has answered, or is silent."""
        if self._move(Input.LEAVE) and self.state is State.LEAVING:
            self.send(Goodbye())
            self._asked_at = now

    def come_back(self) -> None:
        """Begin again, having left."""
        self._move(Input.RETURN)
        self.hurry()

    def hurry(self) -> None:
        """Greet at once, if not welcomed."""
        self._backoff.reset()
        self._greet_at = float("-inf")

    def greet_again(self, about: bytes) -> None:
        """Say hello once more, with something else about us."""
        self._move(Input.UNKNOWN)
        self._hello[1] = self._look[1] = about
        self._greet_at = float("-inf")
        self.out.clear()

    def give_way(self) -> bool:
        """Another process has this peer's place: it leaves. False: it has left already."""
        self.out.clear()
        return self._move(Input.REPLACED)

    def _has(self, broker: bytes) -> bool:
        """Whether this link is one to that broker, or is about to be."""
        return (self.is_ready and self._broker == broker) or self._entering == broker

    def _seen(self, broker: bytes) -> LinkEvent | None:
        """Greet whom we have looked at, if that is for this link to do."""
        others = [other for other in self.siblings if other is not self]
        self.twin = next((other for other in others if other._has(broker)), None)
        if self.twin is not None:
            return None
        if self._keeps_numbers and broker != self._broker:
            for other in others:
                if other._broker == broker:
                    return Elsewhere(other)
        self._entering = broker
        self.out = [list(self._hello)]
        return None

    def _welcomed(self, message: Welcome, now: float) -> LinkEvent | None:
        if message.look:
            return self._seen(message.broker) if self.is_greeting else None
        if not self._move(Input.WELCOMED):
            return None
        same = message.broker == self._broker
        self._broker, self.twin = message.broker, None
        self._heartbeat_s = message.heartbeat_ms / 1000
        self._liveness_s = message.liveness_ms / 1000
        self.is_durable = bool(message.durable)
        self._heartbeat_at = now + self._heartbeat_s
        self._backoff.reset()
        return Connected(same, message.next)

    def _dismissed(self, now: float) -> LinkEvent | None:
        """The broker said goodbye: in answer to ours, or because it ends, and waits for ours."""
        if self.state is State.LEAVING:
            self._move(Input.ANSWERED)
            return None
        event = self._lose(Input.SILENCE, "the broker said goodbye", now)
        if event is not None:
            self._greet_at = now + self._backoff.next()
            self.send(Goodbye())
        return event

    def _lose(self, cause: Input, reason: str, now: float) -> LinkEvent | None:
        was_ready = self.is_ready
        if not self._move(cause):
            return None
        self._asked_at = None
        self._greet_at = now
        self.out.clear()
        return Disconnected(reason, cause is Input.UNKNOWN) if was_ready else None

    def _move(self, cause: Input) -> bool:
        after = TRANSITIONS[self.state].get(cause)
        if after is None:
            return False
        self.state = after
        self.is_greeting, self.is_ready = after is State.GREETING, after is State.READY
        self._entering = b""
        return True


Event = TypeVar("Event")


class Conversation(Generic[Event]):
    """What the machines of all peers have in common: a link, and events for whoever drives them.

    A role adds what its own messages do (`_on_message`), and what a link that comes or goes means
    to it (`_on_link`).
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self._events: deque[Event | LinkEvent] = deque()

    def receive(self, frames: list[bytes], now: float) -> None:
        """Take a message from the broker. One that breaks the protocol is passed over."""
        try:
            message = decode(frames[0])
        except ProtocolError:
            return
        event = self.link.receive(message, now)
        if event is not None:
            self._on_link(event)
        else:
            self._on_message(message, frames[1:], now)

    def tick(self, now: float) -> None:
        """Time has passed."""
        event = self.link.tick(now)
        if event is not None:
            self._on_link(event)

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called at the latest."""
        return self.link.next_deadline()

    def next_event(self) -> Event | LinkEvent | None:
        """What happened next; None when that is all."""
        return self._events.popleft() if self._events else None

    def to_send(self) -> list[list[bytes]]:
        """Messages that should go out now, in order."""
        out, self.link.out = self.link.out, []
        return out

    def _on_link(self, event: LinkEvent) -> None:
        self._events.append(event)

    def _on_message(self, message: Message, frames: list[bytes], now: float) -> None:
        """Messages that are not the link's own."""
