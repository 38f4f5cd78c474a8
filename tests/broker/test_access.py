"""A broker with keys: what each user may say, about which queues, and what a revoked one hears."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.auth.users import ADMIN, OBSERVE, PRODUCE, WORK, User, Users
from zqueue.broker.intake import Ingest
from zqueue.broker.permissions import PERMISSIONS
from zqueue.config import Limits
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode
from zqueue.wire.messages import (
    DONE,
    DROP,
    FORBIDDEN,
    IMPORT,
    REPLAY,
    REVOKED,
    STOPPED,
    Ask,
    Cancel,
    Control,
    Credit,
    Deliver,
    Departed,
    Goodbye,
    Heartbeat,
    Hello,
    Known,
    Message,
    Publish,
    Refuse,
    Settle,
    Tell,
    Welcome,
)

from .shelf import Shelf


def user(name: str, *roles: str, queues: tuple[str, ...] = ("*",)) -> User:
    """A user whose name is its key."""
    return User(name, (name,), frozenset(roles), queues)


WEB = user("web", PRODUCE, queues=("q", "mail*"))
W1, W2 = user("w1", WORK, queues=("q",)), user("w2", WORK)
EYE, BOSS = user("eye", OBSERVE), user("boss", ADMIN)
EVERYBODY = (WEB, W1, W2, EYE, BOSS)


@pytest.fixture
def t(talk: Any) -> Any:
    t = talk()
    t.broker.access.users = Users(EVERYBODY)

    def tell(name: str, peer: bytes, message: Message, *frames: bytes) -> list[Any]:
        t.broker.receive(peer, name, [encode(message), *frames], t.now)
        return [message for to, message, _ in t.hear() if to == peer]

    def greet(name: str, role: str, peer: bytes = b"", **about: Any) -> list[Any]:
        return tell(name, peer or name.encode(), Hello(role, peer or name.encode()), pack(about))

    t.tell, t.greet = tell, greet
    return t


def codes(heard: list[Any]) -> list[str]:
    return [m.code for m in heard if isinstance(m, Refuse)]


def test_every_kind_says_which_users_may_say_it() -> None:
    assert all(rule.users for rule in PERMISSIONS.values())


@pytest.mark.parametrize("role", ["producer", "worker", "supervisor", "observer"])
@pytest.mark.parametrize("who", EVERYBODY, ids=lambda who: who.name)
def test_who_may_greet_as_what(t: Any, who: User, role: str) -> None:
    may = {
        "producer": {"web", "boss"},
        "worker": {"w1", "w2", "boss"},
        "supervisor": {"w1", "w2", "boss"},
        "observer": {"eye", "boss"},
    }
    heard = t.greet(who.name, role, queues=["q"])
    if who.name in may[role]:
        assert isinstance(heard[0], Welcome)
    else:
        assert codes(heard) == [FORBIDDEN]
        assert not t.broker.roster.peers


def test_nobody_else_is_heard_at_all(t: Any) -> None:
    for name in ("", "stranger"):
        assert t.greet(name, "producer", b"x") == []
        assert t.tell(name, b"x", Ask("info")) == []
    assert t.broker.counters.forbidden == 4
    assert not t.broker.roster.peers


def test_a_batch_for_a_queue_of_others_is_refused_for_good(t: Any) -> None:
    t.greet("web", "producer")
    assert codes(t.tell("web", b"web", Publish(1, "secrets", "t", 0), pack([1]))) == [FORBIDDEN]
    t.tell("web", b"web", Publish(2, "mail.slow", "t", 0), pack([1]))
    assert "secrets" not in t.broker.book.queues
    assert t.ready("mail.slow") == 1


def test_a_worker_serves_only_its_queues(t: Any) -> None:
    assert codes(t.greet("w1", "worker", queues=["q", "secrets"])) == [FORBIDDEN]
    assert "secrets" not in t.broker.book.queues
    assert isinstance(t.greet("w1", "worker", queues=["q"])[0], Welcome)


def test_a_routing_id_is_not_enough(t: Any) -> None:
    """Whoever comes under another's cannot settle, take, or end anything of it."""
    t.greet("web", "producer")
    t.tell("web", b"web", Publish(1, "q", "t", 0), pack([1]))
    t.greet("w1", "worker", queues=["q"])
    (delivery,) = t.tell("w1", b"w1", Credit(5))
    assert isinstance(delivery, Deliver)
    done = Settle(delivery.lease, 5, [[0, 0, 1, DONE]])
    for message in (done, Credit(9), Heartbeat([])):
        assert codes(t.tell("w2", b"w1", message)) == [FORBIDDEN]
    assert t.leased() == 1
    t.tell("w1", b"w1", done)
    assert t.leased() == 0


