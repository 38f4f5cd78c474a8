"""Key files: who somebody is, with what secret, and where the broker is.

A secret is in a file that only its owner may read, in a directory of the same kind, and nowhere
else: in no argument, no variable, no log and no answer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import ConfigError
from .tokens import Tokens, parse_tokens
from .users import KEY, Users, parse_users

BROKER_KEY = "broker.key"
BROKER_NEXT_KEY = "broker-next.key"
CLIENTS = "clients.toml"

FILE_BYTES_MAX = 64 << 10
"""Of a key file."""

LIST_BYTES_MAX = 4 << 20
"""Of the list of clients: so many as there may be, with some queues and a comment each."""


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPair:
    """A pair, as Z85 text."""

    public: str
    secret: str = dataclasses.field(repr=False)


class ClientKey(NamedTuple):
    """What a client's key file says."""

    name: str
    pair: KeyPair
    broker_keys: tuple[str, ...]
    """The broker's public keys: two while it changes."""
    urls: tuple[str, ...]
    keys_by_url: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """The same of several brokers, by addresses; `broker_keys` is empty then."""

    @classmethod
    def of(cls, name: str, pair: KeyPair, brokers: Mapping[str, tuple[str, ...]]) -> ClientKey:
        """For brokers with these public keys, by addresses."""
        if len(brokers) == 1:
            ((url, keys),) = brokers.items()
            return cls(name, pair, keys, (url,))
        return cls(name, pair, (), tuple(brokers), brokers)

    def keys_of(self, url: str) -> tuple[str, ...]:
        """The public keys of the broker at an address. Raises `ConfigError`."""
        if keys := self.keys_by_url.get(url) or self.broker_keys:
            return keys
        known = ", ".join(self.keys_by_url)
        raise ConfigError(f"the key file of {self.name} has no key of the broker at {url}, only "
                          f"of {known}: write the address as it is there")  # fmt: skip


def make_pair() -> KeyPair:
    """A new pair. Raises `ConfigError` where libzmq has no CURVE."""
    import zmq  # Here: a command line that needs none of this starts quicker.

    if not zmq.has("curve"):
        raise ConfigError("this libzmq has no CURVE: install pyzmq from its wheel")
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def read_broker_pair(directory: str, name: str = BROKER_KEY) -> KeyPair:
    """The broker's own. Raises `ConfigError`."""
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        raise ConfigError(f"there is no {path}: make it with 'zqueue keys init --dir {directory}'")
    return _pair_of(_read_secret(path), path)


def read_client_key(path: str) -> ClientKey:
    """A client's. Raises `ConfigError`."""
    what = _read_secret(path)
    broker_keys, urls = what.get("broker_keys"), what.get("urls", [])
    by_url: dict[str, tuple[str, ...]] = {}
    if type(broker_keys) is dict:
        by_url = {url: _broker_keys(path, keys) for url, keys in broker_keys.items()}
    keys = () if by_url else _broker_keys(path, broker_keys)
    if type(urls) is not list or not all(type(url) is str for url in urls):
        raise ConfigError(f"{path}: urls must be a list of addresses")
    return ClientKey(str(what.get("name", "")), _pair_of(what, path), keys, tuple(urls), by_url)


def _broker_keys(path: str, keys: Any) -> tuple[str, ...]:
    if type(keys) is not list or not 1 <= len(keys) <= 2:
        raise ConfigError(f"{path}: broker_keys must be the broker's public key, or two")
    if not all(type(key) is str and KEY.fullmatch(key) for key in keys):
        raise ConfigError(f"{path}: broker_keys must be public keys of 40 characters")
    return tuple(keys)


def read_users(directory: str) -> Users:
    """Whom a broker knows. Raises `ConfigError`."""
    path = os.path.join(directory, CLIENTS)
    return parse_users(read_list(path), path)


def read_tokens(path: str) -> Tokens:
    """Whom a gateway knows. Raises `ConfigError`."""
    return parse_tokens(read_list(path), path)


