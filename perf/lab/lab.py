"""The lab: holds the contests of one component and writes down what came of them."""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from time import monotonic, perf_counter_ns, process_time

from peers.driver import Pauses

from zqueue.net.collector import tame_collector

from .measure import Sample, interleave, percentile, percentiles
from .parts import PARTS, Part
from .queues import Block
from .result import Case, Component, figures_of
from .usage import OTHERS_SEEN_S, machine_cpu_s, pauses

ALONE = "process"
"""What a process is called that has no other."""

MEMORY_UNITS = 1_000
"""Operations whose memory is looked at, about."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: enough to be worth believing, or enough to see that all is well."""

    name: str
    runs: int
    tasks: int
    """Small tasks through processes, in one run of one case."""
    part_s: float
    """How long a part within this process is measured."""
    load_s: float
    """How long tasks are sent by the clock, or under full load."""
    payload_bytes: int
    """Bytes through processes at most, and in a full queue."""
    batches: tuple[int, ...] = (1, 16, 64, 512, 2048)
    """Tasks in a batch, on the way through a pool."""
    payloads: tuple[int, ...] = (16, 256, 4096, 65_536)
    """Bytes in a body."""
    workers: tuple[int, ...] = (2, 3, 4)
    rates: tuple[int, ...] = (50, 200, 1000, 5000)
    """Tasks in a second, sent by the clock."""


FULL = Scale("full", 5, 500_000, 0.1, 3.0, 256 << 20)
QUICK = Scale("quick", 3, 100_000, 0.02, 0.7, 32 << 20, (1, 64, 2048), (16, 4096, 65_536), (2,),
              (200, 1000))  # fmt: skip
PROBE = Scale("probe", 1, 5_000, 0.005, 0.2, 1 << 20, (64,), (256,), (), (200,))
"""For a profiler that writes down every call, and for tests."""

SINGLES_S = 0.05
"""How long calls of a part are timed one by one, by a second of `Scale.part_s`, at least ten."""


@dataclasses.dataclass(frozen=True, slots=True)
class Contest:
    """One thing to do, and those who do it; the first one is ours."""

    name: str
    operation: str
    subjects: Mapping[str, Callable[[], Sample]]
    family: str = ""
    x: float | None = None


class Lab:
    """Measures one component at one scale. ``with_memory`` says whether to look at what single
    operations allocate."""

    def __init__(
        self,
        component: Component,
        scale: Scale,
        progress: Callable[[str], None],
        *,
        with_memory: bool = True,
    ) -> None:
        self.component = component
        self.scale = scale
        self.with_memory = with_memory
        self._progress = progress

    def hold(self, *contests: Contest, once: bool = False) -> None:
        """Hold contests, all in every run, and write down cases.

        What does not vary, and takes long, is done ``once``.
        """
        runs = 1 if once else self.scale.runs

        def on_run(run: int, name: str) -> None:
            self._progress(f"{self.component.name}: {name}, run {run + 1} of {runs}")

        gathered = interleave({each.name: each.subjects for each in contests}, runs, on_run)
        for each in contests:
            for who, samples in gathered[each.name].items():
                self.component.cases.append(
                    Case(each.name, who, each.operation, each.family, each.x, figures_of(samples))
                )

    def note(self, text: str) -> None:
        """Write down what a reader must know."""
        if text not in self.component.notes:
            self.component.notes.append(text)


# --- parts inside this process ---


