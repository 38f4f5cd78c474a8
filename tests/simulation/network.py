"""The network: connections of peers to the broker, and what may befall them.

As ZeroMQ over TCP has it. A connection keeps the order of its messages; when it breaks, what was on
the way is lost from some message on, in each direction, and each end notices when it notices. The
broker's end has a routing id that is new for each connection; a send to one that is gone fails at
once. The other end connects again by itself. What waits for a connection is the production code's
own `Dealer` and `Outboxes`; only the pipe below is simulated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zqueue.net.dealer import Dealer

from .world import INFINITY, Process, World

if TYPE_CHECKING:
    from random import Random

Frames = list[bytes]


class Gone(Exception):
    """A send to a peer whose connection is gone, as the broker's end knows."""


class Direction:
    """One way of a connection: a pipe that keeps the order."""

    __slots__ = ("_arrive", "_last_at", "_moving", "_world", "is_cut", "stalled_until", "waiting")

    def __init__(self, world: World, arrive: Callable[[], None]) -> None:
        self._world = world
        self._arrive = arrive
        self._moving: deque[Frames] = deque()
        """On the way."""
        self.waiting: deque[Frames] = deque()
        """Arrived, and not read."""
        self._last_at = 0.0
        self.is_cut = False
        self.stalled_until = 0.0

    def __len__(self) -> int:
        return len(self._moving) + len(self.waiting)

    def send(self, frames: Frames, delay_s: float) -> None:
        if self.is_cut:
            return
        self._moving.append(frames)
        self._last_at = max(self._last_at, self._world.now + delay_s, self.stalled_until)
        self._world.at(self._last_at, self._moved)

    def _moved(self) -> None:
        """Something should arrive."""
        if self._world.now < self.stalled_until:
            self._world.at(self.stalled_until, self._moved)
        elif self._moving:
            self.waiting.append(self._moving.popleft())
            self._arrive()

    def cut(self, random: Random) -> None:
        """What is on the way is lost, from some message on."""
        self.is_cut = True
        for _ in range(random.randint(0, len(self._moving))):
            self._moving.pop()


class Wire:
    """A connection, with both its ends."""

    def __init__(self, network: Network, port: Port, hub: Hub, id: bytes) -> None:
        self.id = id
        self.port = port
        self.hub = hub
        self.up = Direction(network.world, hub.arrived)
        self.down = Direction(network.world, port.process.wake)
        self.is_ended = False
        """The broker's end has noticed that it is cut; what came before is read still."""

    @property
    def is_cut(self) -> bool:
        return self.up.is_cut


class Hub:
    """The broker's end of all connections: its ROUTER."""

    def __init__(self, process: Process, network: Network) -> None:
        self.process = process
        self._network = network
        self.wires: dict[bytes, Wire] = {}
        self._next = 0

    def arrived(self) -> None:
        self.process.wake()

    def transmit(self, message: Frames) -> bool:
        """Send ``[peer, frame, …]``; False while there is no room. Raises `Gone`."""
        wire = self.wires.get(message[0])
        if wire is None or wire.is_ended:
            raise Gone
        if len(wire.down) >= self._network.pipe_max:
            return False
        wire.down.send(message[1:], self._network.delay())
        return True

    def receive(self) -> tuple[bytes, Frames] | None:
        """The next message and whose it is: of each peer in turn."""
        wires = list(self.wires.values())
        for i in range(len(wires)):
            wire = wires[(self._next + i) % len(wires)]
            if wire.up.waiting:
                self._next = (self._next + i + 1) % len(wires)
                return wire.id, wire.up.waiting.popleft()
            if wire.is_ended:
                del self.wires[wire.id]
        return None


class Pipe:
    """What a dealer sends into and receives from, while there is a connection."""

    def __init__(self, process: Process, network: Network) -> None:
        self._process = process
        self._network = network
        self.wire: Wire | None = None

    def send(self, frames: Frames) -> bool:
        if self.wire is None:
            return False
        self.wire.up.send(list(frames), self._network.delay())
        self._process.point()
        return True

    def receive(self) -> Frames | None:
        wire = self.wire
        return wire.down.waiting.popleft() if wire is not None and wire.down.waiting else None


