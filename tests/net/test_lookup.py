"""Lookup: what files and names say."""

from __future__ import annotations

from pathlib import Path

import pytest

from zqueue.config import Address, Source
from zqueue.errors import ConfigError
from zqueue.net.lookup import FILE_BYTES_MAX, look_up, urls_now


def test_a_file_of_urls(tmp_path: Path) -> None:
    path = tmp_path / "brokers"
    path.write_text(
        "# ours\ntcp://a:1, tcp://b:1\n\nipc:///run/zq?key=own.key  # here\ntcp://a:1\n"
    )
    assert look_up(Source.parse(f"file://{path}?key=k")) == [
        Address("tcp://a:1", "a", None, "k"),
        Address("tcp://b:1", "b", None, "k"),
        Address("ipc:///run/zq", None, "/run/zq", "own.key"),
    ]
    path.write_text("# nobody\n")
    assert look_up(Source.parse(f"file://{path}")) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot read .*: No such file"),
        (b"tcp://a:1\nhttp://b\n", "'http://b' is not an address"),
        (b"file:///etc/brokers\n", "here it must be one"),
        (b"\xff", "not UTF-8"),
        (b" " * (FILE_BYTES_MAX + 1), "no list of brokers"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "brokers"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        look_up(Source.parse(f"file://{path}"))


def test_all_addresses_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert (name, port) == ("brokers", 5555)
        each = [("10.0.0.1", 5555), ("10.0.0.2", 5555), ("10.0.0.1", 5555), ("fd00::1", 5555, 0, 0)]
        return [(0, 0, 0, "", address) for address in each]

    monkeypatch.setattr("socket.getaddrinfo", found)
    urls = [address.full for address in look_up(Source.parse("dns+tcp://brokers:5555?key=k"))]
    assert urls == [
        "tcp://10.0.0.1:5555?key=k", "tcp://10.0.0.2:5555?key=k", "tcp://[fd00::1]:5555?key=k",
    ]  # fmt: skip


def test_a_name_that_nobody_has() -> None:
    """The system's own resolver says so, whatever it can reach."""
    with pytest.raises(ConfigError, match=r"cannot resolve nobody\.invalid"):
        look_up(Source.parse("dns+tcp://nobody.invalid:5555"))


def test_what_a_command_goes_to(tmp_path: Path) -> None:
    path = tmp_path / "brokers"
    path.write_text("tcp://b:1 tcp://c:1")
    assert urls_now(["tcp://a:1,tcp://b:1?key=k", f"file://{path}"]) == (
        "tcp://a:1", "tcp://b:1", "tcp://c:1",
    )  # fmt: skip
    path.write_text("")
    with pytest.raises(ConfigError, match="names no broker"):
        urls_now([f"file://{path}"])
