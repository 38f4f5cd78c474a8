"""Addresses and limits."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.config import (
    DEFAULT_URL,
    Address,
    BrokerList,
    Limits,
    WorkerConfig,
    check_bind,
    default_url,
    parse_bytes,
)
from zqueue.errors import ConfigError


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "host", "path"),
        [
            ("tcp://127.0.0.1:5555", "127.0.0.1", None),
            ("tcp://broker.example:1", "broker.example", None),
            ("tcp://*:65535", "*", None),
            ("tcp://127.0.0.1:*", "127.0.0.1", None),
            ("tcp://[::1]:5555", "::1", None),
            ("ipc:///tmp/zqueue", None, "/tmp/zqueue"),
        ],
    )
    def test_good(self, url: str, host: str | None, path: str | None) -> None:
        assert Address.parse(url) == Address(url, host, path)

    @pytest.mark.parametrize(
        "url",
        ["", "tcp://", "tcp://host", "tcp://host:", "tcp://host:0", "tcp://host:65536",
         "tcp://host:99999", "tcp://:5555", "tcp://a b:1", "tcp://host:1/x", "udp://host:1",
         "inproc://x", "ipc://", "ipc:", "host:5555", "tcp://::1:5555", "tcp://[::1:5555",
         "TCP://host:1", "tcp:/host:1"],
    )  # fmt: skip
    def test_bad(self, url: str) -> None:
        with pytest.raises(ConfigError, match="is not an address"):
            Address.parse(url)

    def test_several_brokers(self) -> None:
        with pytest.raises(ConfigError, match="names several brokers"):
            Address.parse("tcp://a:1,tcp://b:1")

    def test_the_path_has_a_limit(self) -> None:
        assert Address.parse("ipc:///" + "x" * 106).path == "/" + "x" * 106
        for path in ("/" + "x" * 107, "/" + "é" * 54):
            with pytest.raises(ConfigError, match="over 107 bytes"):
                Address.parse("ipc://" + path)

    @pytest.mark.parametrize(
        ("url", "local", "ipv6"),
        [
            ("tcp://127.0.0.1:1", True, False),
            ("tcp://127.9.9.9:1", True, False),
            ("tcp://localhost:1", True, False),
            ("tcp://[::1]:1", True, True),
            ("ipc:///x", True, False),
            ("tcp://*:1", False, False),
            ("tcp://0.0.0.0:1", False, False),
            ("tcp://10.0.0.1:1", False, False),
            ("tcp://[fe80::1%eth0]:1", False, True),
            ("tcp://localhost.evil.example:1", False, False),
            ("tcp://eth0:1", False, False),
        ],
    )
    def test_who_can_reach_it(self, url: str, local: bool, ipv6: bool) -> None:
        address = Address.parse(url)
        assert (address.is_local(), address.is_ipv6()) == (local, ipv6)

    def test_strangers_are_kept_out_unless_told_otherwise(self) -> None:
        here, everywhere = Address.parse("tcp://127.0.0.1:1"), Address.parse("tcp://*:1")
        assert check_bind(here, insecure=False) is here
        assert check_bind(everywhere, insecure=True) is everywhere
        with pytest.raises(ConfigError, match="anybody there could send and take tasks"):
            check_bind(everywhere, insecure=False)

    @pytest.mark.parametrize("insecure", [False, True])
    def test_an_address_whose_peers_nobody_checks(self, insecure: bool) -> None:
        with pytest.raises(ConfigError, match="does not check who connects"):
            check_bind(Address.parse("ipc://@name"), insecure=insecure)


class TestBrokerList:
    def test_addresses_and_sources(self) -> None:
        url = "tcp://a:1?key=k, dns+tcp://brokers:5555, file:///etc/brokers?key=k"
        brokers = BrokerList.parse(url)
        assert [address.full for address in brokers.addresses] == ["tcp://a:1?key=k"]
        name, file = brokers.sources
        assert (name.name, name.port, name.path) == ("brokers", 5555, None)
        assert (file.path, file.key_file) == ("/etc/brokers", "k")
        assert str(brokers) == "tcp://a:1, dns+tcp://brokers:5555, file:///etc/brokers"

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("dns+tcp://brokers", "write dns\\+tcp://NAME:PORT"),
            ("dns+tcp://brokers:*", "write dns\\+tcp://NAME:PORT"),
            ("file://brokers", "write file:///PATH"),
            ("file:///b?key=", "must name a key file"),
            ("tcp://a:1,tcp://a:1", "twice"),
            ("file:///b,file:///b?key=k", "twice"),
            (",".join(f"tcp://a:{port}" for port in range(1, 66)), "65 brokers"),
        ],
    )
    def test_bad(self, url: str, why: str) -> None:
        with pytest.raises(ConfigError, match=why):
            BrokerList.parse(url)

    def test_who_goes_to_one_broker_takes_none(self) -> None:
        with pytest.raises(ConfigError, match="here it must be one"):
            Address.parse("file:///etc/brokers")


def test_the_url_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZQUEUE_URL", raising=False)
    assert default_url() == DEFAULT_URL
    monkeypatch.setenv("ZQUEUE_URL", "")
    assert default_url() == DEFAULT_URL
    monkeypatch.setenv("ZQUEUE_URL", "ipc:///x")
    assert default_url() == "ipc:///x"


class TestSizes:
    @pytest.mark.parametrize(
        ("text", "size"),
        [("65536", 65536), ("0", 0), ("1K", 1024), ("512M", 512 << 20), ("2g", 2 << 30),
         (" 3 GiB ", 3 << 30), ("1TB", 1 << 40), ("7B", 7), ("4kb", 4096)],
    )  # fmt: skip
    def test_good(self, text: str, size: int) -> None:
        assert parse_bytes(text) == size

    @pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "1P", "1 000", "1MM", "0x10", "1e6"])
    def test_bad(self, text: str) -> None:
        with pytest.raises(ConfigError, match="is not a size: write 65536, 512M or 2G"):
            parse_bytes(text)


class TestBrokerConfig:
    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"queue_tasks_max": 0}, "--queue-tasks must be at least 1"),
            ({"queue_bytes_max": -1}, "--queue-bytes must be at least 1"),
            ({"bytes_max": 0}, "--max-bytes must be at least 1"),
            ({"queues_max": 0}, "--queues-max must be at least 1"),
            ({"peers_max": 0}, "--peers must be at least 1"),
            ({"crashes_max": 1}, "--max-crashes must be at least 2"),
            (
                {"heartbeat_s": 3.0},
                r"--liveness \(5 s\) must be at least twice --heartbeat \(3 s\)",
            ),
            ({"heartbeat_s": 0.0}, "must be at least twice --heartbeat"),
            ({"liveness_s": 1.9}, "must be at least twice --heartbeat"),
        ],
    )
    def test_what_makes_no_sense(self, options: dict[str, Any], text: str) -> None:
        with pytest.raises(ConfigError, match=text):
            Limits(**options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"processes": 0}, "--processes must be 1 to 1024"),
        ({"processes": 1025}, "--processes must be 1 to 1024"),
        ({"concurrency": 0}, "--concurrency must be 1 to 10000"),
        ({"concurrency": 10_001}, "--concurrency must be 1 to 10000"),
        ({"threads": 0}, "--threads must be 1 to 256"),
        ({"threads": 257}, "--threads must be 1 to 256"),
    ],
)
def test_a_pool_within_reason(options: dict[str, Any], text: str) -> None:
    WorkerConfig("jobs.py", processes=1024, concurrency=10_000)
    with pytest.raises(ConfigError, match=text):
        WorkerConfig("jobs.py", **options)
