"""Tokens: the list, and who is found in it."""

from __future__ import annotations

import pytest

from zqueue.auth.tokens import HEAD, hash_of, parse_tokens, with_token, without_token
from zqueue.auth.users import User
from zqueue.errors import ConfigError

SHOP = User("shop", (hash_of(b"secret"),), frozenset(("produce",)), ("mail*", "web"))


def test_who_shows_it_is_found() -> None:
    tokens = parse_tokens(with_token(HEAD, SHOP, "f"), "f")
    assert tokens.find(b"shop.secret") == SHOP
    assert (len(tokens), list(tokens)) == (1, [SHOP])


@pytest.mark.parametrize(
    "shown", [b"", b".", b"shop", b"shop.", b"shop.Secret", b"shop.secret.", b"other.secret",
              b".secret", b"\xff.secret", b"shop." + hash_of(b"secret").encode()],
)  # fmt: skip
def test_nobody_else_is(shown: bytes) -> None:
    assert parse_tokens(with_token(HEAD, SHOP, "f"), "f").find(shown) is None


def test_a_name_may_have_dots() -> None:
    user = User("a.b", (hash_of(b"s"),), frozenset(("admin",)))
    assert parse_tokens(with_token(HEAD, user, "f"), "f").find(b"a.b.s") == user


def test_an_empty_secret_is_none() -> None:
    user = User("a", (hash_of(b""),), frozenset(("admin",)))
    assert parse_tokens(with_token(HEAD, user, "f"), "f").find(b"a.") is None


def test_the_list_is_edited_by_lines() -> None:
    other = User("b", (hash_of(b"x"),), frozenset(("observe", "admin")))
    text = with_token(with_token(HEAD, SHOP, "f"), other, "f")
    assert text.startswith(HEAD)
    assert [user.name for user in parse_tokens(text, "f")] == ["shop", "b"]
    assert "secret" not in text
    assert [user.name for user in parse_tokens(without_token(text, "shop", "f"), "f")] == ["b"]
    with pytest.raises(ConfigError, match="has a token 'shop'"):
        with_token(text, SHOP, "f")
    with pytest.raises(ConfigError, match="no line for a token 'c'"):
        without_token(text, "c", "f")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must have a table"),
        ("[tokens", "cannot be read"),
        ("tokens = 3", "must have a table"),
        ("[tokens]\n'a b' = {}", "a name is"),
        ("[tokens]\na = 3", "write"),
        ("[tokens]\na = {sha256 = 'x', roles = ['produce']}", "64 digits"),
        (f"[tokens]\na = {{sha256 = '{'0' * 64}', roles = ['work']}}", "roles must be"),
        (f"[tokens]\na = {{sha256 = '{'0' * 64}', roles = []}}", "roles must be"),
        (f"[tokens]\na = {{sha256 = '{'0' * 64}', roles = ['admin'], queues = ['']}}", "patterns"),
        (f"[tokens]\na = {{sha256 = '{'0' * 64}', token = 's'}}", "write"),
    ],
)
def test_what_is_no_list(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_tokens(text, "f")
