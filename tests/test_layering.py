"""Who may import whom. A table, and every file of the package is held against it."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "zqueue"

IMPURE = frozenset({"zmq", "socket", "threading", "asyncio", "time", "os", "random", "logging"})
"""What pure parts do without: sockets, clocks, chance and threads are arguments."""

PURE = {
    "client/choice", "client/fleet", "client/gone", "client/members", "client/moves",
    "client/named", "client/names", "worker/links",
    "auth/tokens", "gateway/cloud_events", "gateway/decoding", "gateway/kept", "gateway/lines",
    "gateway/problems", "gateway/repeats", "gateway/room", "gateway/routes", "gateway/wants",
    "http/patience",
    "auth/users", "auth/listing", "core", "stats", "wire", "broker/access", "broker/aside",
    "broker/book", "broker/cancelling", "broker/commands",
    "broker/dispatch", "broker/figures", "broker/held", "broker/intake", "broker/journal",
    "broker/keys", "broker/machine", "broker/outbox", "broker/outcomes", "broker/overflow",
    "broker/peeking", "broker/peers", "broker/permissions", "broker/presence", "broker/recovery",
    "broker/roster",
    "broker/settling", "broker/skills", "broker/stopping", "broker/telling", "client/connection",
    "client/flow", "client/promises", "client/publisher", "client/questions", "deploy/facts",
    "deploy/inventory", "deploy/plan", "deploy/readiness", "deploy/release", "store/format",
    "store/segments",
    "worker/desk", "worker/leases", "worker/liaison", "worker/lookup", "worker/pool",
    "worker/side", "worker/tally", "worker/work",
}  # fmt: skip
"""Rooms and files without a driver in them."""

MAY_IMPORT: dict[str, set[str]] = {
    # The ground: what every process needs.
    "errors": set(),
    "version": set(),
    "_cython": set(),
    "current": set(),
    "memory_queue": {"memory_ring"},
    "memory_ring": set(),
    "auth": {"errors"},
    "config": {"auth", "errors"},
    "seconds": {"errors"},
    "logs": {"current"},
    "core": {"errors"},
    "stats": set(),
    "wire": {"core", "errors"},
    "net": {"auth", "config", "errors"},
    "store": {"core", "errors"},
    "arguments": {"errors", "wire"},
    "handlers": {"errors", "seconds", "wire"},
    "interpreted": {"wire"},
    # A room for each process.
    "broker": {
        "auth", "config", "core", "errors", "interpreted", "net", "stats", "store", "version",
        "wire",
    },
    "client": {
        "arguments", "config", "core", "current", "errors", "handlers", "net", "seconds", "stats",
        "wire",
    },
    "producer": {"client", "config", "errors", "seconds", "wire"},
    "sending": {
        "arguments", "client", "config", "errors", "handlers", "producer", "seconds", "wire",
    },
    "loop_sender": {"client", "errors", "handlers", "sending", "takes", "wire"},
    "senders": {
        "arguments", "client", "errors", "handlers", "loop_sender", "sending", "takes",
    },
    "takes": {"client"},
    "app": {"client", "errors", "handlers", "producer", "seconds", "senders", "sending"},
    "worker": {
        "app", "client", "config", "core", "current", "errors", "handlers", "interpreted", "logs",
        "memory_queue", "net", "stats", "version", "wire",
    },
    "http": {"errors", "net"},
    "metrics": {"auth", "client", "config", "errors", "http", "net", "stats", "version"},
    "sizes": set(),
    "top": {"client", "errors", "metrics", "net", "sizes"},
    # For the tests of users, and our own: all of the way of a task.
    "testing": {"app", "broker", "client", "config", "core", "errors", "net", "wire", "worker"},
    # The command line, and what only it needs.
    "otel": {"app", "current", "errors", "version"},
    "letter": {"errors", "wire"},
    "dead_letters": {"client", "config", "core", "errors", "letter", "net", "seconds", "wire"},
    "report": {"errors", "interpreted", "sizes", "wire"},
    "pipe": {"client", "errors", "handlers", "memory_queue", "producer", "wire"},
    "demo": {"app", "client", "current", "errors", "interpreted", "producer", "stats", "testing"},
    "bench": {"app", "client", "errors", "stats", "testing", "version"},
    "streams": {"errors"},
    "gateway": {
        "app", "auth", "client", "config", "dead_letters", "errors", "http", "letter", "net",
        "producer", "report", "version", "wire",
    },
    "shards": {"config", "core", "errors", "net"},
    "reloading": set(),
    "up": {"client", "config", "errors", "net", "reloading", "streams"},
    "options": {"config", "errors", "net", "wire"},
    "completing": {"client", "config", "errors"},
    "cli_cancel": {"client", "completing", "options", "report", "wire"},
    "cli_dead": {
        "completing", "dead_letters", "errors", "letter", "options", "pipe", "report",
        "streams", "wire",
    },
    "cli_client": {
        "cli_cancel", "client", "completing", "errors", "net", "options", "pipe", "report",
        "streams", "wire",
    },
    "cli_keys": {"auth", "config", "errors", "options"},
    "cli_gateway": {"auth", "config", "errors", "gateway", "options"},
    "cli_store": {"errors", "options", "store"},
    "deploy": {"auth", "config", "errors", "version"},
    "cli_deploy": {"config", "deploy", "errors", "options"},
    "cli_trying": {"bench", "demo", "options", "up"},
    "cli": {
        "broker", "cli_client", "cli_dead", "cli_deploy", "cli_gateway", "cli_keys", "cli_store",
        "cli_trying", "config", "errors", "logs", "metrics", "net", "options", "shards", "store",
        "streams", "top", "version", "wire", "worker",
    },
    "__main__": {"cli"},
    "__init__": {
        "app", "client", "current", "dead_letters", "errors", "letter", "memory_queue",
        "producer", "senders", "version",
    },
}  # fmt: skip
"""Each room or file of the package, and the others that it may import."""

THIRD_PARTY: dict[str, set[str]] = {
    "otel": {"opentelemetry"},
    "worker/calls": {"msgpack"},
    "worker/process": {"zmq"},
    "worker/supervisor": {"zmq"},
    "broker/plain_lane": {"zmq"},
    "broker/process": {"zmq"},
    "auth": {"zmq"},
    "net": {"zmq"},
    "wire": {"msgpack"},
    "cli": {"click"},
    "completing": {"click"},
    "reloading": {"watchfiles"},
    "cli_client": {"click"},
    "cli_cancel": {"click"},
    "cli_dead": {"click"},
    "cli_deploy": {"click"},
    "cli_keys": {"click"},
    "cli_gateway": {"click"},
    "cli_store": {"click"},
    "cli_trying": {"click"},
    "options": {"click"},
    "pipe": {"click"},
    "bench": {"click"},
    "demo": {"click"},
    "gateway/counts": {"prometheus_client"},
    "gateway/decoding": {"msgspec"},
    "http/connections": {"h11", "uvicorn"},
    "http/serving": {"uvicorn", "uvloop"},
    "metrics": {"prometheus_client"},
    "top": {"rich", "textual"},
}
"""Beside the standard library, and Cython where a file is compiled."""

FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def room_of(name: str) -> str:
    return name.split("/")[0]


def compiled() -> set[str]:
    """The files that ``setup.py`` has compiled."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED":
            return {name_of(ROOT / path) for path in ast.literal_eval(node.value)}
    raise AssertionError("setup.py does not say what it compiles")


