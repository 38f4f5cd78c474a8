"""What was measured, and on what."""

from __future__ import annotations

import importlib.machinery
import json
import os
import platform
from pathlib import Path

import zqueue
from zqueue.bench.environment import compiled_modules, look

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]


def make(path: Path, when: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (when, when))


def test_which_modules_are_compiled_and_which_are_outdated(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    for name in ("__init__", "plain", "fresh", "stale", "core/__init__", "core/deep"):
        make(package / f"{name}.py", 1_000)
    make(package / f"fresh{SUFFIX}", 1_001)
    make(package / f"stale{SUFFIX}", 999)
    make(package / f"core/deep{SUFFIX}", 1_001)
    compiled, outdated = compiled_modules(package)
    assert compiled == {
        "pack.plain": False,
        "pack.fresh": True,
        "pack.stale": True,
        "pack.core.deep": True,
    }
    assert outdated == ["pack.stale"]


def test_of_this_installation() -> None:
    found = look()
    assert json.loads(json.dumps(found)) == found
    assert found["zqueue"] == zqueue.__version__
    assert found["python"] == platform.python_version()
    assert 1 <= found["cores_usable"] <= found["cores"]
    assert found["libraries"]["pyzmq"]
    assert "zqueue.core.memory_queue" in found["compiled"]
