"""Loading an app by path or by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zqueue.errors import LoadError
from zqueue.loading import load_app

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

    def test_in_a_package(self) -> None:
        write("zq_shop/__init__.py", "")
        write("zq_shop/tasks.py", APP)
        assert load_app("zq_shop.tasks") is sys.modules["zq_shop.tasks"].app

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

    def test_no_module(self) -> None:
        assert self.refused("zq_nowhere.tasks") == "there is no module 'zq_nowhere.tasks'"

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

    def test_our_own_errors_speak_for_themselves(self) -> None:
        write("zq_jobs.py", "import zqueue\nraise zqueue.ConfigError('no good')")
        assert self.refused("zq_jobs.py") == "zq_jobs.py: no good"

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
