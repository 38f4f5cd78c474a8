"""The list of clients as text: lines come and go, and what people wrote beside them stays."""

from __future__ import annotations

import pytest

from zqueue.auth.listing import changed_user, line_of, new_list, with_user, without_user
from zqueue.auth.users import OBSERVE, PRODUCE, WORK, User, parse_users
from zqueue.errors import ConfigError

KEY, OTHER, NEW = "k" * 40, "o" * 40, "n" * 40


def user(name: str = "web", *, queues: tuple[str, ...] = ("*",)) -> User:
    return User(name, (KEY,), frozenset([PRODUCE]), queues)


def test_a_list_is_changed_line_by_line() -> None:
    """What people wrote beside it stays."""
    text = new_list(("tcp://10.0.0.1:5555",)) + "# by hand\n"
    text = with_user(text, user(queues=("mail*", "web")))
    text = with_user(text, User("w.1", (OTHER,), frozenset({WORK, OBSERVE})))
    users = parse_users(text, "list")
    assert len(users) == 2
    assert users.of_key(KEY) == users.get("web") == user(queues=("mail*", "web"))
    assert users.get("w.1") == User("w.1", (OTHER,), frozenset({WORK, OBSERVE}))
    text = changed_user(text, User("w.1", (NEW, OTHER), frozenset({WORK})))
    users = parse_users(text, "list")
    assert users.of_key(NEW) is users.of_key(OTHER) is users.get("w.1")
    text = without_user(text, "web")
    assert [each.name for each in parse_users(text, "list")] == ["w.1"]
    assert "# by hand" in text


def test_a_client_cannot_be_added_twice() -> None:
    text = with_user(new_list(()), user())
    with pytest.raises(ConfigError, match="have the same key"):
        with_user(text, user("other"))
    with pytest.raises(ConfigError):
        with_user(text, user()._replace(keys=(OTHER,)))


def test_what_is_written_in_another_form_is_left_to_people() -> None:
    text = f'[clients.web]\nkey = "{KEY}"\nroles = ["work"]\n'
    assert parse_users(text, "list").get("web") is not None
    with pytest.raises(ConfigError, match="edit it by hand"):
        without_user(text, "web")


def test_a_line_says_no_more_than_it_must() -> None:
    assert line_of(user()) == f'"web" = {{ key = "{KEY}", roles = ["produce"] }}'
