"""What headers and queries ask for."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.gateway.problems import Problem
from zqueue.gateway.wants import JSON, MSGPACK, NDJSON, Wants, read_number, read_wait, read_wants

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def scope(query: str = "", **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in named.items()],
        "query_string": query.encode(),
    }


def wants(**headers: str) -> Wants:
    given = dict(scope(**{"content_type": JSON, **headers})["headers"])
    return read_wants(given, (JSON, NDJSON, MSGPACK))


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("", 0), ("wait=5", 5), ("WAIT=5", 5), ('wait="5"', 5), ("wait = 5", 5),
        ("respond-async, wait=10", 10), ("wait=10; x=1", 10), ("handling=lenient;wait=7", 7),
        ("wait=600", 60), ("wait=-1", 0), ("wait", 0), ("await=5", 0), ("wait=x", 0),
        ("wait=" + "9" * 1000, 0),
    ],
    ids=str,
)  # fmt: skip
def test_how_long_to_wait(prefer: str, seconds: float) -> None:
    assert wants(prefer=prefer).wait_s == seconds


def test_content_types() -> None:
    assert wants(content_type="Application/JSON; charset=utf-8").kind == JSON
    assert wants(content_type="application/jsonl").kind == NDJSON
    assert wants(content_type="application/vnd.msgpack").kind == MSGPACK
    for other in ("", "text/plain", "application/x-www-form-urlencoded", "json"):
        with pytest.raises(Problem) as caught:
            wants(content_type=other)
        assert caught.value.status == 415
        assert b"x-ndjson" in dict(caught.value.headers)[b"accept"]


def test_a_trace_context_that_is_none_is_passed_over() -> None:
    assert wants(traceparent=TRACE).traceparent == TRACE
    for wrong in ("x", TRACE.upper(), "ff" + TRACE[2:], TRACE + "-1", TRACE.replace("b", "g"),
                  "00-" + "0" * 32 + TRACE[35:], TRACE + "\n"):  # fmt: skip
        assert wants(traceparent=wrong).traceparent == ""


def test_an_idempotency_key() -> None:
    assert wants(idempotency_key="k").key == "k"
    for wrong in ({"idempotency_key": "k" * 256}, {"idempotency_key": "k", "content_type": NDJSON}):
        with pytest.raises(Problem) as caught:
            wants(**wrong)
        assert caught.value.status == 400


def test_results_as_lines() -> None:
    assert not wants(accept="*/*").is_streamed
    assert wants(accept="application/json, application/x-ndjson").is_streamed


@pytest.mark.parametrize(("query", "seconds"), [("", 0), ("wait=2.5", 2.5), ("wait=1e9", 60)])
def test_a_wait_of_the_query(query: str, seconds: float) -> None:
    assert read_wait(scope(query)) == seconds


@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf", "1_0x"])
def test_a_wait_that_is_none(text: str) -> None:
    with pytest.raises(Problem) as caught:
        read_wait(scope(f"wait={text}"))
    assert caught.value.status == 400


def test_a_number() -> None:
    assert read_number(scope(""), "n", 1, 9, 5) == 5
    assert read_number(scope("n=9"), "n", 1, 9, 5) == 9
    for wrong in ("0", "10", "x", "-1", "1.5", "9" * 5000, "²"):
        with pytest.raises(Problem):
            read_number({"headers": [], "query_string": f"n={wrong}".encode()}, "n", 1, 9, 5)
