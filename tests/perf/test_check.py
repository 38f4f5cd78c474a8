"""The performance check: what it calls slower, what it measures again, what it refuses to judge.

How fast anything is, no test says. Where the real check runs, it is held against a baseline that
was recorded a moment before on the same machine.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import check
import pytest
from check import BY_NAME, CHECKS
from lab import judging, usage
from lab.judging import AGAIN, Finding, Found, NothingToSay
from lab.queues import BLOCK_NS, timed

SCRIPT = Path(check.__file__)
HERE = "compiled, CPython 3.11, x86_64"


def finding(
    ratios: Sequence[float], baseline: float = 0.44, calls: float = 0.0, calls_before: float = 0.0
) -> Finding:
    runs = [{"ratio": ratio, "calls": calls} for ratio in ratios]
    before = {"ratio": baseline, "calls": calls_before}
    return Finding(BY_NAME["codec.unpack"], runs, before)


class TestFinding:
    @pytest.mark.parametrize(
        ("ratio", "slower", "faster"),
        [(0.44, False, False), (0.549, False, False), (0.551, True, False), (9.0, True, False),
         (0.353, False, False), (0.351, False, True)],
    )  # fmt: skip
    def test_tolerance(self, ratio: float, slower: bool, faster: bool) -> None:
        found = finding([ratio])
        assert (found.is_slower, found.is_faster) == (slower, faster)

    def test_the_line_of_a_slower_one(self) -> None:
        (line,) = finding([0.6204]).complaints()
        assert line == (
            "SLOWER: codec.unpack takes 1.41 x the baseline "
            "(0.62 of msgpack's time, baseline 0.44, allowed 0.55)"
        )

    def test_the_line_of_a_faster_one(self) -> None:
        assert finding([0.22]).complaints() == []
        (line,) = finding([0.22]).good_news()
        assert line == (
            "FASTER: codec.unpack takes 0.50 x the baseline "
            "(0.22 of msgpack's time, baseline 0.44): update the baseline "
            "(--record --only codec.unpack)"
        )

    @pytest.mark.parametrize("wild", [0.01, 100.0])
    def test_two_wild_runs_of_five_do_not_count(self, wild: float) -> None:
        assert finding([0.45, wild, 0.43, wild, 0.44]).change == pytest.approx(1.0, abs=0.03)

    @pytest.mark.parametrize(
        ("calls", "before", "more"),
        [(2.9, 2.9, False), (3.7, 2.9, False), (3.9, 2.9, True), (0.09, 0.0, False),
         (1.0, 0.0, True)],
    )  # fmt: skip
    def test_calls(self, calls: float, before: float, more: bool) -> None:
        found = finding([0.44], calls=calls, calls_before=before)
        assert found.calls_more == more
        assert bool(found.complaints()) == more

    def test_the_line_of_more_calls(self) -> None:
        (line,) = finding([0.44], calls=1.0078, calls_before=0.0078).complaints()
        assert line == (
            "MORE CALLS: codec.unpack enters 1.01 Python functions a body "
            "(baseline 0.01, allowed 0.11)"
        )


class Recorded:
    """Stands for measuring: gives what was written down, sitting by sitting."""

    def __init__(self, **sittings: list[float]) -> None:
        self._left = {name.replace("_", "."): list(rest) for name, rest in sittings.items()}
        self.taken: list[tuple[list[str], int]] = []

    def __call__(self, names: Sequence[str], runs: int) -> Mapping[str, list[Found]]:
        self.taken.append((list(names), runs))
        return {name: [{"ratio": self._left[name].pop(0)}] * runs for name in names}


BEFORE: dict[str, Found] = {"codec.add": {"ratio": 0.5}, "queue.pair": {"ratio": 2.0}}


def compared(take: Recorded) -> dict[str, Finding]:
    return judging.compare({name: BY_NAME[name] for name in BEFORE}, BEFORE, take)


class TestMeasuringAgain:
    def test_only_what_seems_slower_and_in_more_runs(self) -> None:
        take = Recorded(codec_add=[0.5], queue_pair=[3.0, 2.9, 2.0])
        assert not any(f.complaints() for f in compared(take).values())
        assert take.taken == [
            (["codec.add", "queue.pair"], 5), (["queue.pair"], 7), (["queue.pair"], 9)
        ]  # fmt: skip

    def test_slower_is_what_was_slower_every_time(self) -> None:
        take = Recorded(codec_add=[0.5], queue_pair=[3.0, 2.9, 3.1, 3.2])
        found = compared(take)
        assert not found["codec.add"].complaints()
        (line,) = found["queue.pair"].complaints()
        assert line.startswith("SLOWER: queue.pair takes 1.60 x the baseline")
        assert len(take.taken) == 1 + AGAIN

    def test_faster_is_not_believed_at_once_either(self) -> None:
        take = Recorded(codec_add=[0.1, 0.5], queue_pair=[1.0, 1.0, 1.0, 1.0])
        found = compared(take)
        assert not found["codec.add"].good_news()
        assert len(found["queue.pair"].good_news()) == 1


class TestBaseline:
    RUNS: Mapping[str, Sequence[Found]] = {
        "codec.add": [{"ratio": r, "calls": 0.0078} for r in (0.5, 0.48, 0.7)]
    }

    def test_is_read_as_it_was_recorded(self, tmp_path: Path) -> None:
        path = tmp_path / "baseline.json"
        judging.record(path, HERE, self.RUNS)
        section = judging.read(path, HERE, ["codec.add"])
        assert section["checks"] == {
            "codec.add": {
                "ratio": 0.5, "range": [0.48, 0.7], "middle half": [0.49, 0.6], "runs": 3,
                "calls": 0.0078,
            }
        }  # fmt: skip
        assert section["recorded on"] == judging.surroundings()

    def test_the_rest_is_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "baseline.json"
        judging.record(path, "another", self.RUNS)
        judging.record(path, HERE, {"pool.send_many": [{"ratio": 1.1}]})
        judging.record(path, HERE, self.RUNS)
        assert set(json.loads(path.read_text())) == {"another", HERE}
        assert set(judging.read(path, HERE, [])["checks"]) == {"codec.add", "pool.send_many"}

    def test_a_missing_section(self, tmp_path: Path) -> None:
        path = tmp_path / "baseline.json"
        with pytest.raises(NothingToSay, match=r"There is: none\n(.*\n)*.*--record"):
            judging.read(path, HERE, [])
        judging.record(path, HERE, self.RUNS)
        with pytest.raises(NothingToSay, match=f"There is: {HERE}\nTake one of these"):
            judging.read(path, "compiled, CPython 3.99, x86_64", [])

    def test_the_one_in_the_repository_is_whole(self) -> None:
        sections = json.loads(check.BASELINE.read_text())
        assert HERE in sections
        for section in sections.values():
            wanted = {c.name for c in CHECKS if not c.end_to_end}
            assert wanted <= set(section["checks"]) <= set(BY_NAME)


class TestSection:
    @pytest.mark.parametrize(
        ("modules", "how"),
        [(["a"], "compiled"), ([], "interpreted")],
    )
    def test_by_what_is_compiled(
        self, modules: list[str], how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(usage, "compiled_modules", lambda: (modules, []))
        assert re.fullmatch(rf"{how}, \w+ 3\.\d+, \w+", judging.section())

    def test_interpreted_modules_are_not_judged_if_only_compiled_ones_are_to_be(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(check, "section", lambda: HERE.replace("compiled", "interpreted"))
        monkeypatch.setattr(check, "read", lambda *_: pytest.fail("it was compared"))
        monkeypatch.delenv("CI", raising=False)
        monkeypatch.setattr("sys.argv", ["check.py", "--if-compiled"])
        assert check.main() == 0
        said = capsys.readouterr().out
        assert said.startswith("skipped: ")
        assert "interpreted" in said
        monkeypatch.setenv("CI", "true")
        with pytest.raises(pytest.fail.Exception):
            check.main()


class TestMeasuring:
    def test_calls_are_counted(self) -> None:
        def inner() -> None:
            pass

        def operation() -> None:
            inner()
            inner()
            len("what is written in C does not count")

        assert check.count_calls(timed(operation)) == 3

    def test_a_block_has_the_usual_length_and_does_what_it_says(self) -> None:
        made: list[int] = []

        def block(calls: int) -> float:
            made.append(calls)
            return calls * 1000.0

        assert check._turn(block)() == 1000.0
        assert made[-1] == BLOCK_NS / 1000

    @pytest.mark.parametrize(("once_ns", "calls"), [(1000.0, 750), (1e6, 2)])
    def test_a_planted_slowdown_is_real_work(self, once_ns: float, calls: int) -> None:
        made: list[int] = []

        def block(calls: int) -> float:
            made.append(calls)
            return calls * once_ns

        assert check._turn(block, 1.5)() == once_ns * (1.5 if calls > 2 else 2)
        assert made[-1] == calls


def run(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, options)], capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded here and now."""
    path = tmp_path_factory.mktemp("check") / "baseline.json"
    done = run("--record", "--baseline", path, "--runs", 1, "--only", "broker.single")
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.system
class TestCommand:
    def test_calls_that_were_not_made_before_are_caught(
        self, baseline: Path, tmp_path: Path
    ) -> None:
        sections = json.loads(baseline.read_text())
        for section in sections.values():
            assert section["checks"]["broker.single"]["calls"] > 1
            section["checks"]["broker.single"]["calls"] /= 2
        path = tmp_path / "baseline.json"
        path.write_text(json.dumps(sections))
        done = run("--baseline", path, "--only", "broker.single", "--runs", 1)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "MORE CALLS: broker.single enters" in done.stdout

    def test_end_to_end_is_measured_where_it_is_asked_for(self, tmp_path: Path) -> None:
        path = tmp_path / "baseline.json"
        only = ("--only", "pool.send_many", "--runs", 1, "--baseline", path)
        done = run("--record", *only)
        assert done.returncode == 0, done.stderr
        (section,) = json.loads(path.read_text()).values()
        assert 0.01 < section["checks"]["pool.send_many"]["ratio"] < 100

    def test_without_a_baseline_nothing_is_said(self, tmp_path: Path) -> None:
        done = run("--baseline", tmp_path / "none.json")
        assert done.returncode == 2
        assert done.stdout == ""
        assert "python perf/check.py --record" in done.stderr

    @pytest.mark.parametrize(
        "options",
        [("--only", "codec.pick"), ("--plant", "codec.add"), ("--plant", "codec.add=0.5"),
         ("--plant", "codec.pick=2"), ("--record", "--plant", "codec.add=2")],
        ids=" ".join,
    )  # fmt: skip
    def test_what_makes_no_sense_is_refused(self, options: tuple[str, ...]) -> None:
        done = run(*options)
        assert done.returncode == 2
        assert done.stdout == ""
