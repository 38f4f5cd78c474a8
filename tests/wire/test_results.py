"""Results: packed by a worker, unpacked where they are awaited."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zqueue.errors import (
    BodyError,
    ProtocolError,
    RemoteError,
    RemoteTraceback,
    TaskTimeout,
    UnknownTask,
    WorkerLost,
)
from zqueue.wire.codec import FRAME_BYTES_MAX, pack
from zqueue.wire.messages import DONE, FAILED, RESULTS
from zqueue.wire.results import (
    TRACEBACK_CHARS_MAX,
    error_frame,
    error_text,
    pack_outcomes,
    remote_error,
    unpack_outcomes,
)
from zqueue.wire.unpacking import unpack_bodies


def fate(runs: list[Any]) -> list[tuple[int, Any]]:
    """What became of each task, by position."""
    out: list[tuple[int, Any]] = []
    for first, tasks, status, frame, _ in runs:
        for i, (ok, value) in enumerate(unpack_outcomes(status, tasks, frame)):
            out.append((first + i, value if ok else type(value)))
    return out


class TestPacking:
    def test_failures_cut_runs(self) -> None:
        no = ValueError("no")
        runs = pack_outcomes(2, 5, [20, 30, None, 50, None], [(4, no), (6, no)])
        assert [run[:3] for run in runs] == [
            (2, 2, RESULTS), (4, 1, FAILED), (5, 1, RESULTS), (6, 1, FAILED),
        ]  # fmt: skip
        assert [run[3] for run in runs if run[2] == RESULTS] == [pack([20, 30]), pack([50])]

    def test_a_value_that_cannot_be_sent_fails_alone(self) -> None:
        values = [0, 1, object(), 3, 4]
        assert fate(pack_outcomes(10, 5, values, [])) == [
            (10, 0), (11, 1), (12, RemoteError), (13, 3), (14, 4),
        ]  # fmt: skip

    def test_values_too_large_for_one_frame_are_shared_out(self) -> None:
        half = b"x" * (FRAME_BYTES_MAX // 2)
        runs = pack_outcomes(0, 3, [half, half, 7], [])
        assert [run[:3] for run in runs] == [(0, 1, RESULTS), (1, 2, RESULTS)]
        assert all(len(run[3]) <= FRAME_BYTES_MAX for run in runs)

    def test_a_value_too_large_for_any_frame_fails(self) -> None:
        (run,) = pack_outcomes(0, 1, [b"x" * FRAME_BYTES_MAX], [])
        ((name, text, _),) = unpack_bodies(run[3])
        assert (name, text) == (
            "BodyError", "the result is 16,777,222 bytes packed, over 16,777,216"
        )  # fmt: skip

    @given(st.lists(st.sampled_from(["value", "bad", "raise"]), max_size=12), st.integers(0, 9))
    def test_every_task_has_one_fate(self, kinds: list[str], first: int) -> None:
        values: list[Any] = [
            {"value": i, "bad": object(), "raise": None}[kind] for i, kind in enumerate(kinds)
        ]
        failures = [
            (first + i, ValueError(str(i))) for i, kind in enumerate(kinds) if kind == "raise"
        ]
        expected = [
            (first + i, i if kind == "value" else RemoteError) for i, kind in enumerate(kinds)
        ]
        assert fate(pack_outcomes(first, len(kinds), values, failures)) == expected


class TestErrors:
    def raised(self, error: BaseException) -> BaseException:
        try:
            raise error
        except BaseException as caught:
            return caught

    def test_round_trip(self) -> None:
        frame = error_frame(self.raised(ValueError("no")))
        ((_, error),) = unpack_outcomes(FAILED, 1, frame)
        assert (type(error), error.type_name, error.text) == (RemoteError, "ValueError", "no")
        assert isinstance(error.__cause__, RemoteTraceback)
        assert "in raised" in str(error.__cause__)

    @pytest.mark.parametrize("cls", [TaskTimeout, WorkerLost, UnknownTask])
    def test_known_ones_come_back_as_what_they_were(self, cls: Any) -> None:
        ((_, error),) = unpack_outcomes(FAILED, 1, pack([[cls.__name__, "text", ""]]))
        assert type(error) is cls
        assert error.text == "text"
        assert error.__cause__ is None

    def test_what_was_raised_in_no_handler_has_all_of_its_traceback(self) -> None:
        with pytest.raises(BodyError) as caught:
            pack(1j)
        ours = caught.value.with_traceback(caught.tb.tb_next)  # Without this test's own frame.
        ((_, _, lines),) = unpack_bodies(error_frame(ours))
        assert ours.__traceback__ is None or "codec.py" in lines

    def test_long_tracebacks_are_cut_in_the_middle(self) -> None:
        ((_, text, lines),) = unpack_bodies(error_frame(ValueError("x" * 50_000)))
        assert len(text) == TRACEBACK_CHARS_MAX
        assert len(lines) < TRACEBACK_CHARS_MAX + 20
        assert "\n    …\n" in lines

    def test_text_that_is_no_text(self) -> None:
        ((_, text, _),) = unpack_bodies(error_frame(ValueError("\ud800!")))
        assert text == "?!"

    def test_an_exception_that_cannot_be_printed(self) -> None:
        """Its ``__str__`` raises; the worker must survive that, and say something."""

        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no words")

        ((name, text, _),) = unpack_bodies(error_frame(Mute()))
        assert name.endswith("Mute")
        assert text == error_text(Mute()) == "<its text cannot be had: RuntimeError>"
        assert error_text(ValueError("no")) == "no"

    @pytest.mark.parametrize("error", [None, 1, "abc", [], ["a"], ["a", "b", "c", "d"], {}])
    def test_errors_of_another_shape(self, error: Any) -> None:
        made = remote_error(error)
        assert isinstance(made, RemoteError)
        assert made.type_name == ("a" if error == "abc" else "Error")


class TestUnpacking:
    @pytest.mark.parametrize("value", [{1: {None: 2}}, {b"k": [{}]}, [1.5, "é", b"x"], 1 << 63])
    def test_whatever_a_handler_may_return(self, value: Any) -> None:
        """Keys of maps need not be text: results come from workers of one's own."""
        assert unpack_outcomes(RESULTS, 2, pack([value, 1])) == [(True, value), (True, 1)]

    @pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x80", b"\x90", b"\x92\x01"])
    @pytest.mark.parametrize("status", [RESULTS, FAILED])
    def test_nonsense_fails_all(self, status: int, frame: bytes) -> None:
        outcomes = unpack_outcomes(status, 2, frame)
        assert [(ok, type(error)) for ok, error in outcomes] == [(False, ProtocolError)] * 2

    @pytest.mark.parametrize("bad", [b"\xc1", b"\xa1", b"\x81\x90\1"])
    def test_a_result_that_cannot_be_unpacked_harms_no_other(self, bad: bytes) -> None:
        (one, (ok, error)) = unpack_outcomes(RESULTS, 2, b"\x92\x01" + bad)
        assert one == (True, 1)
        assert (ok, type(error)) == (False, ProtocolError)

    @given(st.sampled_from([DONE, RESULTS, FAILED, 9]), st.integers(0, 5), st.binary(max_size=30))
    def test_there_is_an_outcome_for_each(self, status: int, tasks: int, frame: bytes) -> None:
        outcomes = unpack_outcomes(status, tasks, frame)
        assert len(outcomes) == tasks
        assert all(ok or isinstance(value, Exception) for ok, value in outcomes)