def test_an_id_stays_with_whom_it_belongs_to(t: Any) -> None:
    t.broker.access.users = Users([*EVERYBODY, user("web2", PRODUCE)])
    t.greet("web", "producer", b"shop")
    heard = t.tell("web2", b"elsewhere", Hello("producer", b"shop"), pack({}))
    assert codes(heard) == [FORBIDDEN]
    t.greet("w1", "worker", b"w", queues=["q"])
    heard = t.tell("w2", b"elsewhere", Hello("worker", b"w"), pack({"queues": ["q"]}))
    assert codes(heard) == [FORBIDDEN]
    assert t.broker.roster.workers[b"w"].user == "w1"


def test_a_supervisor_speaks_for_workers_of_its_user_only(t: Any) -> None:
    t.greet("w1", "worker", b"w", queues=["q"], supervisor=b"s")
    t.tell("w2", b"s2", Hello("supervisor", b"s"), pack({}))
    t.tell("w2", b"s2", Departed(b"w", STOPPED, 0, 0, ""))
    assert b"w" in t.broker.roster.workers
    t.tell("w1", b"s1", Hello("supervisor", b"s"), pack({}))
    t.tell("w1", b"s1", Departed(b"w", STOPPED, 0, 0, ""))
    assert b"w" not in t.broker.roster.workers


def test_who_may_look(t: Any) -> None:
    t.greet("web", "producer")
    t.tell("web", b"web", Publish(1, "q", "t", 0), pack([1]))
    for who in EVERYBODY:
        assert isinstance(t.tell(who.name, b"x", Ask("info"))[0], Tell)
        heard = t.tell(who.name, b"x", Ask("peek"), pack({"queue": "q"}))
        assert isinstance(heard[0], Tell) is (who in (EYE, BOSS))
    t.broker.access.users = Users([user("eye", OBSERVE, queues=("mail*",))])
    for which in ({"queue": "q"}, {}):
        assert codes(t.tell("eye", b"x", Ask("dead"), pack(which))) == [FORBIDDEN]
    assert isinstance(t.tell("eye", b"x", Ask("dead"), pack({"queue": "mail"}))[0], Tell)


def test_an_answer_to_a_batch_that_comes_again_tells_nothing_of_other_queues(t: Any) -> None:
    t.broker.access.users = Users([*EVERYBODY, user("web2", PRODUCE)])
    t.greet("web2", "producer")
    keyed = pack({"key": "order-7"})
    t.tell("web2", b"web2", Publish(1, "secrets", "t", 0), pack([1]), keyed)
    t.greet("web", "producer")
    t.tell("web", b"web", Publish(1, "q", "t", 0), pack([1]))
    heard = t.tell("web", b"web", Publish(1, "secrets", "t", 0), pack([1]), keyed)
    assert not [m for m in heard if isinstance(m, Known)]
    heard = t.tell("web2", b"web2", Publish(2, "secrets", "t", 0), pack([1]), keyed)
    assert [m for m in heard if isinstance(m, Known)]


def test_a_chosen_id_gives_nobody_the_tasks_of_others(t: Any) -> None:
    """The start of an id is the number that all see of its producer's tasks."""
    t.broker.access.users = Users([*EVERYBODY, user("web2", PRODUCE)])
    t.greet("web", "producer", b"123456-web")
    t.tell("web", b"123456-web", Publish(1, "q", "t", 0), pack([1]))
    t.greet("web2", "producer", b"123456-web2")
    own = Cancel(1, 0, [[0, 1, 0, 1]], "", "")
    t.tell("web2", b"123456-web2", own)
    assert t.ready() == 1
    t.tell("web", b"123456-web", own)
    assert t.ready() == 0


def test_a_worker_leads_no_tasks_of_other_queues_to_itself(t: Any) -> None:
    """Producers send a task where workers say that it goes."""
    t.greet("w2", "worker", queues=["pay"], tasks={"charge": "pay", "look": "q"})
    t.greet("w1", "worker", queues=["q"], tasks={"charge": "q", "look": "q", "more": "pay"})
    assert t.broker.roster.tasks == {"charge": "pay", "look": "q"}
    t.greet("w2", "worker", queues=["pay", "q"], tasks={"charge": "q"})
    assert t.broker.roster.tasks["charge"] == "q"


def test_letters_of_other_queues_are_not_touched(t: Any) -> None:
    t.broker.access.users = Users([user("boss", ADMIN, queues=("mail*",))])
    others, own = pack({"queue": "q"}), pack({"queue": "mail"})
    for action in (REPLAY, DROP):
        for queue, page in (("mail", others), ("mail", pack({})), ("", others), ("q", own)):
            if action == DROP and page == own:
                continue  # It goes to no queue.
            assert codes(t.tell("boss", b"x", Control(action, queue), page)) == [FORBIDDEN]
        assert isinstance(t.tell("boss", b"x", Control(action, "mail"), own)[0], Tell)
    letters = pack({"queue": "mail", "letters": []})
    assert codes(t.tell("boss", b"x", Control(IMPORT, "mail"), letters)) == [FORBIDDEN]


