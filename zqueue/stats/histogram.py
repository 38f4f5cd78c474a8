"""A histogram of durations: cheap to record, and exact to merge over processes and hosts.

Theory of operation. Buckets grow by a constant factor, 32 of them to each doubling: the layout of
Prometheus' native histograms and OpenTelemetry's exponential ones, at *schema* 5. A bucket takes
what is above its lower edge and up to its upper one, like a ``le`` of Prometheus, and the powers of
two are edges. Whoever has this layout has the same edges, so to merge is to add, in any order.
All values of a bucket are reported as one value inside it, off by 1.083 % at most.

Cell 0 counts what is at or below `LOW_S` and the last cell what is above `HIGH_S`. Between them a
value's bucket is found without logarithms, which round: `frexp` gives the power of two, and the
fraction's first six bits a slot so narrow that no more than one edge, its *fence*, lies in it.

A lower schema has every other edge: 16 buckets to each doubling, 8, 4, 2, 1. Going down is exact,
so a histogram that must be small, or meets a coarser one, can be made coarser at any time.

Sums are counted in whole nanoseconds, by integers, so that not even they depend on the order.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import accumulate
from math import ceil, inf, isqrt, ldexp
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .. import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from .. import _cython as cython

if not cython.compiled:  # The compiler is given C's.
    from math import frexp as _frexp

SCHEMA = 5
"""The finest: 2 ** 5 buckets to each doubling."""

LOW_S = 2.0**-20
HIGH_S = 2.0**12
"""Ends of the range, seconds: 0.95 µs and 68 minutes. It is 32 doublings, 1024 buckets, 8 KiB."""

NUMBER_MAX = 1 << 53
"""Most values in one histogram, and most nanoseconds (104 days) of one value. Up to here JSON and
doubles are exact."""

WIRE_NUMBERS_MAX = 5 + 3 * 513
"""Numbers in the longest wire form: every other cell is used, and the last."""

EDGES_S = tuple(2.0**power for power in range(-14, 10))
"""For classic Prometheus buckets: 61 µs to 512 s, each an edge of every schema."""


class Native(NamedTuple):
    """The parts of a Prometheus native histogram, named as in its client library."""

    count_value: int
    sum_value: float
    schema: int
    zero_threshold: float
    zero_count: int
    pos_spans: list[tuple[int, int]]
    """``(offset, length)``: buckets skipped since the last span, and buckets in this one."""
    pos_deltas: list[int]
    """The count of the first bucket, and of each other one less that of the one before."""


def _power(step: int) -> float:
    """``2 ** (step / 32 - 1)``, correctly rounded on every machine."""
    root = 1 << (step + 32 * 80)
    for _ in range(5):
        root = isqrt(root)
    return ldexp(root, -81)


_POWERS = [_power(step) for step in range(33)]
"""The edges from 0.5 to 1."""

# The slots of the fraction, 64 from 0.5 to 1: the edges below each, and the first one that is not.
_STEP = [sum(edge < 0.5 + slot / 128 for edge in _POWERS) for slot in range(64)]
_FENCE = [_POWERS[step] for step in _STEP]
_HIGHEST = HIGH_S


@cython.locals(fraction=cython.double, power=cython.int, slot=cython.int, fine=cython.int)
def _fine_of(seconds: float) -> int:
    """Number of the cell at the finest schema, for above zero and up to `HIGH_S`."""
    fraction, power = _frexp(seconds)
    slot = int((fraction - 0.5) * 128)
    fine = _STEP[slot] + (fraction > _FENCE[slot]) + (power + 19) * 32
    return fine if fine > 0 else 0


def _edge_of(cell: int, shift: int) -> float:
    """The upper edge of a cell, seconds."""
    doublings, step = divmod(cell << shift, 32)
    return ldexp(_POWERS[step], doublings - 19)


def nearest_edge(seconds: float, schema: int = SCHEMA) -> float:
    """The edge nearest to a duration, for `Histogram.cumulative`."""
    shift = SCHEMA - schema
    cell = ((_fine_of(max(LOW_S, min(seconds, HIGH_S))) - 1) >> shift) + 1
    upper = _edge_of(cell, shift)
    lower = _edge_of(max(cell - 1, 0), shift)
    return lower if seconds - lower < upper - seconds else upper


class Histogram:
    """How often durations of each length occurred. Belongs to one thread.

    Its range is `LOW_S` to `HIGH_S`; what lies outside is counted at the end of it, and still adds
    to ``sum`` and ``max``. Raises ValueError for a schema that is not 0 to 5.
    """

    __slots__ = ("_cells", "_count", "_high_ns", "_kept", "_low_ns", "_max_ns", "_shift", "_size")

    def __init__(self, schema: int = SCHEMA) -> None:
        if not 0 <= schema <= SCHEMA:
            raise ValueError(f"the schema must be 0 to {SCHEMA}, not {schema}")
        self._use(SCHEMA - schema)
        self._count = 0
        self._low_ns = 0
        self._high_ns = 0
        self._max_ns = 0

    def __repr__(self) -> str:
        return f"<Histogram of {self.count}: p50 {self.percentile(50):.3g} s, max {self.max:.3g} s>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.to_wire() == other.to_wire()

    __hash__ = None  # type: ignore[assignment]

    def _use(self, shift: int) -> None:
        """Get cells: zeros."""
        self._shift = shift
        self._size = (1024 >> shift) + 2
        self._kept = array("Q", bytes(8 * self._size))
        if cython.compiled:
            address = cython.cast(cython.size_t, self._kept.buffer_info()[0])
            self._cells = cython.cast(cython.p_ulonglong, address)
        else:
            self._cells = self._kept

    # --- counting ---

    @cython.locals(ns=cython.ulonglong)
    def record(self, seconds: float) -> None:
        """Count a value. What is below zero counts as zero. Raises ValueError for NaN."""
        if 0.0 < seconds <= _HIGHEST:
            ns = int(seconds * 1e9 + 0.5)
            self._cells[((_fine_of(seconds) - 1) >> self._shift) + 1] += 1
            self._count += 1
            self._low_ns += ns
            if ns > self._max_ns:
                self._max_ns = ns
            if self._low_ns >> 62:
                self._carry()
        else:
            self.record_many(seconds, 1)

    def record_some(self, seconds: float, n: int) -> bool:
        """`record_many` for few and within the range, the fast way. False: it is not that."""
        if not (0.0 < seconds <= _HIGHEST and 0 < n < 1 << 16):
            return False
        ns = int(seconds * 1e9 + 0.5)
        self._cells[((_fine_of(seconds) - 1) >> self._shift) + 1] += n
        self._count += n
        self._low_ns += ns * n
        if ns > self._max_ns:
            self._max_ns = ns
        if self._low_ns >> 62:
            self._carry()
        return True

    def record_ns(self, ns: int) -> None:
        """Count a value in nanoseconds, at most 2 ** 63 - 1."""
        self.record(ns / 1e9)

    def record_many(self, seconds: float, n: int) -> None:
        """Count a value so many times. Raises ValueError for NaN, for a negative number, and if
        this would make more than `NUMBER_MAX` values."""
        if not 0 <= n <= NUMBER_MAX - self._count:
            raise ValueError(f"cannot count {n} more values")
        if seconds != seconds:
            raise ValueError("NaN is no duration")
        cell = 0
        if seconds > HIGH_S:
            cell = self._size - 1
        elif seconds > 0:
            cell = ((_fine_of(seconds) - 1) >> self._shift) + 1
        if n:
            ns = int(max(0.0, min(seconds * 1e9 + 0.5, float(NUMBER_MAX))))
            self._cells[cell] += n
            self._count += n
            self._high_ns += ns * n
            self._max_ns = max(self._max_ns, ns)

    def _carry(self) -> None:
        """Before the sum overflows its 64 bits, add it to one without limit."""
        self._high_ns += self._low_ns
        self._low_ns = 0

    # --- merging ---

    @cython.locals(cell=cython.int, shift=cython.int)
    def add(self, other: Histogram) -> None:
        """Count what another one counted. If that is coarser, this one becomes as coarse.

        Raises ValueError if this would make more than `NUMBER_MAX` values.
        """
        if self.count + other.count > NUMBER_MAX:
            raise ValueError(f"more than {NUMBER_MAX} values")
        if self._shift < other._shift:
            fine = self.copy()
            self._use(other._shift)
            self.clear()
            self.add(fine)
        shift = self._shift - other._shift
        for cell in range(other._size):
            if other._cells[cell]:
                self._cells[((cell - 1) >> shift) + 1] += other._cells[cell]
        self._count += other._count
        self._high_ns += other._sum_ns()
        self._max_ns = max(self._max_ns, other._max_ns)

    def copy(self) -> Histogram:
        """Another one with the same counts."""
        return self.coarsened(self.schema)

    def coarsened(self, schema: int) -> Histogram:
        """Another one with the same counts at a lower schema. Raises ValueError for a higher."""
        if schema > self.schema:
            raise ValueError(f"schema {self.schema} cannot become {schema}")
        made = Histogram(schema)
        made.add(self)
        return made

    @cython.locals(cell=cython.int)
    def clear(self) -> None:
        """Reset all counts."""
        for cell in range(self._size):
            self._cells[cell] = 0
        self._count = self._low_ns = self._max_ns = 0
        self._high_ns = 0

    def take(self) -> Histogram:
        """Return the counts and reset them: all such parts add up to the whole."""
        taken = self.copy()
        self.clear()
        return taken

    @cython.locals(cell=cython.int, top=cython.int, count=cython.ulonglong)
    def since(self, earlier: Histogram) -> Histogram:
        """This one less an earlier state of it: the growth in between.

        Its ``max`` is exact if it is the largest value ever, and else the upper edge of the
        highest bucket. Raises ValueError if this histogram was never in that state.
        """
        if earlier.schema != self.schema:
            earlier = earlier.coarsened(self.schema)
        made = Histogram(self.schema)
        top = count = 0
        for cell in range(self._size):
            if self._cells[cell] < earlier._cells[cell]:
                raise ValueError("the histogram was never in that state")
            if self._cells[cell] > earlier._cells[cell]:
                made._cells[cell] = self._cells[cell] - earlier._cells[cell]
                count += made._cells[cell]
                top = cell
        made._count = count
        made._high_ns = self._sum_ns() - earlier._sum_ns()
        made._max_ns = self._max_ns if count else 0
        if self._max_ns == earlier._max_ns and top < self._size - 1:
            made._max_ns = min(made._max_ns, ceil(_edge_of(top, self._shift) * 1e9))
        if self._max_ns < earlier._max_ns or not made._adds_up():
            raise ValueError("the histogram was never in that state")
        return made

    # --- what is known ---

    @property
    def schema(self) -> int:
        """How fine it is: ``2 ** schema`` buckets to each doubling."""
        return SCHEMA - self._shift

    @property
    def count(self) -> int:
        """Values counted."""
        return self._count

    @property
    def sum(self) -> float:
        """All values added up, seconds."""
        return self._sum_ns() / 1e9

    @property
    def max(self) -> float:
        """The largest value, seconds; zero if there is none."""
        return self._max_ns / 1e9

    @property
    def below(self) -> int:
        """Values at or below `LOW_S`."""
        return self._kept[0]

    @property
    def above(self) -> int:
        """Values above `HIGH_S`."""
        return self._kept[-1]

    @cython.locals(cell=cython.int, seen=cython.ulonglong, rank=cython.ulonglong)
    def percentile(self, q: float) -> float:
        """The value, in seconds, that ``q`` percent of all do not exceed; zero if there are none.

        Within the range, and at schema 5, it is 1.083 % off at most. Raises ValueError for ``q``
        outside 0 to 100.
        """
        if not 0 <= q <= 100:
            raise ValueError(f"a percentile is 0 to 100, not {q}")
        rank = max(1, ceil(round(q * self._count / 100, 6)))
        cell, seen = 0, self._cells[0]
        while seen < rank and cell < self._size - 1:
            cell += 1
            seen += self._cells[cell]
        upper = min(_edge_of(cell, self._shift), HIGH_S)
        lower = _edge_of(cell - 1, self._shift) if cell else LOW_S
        # As far from the one edge as from the other, relatively.
        return min(2 * lower * upper / (lower + upper), self.max)

    def cumulative(self, edges_s: Iterable[float]) -> list[int]:
        """How many values are at or below each edge: the buckets of a classic Prometheus histogram.

        An edge is one of `EDGES_S`, what `nearest_edge` gives, or infinity. For any other
        bound a bucket would have to be divided, so there is ValueError.
        """
        sums = list(accumulate(self._kept))
        return [self.count if edge == inf else sums[self._cell_at(edge)] for edge in edges_s]

    def native(self) -> Native:
        """As a Prometheus native histogram. What is above `HIGH_S` is in the bucket over it."""
        offset = 1 - (20 << self.schema)  # Number of the first bucket; number 0 ends at 1 s.
        spans, deltas, before = [], [], 0
        for skip, counts in self._runs(1):
            spans.append((offset + skip, len(counts)))
            for count in counts:
                deltas.append(count - before)
                before = count
            offset = 0
        return Native(self.count, self.sum, self.schema, LOW_S, self.below, spans, deltas)

    def _sum_ns(self) -> int:
        return self._high_ns + self._low_ns

    def _adds_up(self) -> bool:
        """Whether sum and maximum may belong to the counts."""
        return 0 <= self._sum_ns() <= self.count * self._max_ns <= self.count * NUMBER_MAX

    def _cell_at(self, edge: float) -> int:
        if LOW_S <= edge <= HIGH_S:
            cell = ((_fine_of(edge) - 1) >> self._shift) + 1
            if _edge_of(cell, self._shift) == edge:
                return cell
        raise ValueError(f"{edge} s is not the edge of a bucket")

    @cython.locals(cell=cython.int, end=cython.int)
    def _runs(self, first: int) -> list[tuple[int, list[int]]]:
        """Neighbours that are not zero: how many cells were skipped before them, and the counts."""
        runs: list[tuple[int, list[int]]] = []
        end = first
        for cell in range(first, self._size):
            if self._cells[cell]:
                if cell > end or not runs:
                    runs.append((cell - end, []))
                runs[-1][1].append(self._cells[cell])
                end = cell + 1
        return runs

    # --- on the wire ---

    def to_wire(self, numbers_max: int = WIRE_NUMBERS_MAX) -> list[int]:
        """As a list of numbers from 0 to `NUMBER_MAX`, short if few buckets are used:
        ``[schema, sum // NUMBER_MAX, sum % NUMBER_MAX, max, (skipped, n, count × n) …]``, in
        nanoseconds. To fit into ``numbers_max`` (at least 56) it is made as coarse as it must.
        """
        wire = [self.schema, *divmod(self._sum_ns(), NUMBER_MAX), self._max_ns]
        for skip, counts in self._runs(0):
            wire += skip, len(counts), *counts
        if len(wire) > numbers_max and self.schema:
            return self.coarsened(self.schema - 1).to_wire(numbers_max)
        return wire

    @classmethod
    def from_wire(cls, wire: object) -> Histogram:
        """What `to_wire` made. Raises ValueError for anything else."""
        if not isinstance(wire, list) or not 4 <= len(wire) <= WIRE_NUMBERS_MAX:
            raise ValueError("not a histogram")
        most = NUMBER_MAX
        for number in wire:
            if type(number) is not int or not 0 <= number <= most:
                raise ValueError("a histogram is made of numbers")
        made = cls(wire[0])
        made._fill(wire)
        return made

    @cython.locals(wire=list, at=cython.longlong, end=cython.longlong, cell=cython.longlong)
    @cython.locals(i=cython.longlong, n=cython.ulonglong, count=cython.ulonglong)
    def _fill(self, wire: list[int]) -> None:
        at, cell, count = 4, 0, 0
        while at < len(wire):
            cell += wire[at]
            if at > 4 and not wire[at]:
                raise ValueError("two runs of buckets are one")
            at += 2
            end = at + (wire[at - 1] if at <= len(wire) else 0)
            if not at < end <= len(wire) or cell + end - at > self._size:
                raise ValueError("a run of buckets is empty, cut off or out of range")
            for i in range(at, end):
                n = wire[i]
                if not n:
                    raise ValueError("an empty bucket is counted")
                self._cells[cell] = n
                count += n
                cell += 1
            at = end
        if count > NUMBER_MAX:
            raise ValueError(f"more than {NUMBER_MAX} values")
        self._count = count
        self._high_ns = wire[1] * NUMBER_MAX + wire[2]
        self._max_ns = wire[3]
        if not self._adds_up() or wire[2] == NUMBER_MAX or (wire[3] and not count):
            raise ValueError("the sum or the maximum does not fit the counts")
