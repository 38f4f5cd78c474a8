"""Dead letters: the newest are kept, within bounds."""

from __future__ import annotations

from zqueue.core.dead import DeadLetter, DeadLetters


def letter(name: str, nbytes: int = 0) -> DeadLetter:
    return DeadLetter("q", name, b"x" * nbytes, "failed", b"", 1)


def names(letters: list[DeadLetter]) -> str:
    return "".join(letter.task for letter in letters)


def test_newest_first() -> None:
    dead = DeadLetters()
    for name in "abcd":
        dead.add(letter(name))
    assert names(dead.newest(2)) == "dc"
    assert names(dead.newest(99)) == "dcba"
    assert dead.newest(0) == []
    assert (len(dead), dead.total, dead.evicted) == (4, 4, 0)


def test_bounded_by_count() -> None:
    dead = DeadLetters(letters_max=3)
    for name in "abcde":
        dead.add(letter(name))
    assert names(dead.newest(99)) == "edc"
    assert repr(dead) == "<DeadLetters 3 kept, 2 evicted of 5>"


def test_bounded_by_bytes() -> None:
    dead = DeadLetters(bytes_max=3000)
    for name in "abcd":
        dead.add(letter(name, 600))
    assert names(dead.newest(99)) == "dcb"
    assert dead.bytes == 3000
    dead.add(letter("e", 2000))
    assert names(dead.newest(99)) == "e"
    assert dead.bytes == 2400


def test_one_that_is_too_large_is_counted_and_gone() -> None:
    dead = DeadLetters(bytes_max=1000)
    dead.add(letter("a"))
    dead.add(letter("b", 5000))
    assert (len(dead), dead.bytes, dead.total, dead.evicted) == (0, 0, 2, 2)
    dead.add(letter("c"))
    assert names(dead.newest(9)) == "c"


def test_cost() -> None:
    assert DeadLetter("q", "t", b"12345", "failed", b"123", 1).nbytes == 408
