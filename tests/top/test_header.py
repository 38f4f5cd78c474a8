"""The header, in clear words."""

from __future__ import annotations

from typing import Any

from tests.metrics.conftest import Watched
from zqueue.metrics.watch import Watch
from zqueue.top.header import CONDITIONS_MAX, header, tabs

Json = dict[str, Any]


def lines(broker: Json, width: int = 78, **more: Any) -> list[str]:
    text = header(broker, "10", width, **more).plain.splitlines()
    assert [line for line in text if len(line) > width] == []
    return [line.rstrip() for line in text]


def test_before_there_was_a_broker() -> None:
    told = lines(Watch("tcp://somewhere:1", 0.0).snapshot(0.0))
    assert told == [
        "● tcp://somewhere:1 is not there", "▲ No broker answers at tcp://somewhere:1."
    ]  # fmt: skip


def test_a_broker_at_work(busy: Json) -> None:
    who, work, means, last = lines(busy)
    assert who.startswith("● tcp://somewhere:1 answers")
    assert who.endswith("(interpreted)"), "which is what the machine of a test is"
    assert work.startswith("in 100/s   out 0/s   failed 0/s   ready 500")
    assert means.startswith("workers 1   busy 50 %   memory 40 MB   producers 1")
    assert last == "All is well."


def test_a_broker_that_is_lost(busy: Json) -> None:
    told = lines({**busy, "state": "lost", "seen_s": 12.0})
    assert "is gone; figures are 12 s old" in told[0]


def test_conditions(watched: Watched) -> None:
    watched.publish(5)
    text = "\n".join(lines(watched.pass_s()))
    assert "No worker is connected, and 5 tasks wait for one." in text
    assert "All is well" not in text


def test_many_conditions(busy: Json) -> None:
    many = [{"kind": "paused", "queue": "q", "text": f"Queue {i}."} for i in range(9)]
    told = lines({**busy, "conditions": many})[3:]
    assert len(told) == CONDITIONS_MAX
    assert told[-1] == "▲ and 7 more"


def test_a_stranger_s_words_are_text(busy: Json) -> None:
    bad = [{"kind": "full", "queue": "q", "text": "Queue [red]x[/] \x1b]0;boo\x07 is full."}]
    told = lines({**busy, "conditions": bad, "version": "[b]1\n2"})
    assert "▲ Queue [red]x[/] �]0;boo� is full." in "\n".join(told)
    assert "zqueue [b]1�2" in told[0]


def test_one_of_several_brokers(busy: Json) -> None:
    assert "broker 2 of 3 (b)" in lines(busy, place=(2, 3))[0]


def test_it_fits_into_few_cells(busy: Json) -> None:
    for width in (20, 40, 60):
        assert len(lines(busy, width)) == 4
    long = lines({**busy, "url": "ipc:///" + "x" * 200})
    assert long[0].startswith("● ipc:///xxx")
    assert long[0].endswith("… answers")


def test_tabs() -> None:
    text = tabs([("Queues", 3), ("Tasks", 12)], 1, "10 s · ready▼", 60).plain
    assert text.startswith(" 1 Queues 3   2 Tasks 12 ")
    assert text.endswith("10 s · ready▼")
    assert len(text) == 60
