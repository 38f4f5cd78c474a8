"""Posts by the clock: Locust's users, in a process of their own, as gevent replaces its sockets.

    python perf/scenarios/load.py PLAN POSTS

PLAN is JSON: ``url``, ``path``, ``size`` of a body in bytes, ``users``, ``answer_s`` (how long to
wait for an answer, and for all when the last post was due), and ``due``: for each post when it is
due, in seconds from the start, which is printed. One line goes to POSTS for each: its number, when
it was due, sent and answered, the status (0: no answer), and whether a refusal said when to come
again.

A user that is free takes the post that is due next, and waits until then: how soon the server
answers does not change when posts are due. One that finds no free user is sent late, and its
latency counts from when it was due, so what a stall delays is in the percentiles, too: no
coordinated omission, as wrk2 and HdrHistogram name it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import gevent  # Before others: it replaces sockets.
from locust import FastHttpUser, task
from locust.env import Environment
from locust.exception import StopUser

START_S = 0.2
"""Until the first one is due: Locust starts the users."""


class Poster(FastHttpUser):  # type: ignore[misc]
    """One connection; takes what is due next."""

    max_retries = 0
    path = ""
    padding = ""
    began = 0.0
    due: Iterator[tuple[int, float]]
    posts: list[tuple[int, float, float, float, int, bool]]

    @task
    def post(self) -> None:
        """One post, at its time."""
        try:
            number, due = next(self.due)
        except StopIteration:
            raise StopUser from None
        gevent.sleep(max(0.0, self.began + due - monotonic()))
        sent = monotonic() - self.began
        body = {"number": number, "padding": self.padding}
        with self.client.post(self.path, json=body, catch_response=True) as answer:
            ended = monotonic() - self.began
            answer.request_meta["response_time"] = 1e3 * (ended - due)
            said = answer.headers is not None and "retry-after" in answer.headers
            self.posts.append((number, due, sent, ended, answer.status_code or 0, said))
            answer.success()  # What an answer means, run.py judges.


def run(plan: dict[str, Any]) -> list[tuple[int, float, float, float, int, bool]]:
    """Post all that is due, and return what came of each."""
    Poster.path, Poster.padding = plan["path"], "x" * plan["size"]
    Poster.network_timeout = Poster.connection_timeout = plan["answer_s"]
    Poster.due, Poster.posts = iter(list(enumerate(plan["due"]))), []
    runner = Environment(user_classes=[Poster], host=plan["url"]).create_local_runner()
    Poster.began = monotonic() + START_S
    print(Poster.began, flush=True)
    runner.start(plan["users"], spawn_rate=plan["users"])
    until = Poster.began + max(plan["due"]) + plan["answer_s"]
    while len(Poster.posts) < len(plan["due"]) and monotonic() < until:
        gevent.sleep(0.05)
    runner.quit()
    return Poster.posts


def main() -> int:
    """The entry point. Returns the exit code."""
    plan, posts = map(Path, sys.argv[1:])
    lines = (json.dumps(post) + "\n" for post in run(json.loads(plan.read_text())))
    posts.write_text("".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
