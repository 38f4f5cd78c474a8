"""Wheels of machines that cannot compile: pure ones, whose code runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("Cython", reason="Cython is not installed")
pytest.importorskip("setuptools", minversion="77", reason="setuptools is not installed, or old")

from tests.system.test_compiled import can_compile

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]

FEW = 2
"""Modules that are compiled here, to be quick."""

WITHOUT_HEADERS = """\
import runpy, sys, sysconfig
empty, *arguments = sys.argv[1:]
sysconfig.get_config_vars().update(INCLUDEPY=empty, CONFINCLUDEPY=empty)
sys.argv = ["setup.py", *arguments]
runpy.run_path("setup.py", run_name="__main__")
"""


class Checkout:
    """A copy of the sources, in which few modules are compiled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder)
        leave = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / "zqueue", folder / "zqueue", ignore=leave)
        modules = r"(COMPILED = \[\n)((?: +\S+\n)+)\]"
        text, found = re.subn(modules, self._few, (ROOT / "setup.py").read_text())
        assert found == 1
        (folder / "setup.py").write_text(text)

    def _few(self, found: re.Match[str]) -> str:
        self.modules = re.findall(r'"(\S+)\.py"', found[2])[:FEW]
        return f"{found[1]}{''.join(found[2].splitlines(keepends=True)[:FEW])}]"

    def build(self, *start: str, **env: str) -> tuple[Path, str]:
        """The wheel, and what was said. ``start`` is how setup.py is run."""
        shutil.rmtree(self.folder / "dist", ignore_errors=True)
        done = subprocess.run(
            [sys.executable, *(start or ["setup.py"]), "-q", "bdist_wheel"],
            cwd=self.folder, env={**os.environ, **env}, capture_output=True, text=True,
            timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (wheel,) = (self.folder / "dist").glob("*.whl")
        return wheel, done.stderr

    def compiler(self, text: str) -> str:
        """A compiler of our own: a shell script."""
        path = self.folder / "compiler"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / "checkout").mkdir()
    return Checkout(tmp_path / "checkout")


@pytest.fixture
def needs_compiler(tmp_path: Path) -> None:
    if not can_compile(tmp_path):
        assert "CI" not in os.environ, "CI has a compiler"
        pytest.skip("nothing can be compiled here: gcc or python3-dev is not installed")


def compiled_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return {n.partition(".")[0] for n in opened.namelist() if n.endswith(".so")}


def assert_pure(wheel: Path, said: str) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not compiled_in(wheel)
    (line,) = [line for line in said.splitlines() if line.startswith("zqueue: ")]
    assert "nothing is compiled" in line
    assert "gcc and python3-dev" in line


def installed(wheel: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with what is in the wheel."""
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(folder)
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def test_no_compiler(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    wheel, said = checkout.build(PATH=str(tmp_path / "empty"), CC="x86_64-linux-gnu-gcc")
    assert_pure(wheel, said)
    assert "x86_64-linux-gnu-gcc" in said
    (tmp_path / "text").write_text("to be or not to be\n" * 1_000)
    demo = ("-m", "zqueue", "demo", str(tmp_path / "text"), "--json")
    done = installed(wheel, tmp_path / "site", *demo)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["verified"], outcome["compiled"]) == (True, False)


def test_a_compiler_that_fails(checkout: Checkout, tmp_path: Path) -> None:
    wheel, said = checkout.build(CC="/bin/false")
    assert_pure(wheel, said)
    asked = "import zqueue.wire.codec as codec; print(codec.COMPILED, codec.__file__)"
    done = installed(wheel, tmp_path / "site", "-c", asked)
    assert done.stdout == f"False {tmp_path}/site/zqueue/wire/codec.py\n"


def test_no_headers(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    wheel, said = checkout.build("-c", WITHOUT_HEADERS, str(tmp_path / "empty"))
    assert_pure(wheel, said)
    assert f"{tmp_path}/empty/Python.h is not there" in said


def test_it_was_asked_not_to_compile(checkout: Checkout) -> None:
    wheel, said = checkout.build(ZQUEUE_INTERPRETED="1")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "ZQUEUE_INTERPRETED" in said
    assert "gcc" not in said


@pytest.mark.usefixtures("needs_compiler")
def test_all_or_nothing_is_compiled(checkout: Checkout) -> None:
    """A module that cannot be compiled takes with it the one that could, now or in an earlier
    build; and what an earlier build compiled, and this one does not, is left out."""
    first, last = checkout.modules
    wheel, said = checkout.build()
    assert compiled_in(wheel) == {first, last}
    assert "-cp3" in wheel.name
    assert "interpreted" not in said

    setup = checkout.folder / "setup.py"
    both = setup.read_text()
    setup.write_text(both.replace(f'    "{first}.py",\n', ""))
    assert compiled_in(checkout.build()[0]) == {last}

    setup.write_text(both)
    (checkout.folder / f"{last}.py").touch()  # So it is compiled again.
    real = os.environ.get("CC") or sysconfig.get_config_var("CC")
    fails_for_one = f'case "$*" in *{last}.c*) exit 1;; esac; exec {real} "$@"'
    assert_pure(*checkout.build(CC=checkout.compiler(fails_for_one)))
