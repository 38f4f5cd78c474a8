"""Tokens: who may ask a gateway, and for what.

The list is a file that people review, a line a token, with its hash and never itself:

    [tokens]
    shop = { sha256 = "…", roles = ["produce"], queues = ["mail*"] }

A token is ``NAME.SECRET``. It is found by its name, and its secret compared by its hash in constant
time. Secrets are 32 bytes from the system's source, so a hash of one is all that a guess is worth.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import ConfigError
from .users import ADMIN, EVERY_QUEUE, NAME, OBSERVE, PATTERN, PRODUCE, User

ROLES: dict[str, str] = {
    PRODUCE: "post tasks and read their results",
    OBSERVE: "read the state of queues, dead letters and metrics",
    ADMIN: "all of these, and pause, drain, resume, replay and drop",
}

TOKENS_MAX = 10_000

HEAD = """\
# Who may ask the gateway: a line a token, with the hash of it. Roles: produce, observe, admin.
# Queues are patterns, as in ["mail*"]; without them a token is for all. A gateway reads this again
# when it changes.

[tokens]
"""

_HASH = re.compile(r"[0-9a-f]{64}")
_NOBODY = hashlib.sha256(b"").hexdigest()


class Tokens:
    """All tokens that a gateway knows."""

    def __init__(self, users: Iterable[User] = ()) -> None:
        self._by_name = {user.name: user for user in users}

    def __repr__(self) -> str:
        return f"<Tokens: {', '.join(self._by_name) or 'none'}>"

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[User]:
        return iter(self._by_name.values())

    def find(self, shown: bytes) -> User | None:
        """Whose token that is; None: nobody's. How long that takes tells nothing of a secret."""
        name, _, secret = shown.rpartition(b".")
        user = self._by_name.get(name.decode("ascii", "replace"))
        known = _NOBODY if user is None else user.keys[0]
        is_it = hmac.compare_digest(hash_of(secret), known)
        return user if is_it and secret else None


def hash_of(secret: bytes) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret).hexdigest()


def parse_tokens(text: str, path: str) -> Tokens:
    """Read a list. Raises `ConfigError`, with the file's name and the token's."""
    try:
        tokens = tomllib.loads(text).get("tokens")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if type(tokens) is not dict or len(tokens) > TOKENS_MAX:
        raise ConfigError(f"{path} must have a table [tokens], of at most {TOKENS_MAX:,}")
    return Tokens(_parse_token(f"{path}: token {name!r}", name, what)
                  for name, what in tokens.items())  # fmt: skip


def _parse_token(where: str, name: str, what: Any) -> User:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}: a name is 1 to 64 of A-Z a-z 0-9 _ . -")
    if type(what) is not dict or set(what) - {"sha256", "roles", "queues"}:
        raise ConfigError(f'{where}: write {{ sha256 = "…", roles = ["produce"] }}')
    known, roles, queues = what.get("sha256"), what.get("roles"), what.get("queues", ["*"])
    if type(known) is not str or not _HASH.fullmatch(known):
        raise ConfigError(f"{where}: sha256 must be 64 digits, as 'zqueue tokens add' writes them")
    if type(roles) is not list or not roles or not all(role in ROLES for role in roles):
        raise ConfigError(f"{where}: roles must be some of {', '.join(ROLES)}")
    if (
        type(queues) is not list
        or not queues
        or not all(type(queue) is str and PATTERN.fullmatch(queue) for queue in queues)
    ):
        raise ConfigError(f'{where}: queues must be patterns, as in ["mail*", "web"]')
    return User(name, (known,), frozenset(roles), tuple(queues))


def with_token(text: str, user: User, path: str) -> str:
    """The list with a token more. Raises `ConfigError` if it has the name."""
    if user.name in [other.name for other in parse_tokens(text, path)]:
        raise ConfigError(f"{path} has a token {user.name!r}: choose another name, or revoke it")
    roles = ", ".join(f'"{role}"' for role in sorted(user.roles))
    queues = ", ".join(f'"{queue}"' for queue in user.queues)
    of_queues = "" if user.queues == EVERY_QUEUE else f", queues = [{queues}]"
    line = f'"{user.name}" = {{ sha256 = "{user.keys[0]}", roles = [{roles}]{of_queues} }}\n'
    changed = (text if text.endswith("\n") else text + "\n") + line
    parse_tokens(changed, path)
    return changed


def without_token(text: str, name: str, path: str) -> str:
    """The list without a token. Raises `ConfigError`."""
    found = re.compile(rf'^[ \t]*"?{re.escape(name)}"?[ \t]*=[^\n]*\n?', re.MULTILINE)
    changed, count = found.subn("", text)
    if count != 1:
        raise ConfigError(f"{path} has no line for a token {name!r}")
    parse_tokens(changed, path)
    return changed