class Port(Dealer):
    """A peer's end of its connection: its DEALER, with a pipe in place of the socket."""

    def __init__(self, process: Process, network: Network) -> None:
        self.process = process
        self.pipe = Pipe(process, network)
        self.network = network
        self._channel: Any = self.pipe
        self._outbox = deque()
        network.join(self)

    @property
    def is_connected(self) -> bool:
        return self.pipe.wire is not None

    def close(self) -> None:
        self.network.leave(self)


class Network:
    """All connections to the one address of the broker."""

    def __init__(self, world: World) -> None:
        self.world = world
        random = world.random
        self.latency_s = random.choice((0.0001, 0.0005, 0.002, 0.02))
        self.jitter_s = self.latency_s * random.choice((0.2, 1.0, 5.0))
        self.pipe_max = random.choice((3, 20, 1000))
        """Messages in a pipe to a peer, before there is no room for more."""
        self.hub: Hub | None = None
        """Who listens at the address."""
        self.ports: list[Port] = []
        self._ids = 0
        self.blocked_until = 0.0
        """No connection is made before."""

    def delay(self) -> float:
        return self.latency_s + self.world.random.random() * self.jitter_s

    # --- who is there ---

    def listen(self, process: Process) -> Hub:
        """A broker has bound the address."""
        self.hub = Hub(process, self)
        return self.hub

    def hang_up(self, hub: Hub) -> None:
        """The broker's process has ended."""
        if self.hub is hub:
            self.hub = None
        for wire in list(hub.wires.values()):
            self.cut(wire, broker_notices_s=0.0)

    def join(self, port: Port) -> None:
        self.ports.append(port)
        self._connect_later(port)

    def leave(self, port: Port) -> None:
        """The process of a port has ended, or closed it."""
        if port in self.ports:
            self.ports.remove(port)
            if port.pipe.wire is not None:
                is_far = self.world.random.random() < 0.1  # The host went, and said nothing.
                notices_s = INFINITY if is_far else self.delay()
                self.cut(
                    port.pipe.wire, client_notices_s=0.0, broker_notices_s=notices_s, lose=is_far
                )

    def _connect_later(self, port: Port) -> None:
        self.world.after(self.world.random.uniform(0.001, 0.1), self._connect, port)

    def _connect(self, port: Port) -> None:
        if port not in self.ports or port.pipe.wire is not None:
            return
        if self.hub is None or self.world.now < self.blocked_until:
            self._connect_later(port)
            return
        self._ids += 1
        wire = Wire(self, port, self.hub, b"%05d" % self._ids)
        port.pipe.wire = self.hub.wires[wire.id] = wire
        port.process.wake()

    # --- what may befall them ---

    def cut(
        self,
        wire: Wire,
        *,
        client_notices_s: float | None = None,
        broker_notices_s: float | None = None,
        lose: bool = True,
    ) -> None:
        """A connection breaks. Each end notices some time later; with ``lose`` false, what a peer
        had sent before arrives still."""
        if wire.is_cut:
            return
        random = self.world.random
        if lose:
            wire.up.cut(random)
        wire.up.is_cut = True
        wire.down.cut(random)
        for seconds, notice in (
            (client_notices_s, self._client_notices),
            (broker_notices_s, self._broker_notices),
        ):
            if seconds is None:  # At once, as a rule; some are told of it by nobody for long.
                seconds = random.choice((0.0, 0.001, 0.01, 0.3, 3.0, 8.0))
            if seconds == 0.0:
                notice(wire)
            elif seconds < INFINITY:
                self.world.after(seconds, notice, wire)

    def _client_notices(self, wire: Wire) -> None:
        port = wire.port
        if port.pipe.wire is wire:
            port.pipe.wire = None
            port.process.wake()
            self._connect_later(port)

    def _broker_notices(self, wire: Wire) -> None:
        wire.is_ended = True

    def stall(self, wire: Wire, seconds: float, *, up: bool, down: bool) -> None:
        """Nothing moves for a while, in one direction or both."""
        until = self.world.now + seconds
        if up:
            wire.up.stalled_until = until
        if down:
            wire.down.stalled_until = until

    def heal(self) -> None:
        """Nothing is stalled or blocked any more."""
        self.blocked_until = 0.0
        for port in self.ports:
            if port.pipe.wire is not None:
                for direction in (port.pipe.wire.up, port.pipe.wire.down):
                    direction.stalled_until = self.world.now
                if port.pipe.wire.is_cut:
                    self._client_notices(port.pipe.wire)
        for wire in list(self.hub.wires.values()) if self.hub is not None else ():
            if wire.is_cut:
                self._broker_notices(wire)
