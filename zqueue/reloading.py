"""Reloading: an app's files are watched, and somebody is told when they change."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable
from pathlib import Path

LOOK_MS = 100
"""How soon a thread that watches sees that it is to end, milliseconds."""


def can_watch() -> bool:
    """Whether what it takes is installed."""
    return importlib.util.find_spec("watchfiles") is not None


def folder_of(app: str) -> Path:
    """Where an app's files are: beside its own, or, of a module, where we are."""
    path = Path(app.rpartition(":")[0] or app)
    return path.absolute().parent if path.suffix == ".py" else Path.cwd()


class Reloading:
    """A thread that watches Python files in a folder, and those below it.

    It needs watchfiles. ``changed`` is called there with the names of those that have changed: it
    must not wait.
    """

    def __init__(self, folder: Path, changed: Callable[[list[str]], None]) -> None:
        self._folder = folder
        self._changed = changed
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="zqueue-reload", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Reloading of {self._folder}>"

    def stop(self) -> None:
        """Watch no more."""
        self._end.set()
        self._thread.join(1.0)

    def _watch(self) -> None:
        import watchfiles

        for changes in watchfiles.watch(
            self._folder, watch_filter=watchfiles.PythonFilter(), stop_event=self._end,
            rust_timeout=LOOK_MS, raise_interrupt=False,
        ):  # fmt: skip
            self._changed(sorted({os.path.relpath(path, self._folder) for _, path in changes}))
