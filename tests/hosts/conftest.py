"""The laboratory, for those who can have one."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .lab import ROOT, Lab, Load, missing, refusal


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What hosts install, gathered once: they and the controller have no internet."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = folder / "sources"
    skip = shutil.ignore_patterns("build", "*.so", "*.egg-info", "__pycache__", "*.c")
    shutil.copytree(ROOT / "zqueue", sources / "zqueue", ignore=skip)
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    command = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-build-isolation",
               "--wheel-dir", str(folder / "wheels"), str(sources), "pip"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600,
                          env=os.environ | {"ZQUEUE_INTERPRETED": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "wheels"


@pytest.fixture(scope="module")
def boot(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Lab]]:
    """Boots so many hosts."""
    if "ZQUEUE_TEST_HOSTS" not in os.environ:
        pytest.skip("tox -e hosts boots hosts")
    if lacks := missing():
        assert "CI" not in os.environ, f"CI installs {lacks} for this"
        pytest.skip(f"not installed: {', '.join(lacks)}")
    if reason := refusal():
        pytest.skip(reason)
    lab = Lab(tmp_path_factory.mktemp("site"), request.getfixturevalue("wheels"))
    with open("/run/zqueue-lab.lock", "w") as lock:  # Names and addresses are always the same.
        fcntl.flock(lock, fcntl.LOCK_EX)

        def up(count: int, **options: int) -> Lab:
            lab.up(count, **options)
            return lab

        lab.down()  # What a run that was killed has left.
        try:
            yield up
        finally:
            lab.down()


@pytest.fixture(scope="module")
def cluster(boot: Callable[..., Lab]) -> Lab:
    """Three hosts with all that the inventory says."""
    lab = boot(3)
    assert lab.last("up") == "3 of 3 ready"
    return lab


@pytest.fixture
def load(cluster: Lab) -> Iterator[Callable[..., Load]]:
    """Starts producers. Each has numbers of its own."""
    started: list[Load] = []

    def start(**options: float) -> Load:
        first = 1_000_000 * (1 + sum(1 for _ in cluster.folder.glob("stop-*")))
        started.append(Load(cluster, first=first, **options))
        return started[-1]

    yield start
    for each in started:
        each.end()
