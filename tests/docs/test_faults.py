"""The tests that docs/faults.md names are there, and there is one for each of its lines."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text()
NAMED = re.findall(r"\[([\w/]+\.py)::(\w+)\]\(\.\./tests/([\w/]+\.py)\)", PAGE)


def test_each_test_is_there() -> None:
    assert len(NAMED) > 25
    assert len(NAMED) == PAGE.count("::")
    missing = []
    for path, name, link in NAMED:
        assert path == link
        tree = ast.parse((ROOT / "tests" / path).read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        missing += [f"{path}::{name}"] if name not in names else []
    assert not missing


def test_each_line_names_one() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    heads = ("| fault", "| ---")
    untested = [row for row in rows if not row.startswith(heads) and "::" not in row]
    assert [row.split("|")[1].strip() for row in untested] == ["the power of its machine is lost"]
