"""What the extra ``bench`` brings, and how to get it."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

from ..errors import ConfigError

HOW = (
    "it comes with the extra 'bench' of zqueue-pool (in a checkout: pip install '.[bench]'), "
    "or by itself (pip install {package})"
)


def find(module: str) -> Any:
    """A module of the extra, or None if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def need(module: str, what_for: str) -> Any:
    """The same. Raises `ConfigError` that says how to get it."""
    found = find(module)
    if found is None:
        raise ConfigError(f"{what_for} needs {module}: {HOW.format(package=module)}")
    return found


def need_program(name: str, what_for: str) -> str:
    """A program of the extra: its path. Raises `ConfigError` that says how to get it."""
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        raise ConfigError(f"{what_for} needs {name}: {HOW.format(package=name)}")
    return path
