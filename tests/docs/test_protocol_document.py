"""docs/protocol.md is true: its tables are the code's, and its example is what a broker says."""

from __future__ import annotations

import importlib
import json
import random
import re
from typing import Any, get_type_hints

import msgpack
import pytest

import zqueue.core.batch
from zqueue.broker.figures import ADDED_UP, OTHER, Figures
from zqueue.broker.machine import BrokerProtocol
from zqueue.broker.outcomes import OUTCOMES
from zqueue.config import Limits
from zqueue.core.counters import Counters
from zqueue.core.dead import DeadLetter, Group
from zqueue.errors import ProtocolError
from zqueue.handlers import Handler
from zqueue.stats.histogram import Histogram
from zqueue.stats.meter import TaskMeter
from zqueue.stats.pauses import PauseStats
from zqueue.wire import headers, messages, traced
from zqueue.wire.link import TRANSITIONS
from zqueue.worker.leases import LeasedBatch
from zqueue.worker.loop import current_of
from zqueue.worker.work import LeaseTally, Work

from . import bare_client
from .bare_client import (
    AWAIT,
    DELIVER,
    pack,
)
from .page import PAGE, answers, rows, section, words

LETTER_ACTIONS = {messages.REPLAY, messages.DROP, messages.IMPORT}
ACTIONS = {messages.PAUSE, messages.DRAIN, messages.RESUME}

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
        optional = re.findall(r"^- `(\w+)` \(\S+\): optional, (\S+) if missing", part, re.M)
        page[int(match[1])] = (
            match[2],
            [(name, TYPES[kind]) for name, kind in fields],
            {name: json.loads(value) for name, value in optional},
        )
    code = {
        kind: (cls.__name__, list(get_type_hints(cls).items()), cls._field_defaults)
        for kind, cls in messages.KINDS.items()
    }
    assert page == code
    ours = {v: name for name, v in vars(bare_client).items() if name.isupper() and v in code}
    for kind, (name, _, _) in code.items():
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
    machine.receive(b"peer", "", [headers.encode(messages.Hello(role, b"id")), frame], 0.0)
    assert type(headers.decode(drain(machine)[0][1][0])) is messages.Welcome
    machine.receive(b"peer", "", [headers.encode(sample(cls)), frame], 0.0)
    answers = [headers.decode(frames[0]) for _, frames in drain(machine)]
    return not any(
        isinstance(answer, messages.Refuse) and answer.code == messages.WRONG_ROLE
        for answer in answers
    )


def test_roles_may_say_what_the_code_lets_them_say() -> None:
    everybody = {"Hello", "Heartbeat", "Goodbye", "Ask", "Cancel", "Control"}
    for role, says, _ in roles_table():
        said = {c.__name__ for c in messages.KINDS.values() if is_heard_from(words(role)[0], c)}
        assert said == set(words(says)) | everybody, role


def roles_table() -> list[list[str]]:
    return rows(section("Roles, and who may say what"), "role", "may say", "hears")


def test_every_message_of_a_client_or_broker_is_heard_by_the_other() -> None:
    named = {word for row in roles_table() for cell in row[1:] for word in words(cell)}
    named |= {"Hello", "Heartbeat", "Goodbye", "Ask", "Cancel", "Control"}
    named |= {"Welcome", "Tell", "Refuse"}
    assert named == {cls.__name__ for cls in messages.KINDS.values()}


def test_codes_of_refuse() -> None:
    others = {messages.STOPPED, messages.CRASHED, messages.TIMEOUT, *ACTIONS, *LETTER_ACTIONS}
    code = {v for k, v in vars(messages).items() if k.isupper() and type(v) is str} - others
    table = rows(section("Codes of Refuse"), "code", "about", "then", "meaning, and what to do")
    page = {words(row[0])[0]: row[1:3] for row in table}
    assert set(page) == code
    again = {code for code, (about, then) in page.items() if "batch" in about and then != "final"}
    assert again == messages.TRY_AGAIN


def test_actions_of_control() -> None:
    line = re.search(r"^- `action` \(text\): (.*)$", PAGE, re.M)
    assert line
    assert set(words(line[1])) == ACTIONS | LETTER_ACTIONS
    told = re.search(r"^`Tell` after `Control`: (.*) \(as it is now\)\.$", section("Maps"), re.M)
    assert told
    machine = BrokerProtocol(b"12345678", Limits())
    machine.book.queue("q")
    for action in ACTIONS:
        machine.receive(b"x", "", [headers.encode(messages.Control(action, "q"))], 0.0)
        ((_, (_, frame)),) = drain(machine)
        assert list(headers.unpack_map(frame)) == words(told[1])


