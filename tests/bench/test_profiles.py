"""Profiles are read: whose time, whose memory, in which function."""

from __future__ import annotations

from typing import Any

from zqueue.bench.profiles import HERE, hot_samples, place, role_of, self_times

BROKER = "/x/site-packages/zqueue/broker.py"
SOCKETS = "/x/site-packages/zqueue/net/sockets.py"
LOADER = "<frozen importlib._bootstrap>"


def test_the_role_of_a_stack() -> None:
    assert role_of(["<string>", BROKER, SOCKETS]) == "broker"
    assert role_of(["/a/zqueue/worker.py", "/a/zqueue/bench/handlers.py"]) == "worker"
    assert role_of(["/a/zqueue/bench/ours.py", SOCKETS]) == HERE


def test_places_are_short() -> None:
    assert place("send", SOCKETS) == "send (zqueue/net/sockets.py)"
    assert place("send", "/home/me/zqueue/zqueue/net/sockets.py") == "send (zqueue/net/sockets.py)"
    assert place("packb", "/x/site-packages/msgpack/__init__.py") == "packb (msgpack/__init__.py)"
    assert place("wait", "/usr/lib/python3.11/threading.py") == "wait (threading.py)"
    assert place("poll", "") == "poll"


def test_samples_are_counted_by_role_and_function() -> None:
    frames = [{"name": "run", "file": BROKER}, {"name": "send", "file": SOCKETS},
              {"name": "load", "file": LOADER}, {"name": "process 7"}]  # fmt: skip
    profiles = [
        {"samples": [[0, 1], [0], [0, 2], [3], []], "weights": [3, 1, 100, 100, 100]},
        {"samples": [[1]], "weights": [5]},
    ]
    hot = hot_samples({"shared": {"frames": frames}, "profiles": profiles})
    assert hot == {
        "broker": [("send (zqueue/net/sockets.py)", 0.75), ("run (zqueue/broker.py)", 0.25)],
        HERE: [("send (zqueue/net/sockets.py)", 1.0)],
    }


def call(name: str, ts: float, dur: float, tid: int = 1) -> dict[str, Any]:
    return {"ph": "X", "name": name, "ts": ts, "dur": dur, "tid": tid}


def test_a_function_s_own_time_is_without_what_it_calls() -> None:
    events = [
        call("outer (/a/one.py:1)", 0, 100),
        call("inner (/a/one.py:9)", 10, 30),
        call("inner (/a/one.py:9)", 50, 20),
        call("deep (/a/two.py:1)", 12, 5),
        call("other (/a/one.py:5)", 20, 7, tid=2),
        {"ph": "M", "name": "process_name"},
    ]
    assert self_times(events) == {
        "outer (one.py)": 50, "inner (one.py)": 45, "deep (two.py)": 5, "other (one.py)": 7,
    }  # fmt: skip


def test_waiting_and_loading_are_left_out() -> None:
    events = [
        call("run (/a/one.py:1)", 0, 100),
        call("select.poll.poll", 10, 60),
        call(f"load ({LOADER}:1)", 75, 20),
        call("module (/a/two.py:1)", 76, 10),
    ]
    assert self_times(events) == {"run (one.py)": 20}
