"""Taste is a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINE_CHARS_MAX = 100
FUNCTION_LINES_MAX = 70
SOURCE_LINES_MAX = 450
TEST_LINES_MAX = 680

SOURCES = sorted((ROOT / "zqueue").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PURE_TESTS = ("core", "stats", "wire")
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}
UNFINISHED = re.compile(r"\b([T]ODO|[F]IXME|[X]XX)\b")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def public_nodes(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """The module, its public classes and functions, and public methods.

    A method need not say again what a base class says of it: one that this file imports, or one
    that it documents itself.
    """
    yield "the module", tree
    documented: dict[str, set[str]] = {"object": set(), "Exception": set()}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            bases = {ast.unparse(base).split("[")[0] for base in node.bases} - {"Generic"}
            said = {name for base in bases for name in documented.get(base, ())}
            methods = [child for child in functions_of(node) if is_public_method(node, child)]
            documented[node.name] = said | {c.name for c in methods if ast.get_docstring(c)}
            if bases <= set(documented):
                yield from ((f"{node.name}.{c.name}", c) for c in methods if c.name not in said)


def is_public_method(owner: ast.ClassDef, child: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Neither private, nor inside another function, nor the other half of a documented one."""
    other_half = {"overload", f"{child.name}.setter"}
    return (
        child in owner.body
        and not child.name.startswith("_")
        and not other_half & {ast.unparse(decorator) for decorator in child.decorator_list}
    )


def test_no_line_is_long() -> None:
    long = [
        f"{name_of(path)}:{i}"
        for path in [*SOURCES, *TESTS]
        for i, line in enumerate(path.read_text().splitlines(), 1)
        if len(line.partition("  # noqa")[0]) > LINE_CHARS_MAX
    ]
    assert not long, f"over {LINE_CHARS_MAX} characters"


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{name_of(path)}: {node.name}"
        for path, tree in TREES.items()
        for node in functions_of(tree)
        if (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long, f"over {FUNCTION_LINES_MAX} lines"


def test_no_file_is_long() -> None:
    long = [
        name_of(path)
        for paths, most in ((SOURCES, SOURCE_LINES_MAX), (TESTS, TEST_LINES_MAX))
        for path in paths
        if len(path.read_text().splitlines()) > most
    ]
    assert not long, f"over {SOURCE_LINES_MAX} lines, or {TEST_LINES_MAX} of tests"


def test_nothing_is_left_for_later() -> None:
    assert not [name_of(p) for p in [*SOURCES, *TESTS] if UNFINISHED.search(p.read_text())]


def test_nobody_sleeps() -> None:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) != "time.sleep", name_of(path)
            elif isinstance(node, ast.ImportFrom) and node.module == "time":
                assert "sleep" not in {alias.name for alias in node.names}, name_of(path)


def test_what_is_public_is_documented() -> None:
    bare = [
        f"{name_of(path)}: {name}"
        for path, tree in TREES.items()
        for name, node in public_nodes(tree)
        if not ast.get_docstring(node)  # type: ignore[arg-type]
    ]
    assert not bare, "no docstring"


def test_tests_of_pure_parts_are_pure() -> None:
    """No sleep, no mock, no socket: time is an argument."""
    for path in TESTS:
        if path.parent.name in PURE_TESTS:
            text = path.read_text()
            for word in ("sleep(", "unittest.mock", "MagicMock", "import socket", "import zmq"):
                assert word not in text, f"{name_of(path)}: {word}"
