"""Worker programs, loaded to be called directly or started with a real broker."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.shell import ROOT, Shell

WORKERS = ROOT / "workers"


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A folder with a link to the programs; what was started in it ends with the test."""
    path = os.pathsep.join(filter(None, ["workers", os.environ.get("PYTHONPATH")]))
    # Not `tmp_path`: a socket's path may have 107 characters only.
    with tempfile.TemporaryDirectory(prefix="zqueue-") as folder:
        (Path(folder) / "workers").symlink_to(WORKERS)
        started = Shell(Path(folder), PYTHONPATH=path)
        try:
            yield started
        finally:
            codes = started.stop()
        assert not any(codes), f"exit codes {codes}\n{started.log}"


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """Loads a worker program by its name, as a module that nobody else sees."""
    loaded: dict[str, ModuleType] = {}

    def load(name: str) -> ModuleType:
        if name not in loaded:
            spec = importlib.util.spec_from_file_location(f"_{name}", WORKERS / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            loaded[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded[name])
        return loaded[name]

    return load
