"""Settings of the sidecar."""

from __future__ import annotations

from typing import Any

import pytest

from zqueue.config import DEFAULT_URL, MetricsConfig, parse_listen
from zqueue.errors import ConfigError


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("127.0.0.1:9464", "127.0.0.1", 9464), ("localhost:0", "localhost", 0),
     ("[::1]:9464", "::1", 9464), ("metrics.example:65535", "metrics.example", 65535)],
)  # fmt: skip
def test_where_to_listen(listen: str, host: str, port: int) -> None:
    assert parse_listen(listen) == (host, port)


@pytest.mark.parametrize(
    "listen", ["", "9464", ":9464", "::1:9464", "a:b", "a:65536", "a:-1", "[::1]", "a b:1", "a:1/"]
)
def test_nowhere(listen: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        parse_listen(listen)


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "example:1"])
def test_other_machines_only_if_that_is_meant(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"--token-file FILE.*--insecure-no-auth"):
        MetricsConfig(listen=listen)
    assert MetricsConfig(listen=listen, token_file="f").listen == listen
    assert MetricsConfig(listen=listen, insecure=True).listen == listen


@pytest.mark.parametrize(
    "wrong",
    [{"urls": ()}, {"urls": ("nowhere",)}, {"urls": (DEFAULT_URL, DEFAULT_URL)},
     {"ready_workers": -1}],
)  # fmt: skip
def test_what_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        MetricsConfig(**wrong)