def test_a_traced_body() -> None:
    said = re.search(r"a msgpack extension of type (\d+): (\d+) bytes", PAGE)
    assert said
    assert [int(number) for number in said.groups()] == [traced.TRACED, traced.CONTEXT_BYTES]
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = ["any", {"body": 1}]
    theirs = bare_client.traced(traceparent, body)
    assert theirs == pack(traced.traced(body, traceparent))
    assert traced.untraced(msgpack.unpackb(theirs)) == (body, traceparent)


def test_the_name_of_a_task() -> None:
    form = re.search(r"Our worker\ncalls it `(.*)` of the three", PAGE)
    assert form
    batch = LeasedBatch("q", "t", True, 9, 1, 0, b"", 0xA0A1A2A3A4A5, 7, 3)
    work = Work(1, 0, 0, batch, LeaseTally(9))
    handler = Handler("t", "q", print)
    current = current_of(handler, work, 2, "", lambda *_: None)
    assert current.id == form[1] % (0xA0A1A2A3A4A5, 7, 5) == "a0a1a2a3a4a5-7-5"
    assert "`a0a1a2a3a4a5-1-1`" in section("A worked example")


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
    names = ("DONE", "RESULTS", "FAILED", "RETURNED", "OPEN", "RETRY", "CANCELLED", "EXPIRED")
    assert page == {name: getattr(messages, name) for name in names}
    assert page == {name: getattr(bare_client, name) for name in names}
    settled = {int(row[0]) for row in table if row[2] in ("both", "Settle")}
    assert settled == set(OUTCOMES)


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
        if path.startswith("config.Limits."):
            found = getattr(Limits(), path.rpartition(".")[2])
        else:
            module, _, name = path.rpartition(".")
            found = getattr(importlib.import_module(f"zqueue.{module}"), name)
        assert found == float(value), path


def test_keys_of_the_answers_to_ask() -> None:
    machine = BrokerProtocol(b"12345678", Limits())
    machine.book.queue("q")
    tables = answers()
    assert set(tables["info"]) > set(machine.teller.info()), (
        "the process tells the rest, see the stories"
    )
    assert set(words(tables["info"]["queues"])) == set(machine.teller.info()["queues"]["q"])
    about = pack({"queues": ["q"]})
    for role, peer in (("worker", b"w"), ("supervisor", b"s")):
        machine.receive(peer, "", [headers.encode(messages.Hello(role, peer)), about], 0.0)
        (told,) = machine.teller.info()[f"{role}s"]
        assert words(tables["info"][f"{role}s"]) == list(told)
    assert words(tables["info"]["counters"]) == list(Counters().as_dict())
    assert words(tables["info"]["dead"]) == list(machine.teller.info()["dead"])
    assert set(words(tables["info"]["batches_made"])) == set(zqueue.core.batch.reuse())
    for what, name in (("dead", "letters"), ("dead-groups", "groups")):
        (frame,) = machine.teller.answer(what, [])
        assert list(tables[what]) == list(headers.unpack_map(frame))
        assert name in tables[what]
    machine.intake.ingest("q", pack([1]))
    (frame,) = machine.teller.answer("peek", [pack({"queue": "q"})])
    told = headers.unpack_map(frame)
    assert list(tables["peek"]) == list(told)
    assert words(tables["peek"]["tasks"]) == [*told["tasks"][0], "error"]
    assert words(tables["dead-groups"]["groups"]) == list(Group._fields)
    letter = rows(section("Maps"), "key of a letter", "meaning")
    told = [word for row in letter for word in words(row[0])]
    assert set(told) == set(DeadLetter._fields) - {"body"} | {"nbytes"}
    stats = machine.teller.stats()
    assert set(tables["stats"]) == set(stats) - set(machine.teller.info()) | {"queues"}
    more = set(stats["queues"]["q"]) - set(machine.teller.info()["queues"]["q"])
    assert set(words(tables["stats"]["queues"])) == more | {"info"}
    assert set(words(tables["stats"]["other_queues"])) == set(stats["other_queues"])
    asked = re.search(r"^- `what` \(text\): (.*)$", section("The messages"), re.M)
    assert asked
    assert set(words(asked[1])) == set(tables)


