"""Who may import whom. A table, and every file of the package is held against it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "zqueue"

IMPURE = frozenset({"zmq", "socket", "threading", "asyncio", "time", "os", "random", "logging"})
"""What `core` and `protocol` do without: sockets, clocks, chance and threads are arguments."""

HELPERS = {"handlers", "lane", "results", "replies", "running", "tracing"}
ASSEMBLIES = {"broker", "producer", "worker", "worker_process", "supervisor", "app"}
SHELL = {"bench", "demo", "metrics", "pipe", "report", "top"}

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "logs": {"current"},
    "otel": {"app", "current", "errors", "version"},
    "version": set(),
    "_cython": set(),
    "config": {"errors"},
    "core": {"core", "errors"},
    "protocol": {"protocol", "core", "errors"},
    "net": {"net", "config", "errors"},
    "handlers": {"errors", "protocol"},
    "results": {"errors", "protocol"},
    "replies": {"errors", "protocol", "results"},
    "lane": {"handlers", "protocol", "replies"},
    "loops": set(),
    "calls": {"core", "errors", "handlers", "loops", "protocol", "results"},
    "current": set(),
    "tracing": {"current", "lane", "protocol"},
    "running": {"current", "errors", "protocol", "handlers", "results", "tracing"},
    "failures": {"current", "errors", "protocol", "results"},
    "ask": {"config", "errors", "net", "protocol"},
    "broker": {"config", "core", "errors", "net", "protocol", "version"},
    "producer": {"config", "core", "errors", "net", "protocol", "version", *HELPERS},
    "app": {"config", "core", "errors", "protocol", "producer", "version", *HELPERS},
    "loading": {"app", "errors"},
    "worker": {
        "app",
        "calls",
        "config",
        "core",
        "current",
        "errors",
        "failures",
        "net",
        "protocol",
        "version",
        *HELPERS,
    },
    "worker_process": {"errors", "loading", "logs", "net", "worker"},
    "supervisor": {
        "config",
        "core",
        "errors",
        "net",
        "protocol",
        "version",
        "worker_process",
        *HELPERS,
    },
    "report": {"errors", "protocol"},
    "pipe": {"ask", "core", "errors", "producer"},
    "demo": {"app", "ask", "core", "errors", "net", "producer"},
    "bench": {"app", "ask", "bench", "core", "errors", "net", "producer", "protocol", "version"},
    "metrics": {"ask", "config", "core", "errors", "metrics", "net", "version"},
    "top": {"ask", "errors", "metrics", "top"},
    "cli": {
        "ask",
        "broker",
        "config",
        "errors",
        "logs",
        "net",
        "protocol",
        "supervisor",
        "version",
        *SHELL,
    },
    "__main__": {"cli"},
    "__init__": {"app", "core", "current", "errors", "producer", "replies", "version"},
}
"""Each part of the package, and the parts that it may import."""

THIRD_PARTY: dict[str, set[str]] = {
    "otel": {"opentelemetry"},
    "calls": {"msgpack"},
    "net": {"zmq"},
    "broker": {"zmq"},
    "worker": {"zmq"},
    "supervisor": {"zmq"},
    "cli": {"click"},
    "pipe": {"click"},
    "bench": {"click", "msgpack", "zmq"},
    "demo": {"click"},
    "metrics": {"prometheus_client"},
    "top": {"rich", "textual"},
}
"""Beside the standard library. In `protocol`, codec, traced and unpacking know msgpack; Cython is
known to what it compiles."""

FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}

NO_MIRROR = {
    "__init__": "names only",
    "__main__": "one line",
    "version": "one number",
    "core/__init__": "a docstring",
    "protocol/__init__": "a docstring",
    "metrics/__init__": "a docstring",
    "net/__init__": "a docstring",
    "net/collector": "needs a real process: tests/system",
    "net/dealer": "needs sockets: tests/system",
    "net/device": "needs sockets: tests/system",
    "net/processes": "needs real processes: tests/system",
    "net/signals": "needs real signals: tests/system",
    "net/slot": "needs real processes: tests/system",
    "net/sockets": "needs sockets: tests/system",
    "app": "needs a broker: tests/system",
    "bench/__init__": "a docstring",
    "bench/bare": "needs a broker: tests/bench/test_components",
    "bench/floor": "needs real processes: tests/bench/test_components",
    "bench/handlers": "runs in a worker: tests/bench/test_components",
    "bench/ours": "needs real processes: tests/bench/test_components",
    "bench/scale": "numbers only",
    "bench/watch": "needs real processes: tests/bench/test_command",
    "bench/watched": "runs in a worker: tests/bench/test_command",
    "bench/components/__init__": "names only: tests/bench/test_components",
    "bench/components/broker": "run by tests/bench/test_components",
    "bench/components/codec": "run by tests/bench/test_components",
    "bench/components/gc": "run by tests/bench/test_components",
    "bench/components/machine": "run by tests/bench/test_components",
    "bench/components/memory": "run by tests/bench/test_components",
    "bench/components/pool": "run by tests/bench/test_components",
    "bench/components/queue": "run by tests/bench/test_components",
    "broker": "needs sockets: tests/system",
    "cli": "needs real processes: tests/system",
    "demo": "needs real processes: tests/system",
    "otel": "needs real processes: tests/system",
    "pipe": "needs a broker: tests/system",
    "producer": "needs a broker: tests/system",
    "supervisor": "needs real processes: tests/system",
    "top/__init__": "a docstring",
    "top/detail": "needs a broker: tests/top/test_app",
    "top/dialogs": "needs an app: tests/top/test_app",
    "top/overview": "needs a broker: tests/top/test_app",
    "top/screen": "needs an app: tests/top/test_app",
    "top/table": "needs an app: tests/top/test_app",
    "worker": "needs real processes: tests/system",
    "worker_process": "needs real processes: tests/system",
}
"""Files without a test file of their own name, and why."""

FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def part_of(name: str) -> str:
    return name.split("/")[0]


def compiled() -> set[str]:
    """The files that ``setup.py`` has compiled."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED":
            return {name_of(ROOT / path) for path in ast.literal_eval(node.value)}
    raise AssertionError("setup.py does not say what it compiles")


