"""What `top` says of dead letters."""

from __future__ import annotations

from typing import Any

from tests.metrics.conftest import Watched
from zqueue.top.dead_groups import DEAD_GROUPS

Json = dict[str, Any]


def test_a_group_and_its_traceback(watched: Watched) -> None:
    watched.fail("ValueError")
    watched.fail("KeyError")
    watched.fail("KeyError")
    broker = watched.pass_s()
    first, second = DEAD_GROUPS.rows(broker)
    assert (first["error"], first["letters"], second["error"]) == ("KeyError", 2, "ValueError")
    assert DEAD_GROUPS.key(first) != DEAD_GROUPS.key(second)
    assert DEAD_GROUPS.letter is not None
    assert DEAD_GROUPS.letter(first) == 3
    said = DEAD_GROUPS.detail(broker, first, "10", 80).plain
    assert "KeyError: no" in said
    assert "Asking for its traceback" in said
    letter = {"number": 3, "traceback": "File x\n  \x1b[2Jline\n"}
    said = DEAD_GROUPS.detail(broker, {**first, "letter": letter}, "10", 80).plain
    assert "File x\n  �[2Jline" in said, "and nothing that controls a terminal"
    assert "zqueue dlq show 3" in said
    lost = DEAD_GROUPS.detail(broker, {**first, "letter": "It cannot be had: x"}, "10", 80).plain
    assert "It cannot be had: x" in lost


def test_none(watched: Watched) -> None:
    assert DEAD_GROUPS.rows(watched.pass_s()) == []
    assert DEAD_GROUPS.rows({}) == []
