"""The histogram, compiled and interpreted, against raw samples and against HdrHistogram."""

from __future__ import annotations

import bisect
import decimal
import importlib.util
import itertools
import json
import math
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zqueue.stats
from zqueue.stats import histogram as installed
from zqueue.stats.histogram import (
    EDGES_S,
    HIGH_S,
    LOW_S,
    NUMBER_MAX,
    nearest_edge,
)

ERROR_MAX = 0.010831
"""``(r - 1) / (r + 1)`` for buckets that grow by ``r = 2 ** (1 / 32)``."""

EDGES = [math.ldexp(installed._POWERS[i % 32], i // 32 - 19) for i in range(1025)]
"""The upper edges of all cells but the last, from `LOW_S` to `HIGH_S`."""


def load_interpreted() -> ModuleType:
    """The same source, as it runs where there is neither a compiler nor Cython."""
    path = Path(zqueue.stats.__file__).with_name("histogram.py")
    spec = importlib.util.spec_from_file_location("zqueue.stats.interpreted_histogram", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cython", None)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["installed", "interpreted"])
def make(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The class `Histogram`."""
    module = installed if request.param == "installed" else load_interpreted()
    yield module.Histogram
    sys.modules.pop("zqueue.stats.interpreted_histogram", None)


def filled(make: Any, values: Any, schema: int = 5) -> Any:
    histogram = make(schema)
    for value in values:
        histogram.record(value)
    return histogram


def exact(ordered: list[float], q: float) -> float:
    """The percentile, from all values."""
    return ordered[max(0, math.ceil(q * len(ordered) / 100) - 1)]


IN_RANGE = st.floats(LOW_S, HIGH_S, exclude_min=True)
ANY_S = st.one_of(IN_RANGE, st.floats(-1, 1e5), st.sampled_from(EDGES))
VALUES = st.lists(ANY_S, max_size=60)


class TestBuckets:
    def test_edges_are_powers_of_two_and_their_roots(self) -> None:
        with decimal.localcontext() as context:
            context.prec = 60
            root = decimal.Decimal(2) ** (decimal.Decimal(1) / 32)
            right = [float(root**step / 2) for step in range(33)]
        assert right == installed._POWERS
        assert (EDGES[0], EDGES[-1]) == (LOW_S, HIGH_S)

    def test_each_takes_what_is_up_to_its_edge(self, make: Any) -> None:
        for edge in EDGES:
            histogram = filled(make, [math.nextafter(edge, 0), edge, math.nextafter(edge, 1e9)])
            assert histogram.cumulative([edge]) == [2], edge

    def test_the_error_at_every_edge(self, make: Any) -> None:
        for lower, upper in itertools.pairwise(EDGES):
            for value in (math.nextafter(lower, 1e9), (lower + upper) / 2, upper):
                # A second value, far away, so that the maximum does not help.
                reported = filled(make, [value, HIGH_S]).percentile(50)
                assert abs(reported - value) <= ERROR_MAX * value

    def test_coarser_ones_err_more(self, make: Any) -> None:
        for schema in range(6):
            growth = 2 ** (2.0**-schema)
            error_max = (growth - 1) / (growth + 1) + 1e-9
            rng = random.Random(schema)
            for _ in range(500):
                value = math.exp(rng.uniform(math.log(LOW_S), math.log(HIGH_S)))
                reported = filled(make, [value, HIGH_S], schema).percentile(50)
                assert abs(reported - value) <= error_max * value, schema

    def test_nearest_edge(self) -> None:
        assert nearest_edge(0.005) == pytest.approx(0.005, rel=0.011)
        assert nearest_edge(0.005, schema=0) == 2**-8
        assert nearest_edge(0.9) < nearest_edge(0.9, schema=1) == 1.0
        assert [nearest_edge(edge) for edge in EDGES] == EDGES
        assert [nearest_edge(edge, schema=0) for edge in EDGES_S] == list(EDGES_S)
        assert (nearest_edge(-1), nearest_edge(1e9)) == (LOW_S, HIGH_S)


class TestCounting:
    def test_sum_and_maximum_are_exact(self, make: Any) -> None:
        h = filled(make, [0.1] * 10 + [0.2, 3e-7])
        assert (h.count, h.sum, h.max) == (12, 1.2000003, 0.2)
        assert repr(h) == "<Histogram of 12: p50 0.0996 s, max 0.2 s>"

    @given(st.lists(st.tuples(ANY_S, st.integers(0, 9))))
    def test_many_at_once(self, make: Any, pairs: list[tuple[float, int]]) -> None:
        many, single = make(), make()
        for value, n in pairs:
            many.record_many(value, n)
            for _ in range(n):
                single.record(value)
        assert many == single

    @given(st.lists(st.integers(0, 5_000_000_000_000), max_size=30))
    def test_nanoseconds(self, make: Any, values: list[int]) -> None:
        ns, seconds = make(), make()
        for value in values:
            ns.record_ns(value)
            seconds.record(value / 1e9)
        assert ns == seconds
        assert ns.sum == sum(values) / 1e9
        assert ns.max == max(values, default=0) / 1e9

    def test_outside_of_the_range(self, make: Any) -> None:
        h = filled(make, [0.0, -3.0, 1e-9, LOW_S])
        assert (h.count, h.below, h.above) == (4, 4, 0)
        assert (h.sum, h.max, h.percentile(50)) == (955e-9, 954e-9, LOW_S)
        h = filled(make, [HIGH_S, math.nextafter(HIGH_S, 1e9), 10_000.0])
        assert (h.count, h.below, h.above) == (3, 0, 2)
        assert (h.sum, h.max) == (18_192.0, 10_000.0)
        assert h.percentile(99) == HIGH_S

    def test_absurd_values(self, make: Any) -> None:
        h = filled(make, [math.inf, 1e300])
        assert (h.count, h.above, h.max) == (2, 2, NUMBER_MAX / 1e9)
        with pytest.raises(ValueError, match="NaN is no duration"):
            h.record(math.nan)
        with pytest.raises(TypeError):
            h.record("1")
        assert h.count == 2

    def test_absurd_numbers(self, make: Any) -> None:
        h = filled(make, [1.0])
        for n in (-1, NUMBER_MAX, 1 << 70):
            with pytest.raises(ValueError, match="cannot count"):
                h.record_many(1.0, n)
            assert h == filled(make, [1.0]), n

    def test_the_sum_may_grow_beyond_64_bits(self, make: Any) -> None:
        h = make()
        h.record_many(4000.0, 1 << 40)
        for _ in range(3000):
            h.record(4000.0)
        assert h.sum == 4000.0 * ((1 << 40) + 3000)
        assert make.from_wire(h.to_wire()) == h

    def test_one_by_one_too(self) -> None:
        h = installed.Histogram()
        for _ in range(4_600_000):
            h.record(4096.0)
        assert h.sum * 1e9 > 1 << 64
        assert h.sum == 4096.0 * 4_600_000


class TestPercentiles:
    @given(st.lists(IN_RANGE, min_size=1, max_size=200), st.floats(0, 100))
    def test_within_the_error(self, make: Any, values: list[float], q: float) -> None:
        reported = filled(make, values).percentile(q)
        ordered = sorted(values)
        # A percentile that falls on the very border between two values is either of them.
        rank = q * len(values) / 100
        right = {ordered[max(0, math.ceil(r) - 1)] for r in (rank, rank - 2e-6)}
        assert min(abs(reported - value) / value for value in right) <= ERROR_MAX

    def test_rank(self, make: Any) -> None:
        values = [1e-5 * 1.05 ** (i // 7) for i in range(1000)]
        counted = filled(make, values)
        for q, rank in (
            (0, 1), (16.1, 161), (50, 500), (50.05, 501), (99, 990), (99.9, 999), (100, 1000),
        ):  # fmt: skip
            assert counted.percentile(q) == pytest.approx(values[rank - 1], rel=ERROR_MAX), q


class TestMerging:
    @given(VALUES, VALUES, VALUES)
    def test_in_any_order(
        self, make: Any, one: list[float], two: list[float], three: list[float]
    ) -> None:
        a, b, c = (filled(make, values) for values in (one, two, three))
        left, right, back = a.copy(), b.copy(), c.copy()
        left.add(b)
        left.add(c)
        right.add(c)
        a.add(right)
        back.add(filled(make, two))
        back.add(filled(make, one))
        assert left == a == back == filled(make, one + two + three)

    @given(VALUES, VALUES, st.integers(0, 5), st.integers(0, 5))
    def test_of_different_schemas(
        self, make: Any, one: list[float], two: list[float], fine: int, coarse: int
    ) -> None:
        merged = filled(make, one, fine)
        merged.add(filled(make, two, coarse))
        assert merged == filled(make, one + two, min(fine, coarse))

    @given(VALUES, st.integers(0, 5))
    def test_made_coarser(self, make: Any, values: list[float], schema: int) -> None:
        fine = filled(make, values)
        assert fine.coarsened(schema) == filled(make, values, schema)
        assert fine == filled(make, values)

    def test_cannot_be_made_finer(self, make: Any) -> None:
        with pytest.raises(ValueError, match="schema 2 cannot become 3"):
            make(2).coarsened(3)

    def test_not_too_many(self, make: Any) -> None:
        h = make()
        h.record_many(1.0, NUMBER_MAX)
        with pytest.raises(ValueError, match="more than"):
            h.add(filled(make, [1.0]))
        assert h.count == NUMBER_MAX


class TestDeltas:
    @given(st.lists(VALUES, max_size=5))
    def test_parts_make_the_whole(self, make: Any, seconds: list[list[float]]) -> None:
        growing, total = make(), make()
        for values in seconds:
            for value in values:
                growing.record(value)
            part = growing.take()
            assert part == filled(make, values)
            total.add(part)
        assert growing == make()
        assert total == filled(make, [value for values in seconds for value in values])

    @given(VALUES, VALUES)
    def test_since(self, make: Any, before: list[float], after: list[float]) -> None:
        h = filled(make, before)
        earlier = h.copy()
        for value in after:
            h.record(value)
        part = h.since(earlier)
        right = filled(make, after)
        assert part.to_wire()[4:] == right.to_wire()[4:]
        assert part.sum == right.sum
        assert right.max <= part.max <= h.max
        assert part.max <= max(right.max * 1.024, 1e-6) or right.above
        if right.max > earlier.max:
            assert part == right
        # It is as good as any other: it goes over the wire, and makes the whole again.
        earlier.add(make.from_wire(part.to_wire()))
        assert earlier == h

    def test_since_it_was_finer(self, make: Any) -> None:
        h = filled(make, [1.0, 1.01])
        earlier = h.copy()
        h.add(filled(make, [3.0], 2))
        assert h.since(earlier) == filled(make, [3.0], 2)
        with pytest.raises(ValueError, match="schema 2 cannot become 5"):
            earlier.since(h)

    def test_of_a_process_that_began_anew(self, make: Any) -> None:
        for values in ([2.0], [0.5], [1.0, 1.01], [1.005], [1.01, 0.5]):
            for now in (1.0, 1.001):
                with pytest.raises(ValueError, match="never in that state"):
                    filled(make, [now]).since(filled(make, values))

    def test_of_one_that_counted_the_same_buckets(self, make: Any) -> None:
        with pytest.raises(ValueError, match="never in that state"):
            filled(make, [1.02, 1.001]).since(filled(make, [1.02, 1.002]))
        with pytest.raises(ValueError, match="never in that state"):
            filled(make, [1.0021, 1.0]).since(filled(make, [1.003, 1.0]))


class TestPrometheus:
    @given(VALUES)
    def test_classic_buckets(self, make: Any, values: list[float]) -> None:
        ordered = sorted(values)
        edges = [*EDGES_S, nearest_edge(0.005), LOW_S, HIGH_S]
        right = [bisect.bisect_right(ordered, edge) for edge in edges]
        assert filled(make, values).cumulative([*edges, math.inf]) == [*right, len(values)]

    @given(st.lists(st.floats(0, HIGH_S), max_size=60), st.integers(0, 5))
    def test_native_histogram(self, make: Any, values: list[float], schema: int) -> None:
        native = filled(make, values, schema).native()
        assert native.count_value == len(values)
        assert native.sum_value == sum(int(v * 1e9 + 0.5) for v in values) / 1e9
        assert (native.schema, native.zero_threshold) == (schema, LOW_S)
        # As Prometheus reads it: bucket n ends at 2 ** (n / 2 ** schema).
        counts: dict[int, int] = {}
        deltas = iter(native.pos_deltas)
        number = count = 0
        for offset, length in native.pos_spans:
            number += offset
            for _ in range(length):
                count += next(deltas)
                counts[number] = count
                number += 1
        assert next(deltas, None) is None
        right: dict[int, int] = {}
        for value in values:
            if value > LOW_S:
                edge = EDGES[bisect.bisect_left(EDGES, value)]
                n = math.ceil(round(math.log2(edge) * 32) / (32 >> schema))
                right[n] = right.get(n, 0) + 1
        assert counts == right
        assert native.zero_count == len(values) - sum(right.values())


GOOD: list[int] = [5, 0, 1_500_000_000, 1_000_000_000, 608, 1, 1, 31, 1, 1]
"""Half a second and one second."""


SPOILT: tuple[Callable[[list[Any]], Any], ...] = (
    lambda w: None,
    lambda w: {},
    lambda w: tuple(w),
    lambda w: b"\x05\x00\x00\x00",
    lambda w: [],
    lambda w: w[:3],
    lambda w: [6, *w[1:]],
    lambda w: [-1, *w[1:]],
    lambda w: [5.0, *w[1:]],
    lambda w: [True, *w[1:]],
    lambda w: ["5", *w[1:]],
    lambda w: [*w[:9], -1],
    lambda w: [*w[:9], 0],
    lambda w: [*w[:9], 1.0],
    lambda w: [*w[:9], None],
    lambda w: [*w[:9], [1]],
    lambda w: [*w[:9], 1 << 53 | 1],
    lambda w: [*w[:9], 1 << 64],
    lambda w: [*w[:9], NUMBER_MAX],  # One too many, together with the others.
    lambda w: w[:9],
    lambda w: w[:8],
    lambda w: w[:7],
    lambda w: [*w, 1],
    lambda w: [*w, 1, 2, 1],
    lambda w: [*w, 1, NUMBER_MAX, 1],
    lambda w: [*w[:8], 0],
    lambda w: [*w[:7], 0, 1, 1],
    lambda w: [*w, 385, 1, 1],
    lambda w: [*w, NUMBER_MAX, 1, 1],
    lambda w: w + [1, 1, 1] * 600,
    lambda w: [5, 0, 0, 0, 0, 0],
    lambda w: [5, 0, 0, 1],
    lambda w: [5, 0, 1, 0],
    lambda w: [5, 1, *w[2:]],
    lambda w: [5, 0, NUMBER_MAX, NUMBER_MAX, *w[4:]],
    lambda w: [5, 0, 2_000_000_001, *w[3:]],
)
"""Each makes of a good wire form one that is not."""


class TestWire:
    def test_as_it_is_written_down(self, make: Any) -> None:
        assert filled(make, [0.5, 1.0]).to_wire() == GOOD
        assert make().to_wire() == [5, 0, 0, 0]
        assert filled(make, [0.0, 1e4], 0).to_wire() == [
            0, 0, 10_000_000_000_000, 10_000_000_000_000, 0, 1, 1, 32, 1, 1
        ]  # fmt: skip

    @given(VALUES, st.integers(0, 5), st.integers(1, NUMBER_MAX // 60))
    def test_there_and_back(self, make: Any, values: list[float], schema: int, n: int) -> None:
        h = make(schema)
        for value in values:
            h.record_many(value, n)
        wire = h.to_wire()
        assert make.from_wire(wire) == h
        assert make.from_wire(msgpack.unpackb(msgpack.packb(wire))) == h
        assert make.from_wire(json.loads(json.dumps(wire))) == h

    def test_as_coarse_as_it_must(self, make: Any) -> None:
        some = (EDGES[::2], EDGES, EDGES[::64], [1.0])
        for numbers_max, values in itertools.product((56, 100, 160, 400, 1000), some):
            h = filled(make, [0.0, 1e4, *values])
            wire = h.to_wire(numbers_max)
            assert len(wire) <= numbers_max
            sent = make.from_wire(wire)
            assert sent == h.coarsened(sent.schema)
            assert sent.schema == 5 or len(h.coarsened(sent.schema + 1).to_wire()) > numbers_max

    def test_nothing_else(self, make: Any) -> None:
        make.from_wire(list(GOOD))
        for number, spoil in enumerate(SPOILT):
            with pytest.raises(ValueError, match=r"."):
                pytest.fail(f"{number}: {make.from_wire(spoil(list(GOOD)))}")

    @given(
        st.lists(
            st.one_of(
                st.integers(0, 40),
                st.integers(),
                st.sampled_from([NUMBER_MAX, 1 << 62, 1025, 5]),
                st.floats(),
                st.none(),
            ),
            max_size=20,
        )
    )
    def test_what_is_taken_is_a_histogram(self, make: Any, wire: list[Any]) -> None:
        try:
            h = make.from_wire(wire)
        except ValueError:
            return
        assert h.to_wire() == wire
        assert 0 <= h.percentile(50) <= h.percentile(100) <= HIGH_S

    @given(VALUES, st.integers(0, 99), st.integers(0, NUMBER_MAX))
    def test_changed_on_its_way(
        self, make: Any, values: list[float], position: int, number: int
    ) -> None:
        wire = filled(make, values).to_wire()
        wire[position % len(wire)] = number
        try:
            assert make.from_wire(wire).to_wire() == wire
        except ValueError:
            pass


def lognormal(rng: random.Random) -> float:
    return rng.lognormvariate(-7, 1)


def pareto(rng: random.Random) -> float:
    return min(1e-5 * rng.paretovariate(0.7), 3600.0)


def two_humps(rng: random.Random) -> float:
    return rng.gauss(0.002, 0.0001) if rng.random() < 0.97 else rng.gauss(1.5, 0.1)


def uniform(rng: random.Random) -> float:
    return rng.uniform(1e-6, 10)


class TestOracles:
    PROCESSES, VALUES_EACH = 64, 500
    QS = (1, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99)

    @pytest.mark.parametrize("draw", [lognormal, pareto, two_humps, uniform])
    def test_many_processes(self, make: Any, draw: Callable[[random.Random], float]) -> None:
        hdr = pytest.importorskip("hdrh.histogram")
        rng = random.Random(draw.__name__)
        everything: list[float] = []
        merged, theirs = make(), hdr.HdrHistogram(1, 3_600_000_000_000, 3)
        for _ in range(self.PROCESSES):
            values = [draw(rng) for _ in range(self.VALUES_EACH)]
            everything += values
            merged.add(make.from_wire(filled(make, values).to_wire()))
            their = hdr.HdrHistogram(1, 3_600_000_000_000, 3)
            for value in values:
                their.record_value(round(value * 1e9))
            theirs.add(their)
        everything.sort()
        assert merged.count == theirs.get_total_count() == len(everything)
        for q in self.QS:
            right = exact(everything, q)
            reported = merged.percentile(q)
            assert abs(reported - right) <= ERROR_MAX * right, q
            # It rounds the rank where we take the next one, and has 0.1 % of error itself.
            n = len(everything)
            near = {theirs.get_value_at_percentile(p) / 1e9 for p in (q, min(100, q + 100 / n))}
            assert min(abs(reported - value) / value for value in near) <= ERROR_MAX + 0.001, q
        assert merged.max == round(everything[-1] * 1e9) / 1e9
        assert merged.sum == pytest.approx(math.fsum(everything), rel=1e-6)
