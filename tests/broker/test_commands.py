"""Commands: what is answered is done, and stays so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zqueue.broker.commands import WAITING_MAX
from zqueue.broker.peers import origin_number
from zqueue.config import Limits
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode
from zqueue.wire.messages import (
    DRAIN,
    DROP,
    FAILED,
    FULL,
    IMPORT,
    PAUSE,
    REPLAY,
    Ask,
    Cancel,
    Control,
    Message,
    Refuse,
    Tell,
)
from zqueue.wire.unpacking import unpack

from .conftest import deliveries
from .shelf import Shelf

TASK = [origin_number(b"p"), 2, 0, 1]
LETTER = {"queue": "q", "task": "t", "reason": "failed", "type": "E", "text": "", "traceback": ""}


@pytest.fixture
def stored(talk: Any) -> Any:
    """A broker with a store, in which task 1 is a dead letter and task 2 waits."""
    t = talk()
    t.shelf = Shelf()
    t.broker = t.shelf.broker(t.now, b"broker-1", Limits(), 1 << 40)
    t.producer()
    t.worker(credit=10)
    t.publish(b"p", 1, [1])
    ((_, message, _),) = deliveries(t.hear())
    t.settle(b"w", message.lease, [[0, 0, 1, FAILED]], pack([["E", "no", ""]]), credit=0)
    t.publish(b"p", 2, [2])
    t.broker.press()
    t.shelf.store(t.broker)
    t.hear()
    assert t.broker.to_store() is None
    return t


def answers(t: Any) -> list[Any]:
    """What the asker hears."""
    return [
        (message, [unpack(frame) for frame in frames[:1]])
        for peer, message, frames in t.hear()
        if peer == b"asker"
    ]


def command(t: Any, message: Message, *frames: bytes) -> None:
    t.broker.receive(b"asker", "", [encode(message), *frames], t.now)


def letters(broker: Any) -> int:
    return len(broker.dead)


def waiting(broker: Any) -> int:
    queue = broker.book.queues.get("q")
    return 0 if queue is None else int(queue.ready.tasks)


COMMANDS: dict[str, tuple[Message, list[bytes], dict[str, Any], Callable[[Any], bool]]] = {
    "cancel": (Cancel(7, 0, [TASK], "q", ""), [], {"cancelled": 1},
               lambda broker: waiting(broker) == 0),
    "purge": (Cancel(7, 0, [], "q", ""), [], {"cancelled": 1},
              lambda broker: waiting(broker) == 0),
    "pause": (Control(PAUSE, "q"), [], {"paused": True},
              lambda broker: bool(broker.book.queues["q"].paused)),
    "drain": (Control(DRAIN, "q"), [], {"draining": True},
              lambda broker: bool(broker.book.queues["q"].draining)),
    "replay": (Control(REPLAY, ""), [], {"replayed": 1},
               lambda broker: (letters(broker), waiting(broker)) == (0, 2)),
    "drop": (Control(DROP, ""), [], {"dropped": 1},
             lambda broker: letters(broker) == 0),
    "import": (Control(IMPORT, ""), [pack({"letters": [LETTER]}), pack([3])], {"imported": 1},
               lambda broker: letters(broker) == 2),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_what_was_answered_is_so_after_a_crash(stored: Any, name: str) -> None:
    t = stored
    message, frames, said, is_done = COMMANDS[name]
    command(t, message, *frames)
    assert is_done(t.broker), "it is done at once"
    assert answers(t) == []
    commit = t.broker.to_store()
    assert commit is not None, "it waits for no company"
    assert answers(t) == []
    before = t.shelf.broker(t.now, b"broker-1", Limits(), 2 << 40)
    assert not is_done(before), "a crash now undoes it"
    t.shelf.add(commit[1])
    t.broker.stored(commit[0])
    ((answer, [told]),) = answers(t)
    assert answer == Tell()
    assert told.items() >= said.items()
    after = t.shelf.broker(t.now, b"broker-1", Limits(), 3 << 40)
    assert is_done(after)


def test_what_changed_nothing_waits_for_what_was_done_before(stored: Any) -> None:
    """Who cancels what somebody has just cancelled hears so no sooner than that one."""
    t = stored
    command(t, Cancel(1, 0, [TASK], "q", ""))
    ticket, records = t.broker.to_store()
    command(t, Cancel(2, 0, [TASK], "q", ""))
    assert t.broker.to_store() is None
    assert answers(t) == []
    t.shelf.add(records)
    t.broker.stored(ticket)
    assert [told["number"] for _, [told] in answers(t)] == [1, 2]
    command(t, Cancel(3, 0, [TASK], "q", ""))
    assert [told["number"] for _, [told] in answers(t)] == [3], "all is stored"


def test_questions_wait_for_nothing(stored: Any) -> None:
    t = stored
    command(t, Cancel(1, 0, [TASK], "q", ""))
    command(t, Ask("info"))
    assert [type(message) for message, _ in answers(t)] == [Tell]


def test_a_disk_that_does_nothing_is_asked_for_so_much_and_no_more(stored: Any) -> None:
    t = stored
    for _ in range(WAITING_MAX):
        command(t, Control(PAUSE, "q"))
    assert answers(t) == []
    command(t, Cancel(1, 0, [], "q", ""))
    ((message, _),) = answers(t)
    assert isinstance(message, Refuse)
    assert message.code == FULL
    assert waiting(t.broker) == 1, "and it is not done"
    t.shelf.store(t.broker)
    assert len(answers(t)) == WAITING_MAX
    command(t, Cancel(1, 0, [], "q", ""))
    assert waiting(t.broker) == 0


def test_in_memory_the_answer_comes_at_once(talk: Any) -> None:
    t = talk()
    t.producer()
    t.publish(b"p", 1, [1])
    t.hear()
    command(t, Cancel(1, 0, [], "q", ""))
    assert [told["cancelled"] for _, [told] in answers(t)] == [1]