def test_keys_of_a_report() -> None:
    text = section("Maps")
    gc = next(row[1] for row in rows(text, "key", "meaning") if row[0] == "`gc`")
    assert set(words(gc)) == set(get_type_hints(PauseStats))
    new = {words(row[0])[0] for row in rows(text, "new", "meaning")}
    meter = TaskMeter()
    told = {"tasks": {"t": meter.to_wire()}, "confirm": meter.run.to_wire(), "state": 1}
    Figures().add(told)
    assert new == set(ADDED_UP)
    assert f"`{OTHER}`" in text


# --- histograms ---


@pytest.mark.parametrize("schema", range(6))
def test_a_histogram_can_be_written_and_read_from_the_page(schema: int) -> None:
    draw = random.Random(schema)
    values = [0.0, 1e-9, 2.0**-20, 2.0**-19, 1.0, 4096.0, 4097.0, 1e7]
    values += [2 ** draw.uniform(-21, 13) for _ in range(1000)]
    ours = Histogram(schema)
    for value in values:
        ours.record(value)
    theirs = bare_client.histogram(values, schema)
    read, (_, total, longest, counts) = ours.to_wire(), bare_client.read_histogram(theirs)
    assert bare_client.read_histogram(read)[2:] == (longest, counts)
    assert abs(ours.sum * 1e9 - total) < len(values), "each value is rounded"
    assert Histogram.from_wire(theirs).count == len(values)
    if schema:
        coarse = bare_client.coarser(counts, schema)
        expected = bare_client.read_histogram(ours.coarsened(schema - 1).to_wire())
        assert expected[3] == coarse


def test_the_histogram_of_the_page() -> None:
    said = re.search(r"^10 ms, 10 ms and 3 s are `(.*)`\.$", section("Maps"), re.M)
    assert said
    wire = json.loads(said[1])
    assert wire == bare_client.histogram([0.01, 0.01, 3.0])
    assert Histogram.from_wire(wire).to_wire() == wire


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
        message = headers.decode(frames[0])
        assert type(message).__name__ == name
        assert headers.encode(message) == frames[0]
        names.add(name)
    assert names >= {
        "Hello", "Welcome", "Publish", "Confirm", "Deliver", "Progress", "Settle",
        "Result", "Report", "Control", "Cancel", "Tell",
    }  # fmt: skip


def test_a_broker_answers_the_bytes_of_the_example_with_those_of_the_example() -> None:
    machine = BrokerProtocol(bytes(range(0xB0, 0xB8)), Limits(), first_lease=7)
    answers: list[tuple[str, list[bytes]]] = []
    for way, _, frames in example():
        if way.startswith("B"):
            answered = [a for a in answers if a == (way, frames)]
            assert answered, (way, frames, answers)
            answers.remove(answered[0])
        else:
            now = 0.0 if way[0] == "P" else 0.002  # Two milliseconds with the broker.
            machine.receive(way[0].encode(), "", frames, now)
            answers += [(f"B>{peer.decode()}", sent) for peer, sent in drain(machine)]
    assert [headers.decode(frames[0]) for _, frames in answers] == [
        messages.Welcome(machine.id, 1000, 5000)  # The worker's, which the page leaves out.
    ]
    met = machine.figures.tasks["send"]
    assert met.run.to_wire() == bare_client.histogram([0.01, 0.01])
    assert met.total.to_wire() == bare_client.histogram([0.0135, 0.0235])


def test_a_header_may_be_longer_and_must_not_be_shorter() -> None:
    for kind, cls in messages.KINDS.items():
        values: list[Any] = []
        for hint in get_type_hints(cls).values():
            values.append({int: 1, str: "x", bytes: b"x"}.get(hint, []))
        longer = pack([1, kind, *values, "new", [1, {}], None])
        assert headers.decode(longer) == cls(*values)
        required = len(values) - len(cls._field_defaults)
        assert headers.decode(pack([1, kind, *values[:required]])) == cls(*values[:required])
        if required:
            with pytest.raises(ProtocolError):
                headers.decode(pack([1, kind, *values[: required - 1]]))
        with pytest.raises(ProtocolError):
            headers.decode(pack([1, kind, *values, {"a": "map"}]))
    for batch in (["t", 1, 2, 3], ["t", 1, 2, 3, 4], ["t", *range(8)]):
        headers.decode(pack([1, DELIVER, 1, "q", [batch]]))
    for batch in (["t", 1, 2], ["t", 1, 2, 3, "x"]):
        with pytest.raises(ProtocolError):
            headers.decode(pack([1, DELIVER, 1, "q", [batch]]))
    many = headers.decode(pack([1, AWAIT, list(range(5000))]))
    assert many == messages.Await(list(range(5000)))
