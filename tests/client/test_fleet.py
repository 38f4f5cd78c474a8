"""The fleet: brokers join, are drained and left while a producer lives. The broker here is a double
of few words; connections and publisher are real."""

from __future__ import annotations

from typing import Any

from zqueue.client.connection import Connection
from zqueue.client.fleet import LEAVING_MAX, PARKED_MAX
from zqueue.client.lane import Lane
from zqueue.client.names import ROW_NUMBERS
from zqueue.client.publisher import Publisher
from zqueue.client.replies import TaskFuture
from zqueue.wire.headers import decode, encode
from zqueue.wire.link import State
from zqueue.wire.messages import (
    MOVED,
    RESULTS,
    Confirm,
    Goodbye,
    Hello,
    Message,
    Publish,
    Refuse,
    Result,
    Welcome,
    Withdraw,
)
from zqueue.wire.options import TaskOptions

OWNER: Any = None


class World:
    """A publisher, and which broker is at which address. Those that ``answer`` welcome; nothing
    else is said but by `say`."""

    def __init__(self, *names: str) -> None:
        self.now = 100.0
        self.at = {name: name.encode() for name in "abcdef"}
        """The broker's id, by address."""
        self.durable = 0
        self.dead: set[str] = set()
        self.heard: dict[str, list[Any]] = {name: [] for name in "abcdef"}
        self.publisher = Publisher([self.make(row) for row in range(len(names))], list(names),
                                   make=self.make)  # fmt: skip
        self.fleet = self.publisher.fleet
        self.run()

    def make(self, row: int) -> Connection:
        return Connection(b"producer", {}, lambda: 0.5, base=row * ROW_NUMBERS)

    def named(self, *names: str) -> None:
        self.fleet.named(list(names))
        self.run()

    def names(self) -> str:
        return "".join(each.name for each in self.fleet.connections)

    def find(self, name: str) -> Connection:
        return next(each for each in self.fleet.connections if each.name == name)

    def say(self, name: str, message: Message, *frames: bytes) -> None:
        connection = self.find(name)
        connection.receive([encode(message), *frames], self.now)
        self.publisher.handle(connection, self.now)

    def run(self, seconds: float = 3.0) -> None:
        """Let time pass, and what is sent arrive."""
        for _ in range(int(10 * seconds)):
            self.now += 0.1
            self.publisher.tick(self.now)
            self.publisher.form_batches(self.now)
            for connection in list(self.fleet.connections):
                name = connection.name
                for header, *_ in connection.to_send():
                    if name not in self.dead:
                        self._take(name, decode(header))

    def _take(self, name: str, message: Any) -> None:
        self.heard[name].append(message)
        if isinstance(message, Hello):
            self.say(name, Welcome(self.at[name], 1000, 5000, 0, self.durable, message.look))
        elif not isinstance(message, Publish | Withdraw):
            self.say(name, message)

    def lose(self, name: str) -> None:
        self.dead.add(name)
        self.say(name, Goodbye())

    def send(self, name: str, *, reply: bool = False, **options: Any) -> Any:
        """A batch to the broker at an address. Returns its number, and the future."""
        asked = TaskOptions(**options) if options else None
        lane = self.publisher.add(Lane(OWNER, "q", "t", reply=reply, options=asked))
        lane.home = self.find(name)
        future: TaskFuture[Any] = TaskFuture(lane)
        lane.put(1, future if reply else None)
        lane.hurry()
        self.publisher.mark(lane)
        self.run(0.1)
        return future

    def numbers(self, name: str) -> list[tuple[int, int]]:
        """Number and `MOVED` of what was published there since this was asked last."""
        heard = [m for m in self.heard[name] if isinstance(m, Publish)]
        self.heard[name] = [m for m in self.heard[name] if not isinstance(m, Publish)]
        return [(message.sequence, message.flags & MOVED) for message in heard]

    def confirm(self, name: str) -> None:
        for number, _ in self.numbers(name):
            self.say(name, Confirm([number, number]))

    def ready(self) -> str:
        return "".join(each.name for each in self.fleet.connections if each.link.is_ready)


class TestJoin:
    def test_a_broker_that_is_named_is_connected_to(self) -> None:
        world = World("a")
        world.named("a", "b")
        assert world.ready() == "ab"
        world.send("b")
        assert world.numbers("b") == [(ROW_NUMBERS + 1, 0)]

    def test_where_nobody_was_named(self) -> None:
        world = World()

        assert world.names() == ""
        world.named("a")
        assert world.ready() == "a"


