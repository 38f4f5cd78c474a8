"""What mypy and pyright say of the programs of the pages, and of mistakes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.commands import blocks
from tests.shell import ROOT

MISTAKES = Path(__file__).with_name("mistakes.py")
DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]

MYPY = """
[mypy]
strict = true
# Tests of the pages are not annotated, as those of most people; their bodies are checked.
allow_untyped_defs = true
allow_incomplete_defs = true
allow_untyped_calls = true

[mypy-zqueue.*]
follow_imports = silent

[mypy-msgpack.*]
ignore_missing_imports = true
"""

pytestmark = pytest.mark.timeout(600)

Error = tuple[str, int, str]
"""File, line and code."""

Check = Callable[[Path, Path], list[Error]]
"""Given a folder of programs, and one for the checker's own files."""


def _need(module: str) -> None:
    """Skip where a checker is not installed; where types are what is tested, that is an error."""
    if importlib.util.find_spec(module) is None:
        reason = f"{module} is not installed: tox -e type has it"
        pytest.fail(reason) if os.environ.get("ZQUEUE_TEST_TYPES") else pytest.skip(reason)


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


def mypy(programs: Path, folder: Path) -> list[Error]:
    """The errors that mypy reports."""
    _need("mypy")
    (folder / "mypy.ini").write_text(MYPY)
    done = _run(
        "mypy", "--config-file", str(folder / "mypy.ini"), "--cache-dir", str(folder / "cache"),
        *sorted(path.name for path in programs.iterdir()), cwd=programs,
    )  # fmt: skip
    assert done.returncode < 2, done.stdout + done.stderr
    found = re.findall(r"^(.+?):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert bool(found) == bool(done.returncode), done.stdout
    return [(file, int(line), code) for file, line, code in found]


def pyright(programs: Path, folder: Path) -> list[Error]:
    """The errors that pyright reports."""
    _need("pyright")
    if _run("pyright", "--version", cwd=folder).returncode:
        pytest.skip("pyright cannot be installed: it needs Node.js and npm's registry")
    (programs / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    done = _run("pyright", "--outputjson", "--pythonpath", sys.executable, cwd=programs)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(list(programs.glob("*.py"))), done.stdout
    return [
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1, one.get("rule", "error"))
        for one in report["generalDiagnostics"]
        if one["severity"] == "error"
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checker")


@pytest.fixture
def mistakes(tmp_path: Path) -> Path:
    """A folder with the file of mistakes alone."""
    shutil.copy(MISTAKES, tmp_path)
    return tmp_path


def test_mypy_reports_each_mistake_and_nothing_else(mistakes: Path, folder: Path) -> None:
    marked = [
        (MISTAKES.name, number, code)
        for number, line in enumerate(MISTAKES.read_text().splitlines(), 1)
        for code in re.findall(r"  # error: ([\w-]+)$", line)
    ]
    assert len(marked) > 30
    assert sorted(set(mypy(mistakes, folder))) == marked


def test_pyright_reports_each_mistake_and_nothing_else(mistakes: Path, folder: Path) -> None:
    lines = MISTAKES.read_text().splitlines()
    marked = [number for number, line in enumerate(lines, 1) if "  # error: " in line]
    assert sorted({line for _, line, _ in pyright(mistakes, folder)}) == marked


@pytest.mark.parametrize("check", [mypy, pyright])
@pytest.mark.parametrize("document", [name for name in DOCUMENTS if blocks(name, "python")])
def test_the_programs_of_a_page(document: str, check: Check, folder: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(document, "python")):
        name = re.match(r"# ([\w-]+\.py)\n", block)
        (tmp_path / (name[1] if name else f"program_{number}.py")).write_text(block)
    assert check(tmp_path, folder) == []
