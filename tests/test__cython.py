"""The stand-in for Cython: a source that can be compiled runs without it, and does the same."""

from __future__ import annotations

from threading import Lock
from types import GenericAlias
from typing import Any

import pytest

from zqueue import _cython as cython

Generic: Any = cython.Generic


def function(x: int) -> int:
    return x


def test_nothing_is_compiled() -> None:
    assert cython.compiled is False


@pytest.mark.parametrize("name", ["cclass", "cfunc", "ccall", "inline", "final", "no_gc"])
def test_decorators_leave_things_as_they_are(name: str) -> None:
    assert getattr(cython, name)(function) is function


def test_a_critical_section_is_a_lock() -> None:
    lock = Lock()
    with cython.critical_section(lock):
        assert lock.locked()
    assert not lock.locked()


class TestGeneric:
    def test_as_a_base_it_forgets_its_parameter(self) -> None:
        assert Generic[int] is Generic

    def test_its_heirs_take_parameters_as_those_of_the_standard_library_do(self) -> None:
        class Heir(Generic[int]):  # type: ignore[misc]
            pass

        box: Any = Heir
        assert box[str] == GenericAlias(Heir, (str,))
        assert isinstance(box[str](), Heir)
