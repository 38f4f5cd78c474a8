"""What an operation allocates, holds and keeps."""

from __future__ import annotations

import ctypes
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from zqueue.bench.allocations import count, held, measure, parse_trace


def has_tracer() -> bool:
    try:
        ctypes.CDLL("libc_malloc_debug.so.0")
    except OSError:
        return False
    return True


@pytest.fixture
def makers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that another process can import, too."""
    (tmp_path / "made_for_a_test.py").write_text(
        "def make_bytes(size):\n"
        "    return lambda: bytes(size)\n"
        "def fail():\n"
        "    raise RuntimeError\n"
    )  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("made_for_a_test")


def test_what_is_kept() -> None:
    kept: list[object] = []
    figures = measure(lambda: kept.append([]), calls=1_000)
    # A list, and seldom more room for the one that keeps it.
    assert 1.0 <= figures["blocks_kept"] < 1.2
    assert measure(list, calls=1_000)["blocks_kept"] < 0.1


def test_what_is_held_at_a_time() -> None:
    figures = measure(lambda: bytes(100_000), calls=10)
    assert 100_000 <= figures["bytes_peak"] < 110_000
    halves = measure(lambda: bytes(100_000), calls=10, by=2)
    assert 50_000 <= halves["bytes_peak"] < 55_000


def test_what_items_take() -> None:
    kept: list[bytes] = []
    figures = held(lambda: kept.extend(bytes(1_000) for _ in range(100)), 100)
    assert 1.0 <= figures["blocks_held"] < 1.2
    assert 1_000 < figures["bytes_held"] < 1_100


def test_a_trace_is_read() -> None:
    lines = [
        "= Start",
        "@ /lib/libpython3.11.so:(PyList_Append+aa)[0x18510a] + 0x55ce79526360 0x20",
        "@ /lib/libpython3.11.so:[0x183a38] - 0x55ce79526360",
        "@ /lib/x.so:[0x1] < 0x55ce79526360",
        "@ /lib/x.so:[0x1] > 0x55ce79526380 0x40",
        "= End",
    ]
    assert parse_trace(lines) == (2, 0x60)


@pytest.mark.skipif(not has_tracer(), reason="this C library does not trace malloc")
def test_every_allocation_is_counted_though_it_is_freed_at_once(makers: ModuleType) -> None:
    figures = count(makers.make_bytes, 1_000)
    assert figures["allocations"] == pytest.approx(1.0, abs=0.05)
    assert figures["bytes_allocated"] == pytest.approx(1_033, rel=0.05)  # With the object's head.
    assert count(makers.make_bytes, 1_000, by=2)["allocations"] == pytest.approx(0.5, abs=0.05)


def test_nothing_is_told_where_it_could_not_be_counted(makers: ModuleType) -> None:
    assert count(makers.fail) == {}
