"""Hosts: what a request to a loopback address may name."""

from __future__ import annotations

import pytest

from zqueue.http.hosts import is_for_loopback


def asked(*hosts: bytes) -> bool:
    return is_for_loopback({"headers": [(b"host", host) for host in hosts]})


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"localhost:9464", b"127.0.0.1", b"127.0.0.1:80", b"[::1]", b"[::1]:9464",
     b"LOCALHOST", b"localhost.", b" localhost "],
)  # fmt: skip
def test_loopback(host: bytes) -> None:
    assert asked(host)


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"evil.example:9464", b"localhost.evil.example", b"127.0.0.1.evil.example",
     b"[::2]", b"::1", b"", b"localhost:80:80", b"user@localhost", b"\xff\xfe", b"10.0.0.1"],
)  # fmt: skip
def test_other_names(host: bytes) -> None:
    assert not asked(host)


def test_none_is_what_no_browser_sends() -> None:
    assert asked()


def test_one_of_several_is_not_enough() -> None:
    assert not asked(b"localhost", b"evil.example")
