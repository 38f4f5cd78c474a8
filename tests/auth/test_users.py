"""The list of clients: what it may say, and what its users may do."""

from __future__ import annotations

import pytest

from zqueue.auth.users import ADMIN, OBSERVE, PRODUCE, WORK, User, parse_users
from zqueue.errors import ConfigError

KEY = "k" * 40


def user(name: str = "web", *, queues: tuple[str, ...] = ("*",), roles: str = PRODUCE) -> User:
    return User(name, (KEY,), frozenset([roles]), queues)


def test_roles() -> None:
    assert user().has_role(frozenset({PRODUCE}))
    assert not user().has_role(frozenset({WORK, OBSERVE}))
    assert user(roles=ADMIN).has_role(frozenset({WORK}))


@pytest.mark.parametrize(
    ("patterns", "queue", "may"),
    [
        (("*",), "mail", True),
        (("*",), "", True),
        (("mail*",), "mail.slow", True),
        (("mail*",), "Mail", False),
        (("mail*", "web"), "web", True),
        (("mail*",), "web", False),
        (("mail?",), "mail", False),
        (("mail*",), "", False),
    ],
)
def test_queues_are_patterns(patterns: tuple[str, ...], queue: str, may: bool) -> None:
    assert user(queues=patterns).may_use(queue) is may


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[clients", "cannot be read"),
        ("", "is not whole"),
        ("# cut\nurls = []", "is not whole"),
        ("clients = 3", "must be a table"),
        ("[clients]\nweb = 3", "client 'web': write"),
        ("[clients]\n'a b' = {}", "client 'a b': a name"),
        ("[clients]\nweb = {}", "client 'web': key must be"),
        ("[clients]\nweb = { key = 'short' }", "client 'web': key must be"),
        (f"[clients]\nweb = {{ key = '{KEY}' }}", "client 'web': roles must be some of produce"),
        (f"[clients]\nweb = {{ key = '{KEY}', roles = ['boss'] }}", "roles must be"),
        (f"[clients]\nweb = {{ key = '{KEY}', roles = [] }}", "roles must be"),
        (f"[clients]\nweb = {{ key = '{KEY}', roles = ['work'], queue = 'x' }}", "'queue' is not"),
        (f"[clients]\nweb = {{ key = '{KEY}', roles = ['work'], queues = 'x' }}", "queues must"),
        (f"[clients]\nweb = {{ key = ['{KEY}', 3], roles = ['work'] }}", "key must be"),
    ],
)
def test_a_mistake_is_named(line: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"clients\.toml") as caught:
        parse_users(line, "clients.toml")
    assert says in str(caught.value)
