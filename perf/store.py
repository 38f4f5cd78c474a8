"""The store of segment files beside LMDB and SQLite, through the same calls.

    python perf/store.py                    all engines that are installed
    python perf/store.py --seconds 5 --dir /mnt/disk
    python perf/store.py --recover 1000000  and how soon so many entries are found again

Every commit puts a group of entries and ends as many older ones; 2 % stay for long. All engines
take turns, and what counts are ratios: processor time and entries per second of the others, divided
by those of the segments. ``pip install lmdb`` for LMDB.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import select
import shutil
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.store.other_stores import LmdbStore, SqliteStore
from zqueue.core.records import PUT, Entry, Over, Record
from zqueue.store.segment_store import SegmentStore
from zqueue.store.store import Store

LOADS = {"16 KiB x 8": (16384, 8), "64 KiB x 4": (65536, 4), "200 B x 64": (200, 64)}
"""Bytes of a body, and how many are put by a commit."""

WINDOW, STAY, STAY_ENTRIES = 2000, 0.02, 20_000
"""Entries that are open, and the share that stays for so many more."""

ENGINES: dict[str, Callable[[str], Store]] = {"segments": SegmentStore, "sqlite": SqliteStore}
if importlib.util.find_spec("lmdb"):
    ENGINES["lmdb"] = LmdbStore


class Load:
    """One engine under one load, for as long as it is asked to go on."""

    def __init__(self, make: Callable[[str], Store], path: Path, nbytes: int, group: int) -> None:
        self.store = make(str(path))
        list(self.store.open().found)
        self._bodies = [os.urandom(nbytes) for _ in range(64)]
        self._group = group
        self._chance = random.Random(1)
        self._number = self._ticket = 0
        self._soon: deque[int] = deque()
        self._late: deque[int] = deque()

    def commit(self) -> None:
        """A commit, until it is stored."""
        records: list[Record] = []
        for _ in range(self._group):
            self._number += 1
            body = self._bodies[self._number % 64]
            records.append(Entry(self._number, PUT, "queue", 64, b"meta of 20 bytes....", body))
            late = self._chance.random() < STAY
            (self._late if late else self._soon).append(self._number)
        while len(self._soon) > WINDOW:
            records.append(Over(self._soon.popleft(), 0, 64))
        while self._late and self._late[0] < self._number - STAY_ENTRIES:
            records.append(Over(self._late.popleft(), 0, 64))
        self._ticket += 1
        store = self.store
        store.begin(self._ticket, records, list)
        while store.busy:
            select.select([store], [], [])
        store.end()

    def run(self, seconds: float) -> tuple[float, float, float]:
        """Entries per second, microseconds of processor time an entry, median of a commit in ms."""
        took, count = [], 0
        start, cpu = time.perf_counter(), time.process_time()
        while (now := time.perf_counter()) < start + seconds:
            self.commit()
            took.append(time.perf_counter() - now)
            count += self._group
        cpu = time.process_time() - cpu
        rate = count / (time.perf_counter() - start)
        return rate, cpu / count * 1e6, statistics.median(took) * 1e3


def compare(seconds: float, rounds: int, folder: Path) -> None:
    """All engines under all loads, in turns."""
    print("load         engine     entries/s   us each   commit ms   cpu ratio   rate ratio")
    for title, load in LOADS.items():
        loads = {name: Load(make, folder / name, *load) for name, make in ENGINES.items()}
        for each in loads.values():
            each.run(seconds)  # Files are made, and filled for the first time.
        results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in loads}
        for _ in range(rounds):
            for name, each in loads.items():
                results[name].append(each.run(seconds))
        base = results["segments"]
        for name, found in results.items():
            rate, cpu, ms = (statistics.median(column) for column in zip(*found, strict=True))
            cpu_ratio = statistics.median(a[1] / b[1] for a, b in zip(found, base, strict=True))
            rate_ratio = statistics.median(a[0] / b[0] for a, b in zip(found, base, strict=True))
            print(f"{title:12} {name:9} {rate:10,.0f} {cpu:9.1f} {ms:11.2f} {cpu_ratio:11.2f} "
                  f"{rate_ratio:12.2f}", flush=True)  # fmt: skip
        for name, each in loads.items():
            each.store.close()
            shutil.rmtree(folder / name)


def recover(entries: int, folder: Path) -> None:
    """So many entries are put, and found at the next start."""
    store = SegmentStore(str(folder / "recover"))
    store.open()
    for first in range(1, entries + 1, 4096):
        last = min(first + 4096, entries + 1)
        records: list[Record] = [Entry(n, PUT, "queue", 1, b"meta", b"x" * 40)
                                 for n in range(first, last)]  # fmt: skip
        store.begin(first, records, list)
        while store.busy:
            select.select([store], [], [])
        store.end()
    store.close()
    start = time.perf_counter()
    store = SegmentStore(str(folder / "recover"))
    found = store.open()
    opened = time.perf_counter() - start
    held = sum(of_one.entries for of_one in found.held)
    count = sum(1 for _ in found.found)
    given = time.perf_counter() - start
    print(f"{held:,} entries: open in {opened:.2f} s, all {count:,} given in {given:.2f} s")
    store.close()


def main() -> None:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.2, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each engine")
    parser.add_argument("--dir", default=".", help="a directory on the disk in question")
    parser.add_argument("--recover", type=int, metavar="ENTRIES", help="time a start, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        compare(options.seconds, options.rounds, Path(folder))
        if options.recover:
            recover(options.recover, Path(folder))


if __name__ == "__main__":
    main()
