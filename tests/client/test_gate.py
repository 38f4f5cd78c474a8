"""Sending is refused while a worker imports its app."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zqueue import App, BrokerLost, ConfigError, Producer, Task
from zqueue.client.gate import sending_refused

Sender = App | Producer

SENDS: list[Callable[[str], tuple[Sender, Callable[[], object]]]] = [
    lambda url: (p := Producer(url, connect_timeout=0.05), lambda: p.send("q", 1)),
    lambda url: (p := Producer(url, connect_timeout=0.05), lambda: p.submit("q", 1)),
    lambda url: (a := App(url, connect_timeout=0.05), lambda: task(a).send(1)),
    lambda url: (a := App(url, connect_timeout=0.05), lambda: task(a).submit(1)),
    lambda url: (a := App(url, connect_timeout=0.05), lambda: next(task(a).map([1]))),
    lambda url: (a := App(url, connect_timeout=0.05), lambda: task(a).send_many([1])),
]


def task(app: App) -> Task[..., None]:
    return app.task(name=f"t{len(app.handlers)}")(print)


@pytest.mark.parametrize("send", SENDS)
def test_nothing_can_be_sent(
    send: Callable[[str], tuple[Sender, Callable[[], object]]], tmp_path: Path
) -> None:
    sender, call = send(f"ipc://{tmp_path}/nobody")
    with sending_refused("not now"), pytest.raises(ConfigError, match="not now"):
        call()
    with pytest.raises(BrokerLost):
        call()
    sender.close(0)


def test_what_was_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its app can be given another address, and closed."""
    app = App(f"ipc://{tmp_path}/nobody")
    task = app.task(name="t")(print)
    with sending_refused("not now"), pytest.raises(ConfigError):
        task.send(1)
    app.close()
    app.url = f"ipc://{tmp_path}/other"