def test_another_key_under_the_same_name_ends_the_first_ones_connection(t: Any) -> None:
    """Who has stolen a key stays out, though its owner has a new one at once."""
    t.greet("w1", "worker", queues=["q"])
    renewed = W1._replace(keys=("new",))
    t.broker.access.change(Users([renewed, W2]), t.now)
    assert [(to, m.code) for to, m, _ in t.hear()] == [(b"w1", REVOKED)]
    assert t.tell("w1", b"w1", Credit(5)) == []
    assert isinstance(
        t.tell("new", b"z", Hello("worker", b"w1"), pack({"queues": ["q"]}))[0], Welcome
    )
    assert t.broker.ingest([b"q", pack([1])], t.now, "web") is Ingest.REFUSED


@pytest.mark.parametrize("with_facts", [False, True])
def test_a_producer_is_its_users_after_a_restart_too(t: Any, with_facts: bool) -> None:
    shelf, users = Shelf(), t.broker.access.users
    t.broker = shelf.broker(t.now, b"broker-1", Limits(), 0)
    t.broker.access.users = users
    for one, about in ((b"shop", {"first": 5}), (b"other", {})):
        t.tell("web", one, Hello("producer", one), pack(about))
        t.tell("web", one, Publish(5, "q", "t", 0), pack([1]))
    shelf.store(t.broker)
    if with_facts:
        shelf.add([t.broker.facts()])
    t.broker = shelf.broker(t.now, b"broker-1", Limits(), 1 << 40)
    t.broker.access.users = Users([WEB, user("web2", PRODUCE)])
    for one in (b"shop", b"other"):
        hello = Hello("producer", one)
        assert codes(t.tell("web2", b"x", hello, pack({"first": 9}))) == [FORBIDDEN]
        assert isinstance(t.tell("web", b"y", hello, pack({"first": 9}))[0], Welcome)
        t.tell("web", b"y", Goodbye())


def test_who_may_control_and_cancel(t: Any) -> None:
    t.greet("web", "producer")
    for number in (1, 2, 3):
        t.tell("web", b"web", Publish(number, "q", "t", 0), pack([1]))
    everything, own = Cancel(1, 0, [], "q", ""), Cancel(1, 0, [[0, 1, 0, 1]], "", "")
    for who in (WEB, W1, EYE):
        assert codes(t.tell(who.name, b"x", Control("pause", "q"))) == [FORBIDDEN]
        assert codes(t.tell(who.name, b"x", everything)) == [FORBIDDEN]
    assert codes(t.tell("web", b"web", everything)) == [FORBIDDEN]
    assert t.ready() == 3
    assert isinstance(t.tell("web", b"web", own)[0], Tell)
    assert t.ready() == 2
    assert isinstance(t.tell("boss", b"x", everything)[0], Tell)
    assert t.ready() == 0
    t.broker.access.users = Users([user("boss", ADMIN, queues=("mail*",))])
    assert codes(t.tell("boss", b"x", Control("pause", "q"))) == [FORBIDDEN]


def test_a_revoked_worker_is_lost_and_its_tasks_go_to_others(t: Any) -> None:
    t.greet("web", "producer")
    t.greet("w1", "worker", queues=["q"])
    t.tell("w1", b"w1", Credit(5))
    t.tell("web", b"web", Publish(1, "q", "t", 0), pack([1]))
    assert t.leased() == 1
    t.broker.access.change(Users([WEB, W2, EYE, BOSS]), t.now)
    assert [(to, m.code) for to, m, _ in t.hear()] == [(b"w1", REVOKED)]
    assert (t.ready(), t.leased()) == (1, 0)
    assert t.tell("w1", b"w1", Credit(5)) == [], "it is not heard any more"
    t.greet("w2", "worker", queues=["q"])
    (delivery,) = t.tell("w2", b"w2", Credit(5))
    assert isinstance(delivery, Deliver)


def test_who_may_do_less_is_lost_too(t: Any) -> None:
    t.greet("w1", "worker", queues=["q"])
    t.greet("web", "producer")
    fewer = [user("w1", WORK, queues=("other",)), user("web", OBSERVE), W2]
    t.broker.access.change(Users(fewer), t.now)
    assert {(to, m.code) for to, m, _ in t.hear()} == {(b"w1", FORBIDDEN), (b"web", FORBIDDEN)}
    assert not t.broker.roster.peers


def test_who_stays_notices_nothing(t: Any) -> None:
    t.greet("w1", "worker", queues=["q"])
    t.broker.access.change(Users([W1]), t.now)
    assert t.hear() == []
    assert b"w1" in t.broker.roster.workers


def test_the_plain_lane(t: Any) -> None:
    frames = [b"q", pack([1])]
    assert t.broker.ingest(frames, t.now, "web") is Ingest.TAKEN
    for name in ("", "stranger", "w1", "eye"):
        assert t.broker.ingest(frames, t.now, name) is Ingest.REFUSED
    assert t.broker.ingest([b"secrets", pack([1])], t.now, "web") is Ingest.REFUSED
    assert t.broker.ingest([], t.now, "web") is Ingest.REFUSED
    assert t.ready() == 1
