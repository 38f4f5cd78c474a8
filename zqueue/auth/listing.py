"""The list of clients as text: a line is added, replaced or taken out, and all else stays as it is.

Whoever writes a client in another form (a table of its own) edits it by hand.
"""

from __future__ import annotations

import re

from ..errors import ConfigError
from .users import EVERY_QUEUE, User, parse_users

HEAD = """\
# Whom the broker of this directory knows: a line a client, with its public key. Roles: produce,
# work, observe, admin. Queues are patterns, as in ["mail*"]; without them a client may use all.
# A broker reads this again when it changes.
"""


def new_list(urls: tuple[str, ...]) -> str:
    """A list of nobody. ``urls`` are written into the key files of clients."""
    return f"{HEAD}\nurls = {_list(urls)}\n\n[clients]\n"


def with_user(text: str, user: User) -> str:
    """The list with a client more. Raises `ConfigError` if it has the name or the key."""
    text = text if text.endswith("\n") else text + "\n"
    added = text + line_of(user) + "\n"
    parse_users(added, "the list of clients")
    return added


def without_user(text: str, name: str) -> str:
    """The list without a client. Raises `ConfigError`."""
    return _replaced(text, name, "")


def changed_user(text: str, user: User) -> str:
    """The list with what a client has now. Raises `ConfigError`."""
    return _replaced(text, user.name, line_of(user) + "\n")


def line_of(user: User) -> str:
    """A client's line."""
    key = f'"{user.keys[0]}"' if len(user.keys) == 1 else _list(user.keys)
    queues = "" if user.queues == EVERY_QUEUE else f", queues = {_list(user.queues)}"
    roles = _list(tuple(sorted(user.roles)))
    return f'"{user.name}" = {{ key = {key}, roles = {roles}{queues} }}'


def _replaced(text: str, name: str, line: str) -> str:
    found = re.compile(rf'^[ \t]*"?{re.escape(name)}"?[ \t]*=[^\n]*\n?', re.MULTILINE)
    changed, count = found.subn(line.replace("\\", "\\\\"), text)
    if count != 1:
        raise ConfigError(f"client {name!r} is not a line of its own in the list: edit it by hand")
    parse_users(changed, "the list of clients")
    return changed


def _list(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"
