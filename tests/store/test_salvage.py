"""A data dir that is damaged is described, and what is whole of it is kept."""

from __future__ import annotations

import json
import os
import random
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.docs.commands import commands
from zqueue.cli import cli
from zqueue.store.salvage import Damage, Inspection
from zqueue.store.segment_store import SegmentStore

from .disk import MemoryDisk
from .driving import Model, Traffic, run
from .test_crash import SEGMENT_BYTES, found_as_model, store_on
from .test_damage import FILES, MODEL, Files, in_use, outcome, written

SEGMENTS = in_use()


def inspect(files: Files) -> tuple[MemoryDisk, Inspection, list[Damage]]:
    disk = MemoryDisk(files)
    inspection = Inspection(disk, SEGMENT_BYTES)
    assert list(inspection.look()) == inspection.names
    return disk, inspection, inspection.damages()


def salvaged(files: Files, model: Model) -> list[Damage]:
    """What was damaged, after what is whole was kept, and held against what there was."""
    disk, inspection, damages = inspect(files)
    inspection.salvage(damages)
    while more := inspect(disk.killed().synced)[2]:
        disk, inspection, more = inspect(disk.killed().synced)
        inspection.salvage(more)
        damages += more
        assert len(damages) < 20
    store = store_on(disk)
    found = found_as_model(store, store.open())
    lost = {n for damage in damages for low, high in damage.lost for n in range(low, high + 1)}
    if all(damage.known for damage in damages):
        assert set(model.entries) <= set(found.entries) | lost
    for number in set(model.entries) & set(found.entries):
        assert found.entries[number][:5] == model.entries[number][:5]
        states = found.entries[number][5]
        assert set(states) >= set(model.entries[number][5]), "no task is lost"
    for damage in damages:
        if damage.name in files:
            assert bytes(disk.now[damage.name + ".1.bad"]) == files[damage.name]
    # And it goes on from there.
    traffic = Traffic(8, body_max=500)
    traffic.model = found
    list(store._reader.found())
    run(store, traffic, 30)
    store.close()
    again = store_on(disk.killed())
    later = found_as_model(again, again.open())
    assert set(later.entries) >= set(traffic.model.entries)
    for number, entry in traffic.model.entries.items():
        # What was said of it may have been in the hole, and in a file that has gone since.
        assert later.entries[number][:5] == entry[:5]
        assert set(later.entries[number][5]) >= set(entry[5])
    return damages


def test_what_is_whole_is_left_as_it_is() -> None:
    assert not salvaged(FILES, MODEL)


@pytest.mark.parametrize("commits", [0, 1, 3])
def test_a_young_data_dir_is_whole(commits: int) -> None:
    """Nothing in it was moved so far, or put."""
    disk, traffic = MemoryDisk(), Traffic(3, body_max=100)
    store = store_on(disk)
    list(store.open().found)
    run(store, traffic, commits)
    store.close()
    assert inspect(disk.killed().synced)[2] == []


@settings(max_examples=60)
@given(
    name=st.sampled_from(SEGMENTS),
    at=st.integers(0, SEGMENT_BYTES - 1),
    nbytes=st.sampled_from([1, 40, 600, 5000, SEGMENT_BYTES]),
    noise=st.booleans(),
)
def test_a_part_of_a_segment(name: str, at: int, nbytes: int, noise: bool) -> None:
    nbytes = min(nbytes, SEGMENT_BYTES - at)
    hurt = random.Random(at).randbytes(nbytes) if noise else bytes(nbytes)
    files = {**FILES, name: FILES[name][:at] + hurt + FILES[name][at + nbytes :]}
    told = outcome(files, MODEL) == "told"
    damages = salvaged(files, MODEL)
    assert damages or not told, "what is told at start is found"


@pytest.mark.parametrize("name", SEGMENTS)
@pytest.mark.parametrize("how", ["missing", "short", "empty"])
def test_a_segment_that_is_not_there(name: str, how: str) -> None:
    files = {other: data for other, data in FILES.items() if other != name}
    if how != "missing":
        files[name] = FILES[name][:5000] if how == "short" else b""
    assert name in {damage.name for damage in salvaged(files, MODEL)}


def test_nobody_knows_all_that_was_at_the_end_of_the_newest() -> None:
    files, model = written(commits=10)
    (name,) = (name for name, data in files.items() if data[4000:8000].strip(b"\0"))
    (damage,) = salvaged({**files, name: files[name][:4000].ljust(SEGMENT_BYTES, b"\0")}, model)
    assert (damage.name, damage.known) == (name, False)


# --- as people do it ---


def zqueue(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["store", *args])
    return result.exit_code, result.output


@pytest.fixture
def data(tmp_path: Path) -> tuple[str, Model]:
    path = str(tmp_path / "data")
    store = SegmentStore(path, segment_bytes=SEGMENT_BYTES)
    list(store.open().found)
    traffic = Traffic(3, body_max=800)
    run(store, traffic, 40)
    store.close()
    return path, traffic.model


def test_the_verbs(data: tuple[str, Model]) -> None:
    path, model = data
    code, text = zqueue("ls", path, "--json")
    listed = json.loads(text)
    assert code == 0
    assert not listed["in_use"]
    assert sum(row["entries"] for row in listed["held"]) == len(model.entries)
    assert zqueue("ls", path)[0] == 0
    assert zqueue("check", path) == (0, zqueue("check", path)[1])
    assert "all whole" in zqueue("salvage", path)[1]
    victim = max(model.entries, key=lambda number: len(model.entries[number][4]))
    body = model.entries[victim][4]
    (name,) = [n for n in os.listdir(path) if body in Path(path, n).read_bytes()]
    Path(path, name).write_bytes(Path(path, name).read_bytes().replace(body, bytes(len(body))))
    code, text = zqueue("check", path, "--progress")
    assert code == 1
    assert f"{name} is damaged" in text
    assert str(victim) in text
    (damage,) = json.loads(zqueue("check", path, "--json")[1])["damages"]
    assert damage["lost"] == [[victim, victim]]
    code, text = zqueue("salvage", path)
    assert code == 0
    assert "what is whole is kept" in text
    assert zqueue("check", path)[0] == 0
    store = SegmentStore(path)
    assert set(found_as_model(store, store.open()).entries) == set(model.entries) - {victim}
    store.close()


def test_the_commands_of_the_document(data: tuple[str, Model]) -> None:
    lines = [command for command, _ in commands("docs/store.md")]
    assert len(lines) == 3
    for line in lines:
        words = shlex.split(line.replace("/var/lib/zqueue", data[0]), comments=True)
        assert words[:2] == ["zqueue", "store"]
        assert zqueue(*words[2:])[0] == 0, line


def test_while_a_broker_has_it(data: tuple[str, Model], tmp_path: Path) -> None:
    path, model = data
    store = SegmentStore(path)
    store.open()
    listed = json.loads(zqueue("ls", path, "--json")[1])
    assert listed["in_use"]
    assert sum(row["entries"] for row in listed["held"]) == len(model.entries)
    for verb in ("check", "salvage"):
        code, text = zqueue(verb, path)
        assert (code, "stop the broker first" in text) == (4, True)
    store.close()
    for verb in ("ls", "check", "salvage"):
        code, text = zqueue(verb, str(tmp_path / "nowhere"))
        assert (code, "there is no data dir" in text) == (2, True)
    assert not (tmp_path / "nowhere").exists()
