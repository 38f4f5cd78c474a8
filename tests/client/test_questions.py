"""Questions: each has its own answer, whatever a broker says, and they survive a connection."""

from __future__ import annotations

import pytest

from zqueue.client.questions import ASKED_MAX, GATHER_FROM, Cancellation, Questions, run_of
from zqueue.errors import InvalidName
from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.link import Link
from zqueue.wire.messages import Cancel, Welcome


def make(*, ready: bool = True) -> tuple[Link, Questions]:
    link = Link("producer", b"p" * 16, b"", lambda: 0.5)
    link.tick(1.0)
    if ready:
        link.receive(decode(encode(Welcome(b"broker-1", 1000, 5000))), 1.0)
    link.out.clear()
    return link, Questions(link)


def test_each_has_its_own_answer() -> None:
    link, questions = make()
    first, second = (questions.cancel("q", [[0, n, 0, 2]], 0) for n in (1, 2))
    assert [decode(frames[0]) for frames in link.out] == [
        Cancel(1, 0, [[0, 1, 0, 2]], "q", ""), Cancel(2, 0, [[0, 2, 0, 2]], "q", "")
    ]  # fmt: skip
    assert first is not None
    assert second is not None
    assert questions.answer(pack({"number": 2, "cancelled": 2})) is second
    assert second.is_all_cancelled()
    assert questions.answer(pack({"number": 1, "cancelled": 1})) is first
    assert not first.is_all_cancelled()
    assert questions.answer(pack({"number": 1, "cancelled": 2})) is None


@pytest.mark.parametrize("answer", [b"", b"\xc1", pack([]), pack({}), pack({"number": "1"}),
                                    pack({"number": [1]}), pack({"number": 7})])  # fmt: skip
def test_what_is_no_answer_is_passed_over(answer: bytes) -> None:
    _, questions = make()
    asked = questions.cancel("q", [], 0)
    assert questions.answer(answer) is None
    assert asked is not None
    assert asked.answer is None


def test_what_has_no_answer_is_asked_again() -> None:
    link, questions = make(ready=False)
    questions.cancel("q", [], 0)
    questions.cancel("r", [], 0)
    assert not link.out
    questions.answer(pack({"number": 1}))
    questions.ask_again()
    assert [decode(frames[0]) for frames in link.out] == [Cancel(2, 0, [], "r", "")]


def test_what_many_want_one_by_one_is_asked_together() -> None:
    link, questions = make()
    for number in range(2 * ASKED_MAX):
        questions.cancel_soon("q", [(1, number // 10, number % 10)], 0)
    told: list[int] = []
    while link.out:
        asked = [decode(frames[0]) for frames in link.out]
        assert len(asked) <= GATHER_FROM
        link.out.clear()
        for message in asked:
            told += [10 * n + p + i for _, n, p, tasks in message.tasks for i in range(tasks)]
            questions.answer(pack({"number": message.number}))
    assert told == list(range(2 * ASKED_MAX)), "each once, and none is forgotten"
    questions.cancel_soon("q", [(1, 1, 1)], 0)
    assert len(link.out) == 1


def test_so_many_and_no_more() -> None:
    _, questions = make()
    assert all(questions.cancel("q", [], 0) for _ in range(ASKED_MAX))
    assert questions.cancel("q", [], 0) is None


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        (None, (1, 0, 0, 5)),
        ({"cancelled": 2, "stopping": 1}, (3, 1, 0, 2)),
        ({"cancelled": True, "running": -1, "stopping": "x"}, (1, 0, 0, 5)),
        ({"cancelled": 9}, (10, 0, 0, 0)),
    ],
)
def test_counts(answer: dict[str, object] | None, counts: tuple[int, ...]) -> None:
    assert Cancellation(1, unknown=5).add(answer) == Cancellation(*counts)
    assert Cancellation(1, 2, 3, 4).plus(Cancellation(1, 1, 1, 1)) == Cancellation(2, 3, 4, 5)


def test_ids() -> None:
    assert run_of("a0a1a2a3a4a5-7-5") == [0xA0A1A2A3A4A5, 7, 5, 1]
    for wrong in ("", "x-1-1", "1-1", "0-1-1", "1-1-1-1", "1--1-1", f"1-{10**18}-1", None):
        with pytest.raises(InvalidName, match="is not the id of a task"):
            run_of(wrong)  # type: ignore[arg-type]
