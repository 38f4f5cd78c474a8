"""Lookup: what the sources of a list of brokers say. It may take as long as a name server does."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable

from ..config import Address, BrokerList, Source, split_urls
from ..errors import ConfigError

FILE_BYTES_MAX = 64 << 10
"""A list of so many brokers is none that a person wrote."""


def look_up(source: Source) -> list[Address]:
    """The brokers that a source names now, once each. Raises `ConfigError`: it cannot be asked, or
    what it says makes no sense."""
    urls = _addresses_of(source) if source.path is None else _urls_in(source.path)
    key = "" if source.key_file is None else f"?key={source.key_file}"
    try:
        found = [Address.parse(url if "?key=" in url else url + key) for url in urls]
    except ConfigError as error:
        raise ConfigError(f"{source.url}: {error}") from None
    return list({address.url: address for address in found}.values())


def urls_now(urls: Iterable[str]) -> tuple[str, ...]:
    """The address of each broker of some lists, with its key, once: sources are asked. Raises
    `ConfigError`."""
    brokers = BrokerList.parse(",".join(split_urls(*urls)))
    found = [address for source in brokers.sources for address in look_up(source)]
    named = {address.url: address.full for address in (*brokers.addresses, *found)}
    if not named:
        raise ConfigError(f"{brokers} names no broker")
    return tuple(named.values())


def _addresses_of(source: Source) -> list[str]:
    try:
        found = socket.getaddrinfo(source.name, source.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot resolve {source.name}: {why}") from None
    hosts = dict.fromkeys(str(address[0]) for *_, address in found)
    return [f"tcp://{f'[{host}]' if ':' in host else host}:{source.port}" for host in hosts]


def _urls_in(path: str) -> list[str]:
    """One URL a line, or several with commas between them; ``#`` begins a remark."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read {path}: {why}") from None
    if len(text) > FILE_BYTES_MAX:
        raise ConfigError(f"{path} is over {FILE_BYTES_MAX} bytes long: it is no list of brokers")
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [url for line in lines for url in re.split(r"[,\s]+", line) if url]