class TestLeave:
    def test_one_that_holds_nothing_is_left_at_once(self) -> None:
        world = World("a", "b")
        world.named("b")
        assert world.names() == "b"
        assert world.heard["a"][-1] == Goodbye()

    def test_it_gets_nothing_new_and_is_left_once_all_is_confirmed(self) -> None:
        world = World("a", "b")
        world.send("a")
        world.named("b")
        world.send("a")
        assert (world.names(), world.numbers("b")) == ("ab", [(ROW_NUMBERS + 1, 0)])
        world.confirm("a")
        world.run()
        assert world.names() == "b"

    def test_its_results_are_received_still(self) -> None:
        world = World("a", "b")
        future = world.send("a", reply=True)
        world.named("b")
        world.confirm("a")
        world.run(30.0)
        assert world.names() == "ab"
        world.say("a", Result(1, 0, 1, RESULTS), b"\x91\x07")
        world.run()
        assert world.names() == "b"
        (ending,) = world.publisher.endings
        ending.give_out()
        assert future.result() == 7

    def test_what_it_has_no_room_for_goes_elsewhere(self) -> None:
        world = World("a", "b")
        world.send("a")
        world.named("b")
        world.say("a", Refuse("full", 1, "full"))
        world.run()
        assert world.numbers("b") == [(1, MOVED)]
        assert Withdraw([1, 1]) in world.heard["a"]
        assert world.names() == "ab"
        world.say("a", Confirm([1, 1]))
        world.run()
        assert world.names() == "b"

    def test_what_it_has_not_confirmed_goes_elsewhere_if_it_is_lost(self) -> None:
        world = World("a", "b")
        world.send("a")
        world.named("b")
        world.lose("a")
        world.run()
        assert (world.names(), world.numbers("b")) == ("b", [(1, MOVED)])

    def test_a_store_that_may_come_back_is_awaited(self) -> None:
        world = World("b")
        world.durable = 1
        world.named("a", "b")
        future = world.send("a", reply=True)
        world.confirm("a")
        world.named("b")
        world.lose("a")
        world.run(60.0)
        assert "a" in world.names()
        assert not future.done()

    def test_nothing_new_comes_from_a_key(self) -> None:
        world = World("a", "b")
        keys = [f"order-{number}" for number in range(20)]
        world.named("b")
        for key in keys:
            world.send("b", key=key)
        assert len(world.numbers("b")) == 20


class TestReturn:
    def test_one_that_is_named_again_goes_on_with_its_numbers(self) -> None:
        world = World("a", "b")
        world.send("a")
        world.confirm("a")
        world.named("b")
        world.named("a", "b")
        assert world.ready() == "ba"
        world.send("a")
        assert world.numbers("a") == [(2, 0)]

    def test_while_it_is_being_left(self) -> None:
        world = World("a", "b")
        world.send("a")
        world.named("b")
        world.named("a", "b")
        world.confirm("a")
        world.run()
        assert world.ready() == "ab"

    def test_so_many_are_remembered(self) -> None:
        world = World("a")
        world.dead = {f"x{number}" for number in range(2 * PARKED_MAX)}
        for name in sorted(world.dead):
            world.named("a", name)
        assert len(world.fleet._parked) == PARKED_MAX
        assert len(world.find("a").siblings) == PARKED_MAX + 2

    def test_so_many_are_awaited(self) -> None:
        world = World("a")
        world.durable = 1
        names = [f"x{number}" for number in range(LEAVING_MAX + 5)]
        for name in names:
            world.at[name], world.heard[name] = name.encode(), []
            world.named("a", name)
            world.send(name, reply=True)
            world.confirm(name)
            world.lose(name)
        world.named("a")
        assert len(world.fleet.connections) == LEAVING_MAX + 1
        assert len(world.publisher.endings) == 5


class TestTwins:
    """Two addresses may be of one broker."""

    def test_it_is_greeted_once(self) -> None:
        world = World("a")
        world.at["b"] = b"a"
        world.named("a", "b")
        world.run(20.0)
        assert world.ready() == "a"
        assert {message.look for message in world.heard["b"]} == {1}
        for key in range(20):
            world.send("a", key=str(key))
        assert len(world.numbers("a")) == 20

    def test_also_where_both_are_new(self) -> None:
        world = World()
        world.at["b"] = b"a"
        world.named("a", "b")
        assert len(world.ready()) == 1

    def test_what_was_numbered_before_that_was_known_goes_to_it_all_the_same(self) -> None:
        world = World()
        world.at["b"] = b"a"
        world.dead = {"a", "b"}
        world.named("a", "b")
        world.send("b")
        world.dead = set()
        world.run()
        assert world.ready() == "a"
        assert world.numbers("a") == [(ROW_NUMBERS + 1, MOVED)]

    def test_if_one_address_is_lost_the_other_is_used_with_the_same_numbers(self) -> None:
        world = World("a")
        world.at["b"] = b"a"
        world.named("a", "b")
        future = world.send("a", reply=True)
        world.confirm("a")
        world.send("a", reply=True)
        world.lose("a")
        world.run(5.0)
        assert world.ready() == "b"
        assert world.numbers("b") == [(2, 0)]
        world.say("b", Result(1, 0, 1, RESULTS), b"\x91\x07")
        world.publisher.endings.popleft().give_out()
        assert future.result() == 7

    def test_a_broker_that_moved_is_followed(self) -> None:
        """Its pod has another address now, and its store is the same."""
        world = World("a", "c")
        world.durable = 1
        world.send("a", reply=True)
        world.lose("a")
        world.at["b"] = b"a"
        world.named("b", "c")
        world.run(5.0)
        assert world.ready() == "cb" or world.ready() == "bc"
        assert world.find("b").link.state is State.READY
        assert "a" not in world.names()
