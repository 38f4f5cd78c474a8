"""The door: when the list of clients is read again, and which one is taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zqueue.auth.files import (
    BROKER_KEY,
    CLIENTS,
    LIST_BYTES_MAX,
    broker_lines,
    make_pair,
    write_secret,
)
from zqueue.auth.users import USERS_MAX
from zqueue.broker.door import EGRESS, INGEST, LEASED, Door
from zqueue.errors import ConfigError

WEB, W1 = "w" * 40, "1" * 40
LINES = (
    f'web = {{ key = "{WEB}", roles = ["produce"] }}\n'
    f'w1 = {{ key = "{W1}", roles = ["work"], queues = ["mail*"] }}\n'
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_secret(tmp_path / BROKER_KEY, broker_lines(make_pair()))
    path = tmp_path / CLIENTS
    path.write_text("[clients]\n" + LINES)
    return path


@pytest.fixture
def door(path: Path) -> Door:
    return Door(str(path.parent))


def test_who_may_connect_to_what(door: Door) -> None:
    may = {
        key: [d for d in (LEASED, INGEST, f"{EGRESS}mail", f"{EGRESS}q", "") if door.judge(d, key)]
        for key in (WEB, W1, "x" * 40)
    }
    assert may == {WEB: [LEASED, INGEST], W1: [LEASED, f"{EGRESS}mail"], "x" * 40: []}


def test_a_list_that_is_being_written_is_not_taken(door: Door, path: Path) -> None:
    """An editor may cut the file, and write it in parts: each of them is a list of fewer."""
    assert door.look() is None
    for text in ("", "[clients]\n", "[clients]\n" + LINES[:80], "[clients]\n" + LINES + "# 1\n"):
        path.write_text(text)
        assert door.look() is None
    assert len(door.users) == 2
    users = door.look()
    assert users is not None
    assert len(users) == 2
    assert door.look() is None


def test_at_once_is_at_once(door: Door, path: Path) -> None:
    path.write_text("[clients]\n")
    users = door.look(at_once=True)
    assert users is not None
    assert not len(users)


def test_a_list_that_is_no_list_changes_nothing(door: Door, path: Path) -> None:
    for text in ("", "# all gone\n", "[clients", "[clients]\n" + "#" * LIST_BYTES_MAX):
        path.write_text(text)
        assert door.look(at_once=True) is None
        assert door.status(0)["trouble"]
        assert door.judge(LEASED, WEB)
    path.unlink()
    assert door.look(at_once=True) is None
    assert door.judge(LEASED, WEB)


def test_a_list_that_everybody_may_write_is_none(path: Path) -> None:
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod 644"):
        Door(str(path.parent))


def test_as_many_as_there_may_be_fit_into_the_file(path: Path) -> None:
    names = (f'{"n" * 56}{n:08}" = {{ key = "{n:040}", roles = ["work"], queues = ["{"q" * 64}"]'
             for n in range(USERS_MAX))  # fmt: skip
    path.write_text("[clients]\n" + "".join(f'"{name} }}\n' for name in names))
    assert os.path.getsize(path) < LIST_BYTES_MAX
    assert len(Door(str(path.parent)).users) == USERS_MAX
