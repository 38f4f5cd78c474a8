"""docs/protocol.md is true: its tables are the code's, and a client that knows nothing but the
page (`bare_client`) gets along with a real broker, worker and producer."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, get_type_hints

import msgpack
import pytest
import zmq

import zqueue
import zqueue.broker
import zqueue.core.batch
import zqueue.core.confirm
import zqueue.net.sockets
import zqueue.producer
import zqueue.worker
from zqueue.core.counters import Counters
from zqueue.errors import ProtocolError
from zqueue.protocol import dispatch, messages
from zqueue.protocol.broker import BrokerProtocol, Limits
from zqueue.protocol.link import TRANSITIONS

from . import bare_client
from .bare_client import (
    AWAIT,
    DELIVER,
    DONE,
    FAILED,
    GOODBYE,
    HEARTBEAT,
    OPEN,
    PUBLISH,
    REFUSE,
    RESULT,
    RESULTS,
    RETURNED,
    SETTLE,
    Observer,
    Peer,
    Producer,
    Supervisor,
    Wires,
    Worker,
    pack,
    unpack,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text()


# --- reading the page ---


def section(title: str) -> str:
    """The text below a heading of the second level that ends with ``title``."""
    match = re.search(rf"^## \d+\. {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert match, f"the page has no section {title!r}"
    return match[1]


def rows(text: str, *header: str) -> list[list[str]]:
    """The cells of the first table with that header."""
    lines = text[text.index("| " + " | ".join(header) + " |") :].splitlines()
    found = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def words(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


# --- the page against the code ---

TYPES = {
    "int": int,
    "text": str,
    "id": bytes,
    "[int]": list[int],
    "[id]": list[bytes],
    "[run]": list[list[int]],
    "[batch]": list[list[Any]],
}


def test_messages_have_the_numbers_names_and_fields_of_the_code() -> None:
    page = {}
    for part in section("The messages").split("\n### ")[1:]:
        match = re.match(r"(\d+) (\w+): .*\. Frames: ", part)
        assert match, part[:60]
        fields = re.findall(r"^- `(\w+)` \((\S+)\): ", part, re.M)
        page[int(match[1])] = (match[2], [(name, TYPES[kind]) for name, kind in fields])
    code = {
        kind: (cls.__name__, list(get_type_hints(cls).items()))
        for kind, cls in messages.KINDS.items()
    }
    assert page == code
    ours = {v: name for name, v in vars(bare_client).items() if name.isupper() and v in code}
    for kind, (name, _) in code.items():
        assert getattr(bare_client, name.upper()) == kind, ours


def drain(machine: BrokerProtocol) -> list[tuple[bytes, list[bytes]]]:
    """All that a machine has to send."""
    sent: list[tuple[bytes, list[bytes]]] = []
    while some := machine.to_send():
        sent += some
    return sent


def sample(cls: type[Any]) -> Any:
    """A message of a class."""
    some = {int: 1, str: "x", bytes: b"x"}
    return cls(*(some.get(hint, []) for hint in get_type_hints(cls).values()))


def is_heard_from(role: str, cls: type[Any]) -> bool:
    """Whether a broker lets a role say that."""
    machine = BrokerProtocol(b"12345678", Limits())
    frame = pack({"queues": ["q"]})
    machine.receive(b"peer", [messages.encode(messages.Hello(role, b"id")), frame], 0.0)
    assert type(messages.decode(drain(machine)[0][1][0])) is messages.Welcome
    machine.receive(b"peer", [messages.encode(sample(cls)), frame], 0.0)
    answers = [messages.decode(frames[0]) for _, frames in drain(machine)]
    return not any(
        isinstance(answer, messages.Refuse) and answer.code == messages.WRONG_ROLE
        for answer in answers
    )


def test_roles_may_say_what_the_code_lets_them_say() -> None:
    everybody = {"Hello", "Heartbeat", "Goodbye", "Ask"}
    for role, says, _ in roles_table():
        said = {c.__name__ for c in messages.KINDS.values() if is_heard_from(words(role)[0], c)}
        assert said == set(words(says)) | everybody, role


def roles_table() -> list[list[str]]:
    return rows(section("Roles, and who may say what"), "role", "may say", "hears")


def test_every_message_of_a_client_or_broker_is_heard_by_the_other() -> None:
    named = {word for row in roles_table() for cell in row[1:] for word in words(cell)}
    named |= {"Hello", "Heartbeat", "Goodbye", "Ask", "Welcome", "Tell", "Refuse"}
    assert named == {cls.__name__ for cls in messages.KINDS.values()}


def test_codes_of_refuse() -> None:
    reasons = {messages.STOPPED, messages.CRASHED, messages.TIMEOUT}
    code = {v for k, v in vars(messages).items() if k.isupper() and type(v) is str} - reasons
    table = rows(section("Codes of Refuse"), "code", "about", "then", "meaning, and what to do")
    page = {words(row[0])[0]: row[1:3] for row in table}
    assert set(page) == code
    again = {code for code, (about, then) in page.items() if "batch" in about and then != "final"}
    assert again == messages.TRY_AGAIN


def test_reasons_of_departed() -> None:
    line = re.search(r"^- `reason` \(text\): (.*) \(section", PAGE, re.M)
    assert line
    assert set(words(line[1])) == {messages.STOPPED, messages.CRASHED, messages.TIMEOUT}


def test_statuses() -> None:
    table = rows(
        section("Batches, bodies, errors, results"),
        "status", "word", "ends in `Settle`, `Result`", "frame",
    )  # fmt: skip
    page = {word.upper(): int(status) for status, word, _, _ in table}
    names = ("DONE", "RESULTS", "FAILED", "RETURNED", "OPEN")
    assert page == {name: getattr(messages, name) for name in names}
    assert page == {name: getattr(bare_client, name) for name in names}
    settled = {int(row[0]) for row in table if row[2] in ("both", "Settle")}
    assert settled == dispatch.STATUSES


def test_states_of_a_link() -> None:
    page = {tuple(row) for row in rows(section("The link"), "state", "input", "next state")}
    code = {
        (state.value, cause.value, after.value)
        for state, inputs in TRANSITIONS.items()
        for cause, after in inputs.items()
    }
    assert page == code


def test_limits_have_the_values_of_the_code() -> None:
    table = rows(section("Limits"), "limit", "constant", "value", "why")
    assert len(table) > 20
    for _, constant, value, _ in table:
        (path,) = words(constant)
        if path.startswith("protocol.broker.Limits."):
            found = getattr(Limits(), path.rpartition(".")[2])
        else:
            found = functools.reduce(getattr, path.split("."), zqueue)
        assert found == float(value), path


def test_keys_of_the_answers_to_ask() -> None:
    text = section("Maps")
    machine = BrokerProtocol(b"12345678", Limits())
    machine.intake.queue("q")
    tables = {}
    for part in text.split("`Tell` after `Ask` ")[1:]:
        table = rows(part, "key", "meaning")
        tables[words(part)[0]] = {w: row[1] for row in table for w in words(row[0])}
    process = {"version", "pid", "host", "url", "uptime_s", "cpu_s", "rss_bytes"}
    assert set(tables["info"]) == set(machine.info()) | process
    assert set(words(tables["info"]["queues"])) == set(machine.info()["queues"]["q"])
    assert words(tables["info"]["counters"]) == list(Counters().as_dict())
    assert words(tables["info"]["dead"]) == list(machine.info()["dead"])
    assert set(tables["dead"]) == {"letters", "total"}


# --- the worked example ---


def read_notation(text: str) -> Any:
    """A value as the page writes it: JSON, and ``h'…'`` for a bin."""
    return _to_bin(json.loads(re.sub(r"h'([0-9a-f]*)'", r'"\\u0000\1"', text)))


def _to_bin(value: Any) -> Any:
    if type(value) is str and value.startswith("\0"):
        return bytes.fromhex(value[1:])
    if type(value) is list:
        return [_to_bin(v) for v in value]
    return {k: _to_bin(v) for k, v in value.items()} if type(value) is dict else value


def example() -> list[tuple[str, str, list[bytes]]]:
    """``(way, name, frames)`` of each message."""
    found: list[tuple[str, str, list[bytes]]] = []
    block = section("A worked example").split("```")[1]
    for line in block.strip().splitlines():
        if match := re.fullmatch(r"(\w>\w) (\w+)", line):
            found.append((match[1], match[2], []))
        elif line.startswith("    = "):
            value = read_notation(line[6:])
            assert msgpack.unpackb(found[-1][2][-1]) == value
            assert msgpack.packb(value) == found[-1][2][-1]
        else:
            found[-1][2].append(bytes.fromhex(line))
    return found


def test_the_bytes_of_the_example_are_the_messages_they_say() -> None:
    names = set()
    for _, name, frames in example():
        message = messages.decode(frames[0])
        assert type(message).__name__ == name
        assert messages.encode(message) == frames[0]
        names.add(name)
    assert names >= {"Hello", "Welcome", "Publish", "Confirm", "Deliver", "Settle", "Result"}


def test_a_broker_answers_the_bytes_of_the_example_with_those_of_the_example() -> None:
    machine = BrokerProtocol(bytes(range(0xB0, 0xB8)), Limits(), first_lease=7)
    answers: list[tuple[str, list[bytes]]] = []
    for way, _, frames in example():
        if way.startswith("B"):
            answered = [a for a in answers if a == (way, frames)]
            assert answered, (way, frames, answers)
            answers.remove(answered[0])
        else:
            machine.receive(way[0].encode(), frames, 0.0)
            answers += [(f"B>{peer.decode()}", sent) for peer, sent in drain(machine)]
    assert [messages.decode(frames[0]) for _, frames in answers] == [
        messages.Welcome(machine.id, 1000, 5000)  # The worker's, which the page leaves out.
    ]


def test_a_header_may_be_longer_and_must_not_be_shorter() -> None:
    for kind, cls in messages.KINDS.items():
        values: list[Any] = []
        for hint in get_type_hints(cls).values():
            values.append({int: 1, str: "x", bytes: b"x"}.get(hint, []))
        longer = pack([1, kind, *values, "new", [1, {}], None])
        assert messages.decode(longer) == cls(*values)
        if values:
            with pytest.raises(ProtocolError):
                messages.decode(pack([1, kind, *values[:-1]]))


# --- a real broker ---

HEARTBEAT_S, LIVENESS_S = 0.2, 1.0
STOP_S = 20.0


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """A zqueue process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ZQUEUE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "zqueue", "--log-level", "error", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def stop(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to end, and wait for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(STOP_S)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process while the block runs."""
    process = start(*arguments)
    try:
        yield process
    finally:
        process.kill()
        process.wait(STOP_S)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/b"


def broker(url: str, *options: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """A broker process with short times."""
    times = ("--heartbeat", str(HEARTBEAT_S), "--liveness", str(LIVENESS_S))
    return running("broker", "--bind", url, *times, "--drain-timeout", "10", *options)


@pytest.fixture
def wires(url: str) -> Iterator[Wires]:
    with broker(url), Wires(url) as wires:
        yield wires


def outlive(*peers: Peer) -> None:
    """Go on until the peers' heartbeats have been answered for longer than the liveness time."""
    begun = monotonic()
    wanted = {peer: peer.answered + 2 + int(LIVENESS_S / HEARTBEAT_S) for peer in peers}
    peers[0].wires.until(lambda: all(peer.answered >= wanted[peer] for peer in peers))
    assert monotonic() - begun > LIVENESS_S


# --- stories: the bare client against itself ---


def test_a_session_from_hello_to_goodbye(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    plain = producer.publish("q", ["a", "b"])
    asked = producer.publish("q", [[1], [2], [3], [4]], task="square", reply=True)
    last = producer.publish("q", [{"n": 5}], task="square", reply=True)
    producer.confirm(plain, asked, last)

    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(16)
    delivery = worker.delivery()
    assert delivery.queue == "q"
    assert delivery.batches == [
        ("", False, 1, ["a", "b"]),
        ("square", True, 1, [[1], [2], [3], [4]]),
        ("square", True, 1, [{"n": 5}]),
    ]
    error = ["ValueError", "no", "traceback"]
    worker.settle(
        delivery.lease,
        [0, 0, 2, DONE],
        [1, 3, 1, RETURNED],
        [1, 1, 2, FAILED],
        [1, 0, 1, RESULTS],
        [2, 0, 1, DONE],
        carry=([error], [1]),
        credit=1,
    )
    assert producer.results(last, 1) == [(DONE, None)]
    again = worker.delivery()
    assert again.lease != delivery.lease
    assert again.batches == [("square", True, 1, [[4]])], "a return does not count as an attempt"
    worker.settle(again.lease, [0, 0, 1, RESULTS], carry=([16],), credit=1)
    assert producer.results(asked, 4) == [
        (RESULTS, 1),
        (FAILED, error),
        (FAILED, error),
        (RESULTS, 16),
    ]
    worker.goodbye()
    producer.goodbye()

    info = Observer(wires).ask()
    assert info["queues"]["q"]["ready"] == info["queues"]["q"]["leased"] == info["bytes"] == 0
    counters = {name: value for name, value in info["counters"].items() if value}
    assert counters == {
        "published": 7, "delivered": 8, "done": 5, "failed": 2, "returned": 1, "results": 5,
    }  # fmt: skip
    assert info["workers"] == []
    assert info["producers"] == 0


def test_credit_splits_batches_and_keeps_the_bytes_of_bodies(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    bodies: list[Any] = [None, {"k": [1, -2]}, b"\0", 1.5, "ü", 2**63, [], -1]
    producer.confirm(producer.publish("q", bodies))
    worker = Worker(wires, "q")
    worker.hello()
    seen: list[Any] = []
    worker.credit(3)
    while len(seen) < len(bodies):
        delivery = worker.delivery()
        assert len(delivery.bodies) <= 3
        seen += delivery.bodies
        (batch,) = delivery.batches
        worker.settle(delivery.lease, [0, 0, len(batch[3]), DONE], credit=3)
    assert seen == bodies


def test_credit_is_a_statement_and_zero_stops_deliveries(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    worker = Worker(wires, "q")
    worker.hello()
    producer.confirm(producer.publish("q", [1, 2, 3]))
    worker.is_settled()
    assert worker.pop(DELIVER) is None, "credit is 0 after hello"
    worker.credit(1)
    delivery = worker.delivery()
    assert delivery.bodies == [1]
    worker.credit(0)
    worker.settle(delivery.lease, [0, 0, 1, DONE], credit=0)
    worker.is_settled()
    assert worker.pop(DELIVER) is None
    worker.credit(9)
    assert worker.delivery().bodies == [2, 3]


def test_what_is_returned_last_comes_first(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(*(producer.publish("q", [i]) for i in range(4)))
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(3)
    delivery = worker.delivery()
    assert delivery.bodies == [0, 1, 2]
    returns = [[index, 0, 1, RETURNED] for index in (2, 1, 0)]
    worker.settle(delivery.lease, *returns, credit=9)
    assert worker.delivery().bodies == [0, 1, 2, 3]


def test_the_same_number_again_is_the_same_batch(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", ["once"])
    frames = producer.unconfirmed[number]
    producer.confirm(number)
    producer.confirmed.clear()
    producer.say_raw(*frames)
    producer.confirm(number)
    info = Observer(wires).ask()
    assert info["counters"]["published"] == info["counters"]["duplicates"] == 1
    assert info["queues"]["q"]["ready"] == 1


def test_who_is_not_known_is_told_to_greet_and_goes_on_where_it_was(wires: Wires) -> None:
    producer = Producer(wires)
    producer.say(PUBLISH, 1, "q", "", 0, frames=(pack([1]),))
    assert producer.refused() == ("unknown-peer", 0)
    producer.hello()
    running = producer.publish("q", [1], reply=True)
    producer.confirm(running)

    producer.reconnect()
    number = producer.publish("q", [2])  # Refused, then sent again after the welcome.
    producer.confirm(number)
    assert producer.refused() == ("unknown-peer", 0)
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(2)
    delivery = worker.delivery()
    worker.settle(delivery.lease, [0, 0, 1, RESULTS], [1, 0, 1, DONE], carry=(["late"],), credit=2)
    assert producer.results(running, 1) == [(RESULTS, "late")]
    assert Observer(wires).ask()["counters"]["published"] == 2


def test_results_wait_for_a_producer_that_is_away(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", [1], reply=True)
    producer.confirm(number)
    producer.close()
    observer = Observer(wires)
    observer.until(lambda info: info["producers"] == 0)
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(1)
    worker.settle(worker.delivery().lease, [0, 0, 1, RESULTS], carry=(["held"],), credit=1)
    worker.is_settled()

    back = Producer(wires, producer.id)
    back.awaited[number] = {0}
    back.broker = producer.broker
    back.hello()
    assert back.results(number, 1) == [(RESULTS, "held")]


def test_results_that_cannot_come_are_said_to_be_lost(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", [1])
    producer.confirm(number)
    producer.awaited[number] = {0}  # It asked for none, so there are none to come.
    producer.reconnect()
    wires.until(lambda: producer.lost == {number})


def test_a_batch_is_given_up_if_some_of_its_results_are_lost(wires: Wires) -> None:
    producer, worker = Producer(wires), Worker(wires, "q")
    producer.hello()
    worker.hello()
    partly, wholly = (producer.publish("q", [1, 2], reply=True) for _ in range(2))
    producer.confirm(partly, wholly)
    worker.credit(4)
    lease = worker.delivery().lease
    runs = [[0, 0, 1, RESULTS], [1, 0, 1, RESULTS]]
    worker.settle(lease, *runs, carry=(["a"], ["c"]), credit=0)
    wires.until(lambda: len(producer.outcomes) == 2)
    del producer.outcomes[partly, 0]
    producer.awaited[partly] = {0, 1}  # As if that result had been lost with the connection.
    producer.reconnect()
    wires.until(lambda: producer.lost)
    runs = [[0, 1, 1, RESULTS], [1, 1, 1, RESULTS]]
    worker.settle(lease, *runs, carry=(["b"], ["d"]), credit=0)
    assert producer.results(wholly, 2) == [(RESULTS, "c"), (RESULTS, "d")]
    assert producer.lost == {partly}


def test_results_held_and_results_to_come_make_a_whole(wires: Wires) -> None:
    producer, worker = Producer(wires), Worker(wires, "q")
    producer.hello()
    worker.hello()
    number = producer.publish("q", [1, 2], reply=True)
    producer.confirm(number)
    worker.credit(2)
    lease = worker.delivery().lease
    producer.is_ready = False
    producer.reconnect()
    Observer(wires).until(lambda info: info["producers"] == 0)
    worker.settle(lease, [0, 0, 1, RESULTS], carry=(["held"],), credit=0)
    worker.is_settled()
    producer.hello()
    wires.until(lambda: producer.outcomes)
    producer.is_settled()
    worker.settle(lease, [0, 1, 1, RESULTS], carry=(["to come"],), credit=0)
    worker.is_settled()
    producer.is_settled()
    assert not producer.lost
    assert producer.results(number, 2) == [(RESULTS, "held"), (RESULTS, "to come")]


def test_no_number_is_taken_far_beyond_a_gap(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", ["first"]))
    producer.next = 1 + 1024 + 2
    far = producer.publish("q", ["far"])
    assert producer.refused() == ("full", far)
    producer.next = far - 1  # With just 1024 below it that are not taken.
    producer.confirm(producer.publish("q", ["near"]))
    producer.next = far + 1
    farther = producer.publish("q", ["farther"])
    assert producer.refused() == ("full", farther)
    producer.next = 2
    producer.confirm(producer.publish("q", ["filled"]))
    producer.say_raw(*producer.unconfirmed[farther])
    producer.confirm(farther)
    producer.say_raw(*producer.unconfirmed[far])
    producer.confirm(far)
    assert Observer(wires).ask()["counters"]["published"] == 5


def test_a_broker_begins_to_count_where_a_producer_is_first_heard(wires: Wires) -> None:
    producer = Producer(wires)
    producer.next = 70_000
    producer.hello()
    producer.confirm(producer.publish("q", ["first"]))
    producer.next = 69_999
    producer.confirm(producer.publish("q", ["another broker's"]))
    counters = Observer(wires).ask()["counters"]
    assert (counters["published"], counters["duplicates"]) == (1, 1)


def test_await_is_answered_for_each_batch_behind_its_results(wires: Wires) -> None:
    producer, worker = Producer(wires), Worker(wires, "q")
    producer.hello()
    worker.hello()
    number = producer.publish("q", [1, 2, 3], reply=True)
    plain = producer.publish("q", [4])
    producer.confirm(number, plain)
    worker.credit(4)
    worker.settle(worker.delivery().lease, [0, 0, 1, RESULTS], carry=(["a"],), credit=0)
    wires.until(lambda: producer.outcomes)
    while producer.pop(RESULT):
        pass
    producer.say(AWAIT, [plain, number, 99])
    answers = [producer.hear(RESULT)[1][:4] for _ in range(3)]
    assert answers == [[plain, 0, 0, OPEN], [number, 0, 2, OPEN], [99, 0, 0, OPEN]]
    assert not producer.lost


@pytest.mark.parametrize("batches", [0, 2])
def test_a_batch_is_one_frame_or_none(wires: Wires, batches: int) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish_frames("q", (pack([1]),) * batches, 1)
    frames = producer.unconfirmed[number]
    assert producer.refused() == ("malformed", number)
    producer.say_raw(*frames)
    assert producer.refused() == ("malformed", number)
    producer.confirm(producer.publish("q", [1]))


def test_confirms_come_before_the_answer_to_goodbye(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    numbers = {producer.publish("q", [i]) for i in range(9)}
    producer.goodbye()
    assert producer.confirmed == numbers


def test_a_producer_that_left_is_forgotten_with_its_numbers(wires: Wires) -> None:
    first = Producer(wires)
    first.hello()
    first.confirm(first.publish("q", [1]))
    first.goodbye()
    second = Producer(wires, first.id)
    second.hello()
    second.confirm(second.publish("q", [2]))
    assert Observer(wires).ask()["counters"]["published"] == 2


def test_a_worker_that_greets_again_has_lost_its_leases(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", [1, 2], reply=True)
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(2)
    old = worker.delivery()
    worker.reconnect()
    worker.is_ready = False
    worker.hello()
    worker.settle(old.lease, [0, 0, 2, RESULTS], carry=([1, 2],), credit=2)
    new = worker.delivery()
    assert new.bodies == [1, 2]
    assert new.attempts == {2}
    worker.settle(new.lease, [0, 0, 2, RESULTS], [0, 0, 1, DONE], carry=([3, 4],), credit=2)
    assert producer.results(number, 2) == [(RESULTS, 3), (RESULTS, 4)]
    assert Observer(wires).ask()["counters"]["stale"] == 3


def test_one_cannot_settle_what_another_has(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", [1], reply=True)
    owner, thief = Worker(wires, "q"), Worker(wires, "q")
    owner.hello()
    owner.credit(1)
    delivery = owner.delivery()
    thief.hello()
    thief.settle(delivery.lease, [0, 0, 1, RESULTS], carry=(["wrong"],), credit=0)
    thief.is_settled()
    owner.settle(delivery.lease, [0, 0, 1, RESULTS], carry=(["right"],), credit=0)
    assert producer.results(number, 1) == [(RESULTS, "right")]


def test_goodbye_returns_open_tasks(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", [1, 2, 3]))
    leaving = Worker(wires, "q")
    leaving.hello()
    leaving.credit(3)
    delivery = leaving.delivery()
    leaving.settle(delivery.lease, [0, 1, 1, DONE], credit=0)
    leaving.goodbye()
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(8)
    delivery = worker.delivery()
    assert delivery.bodies == [1, 3]
    assert delivery.attempts == {2}
    assert Observer(wires).ask()["counters"]["workers_lost"] == 0


def test_a_supervisor_keeps_a_silent_worker_alive_and_reports_its_death(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", ["a", "b"], reply=True)
    supervisor = Supervisor(wires)
    supervisor.hello()
    busy = Worker(wires, "q", supervisor=supervisor.id)
    busy.hello()
    busy.credit(2)
    busy.delivery()
    busy.is_mute = True
    other = Worker(wires, "q")
    other.hello()
    other.credit(2)
    supervisor.speak_for(busy.id)
    outlive(supervisor, other)
    assert other.pop(DELIVER) is None

    supervisor.departed(busy.id, "crashed", text="killed by SIGKILL")
    for body in ("a", "b"):  # Suspects: one at a time, alone, though the credit is 2.
        delivery = other.delivery()
        assert (delivery.bodies, delivery.attempts) == ([body], {2})
        other.is_settled()
        assert other.pop(DELIVER) is None
        other.settle(delivery.lease, [0, 0, 1, RESULTS], carry=([body],), credit=2)
    assert producer.results(number, 2) == [(RESULTS, "a"), (RESULTS, "b")]
    assert Observer(wires).ask()["counters"]["workers_lost"] == 1


def test_a_silent_worker_is_lost(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", [1]))
    silent = Worker(wires, "q")
    silent.hello()
    silent.credit(1)
    lost = silent.delivery()
    silent.is_mute = True
    stranger = Supervisor(wires)
    stranger.hello()
    stranger.speak_for(silent.id)  # Passed over: the worker did not name it.
    other = Worker(wires, "q")
    other.hello()
    other.credit(1)
    delivery = other.delivery()
    assert delivery.attempts == {2}
    silent.settle(lost.lease, [0, 0, 1, DONE], credit=1)
    assert silent.refused() == ("unknown-peer", 0)


def test_silence_of_a_worker_with_a_supervisor_is_no_crash(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", [1, 2]))
    silent = Worker(wires, "q", supervisor=b"is cut off, too")
    silent.hello()
    silent.credit(2)
    silent.delivery()
    silent.is_mute = True
    other = Worker(wires, "q")
    other.hello()
    other.credit(2)
    delivery = other.delivery()
    assert (delivery.bodies, delivery.attempts) == ([1, 2], {2}), "no suspects: both at once"
    assert Observer(wires).ask()["counters"]["workers_lost"] == 1


def test_a_connection_that_is_gone_is_a_crash(wires: Wires) -> None:
    producer, observer, supervisor = Producer(wires), Observer(wires), Supervisor(wires)
    producer.hello()
    supervisor.hello()
    producer.publish("q", ["a", "b"])
    gone = Worker(wires, "q", supervisor=supervisor.id)
    supervisor.speak_for(gone.id)
    gone.hello()
    gone.credit(999)
    gone.delivery()
    gone.close()

    def is_lost(info: dict[str, Any]) -> bool:
        producer.publish("q", ["later"])  # Until a delivery finds that nobody is there.
        return bool(info["counters"]["workers_lost"])

    observer.until(is_lost)
    other = Worker(wires, "q")
    other.hello()
    other.credit(999)
    delivery = other.delivery()
    assert (len(delivery.bodies), delivery.attempts) == (1, {2}), "a suspect: alone"


def test_a_settlement_at_fault_loses_its_worker(wires: Wires) -> None:
    producer, worker = Producer(wires), Worker(wires, "q")
    producer.hello()
    worker.hello()
    number = producer.publish("q", [1, 2], reply=True)
    faults: list[tuple[list[int], tuple[Any, ...]]] = [
        ([0, 0, 2, RESULTS], ()),
        ([0, 0, 2, RESULTS], ([1],)),
        ([0, 0, 2, RESULTS], ({},)),
        ([0, 0, 1, FAILED], ([["E", "", ""]] * 2,)),
        ([0, 0, 2, DONE], ([1, 2],)),
        ([0, 0, 2, 4], ()),
    ]
    for attempt, (run, carry) in enumerate(faults, 1):
        worker.credit(2)
        delivery = worker.delivery()
        assert delivery.attempts == {attempt}
        worker.settle(delivery.lease, run, carry=carry, credit=2)
        assert worker.refused() == ("malformed", 0)
        worker.credit(0)  # Answered by: who are you?
        assert worker.refused() == ("unknown-peer", 0)
        worker.is_ready = False
        worker.hello()
    worker.credit(2)
    lease = worker.delivery().lease
    worker.settle(lease, [0, 0, 2, FAILED], carry=([["E", "", ""]],), credit=2)
    assert [status for status, _ in producer.results(number, 2)] == [FAILED, FAILED]
    assert Observer(wires).ask()["counters"]["workers_lost"] == 0


def test_a_task_whose_workers_crash_three_times_is_dead(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    asked = producer.publish("q", ["poison"], reply=True)
    supervisor = Supervisor(wires)
    supervisor.hello()

    def crash_on(body: str) -> None:
        for attempt in (1, 2, 3):
            worker = Worker(wires, "q", supervisor=supervisor.id)
            worker.hello()
            worker.credit(1)
            delivery = worker.delivery()
            assert (delivery.bodies, delivery.attempts) == ([body], {attempt})
            supervisor.departed(worker.id, "crashed", text="exit code 7")
            worker.close()

    crash_on("poison")
    ((status, error),) = producer.results(asked, 1)
    assert status == FAILED
    assert error[0] == "WorkerLost"
    assert "exit code 7" in error[1]
    producer.publish("q", ["venom"])
    crash_on("venom")
    observer = Observer(wires)
    observer.until(lambda info: info["dead"]["total"])
    dead = observer.ask("dead")
    assert dead["total"] == 1
    ((queue, task, body, reason, packed, attempt),) = dead["letters"]
    assert (queue, task, unpack(body), reason, attempt) == ("q", "", ["venom"], "crashed", 3)
    assert unpack(packed)[0] == "WorkerLost"


def test_a_time_out_fails_one_task_and_returns_the_others(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish("q", [0, 1], reply=True)
    late = producer.publish("q", [2, 3, 4], reply=True)
    producer.confirm(number, late)
    supervisor = Supervisor(wires)
    supervisor.hello()
    worker = Worker(wires, "q", supervisor=supervisor.id)
    worker.hello()
    worker.credit(5)
    delivery = worker.delivery()
    assert delivery.bodies == [0, 1, 2, 3, 4]
    supervisor.departed(worker.id, "timeout", delivery.lease, 3, "too long")
    other = Worker(wires, "q")
    other.hello()
    other.credit(9)
    delivery = other.delivery()
    assert delivery.bodies == [0, 1, 2, 4]
    assert delivery.attempts == {2}
    runs = [[i, 0, len(batch[3]), DONE] for i, batch in enumerate(delivery.batches)]
    other.settle(delivery.lease, *runs, credit=9)
    results = producer.results(late, 3)
    assert [status for status, _ in results] == [DONE, FAILED, DONE]
    assert results[1][1] == ["TaskTimeout", "too long", ""]


def test_stopped_is_no_crash(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", [1, 2]))
    supervisor = Supervisor(wires)
    supervisor.hello()
    worker = Worker(wires, "q", supervisor=supervisor.id)
    worker.hello()
    worker.credit(2)
    worker.delivery()
    supervisor.departed(worker.id, "bored")
    assert supervisor.refused() == ("malformed", 0)
    supervisor.departed(worker.id, "stopped")
    other = Worker(wires, "q")
    other.hello()
    other.credit(2)
    delivery = other.delivery()
    assert (delivery.bodies, delivery.attempts) == ([1, 2], {2})


def test_failed_tasks_that_nobody_awaits_are_dead_letters(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    producer.confirm(producer.publish("q", ["x", "y", "z"], task="t"))
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(3)
    lease = worker.delivery().lease
    each = [["E1", "one", ""], ["E2", "two", ""]]
    worker.settle(lease, [0, 0, 2, FAILED], [0, 2, 1, FAILED], carry=(each, [each[0]]), credit=0)
    worker.is_settled()
    letters = Observer(wires).ask("dead")["letters"]
    told = [(task, unpack(body), reason, unpack(e)[0]) for _, task, body, reason, e, _ in letters]
    assert told == [
        ("t", ["z"], "failed", "E1"),
        ("t", ["y"], "failed", "E2"),
        ("t", ["x"], "failed", "E1"),
    ]


def test_a_batch_that_cannot_be_cut_fails(wires: Wires) -> None:
    producer = Producer(wires)
    producer.hello()
    number = producer.publish_raw("q", b"\x93\x01\x02\xc1", 3, reply=True)
    producer.confirm(number)
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(1)
    results = producer.results(number, 3)
    assert [(status, error[0]) for status, error in results] == [(FAILED, "ProtocolError")] * 3
    assert worker.pop(DELIVER) is None


# --- full queues, refusals, leaving ---


def test_a_full_queue_withholds_confirms_and_then_refuses_for_now(url: str) -> None:
    with broker(url, "--queue-tasks", "8"), Wires(url) as wires:
        producer = Producer(wires)
        producer.hello()
        taken = [producer.publish("q", [i, i]) for i in range(5)]
        producer.confirm(*taken[:3])
        postponed = producer.publish("q", [9, 9])
        assert producer.refused() == ("full", postponed)
        assert producer.confirmed == set(taken[:3])
        for number in taken[3:]:  # Sent again while it is withheld: no answer, taken once.
            producer.say_raw(*producer.unconfirmed[number])
        producer.is_settled()
        assert set(producer.unconfirmed) == {*taken[3:], postponed}
        info = Observer(wires).ask()
        assert info["queues"]["q"]["withheld"] == 2
        assert info["counters"]["postponed"] == 1

        worker = Worker(wires, "q")
        worker.hello()
        worker.credit(2)
        delivery = worker.delivery()
        worker.settle(delivery.lease, [0, 0, 2, DONE], credit=1)  # 8 of 8 are left.
        delivery = worker.delivery()
        producer.is_settled()
        assert producer.unconfirmed.keys() == {*taken[3:], postponed}
        worker.settle(delivery.lease, [0, 0, 1, DONE], credit=0)  # 7 of 8: the low water mark.
        producer.confirm(*taken)
        producer.say_raw(*producer.unconfirmed[postponed])
        worker.credit(9)

        def is_confirmed() -> bool:
            if message := worker.pop(DELIVER):
                _, (lease, _, batches), _ = message
                worker.settle(lease, *([i, 0, b[2], DONE] for i, b in enumerate(batches)), credit=9)
            return postponed in producer.confirmed

        wires.until(is_confirmed)


Say = Callable[[Producer, Worker], object]

NUMBERED: dict[str, tuple[str, Say]] = {
    "queue name": ("bad-name", lambda p, w: p.publish("no spaces", [1])),
    "empty name": ("bad-name", lambda p, w: p.publish("", [1])),
    "long name": ("bad-name", lambda p, w: p.publish("q" * 129, [1])),
    "task name": ("bad-name", lambda p, w: p.publish("q", [1], task="a/b")),
    "too many tasks": ("too-large", lambda p, w: p.publish("q", [0] * 4097)),
    "no array": ("malformed", lambda p, w: p.publish_raw("q", pack({}), 0)),
    "empty array": ("malformed", lambda p, w: p.publish("q", [])),
    "no bytes": ("malformed", lambda p, w: p.publish_raw("q", b"", 0)),
    "too short": ("malformed", lambda p, w: p.publish_raw("q", b"\xdc\x00\x05\x01", 5)),
    "no frame": ("malformed", lambda p, w: p.publish_frames("q", (), 1)),
    "two frames": ("malformed", lambda p, w: p.publish_frames("q", (pack([1]), b""), 1)),
}


@pytest.mark.parametrize("case", NUMBERED)
def test_a_batch_that_is_refused_for_good(wires: Wires, case: str) -> None:
    code, publish = NUMBERED[case]
    producer, worker = Producer(wires), Worker(wires, "q")
    producer.hello()
    publish(producer, worker)
    (frames,) = producer.unconfirmed.values()
    assert producer.refused() == (code, 1)
    assert not producer.unconfirmed
    producer.say_raw(*frames)  # Had the refusal been lost, it would come again.
    assert producer.refused() == (code, 1)
    producer.confirm(producer.publish("q", ["fine"]))
    assert Observer(wires).ask()["counters"]["published"] == 1


def nested(depth: int) -> bytes:
    """A map in a map in a map."""
    return b"\x81\xa1x" * (depth - 1) + b"\x80"


UNNUMBERED: dict[str, tuple[str, Say]] = {
    "number 0": ("malformed", lambda p, w: p.say(PUBLISH, 0, "q", "", 0, frames=(pack([1]),))),
    "missing field": ("malformed", lambda p, w: p.say(PUBLISH, 1, "q", "")),
    "wrong type": ("malformed", lambda p, w: p.say(PUBLISH, True, "q", "", 0)),
    "negative": ("malformed", lambda p, w: p.say(PUBLISH, -1, "q", "", 0)),
    "over 63 bits": ("malformed", lambda p, w: p.say(PUBLISH, 1 << 63, "q", "", 0)),
    "unknown kind": ("malformed", lambda p, w: p.say(99)),
    "no msgpack": ("malformed", lambda p, w: p.say_raw(b"\xc1")),
    "delimiter": ("malformed", lambda p, w: p.say_raw(b"", pack([1, HEARTBEAT, []]))),
    "no array": ("malformed", lambda p, w: p.say_raw(pack({}))),
    "trailing bytes": ("malformed", lambda p, w: p.say_raw(pack([1, HEARTBEAT, []]) + b"\0")),
    "long header": ("malformed", lambda p, w: p.say_raw(pack([1, HEARTBEAT, [], "x" * 16384]))),
    "version": ("wrong-version", lambda p, w: p.say_raw(pack([2, HEARTBEAT, []]))),
    "role": ("wrong-role", lambda p, w: p.say(SETTLE, 1, 1, [])),
    "question": ("malformed", lambda p, w: p.say(bare_client.ASK, "why")),
    "settle status": ("malformed", lambda p, w: w.say(SETTLE, 1, 1, [[0, 0, 1, 4]])),
    "settle frames": ("malformed", lambda p, w: w.say(SETTLE, 1, 1, [[0, 0, 1, RESULTS]])),
    "report": ("malformed", lambda p, w: w.say(bare_client.REPORT)),
    "deep report": ("malformed", lambda p, w: w.say(bare_client.REPORT, frames=(nested(9),))),
    "report map": ("malformed", lambda p, w: w.say(bare_client.REPORT, frames=(pack({1: 2}),))),
    "worker publishes": (
        "wrong-role",
        lambda p, w: w.say(PUBLISH, 1, "q", "", 0, frames=(pack([1]),)),
    ),
    "hello role": ("malformed", lambda p, w: p.say(bare_client.HELLO, "boss", p.id)),
    "hello id": ("malformed", lambda p, w: p.say(bare_client.HELLO, "producer", b"x" * 33)),
    "no queues": ("malformed", lambda p, w: w.say(bare_client.HELLO, "worker", w.id)),
}  # fmt: skip


def test_a_message_that_is_refused_harms_nothing(wires: Wires) -> None:
    for case, (code, say) in UNNUMBERED.items():
        producer, worker = Producer(wires), Worker(wires, "q")
        producer.hello()
        worker.hello()
        say(producer, worker)
        refused = wires.until(lambda: producer.pop(3) or worker.pop(3))  # noqa: B023
        assert refused[1][:2] == [code, 0], case
        producer.close()
        worker.close()
    observer = Observer(wires)
    observer.until(lambda info: not info["workers"])
    assert observer.ask()["counters"]["published"] == 0


def test_a_map_may_nest_eight_deep(wires: Wires) -> None:
    worker = Worker(wires, "q")
    worker.hello()
    worker.say(bare_client.REPORT, frames=(nested(8),))
    (told,) = Observer(wires).ask()["workers"]
    assert told["report"] == unpack(nested(8))
    assert told["id"] == worker.id.hex()[:8]


def test_no_room_for_another_peer(url: str) -> None:
    with broker(url, "--peers", "1"), Wires(url) as wires:
        producer, other = Producer(wires), Producer(wires)
        producer.hello()
        other.greet()
        assert other.refused() == ("too-many-peers", 0)
        producer.is_ready = False
        producer.reconnect()  # It needs no further room: it replaces its former self.
        producer.hello()
        producer.goodbye()
        other.hello()
        assert Observer(wires).ask()["producers"] == 1, "to ask needs no room"


def test_draining(url: str) -> None:
    with broker(url) as process, Wires(url) as wires:
        producer, worker, observer = Producer(wires), Worker(wires, "q"), Observer(wires)
        producer.hello()
        taken = producer.publish("q", [1])
        frames = producer.unconfirmed[taken]
        producer.confirm(taken)
        process.send_signal(signal.SIGTERM)
        observer.until(lambda info: info["draining"])
        postponed = producer.publish("q", [2])
        assert producer.refused() == ("draining", postponed)
        producer.confirmed.clear()
        producer.say_raw(*frames)
        producer.confirm(taken)  # What was taken is confirmed again.
        worker.hello()
        worker.credit(1)
        worker.settle(worker.delivery().lease, [0, 0, 1, DONE], credit=1)
        producer.hear(GOODBYE)
        worker.hear(GOODBYE)
        assert process.wait(STOP_S) == 0


def test_another_broker_gets_what_is_unconfirmed(url: str) -> None:
    with Wires(url) as wires:
        producer = Producer(wires)
        with broker(url):
            producer.hello()
            gone = producer.publish("q", ["gone"], reply=True)
            producer.confirm(gone)
            first = producer.broker
        producer.is_ready = False
        number = producer.publish("q", ["kept"])
        with broker(url):
            producer.reconnect()
            producer.hello()
            assert producer.broker != first
            producer.confirm(number)
            assert producer.lost == {gone}
            assert Observer(wires).ask()["queues"]["q"]["ready"] == 1


def test_another_broker_takes_any_number(url: str) -> None:
    with Wires(url) as wires:
        producer = Producer(wires)
        producer.next = 2000  # It was connected for long.
        number = producer.publish("q", ["kept"])
        with broker(url):
            producer.hello()
            wires.until(lambda: number in producer.confirmed or producer.pop(REFUSE))
            assert number in producer.confirmed


def test_a_broker_that_is_about_to_stop_reads_no_more_of_the_plain_lane(
    url: str, tmp_path: Path
) -> None:
    ingress = f"ipc://{tmp_path}/in"
    with broker(url, "--ingest", ingress) as process, Wires(url) as wires:
        worker, observer = Worker(wires, "q"), Observer(wires)
        worker.hello()
        push = wires.socket(zmq.PUSH, ingress)
        assert push.poll(20_000, zmq.POLLOUT)
        push.send_multipart([b"q", pack([1])])
        observer.until(lambda info: info["counters"]["ingested"] == 1)
        process.send_signal(signal.SIGTERM)
        observer.until(lambda info: info["draining"])
        push.send_multipart([b"q", pack([2])])
        for _ in range(9):
            assert observer.ask()["counters"]["ingested"] == 1
        worker.credit(9)
        delivery = worker.delivery()
        assert delivery.bodies == [1]
        worker.settle(delivery.lease, [0, 0, 1, DONE], credit=9)
        worker.hear(GOODBYE)
        assert process.wait(STOP_S) == 0
        push.close(0)


def test_the_plain_lane(url: str, tmp_path: Path) -> None:
    ingress, egress = f"ipc://{tmp_path}/in", f"ipc://{tmp_path}/out"
    with (
        broker(url, "--ingest", ingress, "--egress", f"out={egress}"),
        Wires(url) as wires,
    ):
        producer, worker, observer = Producer(wires), Worker(wires, "q"), Observer(wires)
        worker.hello()
        worker.credit(4)
        push = wires.socket(zmq.PUSH, ingress)
        for frames in ([b"q", b"\xc0"], [b"q"], [b"no name", pack([1])], [b"q", pack([1, 2])]):
            assert push.poll(20_000, zmq.POLLOUT)
            push.send_multipart(frames)
        assert worker.delivery().batches == [("", False, 1, [1, 2])]
        counters = observer.ask()["counters"]
        assert (counters["ingested"], counters["refused"] + counters["garbage"]) == (2, 3)

        pull = wires.socket(zmq.PULL, egress)
        producer.hello()
        producer.confirm(producer.publish("out", [7, 8]))
        assert pull.poll(20_000)
        name, batch = pull.recv_multipart()
        assert (name, unpack(batch)) == (b"out", [7, 8])
        refused = producer.publish("out", [9], reply=True)
        assert producer.refused() == ("no-results", refused)
        push.close(0)
        pull.close(0)


# --- stories: the bare client against the real producer and worker ---


def test_a_real_producer_and_a_bare_worker(wires: Wires) -> None:
    worker = Worker(wires, "q")
    worker.hello()
    worker.credit(9)
    with zqueue.Producer(wires.url) as producer:
        good = producer.submit("q", [2, 3], task="add")
        bad = producer.submit("q", {"*": [1], "y": 0}, task="divide")
        producer.send("q", "plain")
        seen: list[Any] = []
        while len(seen) < 3:
            delivery = worker.delivery()
            for index, (task, reply, _, bodies) in enumerate(delivery.batches):
                seen += bodies
                run = [index, 0, len(bodies)]
                if task == "add":
                    carry = ([sum(body) for body in bodies],)
                    worker.settle(delivery.lease, [*run, RESULTS], carry=carry, credit=9)
                elif task == "divide":
                    error = ["ZeroDivisionError", "division by zero", "File x, line 1"]
                    worker.settle(delivery.lease, [*run, FAILED], carry=([error],), credit=9)
                else:
                    assert not reply
                    worker.settle(delivery.lease, [*run, DONE], credit=9)
        assert sorted(seen, key=str) == [[2, 3], "plain", {"*": [1], "y": 0}]
        wires.until(lambda: good.done() and bad.done())
        assert good.result() == 5
        with pytest.raises(zqueue.RemoteError, match="division by zero") as raised:
            bad.result()
        assert raised.value.type_name == "ZeroDivisionError"
        assert "line 1" in str(raised.value.__cause__)

        many = producer.outcomes("many", range(1000), task="id")
        other = Worker(wires, "many")
        other.hello()
        other.credit(700)
        asked = 0

        def answer() -> bool:
            nonlocal asked
            if message := other.pop(DELIVER):
                _, (lease, _, batches), frames = message
                runs = [[i, 0, batch[2], RESULTS] for i, batch in enumerate(batches)]
                carry = tuple(unpack(frame) for frame in frames)
                other.settle(lease, *runs, carry=carry, credit=700)
                asked += sum(batch[2] for batch in batches)
            return asked == 1000

        with _in_thread(lambda: [value for ok, value in many if ok]) as outcome:
            wires.until(answer)
            wires.until(outcome.done)
            assert outcome.result() == list(range(1000))


@contextlib.contextmanager
def _in_thread(function: Callable[[], Any]) -> Iterator[Any]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(function)


APP = """
import os
import zqueue

app = zqueue.App()

@app.task(queue="calls")
def add(x, y=10, *, z=100):
    return x + y + z

@app.task(queue="calls")
def fail(text):
    raise ValueError(text)

@app.task(queue="calls")
def die():
    os.kill(os.getpid(), 9)

@app.task(queue="calls", timeout=0.3)
def hang():
    while True:
        pass

@app.task(queue="plain")
def echo(body):
    return body
"""


def test_a_bare_producer_and_a_real_worker(wires: Wires, tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(APP)
    producer, observer = Producer(wires), Observer(wires)
    producer.hello()
    bodies = [[1], [1, 2], {"x": 1, "z": 0}, {"*": [1], "z": 0}, {"*": [1, 1]}]
    add = producer.publish("calls", bodies, task="add", reply=True)
    wrong = producer.publish("calls", [7, {"*": 1}, {"no": 1}], task="add", reply=True)
    fail = producer.publish("calls", [["a"], ["b"]], task="fail", reply=True)
    unknown = producer.publish("calls", [[], []], task="none", reply=True)
    plain = producer.publish("plain", [[1, 2], {"*": 3}, None, b"\xff"], reply=True)
    quiet = producer.publish("calls", [["never told"]], task="fail")
    torn = producer.publish_raw("plain", b"\x92\x01\xc1", 2, reply=True)
    with running("worker", str(tmp_path / "calls.py"), "--url", wires.url) as process:
        assert producer.results(add, 5) == [(RESULTS, n) for n in (111, 103, 11, 11, 102)]
        errors = [error[0] for _, error in producer.results(wrong, 3)]
        assert errors == ["ProtocolError", "ProtocolError", "TypeError"]
        (_, first), (_, second) = producer.results(fail, 2)
        assert (first[:2], second[:2]) == (["ValueError", "a"], ["ValueError", "b"])
        assert "Traceback" in first[2]
        assert {error[0] for _, error in producer.results(unknown, 2)} == {"UnknownTask"}
        echoed = [value for _, value in producer.results(plain, 4)]
        assert echoed == [[1, 2], {"*": 3}, None, b"\xff"]
        assert {error[0] for _, error in producer.results(torn, 2)} == {"ProtocolError"}
        producer.confirm(quiet)
        observer.until(lambda info: info["dead"]["total"] == 1)
        ((queue, task, body, *_),) = observer.ask("dead")["letters"]
        assert (queue, task, unpack(body)) == ("calls", "fail", [["never told"]])

        info = observer.until(lambda info: info["workers"][0]["report"].get("done"))
        assert info["tasks"]["add"] == "calls"
        assert set(info["workers"][0]["queues"]) == {"calls", "plain"}
        report = info["workers"][0]["report"]
        table = rows(section("Maps"), "key", "meaning")
        assert set(report) == {word for row in table for word in words(row[0])}

        late = producer.publish("calls", [[]], task="hang", reply=True)
        ((_, error),) = producer.results(late, 1)
        assert error[0] == "TaskTimeout"
        poison = producer.publish("calls", [[]], task="die", reply=True)
        ((_, error),) = producer.results(poison, 1)
        assert error[0] == "WorkerLost"
        assert stop(process) == 0
    observer.until(lambda info: not info["workers"])
