"""Rows of tasks, and what is claimed from them."""

from __future__ import annotations

from zqueue.handlers import Handler
from zqueue.worker.leases import LeasedBatch
from zqueue.worker.work import BatchRow, LeaseTally, Part, SideRow, SideTask, Work


def work(tasks: int = 1) -> Work:
    return Work(1, 0, 0, LeasedBatch("q", "t", True, tasks, 1, 0, b""), LeaseTally(tasks))


class TestBatchRow:
    def row(self, batch_max: int, *sizes: int) -> BatchRow:
        row = BatchRow(Handler("t", "q", print, batch_max=batch_max), since=0.0)
        for size in sizes:
            row.add(Part(work(tasks=size), 0, list(range(size)), {}))
        return row

    def cuts(self, row: BatchRow) -> list[list[tuple[int, int]]]:
        cuts = []
        while row.count:
            cuts.append([(part.first, len(part.bodies)) for part in row.claim(1.0).parts])
        return cuts

    def test_fills_up_calls(self) -> None:
        row = self.row(5, 2, 2, 4)
        assert row.count == 8
        assert self.cuts(row) == [[(0, 2), (0, 2), (0, 1)], [(1, 3)]]
        assert not row.parts

    def test_cuts_a_large_batch(self) -> None:
        assert self.cuts(self.row(3, 8)) == [[(0, 3)], [(3, 3)], [(6, 2)]]

    def test_keeps_the_bodies_with_their_positions(self) -> None:
        row = self.row(3, 5)
        row.claim(1.0)
        (part,) = row.claim(1.0).parts
        assert (part.first, part.bodies) == (3, [3, 4])

    def test_a_part_knows_its_own_contexts(self) -> None:
        row = BatchRow(Handler("t", "q", print, batch_max=2), since=0.0)
        row.add(Part(work(3), 0, [0, 1, 2], {0: "first", 2: "third"}))
        assert [list(p.contexts_here()) for p in row.claim(1.0).parts] == [["first"]]
        assert [list(p.contexts_here()) for p in row.claim(1.0).parts] == [["third"]]

    def test_is_due_when_it_is_full(self) -> None:
        row = BatchRow(Handler("t", "q", print, batch_max=2, batch_wait=0.5), since=1.0)
        row.add(Part(work(), 0, [0], {}))
        assert row.due() == 1.5
        row.add(Part(work(), 0, [0], {}))
        assert row.due() == 1.0


class TestSideRow:
    def row(self, *sizes: int) -> SideRow:
        row = SideRow(10)
        for size in sizes:
            leased = work(size)
            for position in range(size):
                row.waiting.append(SideTask(Handler("t", "q", print), leased, position, None))
        row.open = sum(sizes)
        return row

    def test_claims_in_order(self) -> None:
        row = self.row(2)
        first, second = row.claim(5.0), row.claim(6.0)
        assert first is not None
        assert second is not None
        assert (first.position, second.position, row.claim(7.0)) == (0, 1, None)
        assert row.oldest() == (first, 5.0)
        row.end(first, 1.0, "value", None)
        assert row.oldest() == (second, 6.0)
        assert [end.value for end in row.over] == ["value"]

    def test_gives_up_the_last_in_runs(self) -> None:
        row = self.row(4, 3)
        row.claim(1.0)
        runs = [(first, tasks) for _, first, tasks in row.give_up(5)]
        assert runs == [(0, 3), (2, 2)]
        assert (row.open, len(row.waiting)) == (2, 1)
        assert row.give_up(9)[0][1:] == (1, 1)
        assert row.give_up(9) == []
