"""Dead letters: the newest are kept, within bounds, and all others are accounted for."""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zqueue.core.dead import DeadLetter, DeadLetters, Filter, Group


def letter(number: int, **other: Any) -> DeadLetter:
    told = {
        "number": number, "queue": "q", "task": "t", "body": b"\x91\x01", "reason": "failed",
        "error": "E", "text": "no", "traceback": "", "deliveries": 1, "failures": 1, "timeouts": 0,
        "crashes": 0, "sent_s": 1.0, "died_s": float(number), "options": b"", "origin": 7,
        "sequence": number, "position": 0,
    }  # fmt: skip
    return DeadLetter(**{**told, **other})


COST = letter(1).nbytes


def kept(dead: DeadLetters, **wanted: Any) -> list[int]:
    return [found.number for found in dead.oldest_first(Filter(**wanted))]


def test_order_and_pages() -> None:
    dead = DeadLetters()
    for number in (1, 2, 4, 5):
        assert dead.add(letter(number, task="ab"[number % 2])) == []
    assert [found.number for found in dead.newest(2)] == [5, 4]
    assert [found.number for found in dead.newest_first(Filter(), before=4)] == [2, 1]
    assert [found.number for found in dead.newest_first(Filter(task="a"), before=4)] == [2]
    assert [found.number for found in dead.oldest_first(Filter(), after=1, upto=4)] == [2, 4]
    assert kept(dead, task="b") == [1, 5]
    assert kept(dead, queue="q", since_s=2.0) == [2, 4, 5]
    assert kept(dead, error="none") == []
    assert dead.newest(0) == []


def test_groups() -> None:
    dead = DeadLetters()
    for number, error in enumerate("AABAB", 1):
        dead.add(letter(number, error=error, text=f"text {number}"))
    of_a = Group("q", "t", "A", "failed", 3, 1.0, 4.0, 4, "text 4")
    of_b = Group("q", "t", "B", "failed", 2, 3.0, 5.0, 5, "text 5")
    assert list(dead.groups(Filter())) == [of_b, of_a]
    assert list(dead.groups(Filter(error="A"))) == [of_a]
    assert list(dead.groups(Filter(since_s=4.0))) == [
        of_b._replace(letters=1, first_s=5.0), of_a._replace(letters=1, first_s=4.0),
    ]  # fmt: skip
    assert list(dead.groups(Filter(since_s=6.0))) == []
    dead.drop(letter(1, error="A"))
    dead.drop(letter(4, error="A"))
    dead.drop(letter(3, error="B"))
    assert [(g.letters, g.first_s, g.last_s) for g in dead.groups(Filter())] == [
        (1, 5.0, 5.0), (1, 2.0, 2.0),
    ]  # fmt: skip
    dead.replay(letter(2, error="A"))
    assert [group.error for group in dead.groups(Filter())] == ["B"]
    assert (dead.dropped, dead.replayed, len(dead), dead.groups_kept) == (3, 1, 1, 1)


def test_bounded_by_count() -> None:
    dead = DeadLetters(letters_max=3)
    evicted = [old.number for number in range(1, 6) for old in dead.add(letter(number))]
    assert (evicted, kept(dead)) == ([1, 2], [3, 4, 5])
    assert not dead.has_room(0, 1)
    assert repr(dead) == "<DeadLetters 3 kept, 2 evicted of 5>"


def test_bounded_by_bytes() -> None:
    dead = DeadLetters(bytes_max=3 * COST)
    for number in range(1, 5):
        dead.add(letter(number))
    assert (kept(dead), dead.bytes) == ([2, 3, 4], 3 * COST)
    assert dead.has_room(0)
    assert not dead.has_room(1)
    assert len(dead.add(letter(5, body=b"x" * 2 * COST))) == 3
    assert kept(dead) == [5]


def test_one_that_is_too_large_is_counted_and_gone() -> None:
    dead = DeadLetters(bytes_max=2 * COST)
    dead.add(letter(1))
    assert [old.number for old in dead.add(letter(2, traceback="x" * 2 * COST))] == [1, 2]
    assert (len(dead), dead.bytes, dead.total, dead.evicted) == (0, 0, 2, 2)
    dead.add(letter(3))
    assert kept(dead) == [3]


