"""What a request shows."""

from __future__ import annotations

import base64

import pytest

from zqueue.http.credentials import shown_in


def shown(*values: bytes) -> bytes | None:
    return shown_in({"headers": [(b"authorization", value) for value in values]})


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


def test_a_bearer_or_a_password() -> None:
    assert shown(b"Bearer secret") == shown(b"bearer  secret ") == b"secret"
    assert shown(basic(b"me:secret")) == shown(basic(b":secret")) == b"secret"
    assert shown(basic(b"me:a:b")) == b"a:b"


@pytest.mark.parametrize("value", [b"", b"Token x", b"secret", b"Basic ???", b"Basic"])
def test_anything_else(value: bytes) -> None:
    assert not shown(value)


def test_nothing_or_two() -> None:
    assert shown() is None
    assert shown(b"Bearer a", b"Bearer a") == b"a,Bearer a"
