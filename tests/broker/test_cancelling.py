"""Cancelling: what is not wanted any more is taken out, wherever it is."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.broker.dispatch import SUSPECTS_WAIT_S
from zqueue.broker.peers import origin_number
from zqueue.wire.codec import pack
from zqueue.wire.headers import encode
from zqueue.wire.messages import (
    CANCELLED,
    CRASHED,
    DONE,
    FAILED,
    RETURNED,
    RUNNING,
    STOPPED,
    Cancel,
    Credit,
    Deliver,
    Departed,
    Known,
    Refuse,
    Result,
    Stop,
    Tell,
)
from zqueue.wire.unpacking import unpack, unpack_bodies

NO = pack([["ValueError", "no", ""]])


class Asking:
    """A broker with a producer ``p``, and what is cancelled there."""

    def __init__(self, talk: Any, **limits: Any) -> None:
        self.talk = talk(**limits)
        self.talk.producer()

    def cancel(
        self, *tasks: list[int], queue: str = "", task: str = "", flags: int = 0, peer: bytes = b"p"
    ) -> tuple[int, int, int]:
        """Tasks that are cancelled, stopping and running; what else is said is in `heard`."""
        message = Cancel(7, flags, list(tasks), queue, task)
        self.talk.broker.receive(peer, "", [encode(message)], self.talk.now)
        self.heard = self.talk.hear()
        answers = [frames for to, told, frames in self.heard if to == peer and told == Tell()]
        answer = unpack(answers[0][0])
        assert answer["number"] == 7
        return answer["cancelled"], answer["stopping"], answer["running"]

    def results(self, peer: bytes = b"p") -> list[Result]:
        """Those that were heard with the last answer, or are heard now."""
        heard, self.heard = [*self.heard, *self.talk.hear()], []
        return [told for to, told, _ in heard if to == peer and isinstance(told, Result)]

    def stops(self) -> list[Stop]:
        """What workers were told with the last answer."""
        return [told for _, told, _ in self.heard if isinstance(told, Stop)]

    def counters(self) -> tuple[int, int, int]:
        """Cancelled, dead, and what the budget holds."""
        totals = self.talk.broker.book.totals()
        return totals.cancelled, totals.dead, self.talk.broker.book.budget.bytes


@pytest.fixture
def asking(talk: Any) -> Asking:
    return Asking(talk)


def test_by_its_key(talk: Any) -> None:
    t = talk()
    t.producer()
    for sequence, key in ((1, "k"), (2, "other"), (3, None)):
        t.publish(b"p", sequence, [sequence], **({"key": key} if key else {}))
    t.hear()

    def cancel(key: str, queue: str = "q") -> int:
        t.broker.receive(b"x", "", [encode(Cancel(1, 0, [], queue, "", key))], t.now)
        ((_, _, (frame,)),) = t.hear()
        return int(unpack(frame)["cancelled"])

    assert [cancel("nobody"), cancel("k"), cancel("k")] == [0, 1, 0]
    assert t.ready() == 2
    t.publish(b"p", 4, ["again"], key="k")
    assert any(isinstance(told, Known) for _, told, _ in t.hear()), "the key is free too early"
    t.broker.receive(b"x", "", [encode(Cancel(1, 0, [], "", "", "k"))], t.now)
    assert [told.code for _, told, _ in t.hear()] == ["malformed"]


def delivered(talk: Any, deliveries: Any) -> list[list[Any]]:
    """The bodies of all that workers are given now."""
    return [unpack_bodies(frame) for _, _, frames in deliveries(talk.hear()) for frame in frames]


def test_what_is_ready_does_not_run_and_its_neighbours_do(asking: Asking, deliveries: Any) -> None:
    talk = asking.talk
    talk.publish(b"p", 1, [0, 1, 2, 3], reply=True)
    talk.publish(b"p", 2, [4, 5], reply=True)
    assert asking.cancel([0, 1, 1, 2], queue="q") == (2, 0, 0)
    assert asking.results() == [Result(1, 1, 2, CANCELLED)]
    assert asking.cancel([0, 1, 1, 1], [0, 2, 5, 1], [0, 9, 0, 1]) == (0, 0, 0)
    assert talk.ready() == 4
    talk.worker(credit=10)
    assert delivered(talk, deliveries) == [[0], [3], [4, 5]]
    assert asking.counters()[:2] == (2, 0)


def test_a_result_comes_before_the_answer(asking: Asking) -> None:
    asking.talk.publish(b"p", 1, [0], reply=True)
    asking.talk.hear()
    asking.cancel([0, 1, 0, 1])
    assert [type(told) for _, told, _ in asking.heard] == [Result, Tell]


def test_anybody_names_tasks_by_their_origin(asking: Asking) -> None:
    talk = asking.talk
    talk.publish(b"p", 1, [0, 1], reply=True)
    talk.hear()
    origin = origin_number(b"p")
    assert asking.cancel([origin + 1, 1, 0, 1], peer=b"stranger") == (0, 0, 0)
    assert asking.cancel([origin, 1, 0, 1], peer=b"stranger") == (1, 0, 0)
    assert asking.results() == [Result(1, 0, 1, CANCELLED)]
    talk.broker.ingest([b"q", pack([5])], talk.now)
    assert asking.cancel([origin_number(b"broker-1"), 1, 0, 1], peer=b"stranger") == (1, 0, 0)


def test_a_queue_is_emptied_by_name(asking: Asking) -> None:
    talk = asking.talk
    for sequence in (1, 2):
        talk.publish(b"p", sequence, [0, 1, 2])
    talk.publish(b"p", 3, [9], queue="r")
    assert asking.cancel(queue="q", task="other", peer=b"x") == (0, 0, 0)
    assert asking.cancel(queue="q", task="t", peer=b"x") == (6, 0, 0)
    assert asking.cancel(queue="r", peer=b"x") == (1, 0, 0)
    assert asking.counters() == (7, 0, 0)
    assert not asking.results(), "nobody wanted results"


@pytest.mark.parametrize("sorted_", [False, True])
@pytest.mark.parametrize("how", ["new", "returned", "suspects"])
def test_it_is_found_wherever_it_waits(asking: Asking, how: str, sorted_: bool) -> None:
    talk = asking.talk
    if sorted_:
        talk.worker(b"u", tasks={"u": "q"})
    talk.worker(credit=10, tasks={"t": "q"}, supervisor=b"s")
    talk.hello("supervisor", b"s")
    talk.hear()
    if how != "new":
        talk.publish(b"p", 1, [0, 1, 2, 3], reply=True)
        lease = next(m.lease for _, m, f in talk.hear() if f and hasattr(m, "lease"))
        if how == "returned":
            talk.settle(b"w", lease, [[0, 0, 4, RETURNED]], credit=0)
        else:
            talk.say(b"s", Departed(b"w", CRASHED, 0, 0, ""))
    else:
        talk.say(b"w", Credit(0))
        talk.publish(b"p", 1, [0, 1, 2, 3], reply=True)
    assert asking.cancel([0, 1, 0, 1], [0, 1, 2, 1]) == (2, 0, 0)
    assert asking.cancel([0, 1, 0, 4]) == (2, 0, 0)
    ready = talk.broker.book.queues["q"].ready
    assert (ready.tasks, ready.bytes, ready.suspect_tasks, asking.counters()[2]) == (0, 0, 0, 0)
    assert not ready._rows


def test_who_is_kept_free_for_suspects_that_are_cancelled_works_again(
    asking: Asking, deliveries: Any
) -> None:
    talk = asking.talk
    talk.hello("supervisor", b"s")
    talk.worker(credit=1, supervisor=b"s")
    talk.publish(b"p", 1, [0])
    talk.hear()
    talk.worker(b"busy", credit=10)
    talk.publish(b"p", 2, list(range(1, 6)))
    talk.hear()
    talk.say(b"s", Departed(b"w", CRASHED, 0, 0, ""))
    talk.now += SUSPECTS_WAIT_S
    talk.broker.tick(talk.now)
    talk.publish(b"p", 3, [6])
    assert not delivered(talk, deliveries), "it is kept free"
    assert asking.cancel([0, 1, 0, 1]) == (1, 0, 0)
    assert [told for _, told, _ in asking.heard if isinstance(told, Deliver)]


def test_what_a_worker_has_goes_on_unless_it_shall_be_ended(asking: Asking) -> None:
    talk = asking.talk
    talk.worker(credit=10)
    talk.publish(b"p", 1, [0, 1, 2], reply=True)
    lease = next(m.lease for _, m, f in talk.hear() if f and hasattr(m, "lease"))
    assert asking.cancel([0, 1, 1, 2]) == (0, 0, 2)
    assert not asking.stops()
    assert asking.cancel([0, 1, 1, 2], flags=RUNNING) == (0, 2, 0)
    assert asking.stops() == [Stop(lease, 1, 2)]
    assert asking.cancel([0, 1, 1, 2], flags=RUNNING) == (0, 2, 0)
    assert not asking.stops(), "it was told"
    talk.settle(b"w", lease, [[0, 0, 2, DONE], [0, 2, 1, CANCELLED]])
    assert asking.results() == [Result(1, 0, 2, DONE), Result(1, 2, 1, CANCELLED)]
    assert asking.counters() == (1, 0, 0)


def test_places_are_counted_through_all_batches_of_a_lease(asking: Asking) -> None:
    talk = asking.talk
    for sequence in (1, 2, 3):
        talk.publish(b"p", sequence, [0, 1, 2])
    talk.worker(credit=10)
    lease = next(m.lease for _, m, f in talk.hear() if f and hasattr(m, "lease"))
    assert asking.cancel([0, 2, 1, 2], [0, 3, 0, 1], flags=RUNNING) == (0, 3, 0)
    assert asking.stops() == [Stop(lease, 4, 2), Stop(lease, 6, 1)]


@pytest.mark.parametrize("how", ["returned", "crashed", "stopped"])
def test_what_comes_back_is_not_given_out_again(asking: Asking, deliveries: Any, how: str) -> None:
    talk = asking.talk
    talk.hello("supervisor", b"s")
    talk.worker(credit=10, supervisor=b"s")
    talk.publish(b"p", 1, [0, 1, 2, 3], reply=True)
    lease = next(m.lease for _, m, f in talk.hear() if f and hasattr(m, "lease"))
    asking.cancel([0, 1, 0, 1], [0, 1, 2, 1], flags=RUNNING)
    if how == "returned":
        talk.settle(b"w", lease, [[0, 1, 3, RETURNED], [0, 0, 1, RETURNED]], credit=0)
    else:
        reason = CRASHED if how == "crashed" else STOPPED
        talk.broker.receive(b"s", "", [encode(Departed(b"w", reason, 0, 0, ""))], talk.now)
    assert {(r.first, r.tasks, r.status) for r in asking.results()} == {
        (0, 1, CANCELLED), (2, 1, CANCELLED)
    }  # fmt: skip
    talk.worker(b"v", credit=10)
    again = [body for bodies in delivered(talk, deliveries) for body in bodies]
    talk.settle(b"v", lease + 1, [[0, 0, 1, DONE]])
    again += [body for bodies in delivered(talk, deliveries) for body in bodies]
    assert set(again) == {1, 3}
    assert asking.counters()[:2] == (2, 0)


def test_a_task_that_fails_while_it_is_to_end_has_failed(asking: Asking) -> None:
    talk = asking.talk
    talk.worker(credit=10)
    talk.publish(b"p", 1, [0], reply=True)
    lease = next(m.lease for _, m, f in talk.hear() if f and hasattr(m, "lease"))
    asking.cancel([0, 1, 0, 1], flags=RUNNING)
    talk.settle(b"w", lease, [[0, 0, 1, FAILED]], NO)
    assert asking.results() == [Result(1, 0, 1, FAILED)]


def test_what_makes_no_sense_is_refused(asking: Asking) -> None:
    talk = asking.talk
    for peer, message, code in (
        (b"x", Cancel(1, 0, [[0, 1, 0, 1]], "", ""), "malformed"),
        (b"p", Cancel(1, 0, [], "", ""), "malformed"),
        (b"p", Cancel(1, 0, [[0, 1, 1 << 40, 1]], "", ""), "malformed"),
        (b"p", Cancel(1, 0, [[0, 1, 0, 1 << 62]], "", ""), "malformed"),
        (b"p", Cancel(1, 0, [], "nowhere", ""), "unknown-queue"),
    ):
        (refusal,) = talk.say(peer, message)
        assert isinstance(refusal, Refuse)
        assert refusal.code == code
    assert asking.cancel([0, 1, 0, 1], queue="nowhere") == (0, 0, 0)