def read_list(path: str) -> str:
    """A list that others may read, but not everybody write. Raises `ConfigError`."""
    try:
        with open(path, "rb") as file:
            packed = file.read(LIST_BYTES_MAX + 1)
            if os.fstat(file.fileno()).st_mode & 0o002:
                raise ConfigError(f"{path} can be written by everybody here: chmod 644 {path}")
        if len(packed) > LIST_BYTES_MAX:
            raise ConfigError(f"{path} has more than {LIST_BYTES_MAX >> 20} MiB")
        return packed.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def urls_of(text: str) -> tuple[str, ...]:
    """Where clients find the broker, as its list of them says."""
    urls = tomllib.loads(text).get("urls", [])
    return tuple(url for url in urls if type(url) is str) if type(urls) is list else ()


def users_stamp(directory: str) -> object:
    """Changes when the list of clients does."""
    return list_stamp(os.path.join(directory, CLIENTS))


def list_stamp(path: str) -> object:
    """Changes when a list does."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None


def write_secret(path: Path, lines: list[str], *, replace: bool = False) -> None:
    """A file that only its owner may read, at once whole. Raises `ConfigError` if it is there."""
    if path.exists() and not replace:
        raise ConfigError(f"{path} is there: name another file, or move it away")
    _write(path, "\n".join(lines) + "\n", 0o600)


def write_list(path: Path, text: str) -> None:
    """A file that others may read, at once whole."""
    _write(path, text, 0o644)


def broker_lines(pair: KeyPair) -> list[str]:
    """What a broker's key file has."""
    return [
        "# The key of a zqueue broker. Whoever has it can pose as the broker: keep it here.",
        *_pair_lines(pair),
    ]


def client_lines(key: ClientKey) -> list[str]:
    """What a client's key file has."""
    pairs = (f'"{url}" = {_list(keys)}' for url, keys in key.keys_by_url.items())
    broker_keys = f"{{ {', '.join(pairs)} }}" if key.keys_by_url else _list(key.broker_keys)
    return [
        f"# A key for zqueue. Whoever has it is {key.name} to the broker.",
        f'name = "{key.name}"',
        f"urls = {_list(key.urls)}",
        f"broker_keys = {broker_keys}",
        *_pair_lines(key.pair),
    ]


def _pair_lines(pair: KeyPair) -> list[str]:
    return [f'public = "{pair.public}"', f'secret = "{pair.secret}"']


def _list(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def _pair_of(what: dict[str, Any], path: str) -> KeyPair:
    import zmq

    public, secret = what.get("public"), what.get("secret")
    if not all(type(key) is str and KEY.fullmatch(key) for key in (public, secret)):
        raise ConfigError(f"{path}: public and secret must be keys of 40 characters")
    pair = KeyPair(str(public), str(secret))
    if zmq.curve_public(pair.secret.encode()).decode() != pair.public:
        raise ConfigError(f"{path}: public is not the public key of secret")
    return pair


def read_private(path: str, what: str) -> bytes:
    """What is in a file with a secret; ``what``: in words, for who reads an error.

    It is read by one descriptor, once its mode was looked at. Raises `ConfigError`.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"the {what} {path} cannot be read: {error.strerror}") from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise ConfigError(f"the {what} {path} is no regular file")
    with open(fd, "rb") as file:
        if found.st_mode & 0o077:
            raise ConfigError(
                f"the {what} {path} can be read or written by others: chmod 600 {path}, and "
                "make a new secret if somebody may have read it"
            )
        try:
            return file.read(FILE_BYTES_MAX)
        except OSError as error:
            raise ConfigError(f"the {what} {path} cannot be read: {error.strerror}") from None


def _read_secret(path: str) -> dict[str, Any]:
    text = read_private(path, "key file")
    try:
        return tomllib.loads(text.decode())
    except ValueError:
        # The parser's message may hold a piece of the text.
        raise ConfigError(f"the key file {path} is not what 'zqueue keys' writes") from None


def _write(path: Path, text: str, mode: int) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
