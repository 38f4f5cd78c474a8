"""What was published with a future of its confirm: it has an answer, and leaves no gap."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.test_publisher import Owner
from zqueue.client.confirmation import Confirmation
from zqueue.client.connection import Connection
from zqueue.client.flow import BATCHES_LEAST
from zqueue.client.lane import Lane
from zqueue.client.publisher import Publisher
from zqueue.client.replies import TaskFuture
from zqueue.errors import BrokerLost, Closed, QueueFull, Refused
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import Confirm, Goodbye, Hello, Message, Publish, Refuse, Result, Welcome
from zqueue.wire.options import TaskOptions

PATIENCE_S = 5.0


class Scene:
    """A publisher, and a broker that says what the test has it say."""

    def __init__(self) -> None:
        self.now = 100.0
        self.connection = Connection(b"me", {}, lambda: 0.5)
        self.publisher = Publisher([self.connection], ["there"], patience_s=PATIENCE_S)
        self.lane = self.publisher.add(Lane(Owner(), "q", "t"))

    def publish(self, *bodies: Any, lane: Lane | None = None, results: bool = False) -> Any:
        lane = lane or self.lane
        futures = [TaskFuture[Any](lane) for _ in bodies] if results else []
        confirmation = Confirmation(lane, futures)
        frame = pack(list(bodies))
        if self.publisher.publish(lane, frame, len(bodies), confirmation, self.now, None):
            return confirmation
        return None

    def hear(self, message: Message, *frames: bytes) -> None:
        self.connection.receive([encode(message), *frames], self.now)
        self.publisher.handle(self.connection, self.now)
        self.give_out()

    def welcome(self) -> list[tuple[int, bytes]]:
        self.hear(Welcome(b"broker00", 1000, 5000))
        return self.sent()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.publisher.tick(self.now)
        self.give_out()

    def give_out(self) -> None:
        while self.publisher.endings:
            self.publisher.endings.popleft().give_out()

    def sent(self) -> list[tuple[int, bytes]]:
        """Numbers and bodies of the batches that went out since this was asked last."""
        messages = [(decode(header), frames) for header, *frames in self.connection.to_send()]
        return [(m.sequence, bodies[0]) for m, bodies in messages if isinstance(m, Publish)]


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.pass_time(0)
    assert isinstance(decode(scene.connection.to_send()[0][0]), Hello)
    return scene


@pytest.fixture
def ready(scene: Scene) -> Scene:
    assert scene.welcome() == []
    return scene


def test_a_batch_goes_out_at_once_and_is_done_when_it_is_confirmed(ready):
    confirmation = ready.publish(1, 2)
    assert ready.sent() == [(1, pack([1, 2]))]
    assert not confirmation.done()
    ready.hear(Confirm([1, 1]))
    assert confirmation.result(0) is None
    assert ready.publisher.unconfirmed == 0


def test_it_does_not_wait_for_others_that_are_unconfirmed(ready):
    first, second = ready.publish(1), ready.publish(2)
    assert [number for number, _ in ready.sent()] == [1, 2]
    ready.hear(Confirm([2, 2]))
    assert not first.done()
    assert second.done()


def test_who_has_lost_its_broker_knows_at_once(scene):
    assert not scene.publisher.promises.is_alone  # It has only begun to look.
    scene.welcome()
    confirmation = scene.publish(1)
    scene.publisher.cut(scene.connection, True, scene.now)
    assert scene.publisher.promises.is_alone
    scene.pass_time(PATIENCE_S)
    assert isinstance(confirmation.exception(0), BrokerLost)
    scene.publisher.cut(scene.connection, False, scene.now)
    assert not scene.publisher.promises.is_alone


@pytest.mark.parametrize(("id", "error"), [(b"broker00", QueueFull), (b"broker01", BrokerLost)])
def test_a_full_queue_says_that_nothing_was_taken(ready, id, error):
    """A broker remembers what it took. Another one does not know what that one did."""
    confirmation = ready.publish(1)
    assert ready.sent() == [(1, pack([1]))]
    ready.hear(Refuse("unknown-peer", 0, "who are you?"))
    ready.pass_time(1)
    ready.hear(Welcome(id, 1000, 5000))
    assert ready.sent() == [(1, pack([1]))]
    ready.hear(Refuse("full", 1, "queue 'q' is full"))
    ready.hear(Refuse("malformed", 1, "the batch is empty"))
    assert type(confirmation.exception(0)) is error


def test_results_come_to_the_futures_of_its_tasks(ready):
    lane = ready.publisher.add(Lane(Owner(), "q", "t", reply=True))
    confirmation = ready.publish(1, 2, lane=lane, results=True)
    ready.hear(Result(1, 0, 2, 1), pack([10, 20]))
    assert [task.result(0) for task in confirmation.tasks] == [10, 20]
    assert not confirmation.done()
    assert all(task.id.endswith(f"-1-{i}") for i, task in enumerate(confirmation.tasks))
    ready.hear(Confirm([1, 1]))
    assert confirmation.done()


def test_a_full_queue_is_an_answer_and_the_number_is_used_up(ready):
    lane = ready.publisher.add(Lane(Owner(), "q", "t", reply=True))
    confirmation = ready.publish(1, lane=lane, results=True)
    ready.sent()
    ready.hear(Refuse("full", 1, "queue 'q' is full"))
    assert ready.sent() == [(1, b"\x90")]  # Its number goes out again, without a body.
    assert not confirmation.done()
    ready.hear(Refuse("malformed", 1, "the batch is empty"))
    for future in (confirmation, *confirmation.tasks):
        assert isinstance(future.exception(0), QueueFull)
        assert str(future.exception(0)) == "queue 'q' is full"
    assert ready.publisher.unconfirmed == 0
    assert not ready.connection.sent
    assert not ready.publisher.take_refusal()


def test_what_was_taken_before_it_was_withdrawn_is_confirmed(ready):
    confirmation = ready.publish(1)
    ready.hear(Refuse("full", 1, "full"))
    ready.hear(Confirm([1, 1]))
    assert confirmation.result(0) is None


def test_a_broker_that_is_about_to_stop_is_told_from_a_full_queue(ready):
    confirmation = ready.publish(1)
    ready.hear(Refuse("draining", 1, "the broker is about to stop"))
    ready.hear(Refuse("draining", 1, "the broker is about to stop"))  # Not even an empty one.
    error = confirmation.exception(0)
    assert isinstance(error, Refused)
    assert error.code == "draining"
    assert ready.publisher.unconfirmed == 0  # Nobody waits for it.
    ready.sent()
    ready.pass_time(1.0)
    assert ready.sent() == [(1, b"\x90")]  # But its number must be used up.
    ready.hear(Refuse("malformed", 1, "the batch is empty"))
    assert not ready.connection.sent
    assert ready.lane.in_flight == 0


def test_a_batch_that_is_refused_for_good(ready):
    confirmation = ready.publish(1)
    ready.hear(Refuse("forbidden", 1, "not yours"))
    error = confirmation.exception(0)
    assert isinstance(error, Refused)
    assert error.code == "forbidden"
    assert ready.publisher.take_refusal() is None  # It was told to whom it concerns.


def test_others_of_the_lane_wait_for_room_as_ever(ready):
    ready.lane.put(1)
    ready.publisher.mark(ready.lane)
    ready.publisher.form_batches(ready.now)
    ready.sent()
    ready.hear(Refuse("full", 1, "full"))
    assert ready.sent() == []
    ready.pass_time(1.0)
    assert ready.sent() == [(1, pack([1]))]


def test_without_room_it_is_not_accepted(ready):
    assert all(ready.publish(i) for i in range(BATCHES_LEAST))
    assert ready.publish("one more") is None
    ready.hear(Confirm([1, 1]))
    assert ready.publish("one more") is not None


def test_without_a_broker_it_fails_after_a_while(scene):
    first = scene.publish(1)
    scene.pass_time(PATIENCE_S / 2)
    second = scene.publish(2)
    assert scene.publisher.next_deadline() <= 100.0 + PATIENCE_S
    scene.pass_time(PATIENCE_S / 2)
    assert isinstance(first.exception(0), BrokerLost)
    assert str(first.exception(0)) == "no broker answers at there"
    assert not second.done()
    scene.pass_time(PATIENCE_S / 2)
    assert isinstance(second.exception(0), BrokerLost)
    assert scene.publisher.unconfirmed == 0
    third = scene.publish(3)
    assert scene.welcome() == [(1, b"\x90"), (2, b"\x90"), (3, pack([3]))]
    scene.hear(Refuse("malformed", 1, ""))
    scene.hear(Refuse("malformed", 2, ""))
    scene.hear(Confirm([3, 3]))
    assert third.result(0) is None
    assert not scene.connection.sent


def test_a_broker_that_comes_in_time_takes_it(scene):
    confirmation = scene.publish(1)
    scene.pass_time(PATIENCE_S * 0.9)
    assert scene.welcome() == [(1, pack([1]))]
    scene.now += 10 * PATIENCE_S  # It takes its time to confirm.
    scene.pass_time(0)
    assert not confirmation.done()
    scene.hear(Confirm([1, 1]))
    assert confirmation.done()


def test_patience_begins_anew_when_a_broker_is_lost(ready):
    confirmation = ready.publish(1)
    ready.now += 100.0
    ready.hear(Goodbye())
    ready.pass_time(PATIENCE_S * 0.9)
    assert not confirmation.done()
    ready.pass_time(PATIENCE_S * 0.2)
    assert isinstance(confirmation.exception(0), BrokerLost)


def test_options_are_of_no_account_for_what_is_withdrawn(ready):
    lane = ready.publisher.add(Lane(Owner(), "q", "t", options=TaskOptions(delay_ms=5)))
    ready.publish(1, lane=lane)
    assert len(ready.connection.to_send()[0]) == 3
    ready.hear(Refuse("full", 1, "full"))
    assert len(ready.connection.to_send()[0]) == 2
    ready.hear(Refuse("malformed", 1, ""))
    assert lane not in ready.publisher.lanes, "it is idle: forgotten"


def test_at_the_end_each_has_its_answer(ready):
    confirmation = ready.publish(1)
    ready.publisher.close()
    assert ready.publisher.give_up(Closed("closed")) == 1
    ready.give_out()
    assert isinstance(confirmation.exception(0), Closed)


def test_in_a_child_process_it_has_failed(ready):
    confirmation = ready.publish(1)
    called: list[Any] = []
    confirmation.add_done_callback(called.append)
    ready.publisher.forked(Closed("made before fork()"))
    assert isinstance(confirmation.exception(0), Closed)
    assert not called
