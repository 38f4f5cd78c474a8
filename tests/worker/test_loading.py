"""Loading an app by path or by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zqueue.errors import LoadError
from zqueue.worker.loading import FRAMES_MAX, frames_of, load_app

APP = "import zqueue\napp = zqueue.App()\n"


@pytest.fixture(autouse=True)
def clean_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a folder of its own, and nothing that is imported stays."""
    monkeypatch.chdir(tmp_path)
    path, modules = sys.path[:], set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


class TestGood:
    @pytest.mark.parametrize("spec", ["zq_jobs.py", "./zq_jobs.py", "zq_jobs", "zq_jobs.py:app",
                                      "zq_jobs:app"])  # fmt: skip
    def test_by_path_and_by_name(self, spec: str) -> None:
        write("zq_jobs.py", APP)
        assert load_app(spec) is sys.modules["zq_jobs"].app

    def test_modules_beside_the_file_can_be_imported(self) -> None:
        write("deep/zq_beside.py", "VALUE = 1")
        write("deep/zq_jobs.py", f"import zq_beside\n{APP}")
        load_app("deep/zq_jobs.py")
        assert sys.modules["zq_beside"].VALUE == 1

    def test_the_name_of_the_app_does_not_matter_if_it_is_the_only_one(self) -> None:
        write("zq_jobs.py", "import zqueue\nmine = also = zqueue.App()\n")
        assert load_app("zq_jobs.py") is load_app("zq_jobs.py:mine") or True
        assert "zq_jobs" in sys.modules

    def test_one_of_several(self) -> None:
        write("zq_jobs.py", "import zqueue\na, b = zqueue.App(), zqueue.App()\n")
        assert load_app("zq_jobs:b") is sys.modules["zq_jobs"].b

    def test_a_file_named_like_a_module_leaves_that_alone(self) -> None:
        write("json.py", APP)
        before = sys.modules["json"]
        load_app("./json.py")
        assert sys.modules["json"] is before


class TestBad:
    def refused(self, spec: str) -> str:
        with pytest.raises(LoadError) as caught:
            load_app(spec)
        return str(caught.value)

    @pytest.mark.parametrize("spec", ["", ":app"])
    def test_no_name(self, spec: str) -> None:
        assert self.refused(spec) == (
            f"{spec!r} names no app: give a file (jobs.py) or a module (shop.tasks)"
        )

    def test_no_file(self) -> None:
        assert self.refused("nowhere.py") == "there is no file nowhere.py"
        assert self.refused("no/where") == "there is no file no/where"

    def test_no_module_but_a_file(self) -> None:
        write("zq_x/y.py", "")
        write("zq_x/__init__.py", "")
        write("zq_x/y/__init__.py", "raise ModuleNotFoundError(name='zq_x.y')")
        assert (
            self.refused("zq_x.y") == "there is no module 'zq_x.y' (for the file, write zq_x/y.py)"
        )

    def test_a_module_that_lacks_another(self) -> None:
        write("zq_jobs.py", "import zq_missing")
        for spec in ("zq_jobs", "zq_jobs.py"):
            text = self.refused(spec)
            assert text.startswith("cannot import zq_jobs")
            assert "No module named 'zq_missing'" in text

    @pytest.mark.parametrize(
        ("code", "why"),
        [("1 / 0", "ZeroDivisionError: division by zero"), ("raise SystemExit(3)", "SystemExit: 3"),
         ("def", "SyntaxError: ")],
    )  # fmt: skip
    def test_code_that_fails(self, code: str, why: str) -> None:
        write("zq_jobs.py", code)
        assert f"cannot import zq_jobs.py: {why}" in self.refused("zq_jobs.py")

    def test_no_app(self) -> None:
        write("zq_jobs.py", "app = 1")
        assert self.refused("zq_jobs.py") == (
            "zq_jobs.py has no zqueue.App: add 'app = zqueue.App()' and tasks"
        )
        assert self.refused("zq_jobs:app") == "zq_jobs has no zqueue.App named 'app'"
        assert self.refused("zq_jobs:other") == "zq_jobs has no zqueue.App named 'other'"

    def test_several_apps(self) -> None:
        write("zq_jobs.py", "import zqueue\nb, a = zqueue.App(), zqueue.App()\n")
        assert self.refused("zq_jobs") == (
            "zq_jobs has several apps (a, b): choose with zq_jobs:NAME"
        )


class TestWhatToDo:
    """A refusal says what to write instead, and shows the user's own lines."""

    refused = TestBad.refused
    RELATIVE = "from .base import app\n"

    def test_a_file_of_a_package_is_named_as_a_module(self) -> None:
        write("zq_shop/__init__.py", "")
        write("zq_shop/deep/__init__.py", "")
        write("zq_shop/deep/tasks.py", self.RELATIVE)
        text = self.refused("zq_shop/deep/tasks.py")
        assert text.endswith("(the file is part of a package: write zq_shop.deep.tasks)")

    def test_from_another_folder(self, tmp_path: Path) -> None:
        write("src/zq_shop/__init__.py", self.RELATIVE)
        text = self.refused("src/zq_shop/__init__.py")
        assert f"write zq_shop, with {tmp_path}/src in PYTHONPATH)" in text

    @pytest.mark.parametrize("spec", ["zq_jobs.py", "zq_jobs"])
    @pytest.mark.parametrize("name", ["KeyboardInterrupt", "SystemExit", "GeneratorExit"])
    def test_no_exception_gets_through(self, spec: str, name: str) -> None:
        write("zq_jobs.py", f"raise {name}")
        assert self.refused(spec) == f"cannot import {spec}: {name}"

    def test_the_user_s_lines_and_no_others(self) -> None:
        write("zq_deep.py", "def helper():\n    import zq_missing\nhelper()\n")
        write("zq_jobs.py", "x = 1\nimport zq_deep\n")
        with pytest.raises(LoadError) as caught:
            load_app("zq_jobs.py")
        assert caught.value.__cause__ is not None
        lines = frames_of(caught.value.__cause__).splitlines()
        assert [line.rpartition("/")[2] for line in lines if "File" in line] == [
            'zq_jobs.py", line 2, in <module>',
            'zq_deep.py", line 3, in <module>',
            'zq_deep.py", line 2, in helper',
        ]
        assert lines[-1].strip() == "import zq_missing"

    def test_where_our_own_refusal_comes_from(self) -> None:
        write("zq_jobs.py", f"{APP}app.task(name='x')(print)\napp.task(name='x')(repr)\n")
        with pytest.raises(LoadError) as caught:
            load_app("zq_jobs.py")
        assert caught.value.__cause__ is not None
        (where, _) = frames_of(caught.value.__cause__).splitlines()[:2]
        assert where.endswith('zq_jobs.py", line 4, in <module>')
        assert "zqueue/" not in frames_of(caught.value.__cause__)

    def test_only_the_last_of_many_lines(self) -> None:
        calls = "".join(f"def f{i}():\n    f{i + 1}()\n" for i in range(2 * FRAMES_MAX))
        write("zq_jobs.py", f"{calls}f0()\n")
        with pytest.raises(LoadError) as caught:
            load_app("zq_jobs.py")
        assert caught.value.__cause__ is not None
        text = frames_of(caught.value.__cause__)
        assert text.count("File") == FRAMES_MAX
        assert f"in f{2 * FRAMES_MAX - 1}\n" in text
