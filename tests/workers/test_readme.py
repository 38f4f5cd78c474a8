"""workers/README.md, and what holds for every program"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import zqueue
from zqueue.worker.loading import load_app

WORKERS = Path(__file__).parents[2] / "workers"
README = (WORKERS / "README.md").read_text()
PROGRAMS = sorted(path.stem for path in WORKERS.glob("*.py"))

ROW = re.compile(r"^\| \[(\w+)\.py\]\((\w+)\.py\) \| (.*?) \| (.*?) \| .* \|$", re.MULTILINE)


def fenced(language: str, text: str = README) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_table_lists_every_program(load):
    rows = {name: (target, tasks, queues) for name, target, tasks, queues in ROW.findall(README)}
    assert sorted(rows) == PROGRAMS
    for name, (target, tasks, queues) in rows.items():
        handlers = load(name).app.handlers
        assert target == name
        assert re.findall(r"`(\w+)`", tasks) == list(handlers)
        assert re.findall(r"`(\w+)`", queues) == list(
            dict.fromkeys(handler.queue for handler in handlers.values())
        )


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_loads_by_its_path(name, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    app = load_app(str(WORKERS / f"{name}.py"))
    assert isinstance(app, zqueue.App)
    assert app.handlers


@pytest.mark.system
def test_does_what_it_shows(shell):
    """Each block in its order; the one Python file is written as its first line says."""
    (program,) = fenced("python")
    name = re.match(r"# (\w+\.py)\n", program)
    assert name is not None
    assert len([line for line in program.splitlines() if not line.startswith("#")]) < 11
    (shell.folder / name[1]).write_text(program)
    assert shell.follow("\n".join(fenced("console"))) == 6
    (examples,) = fenced("pycon")
    shell.run_examples(examples)
    shell.start_worker("shop")  # As a module, as the last section says.
