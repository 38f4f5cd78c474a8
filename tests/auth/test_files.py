"""Key files: who may read them, and what is told of those that are no good."""

from __future__ import annotations

from pathlib import Path

import pytest

from zqueue.auth.files import (
    ClientKey,
    broker_lines,
    client_lines,
    make_pair,
    read_broker_pair,
    read_client_key,
    write_secret,
)
from zqueue.config import Address, default_url, url_with_key
from zqueue.errors import ConfigError

URL = "tcp://10.0.0.1:5555"


@pytest.fixture
def key() -> ClientKey:
    return ClientKey("web", make_pair(), (make_pair().public,), (URL,))


@pytest.fixture
def path(tmp_path: Path, key: ClientKey) -> Path:
    write_secret(tmp_path / "web.key", client_lines(key))
    return tmp_path / "web.key"


def test_what_is_written_is_read(path: Path, key: ClientKey, tmp_path: Path) -> None:
    assert read_client_key(str(path)) == key
    assert path.stat().st_mode & 0o777 == 0o600
    pair = make_pair()
    write_secret(tmp_path / "keys" / "broker.key", broker_lines(pair))
    assert read_broker_pair(str(tmp_path / "keys")) == pair
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_a_client_of_several_brokers_has_the_key_of_each(tmp_path: Path, key: ClientKey) -> None:
    brokers = {URL: ("a" * 40,), "tcp://10.0.0.2:5555": ("b" * 40, "c" * 40)}
    write_secret(tmp_path / "web.key", client_lines(ClientKey.of("web", key.pair, brokers)))
    found = read_client_key(str(tmp_path / "web.key"))
    assert found.urls == tuple(brokers)
    assert {url: found.keys_of(url) for url in brokers} == brokers
    with pytest.raises(ConfigError, match=r"no key of the broker at tcp://10\.0\.0\.3:5555"):
        found.keys_of("tcp://10.0.0.3:5555")
    assert ClientKey.of("web", key.pair, {URL: key.broker_keys}) == key


def test_a_key_file_is_not_written_over(path: Path, key: ClientKey) -> None:
    with pytest.raises(ConfigError, match="is there"):
        write_secret(path, client_lines(key))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o644])
def test_one_that_others_may_read_is_not_used(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        read_client_key(str(path))


def test_a_secret_is_in_no_message(path: Path, key: ClientKey) -> None:
    assert key.pair.secret not in repr(key) + str(key.pair)
    text = path.read_text()
    for broken in (text.replace("secret = ", "secret "), text.replace("public = ", "public = 3#")):
        path.write_text(broken)
        with pytest.raises(ConfigError) as caught:
            read_client_key(str(path))
        assert key.pair.secret not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_what_is_no_key_file(path: Path, tmp_path: Path, key: ClientKey) -> None:
    for lines, says in (
        (client_lines(key._replace(broker_keys=())), "broker_keys"),
        (client_lines(key._replace(broker_keys=("short",))), "broker_keys"),
        (client_lines(key._replace(keys_by_url={URL: ()})), "broker_keys"),
        (client_lines(key._replace(keys_by_url={URL: ("short",)})), "broker_keys"),
        (broker_lines(key.pair), "broker_keys"),
        ([*client_lines(key)[:4], f'public = "{make_pair().public}"',
          f'secret = "{key.pair.secret}"'], "is not the public key of secret"),
    ):  # fmt: skip
        write_secret(path, lines, replace=True)
        with pytest.raises(ConfigError, match=says):
            read_client_key(str(path))
    for other in (tmp_path / "nothing.key", tmp_path):
        with pytest.raises(ConfigError, match=str(other)):
            read_client_key(str(other))


def test_addresses_with_keys(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZQUEUE_URL", raising=False)
    with_key = f"{URL}?key={path}"
    assert url_with_key(None, str(path)) == with_key
    assert url_with_key("tcp://h:1", str(path)) == f"tcp://h:1?key={path}"
    assert url_with_key("tcp://h:1?key=other", str(path)) == "tcp://h:1?key=other"
    monkeypatch.setenv("ZQUEUE_KEY_FILE", str(path))
    assert default_url() == with_key
    address = Address.parse(with_key)
    assert (address.url, address.host, address.key_file) == (URL, "10.0.0.1", str(path))
    assert Address.parse(f"ipc:///run/zq?key={path}").path == "/run/zq"
    with pytest.raises(ConfigError, match="must name a key file"):
        Address.parse(f"{URL}?key=")