COMPILED = compiled()


def imports_of(path: Path) -> tuple[set[str], set[str]]:
    """The parts of the package that a file imports, and the other top-level modules."""
    ours: set[str] = set()
    others: set[str] = set()
    folder = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = folder[: len(folder) - node.level + 1]
            inside = [*base, *(node.module.split(".") if node.module else [])]
            names = [["zqueue", *inside, alias.name] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [[*(node.module or "").split("."), alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "zqueue":
                ours.add(name[1] if len(name) > 1 else "__init__")
            else:
                others.add(name[0])
    return ours, others


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_only_what_lies_below(path: Path) -> None:
    name = name_of(path)
    assert part_of(name) in MAY_IMPORT, "a new part of the package: say what it may import"
    ours, others = imports_of(path)
    if name in COMPILED:
        ours.discard("_cython")  # What stands in for Cython where they are not compiled.
    assert ours <= MAY_IMPORT[part_of(name)] | ({"core"} if name == "core/__init__" else set())
    third_party = THIRD_PARTY.get(part_of(name), set())
    if name in ("protocol/codec", "protocol/traced", "protocol/unpacking"):
        third_party = {"msgpack"}
    if name in COMPILED:
        third_party = third_party | {"cython"}
    assert others - sys.stdlib_module_names <= third_party


@pytest.mark.parametrize(
    "path", [path for path in FILES if part_of(name_of(path)) in ("core", "protocol")], ids=name_of
)
def test_core_and_protocol_are_pure(path: Path) -> None:
    allowed = {"threading", "time"} if name_of(path) == "core/memory_queue" else set()
    assert not imports_of(path)[1] & IMPURE - allowed


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_that_comes_in_is_ever_run(path: Path) -> None:
    """No pickle, no eval: what a stranger sends is data."""
    assert not imports_of(path)[1] & FORBIDDEN_MODULES
    called = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & FORBIDDEN_CALLS


def test_the_table_has_no_cycle() -> None:
    order: list[str] = []
    left = {part: below - {part} for part, below in MAY_IMPORT.items()}
    while left:
        free = [part for part, below in left.items() if below <= set(order)]
        assert free, f"these import one another: {sorted(left)}"
        order += free
        for part in free:
            del left[part]


def test_assemblies_do_not_know_one_another() -> None:
    known = {
        (part, other)
        for part in ASSEMBLIES
        for other in MAY_IMPORT[part] & ASSEMBLIES
    }  # fmt: skip
    assert known == {
        ("app", "producer"), ("supervisor", "worker_process"),
        ("worker_process", "worker"), ("worker", "app"),
    }  # fmt: skip


def test_the_shell_is_on_top() -> None:
    """Nobody but `__main__` imports the command line, and only that imports its parts. What the
    sidecar knows is shown in the terminal, too."""
    importers = {part for part, below in MAY_IMPORT.items() if "cli" in below}
    assert importers == {"__main__"}
    for piece in SHELL:
        importers = {part for part, below in MAY_IMPORT.items() if piece in below} - {piece}
        assert importers == ({"cli", "top"} if piece == "metrics" else {"cli"})


def test_the_table_is_about_what_is_there() -> None:
    parts = {part_of(name_of(path)) for path in FILES}
    assert parts == set(MAY_IMPORT)
    assert set(THIRD_PARTY) <= parts


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_has_a_mirror(path: Path) -> None:
    name = name_of(path)
    mirror = ROOT / "tests" / Path(name).parent / f"test_{Path(name).name}.py"
    assert mirror.exists() or name in NO_MIRROR, f"no {mirror.relative_to(ROOT)}"


def test_what_is_compiled_is_there() -> None:
    """And C types are only given to what is compiled."""
    assert set(map(name_of, FILES)) >= COMPILED
    assert set(map(name_of, PACKAGE.rglob("*.pxd"))) <= COMPILED


def test_exemptions_are_still_needed() -> None:
    names = {name_of(path) for path in FILES}
    assert set(NO_MIRROR) <= names
