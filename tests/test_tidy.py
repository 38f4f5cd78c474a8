"""Taste is a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINE_CHARS_MAX = 100
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 720

SOURCES = sorted((ROOT / "zqueue").rglob("*.py"))
MINE = sorted(
    [*(ROOT / "tests").glob("*.py"), *(ROOT / "tests/core").glob("*.py"),
     *(ROOT / "tests/protocol").glob("*.py")]
)  # fmt: skip
UNFINISHED = re.compile(r"\b([T]ODO|[F]IXME|[X]XX)\b")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def public_nodes(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """The module, its public classes and functions, and public methods.

    A method need not say again what a base class says of it: one that this file imports, or one
    that it documents itself.
    """
    tree = ast.parse(path.read_text())
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


@pytest.mark.parametrize("path", [*SOURCES, *MINE], ids=name_of)
class TestSize:
    def test_lines(self, path: Path) -> None:
        long = [
            i for i, line in enumerate(path.read_text().splitlines(), 1)
            if len(line) > LINE_CHARS_MAX
        ]  # fmt: skip
        assert not long, f"lines over {LINE_CHARS_MAX}: {long}"

    def test_functions(self, path: Path) -> None:
        long = [
            node.name
            for node in functions_of(ast.parse(path.read_text()))
            if (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
        ]
        assert not long, f"over {FUNCTION_LINES_MAX} lines: {long}"

    def test_file(self, path: Path) -> None:
        assert len(path.read_text().splitlines()) <= FILE_LINES_MAX

    def test_nothing_is_left_for_later(self, path: Path) -> None:
        assert not UNFINISHED.search(path.read_text())


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
class TestSource:
    def test_nobody_sleeps(self, path: Path) -> None:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) != "time.sleep"
            elif isinstance(node, ast.ImportFrom) and node.module == "time":
                assert "sleep" not in {alias.name for alias in node.names}

    def test_what_is_public_is_documented(self, path: Path) -> None:
        bare = [
            name
            for name, node in public_nodes(path)
            if not ast.get_docstring(node)  # type: ignore[arg-type]
        ]
        assert not bare, f"no docstring: {bare}"


@pytest.mark.parametrize(
    "path", [path for path in MINE if path.parent.name in ("core", "protocol")], ids=name_of
)
def test_tests_of_pure_parts_are_pure(path: Path) -> None:
    """No sleep, no mock, no socket: time is an argument."""
    text = path.read_text()
    for word in ("sleep(", "unittest.mock", "MagicMock", "import socket", "import zmq"):
        assert word not in text, word
