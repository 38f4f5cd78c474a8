"""Users: whom a broker knows by their public keys, and what each of them may do.

The list is a file that people review (`clients.toml`), a line a client:

    [clients]
    web-1 = { key = "…", roles = ["produce"], queues = ["mail*"] }
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from ..errors import ConfigError

PRODUCE, WORK, OBSERVE, ADMIN = "produce", "work", "observe", "admin"

ROLES: dict[str, str] = {
    PRODUCE: "send tasks, await their results, cancel its own",
    WORK: "take tasks and settle them, as a worker or a supervisor",
    OBSERVE: "ask for figures, peek at tasks, read dead letters",
    ADMIN: "all of these, and pause, drain, purge, cancel, replay and drop",
}

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
"""A public key as Z85 text (rfc.zeromq.org/spec/32)."""

PATTERN = re.compile(r"[A-Za-z0-9_.\-*?\[\]!]{1,128}")
"""Of queues, as of a shell: ``mail*``."""

KEYS_MAX = 2
"""Of one client: the new one and the old one, while it changes."""

USERS_MAX = 10_000
"""More than any broker can serve, and read in 0.2 s, in which a broker does nothing else."""

EVERY_QUEUE = ("*",)


class User(NamedTuple):
    """A client of that name, with any of these keys."""

    name: str
    keys: tuple[str, ...]
    roles: frozenset[str]
    queues: tuple[str, ...] = EVERY_QUEUE

    def has_role(self, roles: frozenset[str]) -> bool:
        """Whether it has one of these roles."""
        return ADMIN in self.roles or not self.roles.isdisjoint(roles)

    def may_use(self, queue: str) -> bool:
        """Whether it may do anything with a queue. Empty: all queues together."""
        return self.queues == EVERY_QUEUE or (bool(queue) and _is_among(queue, self.queues))


@functools.lru_cache(maxsize=10_000)
def _is_among(queue: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(queue, pattern) for pattern in patterns)


class Users:
    """All that a broker knows, by name and by key."""

    def __init__(self, users: Iterable[User] = ()) -> None:
        self._by_name = {user.name: user for user in users}
        self._by_key = {key: user for user in self._by_name.values() for key in user.keys}

    def __repr__(self) -> str:
        return f"<Users: {', '.join(self._by_name) or 'none'}>"

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[User]:
        return iter(self._by_name.values())

    def get(self, name: str) -> User | None:
        """The user of that name; None: there is none, or not any more."""
        return self._by_name.get(name)

    def of_key(self, key: str) -> User | None:
        """Whose public key that is."""
        return self._by_key.get(key)


def parse_users(text: str, path: str) -> Users:
    """Read a list. Raises `ConfigError`, with the file's name and the client's."""
    try:
        clients = tomllib.loads(text).get("clients")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if clients is None:
        raise ConfigError(f"{path} is not whole: it has no [clients], of whom there may be none")
    if type(clients) is not dict or len(clients) > USERS_MAX:
        raise ConfigError(f"{path}: [clients] must be a table of at most {USERS_MAX:,} clients")
    users = [_parse_user(f"{path}: client {name!r}", name, what) for name, what in clients.items()]
    seen: dict[str, str] = {}
    for user in users:
        for key in user.keys:
            if key in seen:
                raise ConfigError(f"{path}: {seen[key]!r} and {user.name!r} have the same key")
            seen[key] = user.name
    return Users(users)


def _parse_user(where: str, name: str, what: Any) -> User:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}: a name is 1 to 64 of A-Z a-z 0-9 _ . -")
    if type(what) is not dict:
        raise ConfigError(f'{where}: write {{ key = "…", roles = ["work"] }}')
    if unknown := set(what) - {"key", "roles", "queues"}:
        raise ConfigError(f"{where}: {sorted(unknown)[0]!r} is not known: key, roles, queues are")
    keys: Any = what.get("key")
    keys = [keys] if isinstance(keys, str) else keys
    if not _are(keys, KEY) or len(keys) > KEYS_MAX:
        raise ConfigError(f"{where}: key must be a public key of 40 characters, or two of them")
    roles = what.get("roles")
    if type(roles) is not list or not roles or not all(role in ROLES for role in roles):
        raise ConfigError(f"{where}: roles must be some of {', '.join(ROLES)}")
    queues: Any = what.get("queues", ["*"])
    if not _are(queues, PATTERN):
        raise ConfigError(f'{where}: queues must be patterns, as in ["mail*", "web"]')
    return User(name, tuple(keys), frozenset(roles), tuple(queues))


def _are(values: Any, pattern: re.Pattern[str]) -> bool:
    return (
        type(values) is list
        and bool(values)
        and all(type(value) is str and pattern.fullmatch(value) for value in values)
    )
