"""The benchmarks run, small, and report what they measured. (How fast it is, no test says.)"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PERF = Path(__file__).parents[2] / "perf"

pytestmark = pytest.mark.system


def run(script: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(PERF / script), *options], capture_output=True, text=True, timeout=110,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_compare(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    out = run(
        "compare.py", "--runs", "1", "--tasks", "20000", "--paced", "20", "--json", str(results)
    )
    assert "| send_many / raw 512 |" in out
    figures = json.loads(results.read_text())["figures"]
    assert all(len(values) == 1 and values[0] > 0 for values in figures.values())
    assert {"raw one a frame, tasks/s", "send_many, 2 workers, tasks/s"} <= set(figures)


def test_memory() -> None:
    out = run("memory.py", "--tasks", "50000", "--queue-mib", "2")
    assert out.count("full queue") == 2
    assert "50,000 tasks through" in out
