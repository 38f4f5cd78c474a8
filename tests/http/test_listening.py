"""Where a server listens."""

from __future__ import annotations

import socket

import pytest

from zqueue.errors import ConfigError
from zqueue.http.listening import Listener
from zqueue.net.sockets import AddressInUse


def test_how_clients_name_it() -> None:
    listener = Listener("127.0.0.1", 0)
    with listener.socket:
        assert listener.url == f"http://127.0.0.1:{listener.address[1]}"
        assert listener.is_loopback
        with socket.create_connection(listener.address, 10):
            pass
    with (there := Listener("0.0.0.0", 0, has_certificate=True)).socket:
        assert not there.is_loopback
        assert there.url.startswith("https://0.0.0.0:")


def test_a_port_that_is_taken() -> None:
    listener = Listener("127.0.0.1", 0)
    with listener.socket, pytest.raises(AddressInUse, match="another process listens at 127"):
        Listener(*listener.address)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_host_that_is_not_here(host: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen at {host}:80"):
        Listener(host, 80)