FILES = {name_of(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
COMPILED = compiled()


def imports_of(name: str) -> tuple[set[str], set[str]]:
    """The rooms of the package that a file imports, and the other top-level modules."""
    ours: set[str] = set()
    others: set[str] = set()
    folder = Path(name).parent.parts
    for node in ast.walk(FILES[name]):
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
        for parts in names:
            if parts[0] == "zqueue":
                ours.add(parts[1] if len(parts) > 1 else "__init__")
            else:
                others.add(parts[0])
    if name in COMPILED:
        ours.discard("_cython")  # What stands in for Cython where they are not compiled.
        others.discard("cython")
    return ours - {room_of(name)}, others


def allowed(table: dict[str, set[str]], name: str) -> set[str]:
    return table.get(name, set()) | table.get(room_of(name), set())


def test_imports_only_what_lies_below() -> None:
    wrong = {name: imports_of(name)[0] - allowed(MAY_IMPORT, name) for name in FILES}
    assert not {name: what for name, what in wrong.items() if what}


def test_third_parties_are_known_to_few() -> None:
    own = {name: imports_of(name)[1] - sys.stdlib_module_names for name in FILES}
    wrong = {name: what - allowed(THIRD_PARTY, name) for name, what in own.items()}
    assert not {name: what for name, what in wrong.items() if what}


def test_the_pure_parts_are_pure() -> None:
    pure = [name for name in FILES if {name, room_of(name)} & PURE]
    assert not {name for name in pure if imports_of(name)[1] & IMPURE}


def test_nothing_that_comes_in_is_ever_run() -> None:
    """No pickle, no eval: what a stranger sends is data."""
    for name, tree in FILES.items():
        assert not imports_of(name)[1] & FORBIDDEN_MODULES, name
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in FORBIDDEN_CALLS, name


def test_the_table_has_no_cycle() -> None:
    order: list[str] = []
    left = dict(MAY_IMPORT)
    while left:
        free = [room for room, below in left.items() if below <= set(order)]
        assert free, f"these import one another: {sorted(left)}"
        order += free
        for room in free:
            del left[room]


def test_the_files_of_a_room_have_no_cycle() -> None:
    left = {name: imported_beside(name) for name in FILES if not name.endswith("/__init__")}
    while left:
        free = [name for name, below in left.items() if not below & set(left)]
        assert free, f"these import one another: {sorted(left)}"
        for name in free:
            del left[name]


def imported_beside(name: str) -> set[str]:
    """The files of its own folder that a file imports."""
    folder = Path(name).parent
    beside: set[str] = set()
    for node in ast.walk(FILES[name]):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            imported = [node.module] if node.module else [alias.name for alias in node.names]
            beside |= {(folder / (other or "")).as_posix() for other in imported}
    return beside - {name}


def test_the_table_is_about_what_is_there() -> None:
    assert {room_of(name) for name in FILES} == set(MAY_IMPORT)
    assert {*THIRD_PARTY, *PURE} <= set(FILES) | set(MAY_IMPORT)


def test_the_pure_parts_have_a_test_of_their_own() -> None:
    for name in FILES:
        if {name, room_of(name)} & PURE and not name.endswith("__init__"):
            mirror = ROOT / "tests" / Path(name).parent / f"test_{Path(name).name}.py"
            assert mirror.exists(), f"no {mirror.relative_to(ROOT)}"


def test_no_file_has_a_twin() -> None:
    """A name tells a file from all others."""
    rooms = (
        "core",
        "stats",
        "wire",
        "store",
        "broker",
        "client",
        "worker",
        "metrics",
        "top",
        "http",
        "gateway",
    )
    ours = [name for name in FILES if not name.endswith("__init__")]
    names = [Path(name).name for name in ours if room_of(name) in rooms or "/" not in name]
    twins = {name for name in names if names.count(name) > 1}
    # One for each room that is a process; those of the command line, and those of tasks.
    assert twins <= {"process", "options"}


def test_what_is_compiled_is_there() -> None:
    """And C types are only given to what is compiled; `clib` is what is there of C itself."""
    assert set(FILES) >= COMPILED
    assert {name_of(path) for path in PACKAGE.rglob("*.pxd")} <= COMPILED | {"wire/clib"}


def test_compiled_classes_declare_what_they_set() -> None:
    """A class with C types has no other attributes: to set one fails, and only when compiled."""
    undeclared = []
    for path in PACKAGE.rglob("*.pxd"):
        classes = re.split(r"^cdef class (\w+)", path.read_text(), flags=re.M)
        if not (source := path.with_suffix(".py")).exists():
            continue
        trees = {
            n.name: n for n in ast.parse(source.read_text()).body if isinstance(n, ast.ClassDef)
        }
        for name, body in zip(classes[1::2], classes[2::2], strict=True):
            own = re.split(r"^\S", body.split("\n", 1)[1], maxsplit=1, flags=re.M)[0]
            declared = set(
                re.findall(r"\w+", "\n".join(re.findall(r"^    cdef [^(]*$", own, re.M)))
            )
            has_base = bool(re.match(r"\(", body))
            wanted = {
                target.attr
                for node in ast.walk(trees[name])
                for target in getattr(node, "targets", [getattr(node, "target", None)])
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"
            }
            if not has_base:
                undeclared += [f"{path.stem}: {name}.{each}" for each in wanted - declared]
    assert not undeclared
