"""The header, in clear words."""

from __future__ import annotations

from typing import Any

from tests.metrics.conftest import Watched
from zqueue.top.header import header, tabs

Json = dict[str, Any]


def lines(broker: Json, width: int = 78, **more: Any) -> list[str]:
    text = header(broker, "10", width, **more).plain.splitlines()
    assert [line for line in text if len(line) > width] == []
    return [line.rstrip() for line in text]


def test_a_broker_at_work(busy: Json) -> None:
    who, work, means, last = lines(busy)
    assert who.startswith("● tcp://somewhere:1 answers")
    assert who.endswith("(interpreted)"), "which is what the machine of a test is"
    assert work.startswith("in 100/s   out 0/s   failed 0/s   ready 500")
    assert means.startswith("workers 1   busy 50 %   memory 38 MiB   producers 1")
    assert last == "Healthy."


def test_a_broker_that_is_lost(busy: Json) -> None:
    reported = lines({**busy, "state": "lost", "seen_s": 12.0})
    assert "is gone; figures are 12 s old" in reported[0]


def test_conditions(watched: Watched) -> None:
    watched.publish(5)
    text = "\n".join(lines(watched.pass_s()))
    assert "No worker is connected: 5 tasks wait for 'zqueue worker APP'." in text
    assert "Healthy" not in text


def test_conditions_leave_room_for_the_rest(busy: Json) -> None:
    full = [
        {"kind": "full", "queue": "q", "text": f"Queue {n} is {'very ' * 30}full."} for n in "abcd"
    ]
    three, one = (header({**busy, "conditions": full}, "10", 80, (1, 1), n) for n in (3, 1))
    assert [line[8] for line in three.plain.splitlines()[-3:]] == ["a", "b", "c"]
    assert three.plain.endswith("…   and 1 more")
    assert one.plain.splitlines()[-1].startswith("▲ Queue a")
    assert one.plain.endswith("…   and 3 more")
    assert all(len(line) <= 80 for line in three.plain.splitlines())


def test_a_stranger_s_words_are_text(busy: Json) -> None:
    bad = [{"kind": "full", "queue": "q", "text": "Queue [red]x[/] \x1b]0;boo\x07 is full."}]
    reported = lines({**busy, "conditions": bad, "version": "[b]1\n2"})
    assert "▲ Queue [red]x[/] �]0;boo� is full." in "\n".join(reported)
    assert "zqueue [b]1�2" in reported[0]


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