def test_letters_may_go_while_they_are_gone_through() -> None:
    dead = DeadLetters()
    for number in range(1, 1001):
        dead.add(letter(number, task="ab"[number % 2]))
    seen = []
    for found in dead.oldest_first(Filter(), 100):
        seen.append(found.number)
        dead.replay(found)
        if found.number % 3 == 0 and (after := dead.get(found.number + 1)):
            dead.drop(after)
    assert seen == [n for n in range(101, 1001) if n % 3 != 1 or n < 103]
    assert kept(dead) == list(range(1, 101))


def test_what_a_letter_costs_is_what_it_is_said_to() -> None:
    dead = DeadLetters()
    tracemalloc.start()
    for number in range(1 << 40, (1 << 40) + 2000):
        text = f"no {number}"
        dead.add(letter(number, body=number.to_bytes(33, "big"), text=text, traceback=text * 50,
                        origin=number * 7, sequence=number * 3, died_s=float(number)))  # fmt: skip
    took, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.5 < took / dead.bytes < 1.05, sys.version


class Conserved(RuleBasedStateMachine):
    """Whatever happens to letters: each is kept, or counted once as gone, and groups are right."""

    def __init__(self) -> None:
        super().__init__()
        self.dead = DeadLetters(letters_max=6, bytes_max=8 * COST)
        self.number = 0
        self.kept: dict[int, DeadLetter] = {}
        self.gone: Counter[str] = Counter()

    @rule(
        task=st.sampled_from("ab"), error=st.sampled_from("XY"), size=st.sampled_from((0, 0, 3, 9)),
        gap=st.integers(1, 3), died_s=st.integers(0, 5),
    )  # fmt: skip
    def die(self, task: str, error: str, size: int, gap: int, died_s: int) -> None:
        self.number += gap
        new = letter(
            self.number, task=task, error=error, body=b"x" * size * COST, died_s=float(died_s)
        )
        self.kept[new.number] = new
        for old in self.dead.add(new):
            assert self.kept.pop(old.number) == old
            assert not self.kept or old.number < min(self.kept), "the oldest goes first"
            self.gone["evicted"] += 1

    @rule(which=st.integers(0, 9), how=st.sampled_from(("replay", "drop")))
    def end(self, which: int, how: str) -> None:
        if self.kept:
            number = sorted(self.kept)[which % len(self.kept)]
            assert self.dead.get(number) == self.kept[number]
            getattr(self.dead, how)(self.kept.pop(number))
            self.gone[how] += 1

    @rule(
        task=st.sampled_from(("a", None)), error=st.sampled_from(("X", None)),
        since_s=st.integers(0, 5), after=st.integers(0, 20),
    )  # fmt: skip
    def look(self, task: str | None, error: str | None, since_s: int, after: int) -> None:
        wanted = Filter(None, task, error, None, float(since_s))
        meant = [
            n for n in sorted(self.kept)
            if task in (None, self.kept[n].task) and error in (None, self.kept[n].error)
            and self.kept[n].died_s >= since_s
        ]  # fmt: skip
        assert [x.number for x in self.dead.oldest_first(wanted, after)] == [
            n for n in meant if n > after
        ]
        assert [x.number for x in self.dead.newest_first(wanted)] == meant[::-1]
        groups = list(self.dead.groups(wanted))
        assert sum(group.letters for group in groups) == len(meant)
        for group in groups:
            numbers = [n for n in meant if self.kept[n].group == group[:4]]
            assert (group.letters, group.newest) == (len(numbers), numbers[-1])
            assert group.first_s == self.kept[numbers[0]].died_s

    @invariant()
    def nothing_is_lost(self) -> None:
        dead = self.dead
        assert kept(dead) == sorted(self.kept)
        assert dead.bytes == sum(found.nbytes for found in self.kept.values()) <= dead.bytes_max
        assert len(dead) <= dead.letters_max
        assert (dead.evicted, dead.replayed, dead.dropped) == (
            self.gone["evicted"], self.gone["replay"], self.gone["drop"],
        )  # fmt: skip
        assert dead.total == len(dead) + dead.evicted + dead.replayed + dead.dropped


TestConserved = Conserved.TestCase
TestConserved.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
