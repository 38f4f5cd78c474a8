"""A gateway as it is in production: uvicorn, a broker and a worker, in threads of this process."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import zqueue
from tests.http.running import Running
from zqueue.gateway import Gateway
from zqueue.http.asgi import Application
from zqueue.http.patience import Limits
from zqueue.testing import InProcess

from . import shop

LIMITS = Limits(connections_max=256)


class Got(NamedTuple):
    """An answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def data(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """Its lines of JSON."""
        return [json.loads(line) for line in self.body.splitlines()]


class Client:
    """Asks a gateway, each time by a connection of its own."""

    def __init__(self, running: Running, broker: str) -> None:
        self.running = running
        self.broker = broker
        self.url = running.url

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Got:
        """Ask once. Underscores of header names are dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(*self.running.listener.address, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return Got(answer.status, answer.headers, answer.read())

    def get(self, path: str, **headers: str) -> Got:
        """GET."""
        return self.ask("GET", path, **headers)

    def post(self, path: str, value: Any = None, **headers: str) -> Got:
        """POST a value as JSON, or bytes as they are."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask("POST", path, body, **{"Content_Type": "application/json", **headers})

    def lines(self, path: str, body: Any, **headers: str) -> Got:
        """POST lines."""
        return self.ask("POST", path, body, Content_Type="application/x-ndjson", **headers)


Serve = Callable[..., Client]


@contextlib.contextmanager
def served(
    gateway: Gateway | Application, broker: str, limits: Limits = LIMITS
) -> Iterator[Client]:
    """A gateway, while it lasts."""
    running = Running(gateway, limits)
    if isinstance(gateway, Gateway):
        running.at_end = gateway.stop_waiting  # type: ignore[method-assign]
    with running:
        yield Client(running, broker)


@pytest.fixture(scope="module")
def pool() -> Iterator[InProcess]:
    """A broker, and a worker of `shop`."""
    with InProcess(shop.app) as running:
        yield running


@pytest.fixture(scope="module")
def client(pool: InProcess) -> Iterator[Client]:
    """A client of a gateway that lets everybody in."""
    with served(Gateway(pool.url), pool.url) as made:
        yield made


@pytest.fixture
def alone() -> Iterator[Callable[..., Client]]:
    """Starts a gateway to a broker that has no worker, with limits of the broker."""
    with contextlib.ExitStack() as stack:

        def start(**limits: Any) -> Client:
            app = zqueue.App()
            running = stack.enter_context(InProcess(app, worker=False, **limits))
            return stack.enter_context(served(Gateway(running.url), running.url))

        yield start
