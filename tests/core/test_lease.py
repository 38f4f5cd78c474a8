"""Leases against sets of positions."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zqueue.core.batch import Batch, Published
from zqueue.core.lease import Lease, LeaseTable


def make(*counts: int) -> list[Batch]:
    return [Batch.whole(Published("q", "t", b"", count)) for count in counts]


def runs_of(positions: set[int]) -> list[tuple[int, int]]:
    """The longest runs ``(first, count)``, in order."""
    runs: list[tuple[int, int]] = []
    for position in sorted(positions):
        if runs and position == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((position, 1))
    return runs


def test_a_run_that_overlaps_changes_nothing() -> None:
    lease = Lease(7, "me", make(5))
    lease.close(0, 2, 1)
    assert not lease.close(0, 0, 5)
    assert not lease.close(0, 1, 2)
    assert lease.tasks == 4
    assert list(lease.open_runs(0)) == [(0, 2), (3, 2)]


def test_a_run_beyond_the_batch_changes_nothing() -> None:
    lease = Lease(7, "me", make(5, 1))
    big = (1 << 63) - 1
    for run in ((0, 4, 2), (0, 5, 1), (0, 0, 0), (0, 0, big), (0, big, 1), (2, 0, 1), (-1, 0, 1),
                (0, -1, 1), (0, 0, -1), (big, 0, 1)):  # fmt: skip
        assert not lease.close(*run), run
    assert lease.tasks == 6


@given(
    st.lists(st.integers(1, 70), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 72), st.integers(-1, 72)), max_size=40),
)
def test_equals_sets(counts: list[int], runs: list[tuple[int, int, int]]) -> None:
    lease = Lease(1, "me", make(*counts))
    model = [set(range(count)) for count in counts]
    for batch, first, count in runs:
        wanted = set(range(first, first + count))
        closes = 0 <= batch < len(model) and bool(wanted) and wanted <= model[batch]
        assert lease.close(batch, first, count) == closes
        if closes:
            model[batch] -= wanted
        assert lease.tasks == sum(map(len, model))
    for i, left in enumerate(model):
        assert list(lease.open_runs(i)) == runs_of(left)
        assert lease.is_closed(i) == (not left)


def test_the_largest_batch() -> None:
    lease = Lease(1, "me", make(4096))
    for position in range(0, 4096, 2):
        assert lease.close(0, position, 1)
    assert list(lease.open_runs(0)) == [(position, 1) for position in range(1, 4096, 2)]


class AgainstADict(RuleBasedStateMachine):
    """The table, beside a dict of what every holder holds."""

    def __init__(self) -> None:
        super().__init__()
        self.table: LeaseTable[object] = LeaseTable(100)
        self.holders = [object(), object()]
        self.open_leases: dict[int, tuple[object, Lease[object]]] = {}
        self.numbers: list[int] = []

    @rule(who=st.integers(0, 1))
    def open(self, who: int) -> None:
        lease = self.table.open(self.holders[who], make(2))
        self.numbers.append(lease.number)
        self.open_leases[lease.number] = (self.holders[who], lease)

    @precondition(lambda self: self.open_leases)
    @rule(which=st.integers(0, 99))
    def end(self, which: int) -> None:
        number = list(self.open_leases)[which % len(self.open_leases)]
        self.table.end(self.open_leases.pop(number)[1])

    @rule(number=st.integers(98, 140), who=st.integers(0, 1))
    def find(self, number: int, who: int) -> None:
        holder, lease = self.open_leases.get(number, (None, None))
        found = self.table.find(number, self.holders[who])
        assert found is (lease if holder is self.holders[who] else None)

    @invariant()
    def numbers_are_never_used_again(self) -> None:
        assert self.numbers == list(range(100, 100 + len(self.numbers)))
        assert len(self.table) == len(self.open_leases)
        assert repr(self.table) == f"<LeaseTable {len(self.open_leases)} leases>"


AgainstADict.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestTable = AgainstADict.TestCase
