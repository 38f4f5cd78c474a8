"""Set aside: what becomes a dead letter, what is told of it, and what can be done to it."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.presence import PRODUCER_AWAY_S
from zqueue.config import Limits
from zqueue.core.records import PUT, Over
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode
from zqueue.wire.letters import LETTERS_BYTES_MAX, LETTERS_MAX
from zqueue.wire.messages import (
    DROP,
    FAILED,
    IMPORT,
    REPLAY,
    Ask,
    Control,
    Goodbye,
    Publish,
    Refuse,
    Tell,
)
from zqueue.wire.unpacking import unpack

from .shelf import Shelf

NOBODY = b"nobody known"


class Fails:
    """A broker whose worker fails whatever it is given; what there is to be said about that."""

    def __init__(self, talk: Any, deliveries: Any, **limits: Any) -> None:
        self.t = talk(**limits)
        self.t.broker.set_wall(5_000.0, self.t.now)
        self.t.producer()
        self.sent = 0
        self.keep: Any = lambda: None
        """Stores what there is to be stored."""
        self._deliveries = deliveries
        self._heard: list[Any] = []
        self.t.worker(credit=1000)

    def fail(self, *bodies: Any, error: str = "ValueError", queue: str = "q") -> None:
        """Tasks are sent one by one, and fail for good."""
        for body in bodies:
            self.sent += 1
            self.t.publish(b"p", self.sent, [body], queue)
            self.run(error)

    def run(self, error: str = "ValueError") -> list[Any]:
        """Whatever is handed out fails. Returns the deliveries."""
        heard = self.deliveries()
        for peer, message, _ in heard:
            runs = [[i, 0, batch[2], FAILED] for i, batch in enumerate(message.batches)]
            errors = [pack([[error, "no", "where"]])] * len(runs)
            self.t.settle(peer, message.lease, runs, *errors, credit=1000)
        return heard

    def deliveries(self) -> list[Any]:
        """What was handed out since the last look."""
        heard, self._heard = [*self._heard, *self.t.hear()], []
        return list(self._deliveries(heard))

    def ask(self, what: str = "dead", *bodies: bytes, **which: Any) -> Any:
        return self._say(Ask(what), [pack(which)])

    def control(self, action: str, to: str = "", *bodies: bytes, **which: Any) -> Any:
        self.tell(action, to, *bodies, **which)
        self.keep()
        return self._answer()

    def tell(self, action: str, to: str = "", *bodies: bytes, **which: Any) -> None:
        """As `control`, and the store has nothing of it yet."""
        frames = [encode(Control(action, to)), pack(which), *bodies]
        self.t.broker.receive(NOBODY, "", frames, self.t.now)

    def _say(self, message: Any, frames: list[bytes]) -> Any:
        self.t.broker.receive(NOBODY, "", [encode(message), *frames], self.t.now)
        return self._answer()

    def _answer(self) -> Any:
        heard = self.t.hear()
        self._heard += heard
        ((_, answer, told),) = [told for told in heard if told[0] == NOBODY]
        if isinstance(answer, Refuse):
            return answer.code
        assert isinstance(answer, Tell)
        self.bodies = told[1:]
        return unpack(told[0])

    def numbers(self, **which: Any) -> list[int]:
        return [letter["number"] for letter in self.ask(**which)["letters"]]

    def bodies_of(self) -> list[Any]:
        self.ask()
        return [unpack(body) for body in self.bodies]

    def check(self) -> None:
        """Each task that died is kept, or counted once."""
        dead = self.ask(limit=1)
        gone = dead["evicted"] + dead["replayed"] + dead["dropped"]
        assert dead["total"] == dead["kept"] + gone


@pytest.fixture
def fails(talk: Any, deliveries: Any) -> Any:
    def make(**limits: Any) -> Fails:
        return Fails(talk, deliveries, **limits)

    return make


def test_what_a_letter_tells(fails: Any) -> None:
    f = fails()
    f.t.now += 2.0
    header = encode(Publish(1, "q", "t", 0, 500_000))
    f.t.broker.receive(b"p", "", [header, pack(["a", "b"])], f.t.now)
    f.sent = 1
    f.t.now += 3.0
    f.run()
    first, second = f.ask()["letters"]
    assert f.bodies == [pack(["a"]), pack(["b"])]
    assert first == {
        "number": 1, "queue": "q", "task": "t", "reason": "failed", "error": "ValueError",
        "text": "no", "traceback": "where", "deliveries": 1, "failures": 1, "timeouts": 0,
        "crashes": 0, "sent_s": 5001.5, "died_s": 5005.0, "options": b"", "origin": ord("p"),
        "sequence": 1, "position": 0, "nbytes": 3,
    }  # fmt: skip
    assert (second["number"], second["position"]) == (2, 1)
    counters = f.t.broker.book.totals()
    assert (counters.dead, counters.dead_failed, counters.dead_crashed) == (2, 2, 0)


def test_a_failure_that_is_awaited_by_who_is_forgotten(fails: Any) -> None:
    """Its result would go nowhere: who looks at the dead letters is to see it."""
    f = fails()
    f.t.publish(b"p", 1, ["early"], reply=True)
    f.run()
    assert f.numbers() == [], "while the producer may come back it is told, and keeps it"
    f.t.publish(b"p", 2, ["late"], reply=True)
    ((_, message, _),) = f.deliveries()
    f.t.say(b"p", Goodbye())
    for _ in range(int(PRODUCER_AWAY_S) + 1):
        f.t.now += 1.0
        f.t.broker.receive(b"w", "", [encode(Ask("info"))], f.t.now)
        f.t.broker.roster.peers[b"w"].heard_at = f.t.now
        f.t.broker.tick(f.t.now)
    f.t.settle(b"w", message.lease, [[0, 0, 1, FAILED]], pack([["E", "", ""]]))
    f.t.hear()
    assert f.numbers() == [1]
    assert f.bodies == [pack(["late"])]


def test_pages(fails: Any) -> None:
    f = fails()
    f.fail(*range(LETTERS_MAX + 50))
    told = f.ask()
    assert [letter["number"] for letter in told["letters"]] == list(range(1, LETTERS_MAX + 1))
    assert told["next"] == LETTERS_MAX
    assert f.ask(after=told["next"])["next"] is None
    assert f.numbers(after=told["next"]) == list(range(LETTERS_MAX + 1, LETTERS_MAX + 51))
    assert f.numbers(before=1 << 40, limit=2) == [150, 149]
    assert f.numbers(before=149, limit=2) == [148, 147]
    assert f.numbers(after=3, upto=5) == [4, 5]
    assert f.ask(limit="x") == "malformed"
    assert f._say(Ask("dead"), [pack({}), b""]) == "malformed"


def test_pages_are_bounded_in_bytes(fails: Any) -> None:
    f = fails()
    f.fail(b"x" * LETTERS_BYTES_MAX, *[b"y" * (LETTERS_BYTES_MAX // 3)] * 4)
    assert f.ask()["next"] == 1, "one is told, whatever it has"
    assert f.numbers(after=1) == [2, 3]
    assert sum(map(len, f.bodies)) <= LETTERS_BYTES_MAX


def test_groups(fails: Any) -> None:
    f = fails()
    f.fail(1, 2, error="ValueError")
    f.t.now += 10.0
    f.fail(3, error="KeyError")
    told = f.ask("dead-groups")
    assert told["groups"] == [
        {"queue": "q", "task": "t", "error": "KeyError", "reason": "failed", "letters": 1,
         "first_s": 5010.0, "last_s": 5010.0, "newest": 3, "text": "no"},
        {"queue": "q", "task": "t", "error": "ValueError", "reason": "failed", "letters": 2,
         "first_s": 5000.0, "last_s": 5000.0, "newest": 2, "text": "no"},
    ]  # fmt: skip
    assert (told["kept"], told["groups_kept"], told["next"]) == (3, 2, None)
    assert f.ask("dead-groups", limit=1)["next"] == 1
    (second,) = f.ask("dead-groups", after=1)["groups"]
    assert second["error"] == "ValueError"
    assert len(f.ask("dead-groups", since=5001)["groups"]) == 1


def test_replay_is_a_new_beginning(fails: Any) -> None:
    f = fails()
    f.fail("a", "b")
    assert f.control(REPLAY, error="KeyError") == {"replayed": 0, "damaged": 0, "next": None}
    assert f.control(REPLAY, limit=1) == {"replayed": 1, "damaged": 0, "next": 1}
    ((_, message, frames),) = f.run()
    (batch,) = message.batches
    assert (batch[0], batch[3]) == ("t", 1), "its first attempt"
    assert frames == [pack(["a"])]
    assert f.numbers() == [2, 3], "it failed again, under a new number"
    assert f.control(REPLAY, upto=2)["replayed"] == 1
    assert f.t.broker.book.totals().replayed == 2
    f.check()


def test_replay_into_another_queue(fails: Any) -> None:
    f = fails()
    f.fail("a", "b")
    assert f.control(REPLAY, "elsewhere", after=1)["replayed"] == 1
    assert f.t.ready("elsewhere") == 1
    assert f.control(REPLAY, "no such name") == "bad-name"
    assert f.numbers() == [1]


@pytest.mark.parametrize(("action", "code"), [("", "full"), ("drain", "draining")])
def test_what_finds_no_room_stays_a_letter(fails: Any, action: str, code: str) -> None:
    f = fails(queue_tasks_max=2)
    f.fail(*"abcd")
    f.t.say(b"w", Goodbye())
    if action:
        f.t.control(action)
    told = f.control(REPLAY)
    room = 0 if action else 2
    assert told == {
        "replayed": room, "damaged": 0, "next": room, "stopped": code, "queue": "q"
    }  # fmt: skip
    assert len(f.numbers()) == 4 - room
    f.check()


def test_a_broker_that_drains_takes_none_back(fails: Any) -> None:
    f = fails()
    f.fail("a")
    f.t.broker.drain()
    assert f.control(REPLAY)["stopped"] == "draining"
    assert f.numbers() == [1]


def test_what_is_damaged_is_not_replayed(fails: Any) -> None:
    f = fails()
    f.t.say(b"p", Publish(1, "q", "t", 0), b"\x93\x01\xc1\xc1")
    f.t.say(b"w", Goodbye())
    f.t.worker(b"w2", credit=1)
    f.t.hear()
    told = f.ask()
    assert {letter["reason"] for letter in told["letters"]} == {"malformed"}
    assert f.control(REPLAY) == {"replayed": 0, "damaged": 3, "next": None}
    assert f.control(DROP) == {"dropped": 3, "next": None}


def test_drop(fails: Any) -> None:
    f = fails()
    f.fail(1, 2, 3, error="A")
    f.fail(4, error="B")
    assert f.control(DROP, error="A", limit=2) == {"dropped": 2, "next": 2}
    assert f.control(DROP, error="A") == {"dropped": 1, "next": None}
    assert f.numbers() == [4]
    f.check()


def test_import_takes_all_or_none(fails: Any) -> None:
    f, other = fails(), fails(dead_max=3)
    f.fail("a", "b")
    letters, bodies = f.ask()["letters"], f.bodies
    other.fail("mine")
    assert other.control(IMPORT, "", *bodies, letters=letters) == {"imported": 2, "full": False}
    assert other.numbers() == [1, 2, 3]
    assert other.bodies == [pack(["mine"]), *bodies]
    assert other.control(IMPORT, "", *bodies, letters=letters) == {"imported": 0, "full": True}
    assert other.control(IMPORT, "", *bodies[1:], letters=letters) == "malformed"
    assert other.control(IMPORT, "", *bodies, letters=[letters[0], {"queue": 5}]) == "malformed"
    assert other._say(Control(IMPORT, ""), []) == "malformed"
    other.fail("another")
    assert other.numbers() == [2, 3, 4], "what dies makes the oldest give way"
    other.check()


def test_the_bound_counts(fails: Any) -> None:
    f = fails(dead_max=2)
    f.fail(*range(5))
    assert f.numbers() == [4, 5]
    state = f.ask("info")["dead"]
    assert (state["kept"], state["evicted"], state["total"]) == (2, 3, 5)
    f.check()


# --- with a journal ---


@pytest.fixture
def durable(talk: Any, deliveries: Any) -> Any:
    """A broker with a journal. `die`: the next one comes, with what is stored."""
    f = Fails(talk, deliveries)
    f.shelf = Shelf()
    f.lives = 0

    def die(**limits: Any) -> None:
        f.lives += 1
        f.t.broker = f.shelf.broker(f.t.now, b"broker-1", Limits(**limits), f.lives << 40)
        f.t.broker.set_wall(5_000.0, f.t.now)
        f.t.producer(b"p", b"producer%d" % f.lives)
        f.t.worker(credit=1000)
        f.sent, f._heard = 0, []

    f.die = die
    f.keep = lambda: f.shelf.store(f.t.broker)
    die()
    return f


def test_letters_survive(durable: Any) -> None:
    f = durable
    f.fail("a", "b", "c")
    before, bodies = f.ask(), f.bodies
    f.keep()
    f.die()
    assert f.ask()["letters"] == before["letters"]
    assert f.bodies == bodies
    assert f.deliveries() == [], "none of them is a task any more"
    f.fail("d")
    assert f.numbers()[-1] > max(f.numbers()[:-1])
    f.check()


def test_a_task_is_a_letter_in_one_step(durable: Any) -> None:
    """Whatever was stored of it when the broker dies: it is one or the other, and never neither."""
    f = durable
    f.fail("a")
    _, records = f.t.broker.to_store()
    kinds = [type(record).__name__ for record in records]
    assert kinds.index("Over") > max(i for i, kind in enumerate(kinds) if kind == "Entry")
    f.shelf.add(records)
    f.die()
    (number,) = f.numbers()
    f.tell(REPLAY)
    _, records = f.t.broker.to_store()
    assert [type(record).__name__ for record in records] == ["Entry", "Over"]
    assert (records[0].kind, records[1]) == (PUT, Over(number, 0, 1))
    f.die()
    assert f.numbers() == [number], "nothing of the replay was stored"
    assert f.control(REPLAY) == {"replayed": 1, "damaged": 0, "next": None}
    f.die()
    assert f.numbers() == []
    ((_, message, frames),) = f.deliveries()
    assert (frames, message.batches[0][3]) == ([pack(["a"])], 1)


def test_what_is_dropped_or_had_to_make_room_is_gone(durable: Any) -> None:
    f = durable
    f.fail(*"abcde")
    f.control(DROP, limit=1)
    f.die(dead_max=2)
    assert f.bodies_of() == [["d"], ["e"]]
    f.fail("f")
    f.keep()
    f.die()
    assert f.bodies_of() == [["e"], ["f"]]


def test_imported_ones_survive(durable: Any) -> None:
    f = durable
    f.fail("a")
    letters, bodies = f.ask()["letters"], f.bodies
    f.control(IMPORT, "", *bodies, letters=letters)
    f.die()
    assert f.bodies_of() == [["a"], ["a"]]
    assert len(set(f.numbers())) == 2
