"""Loading an app: by path (``workers/wordcount.py``) or dotted name (``shop.tasks``), each with
an optional ``:name`` of the app in it."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import traceback
from types import CodeType, ModuleType

from ..app import App
from ..errors import LoadError, ZQueueError

FRAMES_MAX = 10
"""Lines of an app that are shown when it cannot be imported: the last ones, nearest the fault."""

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def load_app(spec: str) -> App:
    """The app that a command line names.

    Raises `LoadError` with one sentence that says what is wrong and what to do.
    """
    where, _, name = spec.partition(":")
    if not where:
        raise LoadError(f"{spec!r} names no app: give a file (jobs.py) or a module (shop.tasks)")
    is_path = where.endswith(".py") or os.sep in where
    try:
        module = _load_file(where) if is_path else _load_module(where)
    except LoadError:
        raise
    except BaseException as error:  # KeyboardInterrupt, too: no module may end or restart a worker.
        if isinstance(error, ZQueueError):
            raise LoadError(f"{where}: {error}") from error
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        hint = _dotted_hint(where, error) if is_path else ""
        raise LoadError(f"cannot import {where}: {what}{hint}") from error
    return _find_app(module, where, name)


def frames_of(error: BaseException) -> str:
    """The lines of an app that led to its import's failure, as a traceback shows them.

    Frames of zqueue and of the import system are left out; empty if nothing is left.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_OURS, "<frozen "))
    ]
    return "".join(traceback.format_list(frames[-FRAMES_MAX:])).rstrip("\n")


def _dotted_hint(path: str, error: BaseException) -> str:
    """What to write for a file that must be imported as part of its package."""
    if not isinstance(error, ImportError) or "no known parent package" not in str(error):
        return ""
    folder, file = os.path.split(os.path.abspath(path))
    names = [os.path.splitext(file)[0]] if file != "__init__.py" else []
    is_package = True  # Its own folder is one, with an __init__.py or without.
    while is_package and folder != os.path.dirname(folder):
        folder, name = os.path.split(folder)
        names.insert(0, name)
        is_package = os.path.isfile(os.path.join(folder, "__init__.py"))
    place = "" if folder == os.getcwd() else f", with {folder} in PYTHONPATH"
    return f" (the file is part of a package: write {'.'.join(names)}{place})"


class _Script(importlib.machinery.SourceFileLoader):
    """Runs the text of a file as it is now. As with `python FILE` no bytecode is kept: it would
    hide a change made within the same second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _load_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise LoadError(f"there is no file {path}")
    path = os.path.abspath(path)
    # As `python FILE` does: modules beside the file can be imported.
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.modules:  # Never take the place of a module that is there.
        name = f"_zqueue_app_{name}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Script(name, path))
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _load_module(dotted: str) -> ModuleType:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if dotted != missing and not dotted.startswith(f"{missing}."):
            raise
        path = dotted.replace(".", os.sep) + ".py"
        hint = f" (for the file, write {path})" if os.path.isfile(path) else ""
        raise LoadError(f"there is no module {dotted!r}{hint}") from error


def _find_app(module: ModuleType, where: str, name: str) -> App:
    if name:
        app = getattr(module, name, None)
        if not isinstance(app, App):
            raise LoadError(f"{where} has no zqueue.App named {name!r}")
        return app
    apps = {id(value): key for key, value in vars(module).items() if isinstance(value, App)}
    if not apps:
        raise LoadError(f"{where} has no zqueue.App: add 'app = zqueue.App()' and tasks")
    if len(apps) > 1:
        names = ", ".join(sorted(apps.values()))
        raise LoadError(f"{where} has several apps ({names}): choose with {where}:NAME")
    (key,) = apps.values()
    found: App = getattr(module, key)
    return found
