"""Files that are not what was written: it is told, never passed over."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zqueue.core.records import Entry, Over
from zqueue.store.about import ABOUT
from zqueue.store.files import MADE
from zqueue.store.store import StoreDamaged, StoreForeign, StoreUnusable
from zqueue.store.survey import segment_number

from .disk import MemoryDisk
from .driving import Model, Traffic, check, drive, run
from .test_crash import SEGMENT_BYTES, found_as_model, store_on

Files = dict[str, bytes]


def written(seed: int = 4, *, close: bool = True, commits: int = 60) -> tuple[Files, Model]:
    """A data dir with full segments and moved entries, and what is in it."""
    disk = MemoryDisk()
    store = store_on(disk, seed)
    list(store.open().found)
    traffic = Traffic(seed, body_max=800, stay=0.1)
    run(store, traffic, commits)
    if close:
        store.close()
    assert store.status().moved or commits < 60
    return {name: bytes(data) for name, data in disk.now.items()}, traffic.model


FILES, MODEL = written()


def outcome(files: Files, model: Model) -> str:
    """Whether all is there, or it is told that it is not. Nothing else may be."""
    disk = MemoryDisk(files)
    store = store_on(disk)
    try:
        found = store.open()
    except StoreDamaged as error:
        untouched = {name: bytes(data) for name, data in disk.now.items()} == files
        return "told" if untouched and "zqueue store salvage" in str(error) else "hurt"
    try:
        check(store, found, model)
    except StoreDamaged:
        return "told"
    return "whole"


def test_what_nobody_touched_is_whole() -> None:
    assert outcome(FILES, MODEL) == "whole"


def test_a_bit_is_flipped_anywhere() -> None:
    chance = random.Random(1)
    seen = {"told": 0, "whole": 0}
    for name in sorted(set(FILES) - {ABOUT}):
        for kib in range(0, len(FILES[name]), 1024):
            data = bytearray(FILES[name])
            data[min(kib + chance.randrange(1024), len(data) - 1)] ^= 1 << chance.randrange(8)
            seen[outcome({**FILES, name: bytes(data)}, MODEL)] += 1
    assert set(seen) == {"told", "whole"}
    assert seen["told"] > 8
    assert seen["whole"] > 20, "there are spares, and room that is not used"


@settings(max_examples=60)
@given(st.data())
def test_a_file_is_cut_short_or_zeroed(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(set(FILES) - {ABOUT})))
    at = data.draw(st.integers(0, SEGMENT_BYTES))
    rest = data.draw(st.sampled_from([b"", bytes(SEGMENT_BYTES - at)]))
    assert outcome({**FILES, name: FILES[name][:at] + rest}, MODEL) in ("told", "whole")


def in_use() -> list[str]:
    disk = MemoryDisk(FILES)
    store = store_on(disk)
    store.open()
    return [f"{s.number:016x}.seg" for stream in store._ledger.streams for s in stream]


@pytest.mark.parametrize(
    "hurt",
    [
        lambda files, name: files.pop(name),
        lambda files, name: files.update({name: bytes(SEGMENT_BYTES)}),
        lambda files, name: files.update({name: b""}),
    ],
    ids=["missing", "zeroed", "empty"],
)
def test_a_segment_is_not_there(hurt: Callable[[Files, str], object]) -> None:
    names = in_use()
    assert len(names) > 3
    for name in names:
        files = dict(FILES)
        hurt(files, name)
        if outcome(files, MODEL) == "whole":
            pytest.fail(f"{name} is not missed")


def test_a_segment_is_there_twice() -> None:
    names = in_use()
    for name in names:
        for other in {"00000000000000ff.seg", *names} - {name}:
            assert outcome({**FILES, other: FILES[name]}, MODEL) == "told"


def test_a_footer_that_is_damaged_is_not_needed() -> None:
    whole = 0
    for name, data in FILES.items():
        at = data.find(bytes([208]), len(data) // 2)
        while at >= 0 and segment_number(name):
            changed = bytearray(data)
            changed[at] ^= 1
            whole += outcome({**FILES, name: bytes(changed)}, MODEL) == "whole"
            at = data.find(bytes([208]), at + 1)
    assert whole


def test_a_body_is_checked_when_it_is_read() -> None:
    disk = MemoryDisk()
    store = store_on(disk)
    store.open()
    drive(store, 1, [Entry(1, 1, "q", 1, b"", b"a body to be damaged")], list)
    for data in disk.now.values():
        if (at := data.find(b"damaged")) >= 0:
            data[at] ^= 1
    with pytest.raises(StoreDamaged, match="byte"):
        store.read(1)


def test_the_end_of_a_store_that_was_closed_is_proven() -> None:
    """What was synced last is followed by a commit, so that damage is no torn end."""
    files, model = written(close=True, commits=3)
    (name,) = [n for n in files if segment_number(n) == 1]
    number = max(model.entries)
    body = model.entries[number][4]
    assert len(body) > 50
    assert outcome({**files, name: files[name].replace(body, bytes(len(body)))}, model) == "told"


def test_what_a_crash_left_half_made_is_removed() -> None:
    disk = MemoryDisk({**FILES, MADE: b"half"})
    store = store_on(disk)
    check(store, store.open(), MODEL)
    assert MADE not in disk.now


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"notes.txt": b"mine"}, StoreForeign),
        ({ABOUT: b"what?"}, StoreForeign),
        ({ABOUT: b"{}"}, StoreForeign),
        ({ABOUT: b'{"format": 2, "id": "00", "segment_bytes": 1}'}, StoreUnusable),
    ],
)
def test_other_directories_are_left_alone(files: Files, error: type[Exception]) -> None:
    disk = MemoryDisk(files)
    with pytest.raises(error):
        store_on(disk).open()
    assert disk.now == files


def test_the_disk_is_full_and_is_not_any_more() -> None:
    """Puts are to be refused in time; what is said of entries has room, and makes some."""
    disk = MemoryDisk()
    disk.room = 12 * SEGMENT_BYTES
    store = store_on(disk)
    store.open()
    traffic = Traffic(9)
    live: list[int] = []
    number = ticket = 0
    while not store.full:
        number += 1
        drive(store, ticket := ticket + 1, [Entry(number, 1, "q", 1, b"", bytes(1000))], list)
        live.append(number)
    assert number > 60
    # What was taken before it was told.
    some = [Entry(number + i, 1, "q", 1, b"", bytes(1000)) for i in range(1, 8)]
    drive(store, ticket := ticket + 1, some, list)
    live += [entry.number for entry in some]
    chance = traffic.chance
    chance.shuffle(live)
    while store.full:
        drive(store, ticket := ticket + 1, [Over(live.pop(), 0, 1)], list)
    number = max(*live, number + 7)
    drive(store, ticket := ticket + 1, [Entry(number + 1, 1, "q", 1, b"", b"new")], list)
    store.close()
    again = store_on(MemoryDisk({name: bytes(data) for name, data in disk.now.items()}))
    assert set(found_as_model(again, again.open()).entries) == {*live, number + 1}
