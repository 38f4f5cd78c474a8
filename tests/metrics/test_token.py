"""The token: what a file may hold, and who is let in."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from zqueue.errors import ConfigError
from zqueue.metrics.token import Token

from .test_site import Served

SECRET = "0123456789abcdef" * 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.token"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def guarded(path: Path) -> Iterator[Served]:
    with Served(token=Token.read(str(path))) as made:
        yield made


def ask(served: Served, target: str, *shown: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(*served.address, timeout=10)
    connection.putrequest("GET", target)
    for value in shown:
        connection.putheader("Authorization", value)
    connection.endheaders()
    answer = connection.getresponse()
    if target != "/api/stream":
        answer.read()
    connection.close()
    return answer


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


PATHS = ("/", "/metrics", "/readyz", "/api/stats.json", "/api/stream", "/api/dead.json", "/nothing")


@pytest.mark.parametrize("target", PATHS)
def test_without_it_nothing_is_told(guarded: Served, target: str) -> None:
    answer = ask(guarded, target)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert SECRET not in str(answer.headers)


@pytest.mark.parametrize("shown", [f"Bearer {SECRET}", f"bearer  {SECRET} ", basic(f"me:{SECRET}")])
def test_with_it_all_is(guarded: Served, shown: str) -> None:
    statuses = [ask(guarded, target, shown).status for target in PATHS]
    assert statuses == [200, 200, 200, 200, 200, 400, 404]


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Bearer ", f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}", f"Token {SECRET}",
     SECRET, basic(SECRET), basic(f"{SECRET}:"), "Basic ???", basic(f"me:{SECRET}x"),
     "Bearer \xff"],
)  # fmt: skip
def test_with_another_nothing_is(guarded: Served, shown: str) -> None:
    assert ask(guarded, "/metrics", shown).status == 401
    assert ask(guarded, "/metrics", shown, f"Bearer {SECRET}").status == 401, "twice is none"


def test_whoever_restarts_it_needs_none(guarded: Served) -> None:
    assert ask(guarded, "/livez").status == 200


@pytest.mark.parametrize(
    "text", ["", "\n", "brief-text", "two words and more", "ü" * 20, "x" * 513]
)
def test_what_is_no_token(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError, match="openssl rand") as caught:
        Token.read(str(path))
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_file_that_others_may_read(path: Path) -> None:
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=f"token file {path} can be read .* chmod 600"):
        Token.read(str(path))
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        Token.read(str(path))
