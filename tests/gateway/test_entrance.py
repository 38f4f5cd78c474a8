"""The gateway, asked over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import zqueue
from tests.system.harness import wait_until
from zqueue.auth.tokens import HEAD, hash_of, parse_tokens, with_token
from zqueue.auth.users import User
from zqueue.gateway import Gateway, body, streaming
from zqueue.gateway.body import BODY_BYTES_MAX
from zqueue.testing import InProcess
from zqueue.wire.codec import pack

from . import shop
from .conftest import Client, Got, served

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "sold"}


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    shop.seen.clear()
    shop.gate.clear()
    yield
    shop.gate.set()


def seen(count: int) -> list[Any]:
    """What the handler of queue events was given, once it is so many."""
    wait_until(lambda: len(shop.seen) >= count, what=lambda: f"{count}: {shop.seen[:10]}")
    return list(shop.seen)


# --- bodies ---


def test_a_body_is_confirmed(client: Client) -> None:
    got = client.post("/v1/queues/events", {"id": 1})
    assert (got.status, got.data) == (202, {"accepted": 1})
    assert got.headers["Content-Type"] == "application/json"
    assert seen(1) == [{"id": 1}]


def test_many_at_once_are_each_confirmed(client: Client) -> None:
    statuses: list[int] = []

    def post(part: int) -> None:
        for i in range(20):
            statuses.append(client.post("/v1/queues/events", [part, i]).status)

    threads = [threading.Thread(target=post, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [202] * 160
    assert sorted(seen(160)) == [list(each) for each in itertools.product(range(8), range(20))]


def test_msgpack(client: Client) -> None:
    body = {"b": b"\x00\xff", "n": 1.5}
    got = client.post("/v1/queues/events", pack(body), Content_Type="application/msgpack")
    assert got.status == 202
    assert seen(1) == [body]


def test_a_body_that_cannot_be_sent_harms_no_other(client: Client) -> None:
    bodies = [1 << 70 if i % 5 == 0 else i for i in range(20)]
    statuses: dict[int, int] = {}
    threads = [
        threading.Thread(
            target=lambda i=i: statuses.update(
                {i: client.post("/v1/queues/events", bodies[i]).status}
            )
        )
        for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {i: 400 if i % 5 == 0 else 202 for i in range(20)}
    assert sorted(seen(16)) == [i for i in range(20) if i % 5]


def test_events(client: Client) -> None:
    binary = {f"ce_{name}": value for name, value in EVENT.items()}
    assert client.post("/v1/queues/events", {"a": 1}, **binary).status == 202
    structured = {"Content_Type": "application/cloudevents+json"}
    assert client.post("/v1/queues/events", {**EVENT, "data": 2}, **structured).status == 202
    batch = {"Content_Type": "application/cloudevents-batch+json"}
    got = client.post("/v1/queues/events", [{**EVENT, "id": str(i)} for i in range(3)], **batch)
    assert got.data == {"accepted": 3}
    assert client.post("/v1/queues/events", [], **batch).data == {"accepted": 0}
    found = seen(5)
    assert found[0] == {**EVENT, "datacontenttype": "application/json", "data": {"a": 1}}
    assert found[1] == {**EVENT, "data": 2}
    assert [event["id"] for event in found[2:]] == ["0", "1", "2"]
    for wrong in ({"a": 1}, [EVENT]):
        assert client.post("/v1/queues/events", wrong, **structured).status == 400
    assert client.post("/v1/queues/events", [{}], **batch).status == 400


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/queues/events", b"{", {}, 400),
        ("/v1/queues/events", b"", {}, 400),
        ("/v1/queues/events", b"1", {"Content_Type": "text/plain"}, 415),
        ("/v1/queues/events", b"1", {"Content_Type": ""}, 415),
        ("/v1/queues/events", b"\xc1", {"Content_Type": "application/msgpack"}, 400),
        ("/v1/queues/events", b"x" * (BODY_BYTES_MAX + 1), {}, 413),
        ("/v1/queues/a b", b"1", {}, 404),
        ("/v1/tasks/nothing", b"1", {}, 404),
        ("/v1/tasks/double", b"1", {"Content_Type": "application/cloudevents+json"}, 415),
        ("/nothing", b"1", {}, 404),
        ("/livez", b"1", {}, 405),
    ],
    ids=itertools.count(),
)
def test_what_is_refused(
    client: Client, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    got = client.post(path.replace(" ", "%20"), body, **headers)
    assert got.status == status, got.body
    assert got.headers["Content-Type"] == "application/problem+json"
    assert got.data["status"] == status
    assert got.data["detail"]


def test_without_a_broker_it_says_so(pool: InProcess) -> None:
    nowhere = "tcp://127.0.0.1:9"
    app = zqueue.App(nowhere, connect_timeout=0.2)

    @app.task
    def known() -> None: ...

    with served(Gateway(app), nowhere) as client:
        for path in ("/v1/queues/events", "/v1/tasks/known"):
            got = client.post(path, [])
            assert got.status == 503, got.body
            assert got.headers["Retry-After"] == "1"
        got = client.lines("/v1/queues/events", b"1\n")
        assert (got.status, got.data["accepted"]) == (503, 0)
        assert client.get("/readyz").status == 503
        assert client.get("/livez").status == 200
    with contextlib.suppress(zqueue.BrokerLost):
        app.close(0)


def test_a_full_queue(alone: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """A 429 says that nothing was taken, and a stream how much was."""
    monkeypatch.setattr(streaming, "FULL_WAIT_S", 0.3)
    client = alone(queue_tasks_max=10)
    found: list[Got] = []

    def is_full() -> bool:
        found.append(client.post("/v1/queues/q", 1))
        return len(found) > 10 and found[-1].status == 429

    wait_until(is_full)
    assert {got.status for got in found} == {202, 429}
    assert found[-1].headers["Retry-After"] == "1"
    got = client.lines("/v1/queues/q", b"1\n" * 5_000)
    assert got.status == 429
    assert "behind" not in got.data
    taken = sum(each.status == 202 for each in found) + got.data["accepted"]
    assert client.get("/v1/queues/q").data["ready"] == taken


def test_a_queue_that_drains(alone: Callable[..., Client]) -> None:
    client = alone()
    assert client.post("/v1/queues/q", 1).status == 202
    assert client.post("/v1/queues/q/drain").data == {
        "queue": "q", "paused": False, "draining": True,
    }  # fmt: skip
    got = client.post("/v1/queues/q", 2)
    assert (got.status, got.headers["Retry-After"]) == (503, "1")
    assert client.post("/v1/queues/q/resume").data["draining"] is False
    assert client.post("/v1/queues/q", 3).status == 202


# --- lines ---


def test_many_lines(client: Client) -> None:
    body = b"".join(b'{"id": %d, "text": "%b"}\n' % (i, b"x" * 80) for i in range(20_000))
    got = client.lines("/v1/queues/events", body)
    assert (got.status, got.data) == (202, {"accepted": 20_000})
    assert [each["id"] for each in seen(20_000)] == list(range(20_000))


def test_lines_that_come_slowly_are_not_held_back(client: Client) -> None:
    shown: list[int] = []

    def parts() -> Iterator[bytes]:
        for i in range(3):
            yield b"%d\n" % i
            shown.append(len(seen(i + 1)))
        yield b"3"

    assert client.lines("/v1/queues/events", parts()).data == {"accepted": 4}
    assert shown == [1, 2, 3]
    assert seen(4) == [0, 1, 2, 3]


def test_a_line_that_is_no_json(client: Client) -> None:
    got = client.lines("/v1/queues/events", b'1\n\n{"a":2}\n{\n3\n')
    assert got.status == 400
    assert (got.data["line"], got.data["accepted"]) == (4, 2)
    assert seen(2) == [1, {"a": 2}]
    assert client.lines("/v1/queues/events", b"").data == {"accepted": 0}


def test_a_line_that_is_too_long(client: Client) -> None:
    got = client.lines("/v1/queues/events", b"1\n" + b"2" * (2 << 20))
    assert (got.status, got.data["accepted"]) == (413, 1)
    assert seen(1) == [1]


def test_a_client_that_leaves_in_the_middle(client: Client) -> None:
    """What was confirmed is kept, and the next one is served."""
    with client.running.connect() as connection:
        connection.sendall(
            b"POST /v1/queues/events HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n1\n2\n3"
        )
        assert seen(2) == [1, 2]
    wait_until(lambda: client.running.serving.connections == 0)
    assert client.post("/v1/queues/events", 4).status == 202
    assert seen(3) == [1, 2, 4]


def test_a_client_that_stalls(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "STALL_S", 0.2)
    monkeypatch.setattr(body, "LOOK_S", 0.05)
    for kind, sent in (("json", b'{"id"'), ("x-ndjson", b"1\n2")):
        got = client.running.send(
            b"POST /v1/queues/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            b"Content-Type: application/%b\r\n\r\n%b" % (kind.encode(), sent)
        )
        assert got.startswith(b"HTTP/1.1 408 ")
    assert b'"accepted": 1' in got
    assert seen(1) == [1]


# --- calls ---


@pytest.mark.parametrize(
    ("value", "result"), [([21], 42), ({"x": 4}, 8), (3, 6), ("ab", "abab"), ([[1]], [1, 1])]
)
def test_a_result_at_once(client: Client, value: Any, result: Any) -> None:
    got = client.post("/v1/tasks/double", value, Prefer="wait=20")
    assert (got.status, got.data) == (200, {"result": result})
    assert got.headers["Preference-Applied"] == "wait=20"


def test_a_failure_is_a_result(client: Client) -> None:
    got = client.post("/v1/tasks/fail", ["no"], Prefer="wait=20")
    assert (got.status, got.data) == (200, {"error": {"type": "ValueError", "text": "no"}})
    got = client.post("/v1/tasks/double", [1, 2, 3], Prefer="wait=20")
    assert got.data["error"]["type"] == "TypeError"


def test_bytes_are_text(client: Client) -> None:
    assert client.post("/v1/tasks/packed", [], Prefer="wait=20").data == {"result": "bytes"}


def test_a_result_later(client: Client) -> None:
    got = client.post("/v1/tasks/wait", [])
    assert (got.status, got.data["state"]) == (202, "pending")
    place = got.headers["Location"]
    assert re.fullmatch(r"/v1/results/[0-9a-f]{16}-[0-9a-f]{32}", place)
    assert client.get(place).status == 202
    assert client.get(f"{place}?wait=0.05").status == 202
    assert client.post("/v1/tasks/wait", [], Prefer="wait=0").status == 202
    shop.gate.set()
    got = client.get(f"{place}?wait=20")
    assert (got.status, got.data) == (200, {"result": "open"})
    assert client.get(place).data == {"result": "open"}, "it is kept"
    assert client.get(f"{place}?wait=x").status == 400


def test_a_result_of_another_gateway(client: Client, pool: InProcess) -> None:
    place = client.post("/v1/tasks/double", [1]).headers["Location"]
    with served(Gateway(pool.url), pool.url) as other:
        assert other.get(place).status == 410


def test_events_of_a_result(client: Client) -> None:
    place = client.post("/v1/tasks/wait", []).headers["Location"]
    wait_until(lambda: client.get(place).data["progress"] == [1, 2])
    connection = http.client.HTTPConnection(*client.running.listener.address, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", place, headers={"Accept": "text/event-stream"})
        got = connection.getresponse()
        assert got.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert got.readline() == b"event: progress\n"
        assert got.readline() == b'data: {"done":1,"total":2}\n'
        shop.gate.set()
        assert got.read().endswith(b'\nevent: result\ndata: {"result":"open"}\n\n')
    late = client.get(place, Accept="text/event-stream").body.decode()
    assert late == 'event: result\ndata: {"result":"open"}\n\n'


def test_results_as_lines(client: Client) -> None:
    body = b"".join(b"[%d]\n" % i for i in range(5_000))
    got = client.lines("/v1/tasks/double", body, Accept="application/x-ndjson")
    assert got.headers["Content-Type"] == "application/x-ndjson"
    assert got.lines == [{"result": 2 * i} for i in range(5_000)]
    got = client.lines("/v1/tasks/double", b'1\n"x\n', Accept="application/x-ndjson")
    assert got.lines[0] == {"result": 2}
    assert got.lines[1]["error"]["line"] == 2
    got = client.lines("/v1/tasks/double", b"{", Accept="application/x-ndjson")
    assert (got.status, got.data["line"]) == (400, 1)
    assert client.lines("/v1/tasks/double", b"", Accept="application/x-ndjson").lines == []
    assert client.lines("/v1/tasks/double", b"1\n2\n").data == {"accepted": 2}


def test_results_come_before_the_last_line_is_sent(client: Client) -> None:
    with client.running.connect() as connection, connection.makefile("rb") as read:
        connection.sendall(
            b"POST /v1/tasks/double HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/x-ndjson\r\nAccept: application/x-ndjson\r\n"
            b"Content-Length: 4\r\n\r\n1\n"
        )
        while not read.readline().startswith(b'{"result":2}'):
            pass
        connection.sendall(b"2\n")
        assert b'{"result":4}' in read.read()


def test_a_trace_goes_with_the_task(client: Client) -> None:
    got = client.post("/v1/tasks/trace", [], Prefer="wait=20", traceparent=TRACE)
    assert got.data == {"result": TRACE}
    got = client.lines(
        "/v1/tasks/trace", b"[]\n", Accept="application/x-ndjson", traceparent=TRACE
    )  # fmt: skip
    assert got.lines == [{"result": TRACE}]
    got = client.post("/v1/tasks/trace", [], Prefer="wait=20", traceparent="none")
    assert got.data == {"result": ""}


def test_an_idempotency_key(client: Client) -> None:
    for key in ("one", "two"):
        first = client.post("/v1/queues/events", 1, Idempotency_Key=key)
        again = client.post("/v1/queues/events", 1, Idempotency_Key=key)
        assert (first.status, again.data) == (202, first.data)
        assert client.post("/v1/queues/events", 2, Idempotency_Key=key).status == 422
    call = client.post("/v1/tasks/double", [4], Idempotency_Key="one")
    again = client.post("/v1/tasks/double", [4], Idempotency_Key="one")
    assert again.headers["Location"] == call.headers["Location"]
    assert client.post("/v1/queues/events", b"{", Idempotency_Key="bad").status == 400
    assert client.post("/v1/queues/events", b"3", Idempotency_Key="bad").status == 202
    assert client.lines("/v1/queues/events", b"1\n", Idempotency_Key="x").status == 400
    assert seen(3) == [1, 1, 3]


# --- queues and dead letters ---


def test_queues(client: Client) -> None:
    client.post("/v1/queues/events", 1)
    wait_until(lambda: client.get("/v1/queues/events").status == 200)
    got = client.get("/v1/queues/events").data
    assert (got["queue"], got["state"], got["workers"]) == ("events", "running", 1)
    assert got in client.get("/v1/queues").data["queues"]
    assert client.get("/v1/queues/no-such").status == 404
    assert client.post("/v1/queues/no-such/pause").status == 404
    assert client.post("/v1/queues/events/pause").data["paused"] is True
    assert client.get("/v1/queues/events").data["state"] == "paused"
    assert client.post("/v1/queues/events/resume").data["paused"] is False


def test_dead_letters(client: Client) -> None:
    client.lines("/v1/tasks/fail", b'"a"\n"b"\n')
    wait_until(lambda: len(client.get("/v1/dead-letters").data["letters"]) == 2)
    letters = client.get("/v1/dead-letters?queue=default&limit=5").data["letters"]
    assert [(each["error"], each["body"]) for each in letters] == [
        ("ValueError", ["b"]), ("ValueError", ["a"]),
    ]  # fmt: skip
    place = f"/v1/dead-letters/{letters[1]['number']}"
    assert client.get(place).data["traceback"]
    assert client.ask("DELETE", place).data == {"dropped": 1}
    assert client.ask("DELETE", place).status == client.get(place).status == 404
    place = f"/v1/dead-letters/{letters[0]['number']}"
    assert client.post(f"{place}/replay").data == {"replayed": 1}
    assert client.get(place).status == 404
    assert client.get("/v1/dead-letters?limit=0").status == 400
    assert client.get("/v1/dead-letters?queue=other").data == {"letters": []}


# --- who may come in ---


@pytest.fixture(scope="module")
def guarded(pool: InProcess) -> Iterator[Client]:
    text = HEAD
    for name, roles, queues in (
        ("all", ("admin",), ("*",)), ("shop", ("produce",), ("ev*",)), ("eye", ("observe",), ("*",))
    ):  # fmt: skip
        user = User(name, (hash_of(name.encode()),), frozenset(roles), queues)
        text = with_token(text, user, "f")
    with served(Gateway(pool.url, tokens=parse_tokens(text, "f")), pool.url) as made:
        yield made


PATHS = {
    "post": "/v1/queues/events", "queues": "/v1/queues", "other": "/v1/tasks/double",
    "pause": "/v1/queues/events/resume", "letters": "/v1/dead-letters", "metrics": "/metrics",
    "open": "/livez",
}  # fmt: skip


@pytest.mark.parametrize(
    ("token", "statuses"),
    [
        ("", [401, 401, 401, 401, 401, 401, 200]),
        ("all.wrong", [401, 401, 401, 401, 401, 401, 200]),
        ("shop.shop", [202, 403, 403, 403, 403, 403, 200]),
        ("eye.eye", [403, 200, 403, 403, 200, 200, 200]),
        ("all.all", [202, 200, 202, 200, 200, 200, 200]),
    ],
)
def test_tokens(guarded: Client, token: str, statuses: list[int]) -> None:
    shown = {"Authorization": f"Bearer {token}"} if token else {}
    posts = ("post", "other", "pause")
    found = [
        (guarded.post(path, 1, **shown) if name in posts else guarded.get(path, **shown)).status
        for name, path in PATHS.items()
    ]
    assert found == statuses
    got = guarded.post("/v1/queues/events", 1)
    assert got.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_result_is_for_its_queue(guarded: Client) -> None:
    call = guarded.post("/v1/tasks/double", [1], Authorization="Bearer all.all")
    place = call.headers["Location"]
    assert guarded.get(place, Authorization="Bearer shop.shop").status == 403
    assert guarded.get(f"{place}?wait=20", Authorization="Bearer all.all").status == 200


# --- as a part of another application ---


def test_mounted_and_with_an_app(pool: InProcess) -> None:
    """Under a path, and with the tasks of an app, which need no worker to be known."""
    gateway = Gateway(shop.app)

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        await gateway({**scope, "root_path": "/work"}, receive, send)

    with served(outer, pool.url) as client:
        got = client.post("/work/v1/tasks/double", [2], Prefer="wait=20")
        assert got.data == {"result": 4}
        assert got.headers["Location"].startswith("/work/v1/results/")
        assert client.get(got.headers["Location"]).data == {"result": 4}


def test_it_counts(client: Client) -> None:
    client.post("/v1/queues/events", 1)
    text = client.get("/metrics").body.decode()
    assert 'zqueue_gateway_requests_total{call="post_bodies",status="202"}' in text
    assert "zqueue_gateway_accepted_tasks_total" in text
    assert "process_resident_memory_bytes" in text


def test_its_description(client: Client) -> None:
    assert client.get("/openapi.json").data["openapi"].startswith("3.1")
    assert json.loads(client.get("/openapi.json").body)["paths"]