def measure_parts(lab: Lab) -> None:
    """Every part of a component, in turn with what does the like."""
    seen = Pauses()
    parts = [part for part in PARTS if part.component == lab.component.name]
    with_memory = lab.with_memory and importlib.util.find_spec("memray") is not None
    contests, made = [], []
    with _collector_as_in_a_worker():
        for part in parts:
            subjects = {}
            for who, make in list(part.subjects.items())[: 1 if part.is_yardstick else None]:
                block = make()
                made.append((part, who, block))
                subjects[who] = _sampler(part, block, lab.scale, seen)
            contests.append(Contest(part.name, part.unit, subjects, part.family, part.x))
        lab.hold(*contests)
        for part, who, block in made:
            case = lab.component.find(part.name, who)
            if with_memory and not part.is_threaded and case is not None:
                case.figures.update(figures_of([memory(part, block)]))
    gc.callbacks.remove(seen.note)
    lab.note("latencies are of a call, divided by its operations, less what the clock takes")
    if not with_memory:
        lab.note("memory of single operations was not measured: that needs memray")


def _sampler(part: Part, block: Block, scale: Scale, seen: Pauses) -> Callable[[], Sample]:
    """Measures a part once: its rate in blocks, and calls one by one."""

    def sample() -> Sample:
        block(1)
        calls = max(1, round(part.block_ns / max(1.0, min(block(1) for _ in range(5)))))
        count, total_s = seen.count, seen.total_s
        began, cpu_s, machine_s = monotonic(), process_time(), machine_cpu_s()
        spent_ns, made = 0.0, 0
        while spent_ns < scale.part_s * 1e9:
            spent_ns += block(calls)
            made += calls
        elapsed_s, own_s = monotonic() - began, process_time() - cpu_s
        operations = made * part.units
        clock_ns = _clock_ns()
        taken = [block(1) for _ in range(max(10, int(made * SINGLES_S)))]
        singles = (max(0.0, ns - clock_ns) / part.units for ns in taken)
        found = {
            "rate": operations * 1e9 / spent_ns, "cost": spent_ns / operations,
            "operations": float(operations), "cpu:" + ALONE: own_s / elapsed_s,
            **pauses(seen.since(count, total_s), elapsed_s, ALONE), **percentiles(singles),
        }  # fmt: skip
        if elapsed_s >= OTHERS_SEEN_S:
            found["others"] = max(0.0, (machine_cpu_s() - machine_s - own_s) / elapsed_s)
        if part.name.startswith("broker"):
            found["task_ns"] = found["cost"] / (part.x or 1)
        return found

    return sample


def _clock_ns() -> float:
    """What two looks at the clock take."""
    taken = []
    for _ in repeat(None, 1000):
        began = perf_counter_ns()
        taken.append(perf_counter_ns() - began)
    return percentile(sorted(taken), 50)


def memory(part: Part, block: Block) -> Sample:
    """What one operation of a part allocates, holds at a time, and leaves behind: every object,
    also from Python's own pools."""
    import memray

    calls = max(1, MEMORY_UNITS // part.units)
    freeing = (memray.AllocatorType.FREE, memray.AllocatorType.PYMALLOC_FREE,
               memray.AllocatorType.MUNMAP)  # fmt: skip

    def sizes(calls: int, records: str) -> list[int]:
        with tempfile.TemporaryDirectory(prefix="zqueue-perf-") as folder:
            file = Path(folder, "allocations.bin")
            with memray.Tracker(file, trace_python_allocators=True):
                block(calls)
            with memray.FileReader(file) as reader:
                found = getattr(reader, f"get_{records}_records")()
                return [record.size for record in found if record.allocator not in freeing]

    def by_operation(records: str) -> tuple[float, float]:
        """How many, and their bytes; without those of the block itself."""
        more, less = sizes(1 + calls, records), sizes(1, records)
        operations = calls * part.units
        return (len(more) - len(less)) / operations, (sum(more) - sum(less)) / operations

    block(1)
    allocations, nbytes = by_operation("allocation")
    kept, kept_bytes = by_operation("leaked_allocation")
    return {
        "allocations": allocations, "bytes_allocated": nbytes,
        "allocations_kept": kept, "bytes_kept": kept_bytes,
        "bytes_peak": sum(sizes(1, "high_watermark_allocation")),
    }  # fmt: skip


@contextmanager
def _collector_as_in_a_worker() -> Iterator[None]:
    before = gc.get_threshold()
    tame_collector()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
