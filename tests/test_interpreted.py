"""What is said where nothing is compiled."""

from __future__ import annotations

from zqueue.interpreted import note
from zqueue.wire.codec import COMPILED


def test_nothing_is_said_of_what_is_compiled() -> None:
    assert note(compiled=True) == ""


def test_one_line_says_what_it_costs_and_what_to_install() -> None:
    said = note(compiled=False)
    for words in ("interpreted", "a tenth of the speed", "gcc and python3-dev"):
        assert words in said
    assert "\n" not in said


def test_of_this_installation() -> None:
    assert bool(note()) is not COMPILED
