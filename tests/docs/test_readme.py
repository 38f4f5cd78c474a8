"""Every command and code block of the README and of docs/operations.md is run here."""

from __future__ import annotations

import re
import sys

import pytest

from tests.docs.commands import ROOT, Shell, commands, file_block


def test_the_two_commands_are_those_that_ci_runs() -> None:
    setup = [command for command, _ in commands("README.md") if "-m venv" in command]
    assert setup == [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/zqueue demo",
        "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox",
    ]
    ci = (ROOT / ".ci" / "run").read_text()
    for step in ("python3 -m venv .venv", ".venv/bin/pip install", "tox", ".venv/bin/tox"):
        assert step in ci
    assert "zqueue demo" in (ROOT / "tox.ini").read_text()


@pytest.mark.system
def test_readme_from_top_to_bottom(shell: Shell) -> None:
    for name in ("shop.py", "client.py"):
        (shell.folder / name).write_text(shell.here(file_block("README.md", name)))
    for command, output in commands("README.md"):
        if "-m venv" in command:
            continue
        if command.startswith(("zqueue broker", "zqueue worker")):
            shell.start(command)
            if "worker" in command:
                shell.wait_for("zqueue info", "pid")
                shell.wait_for("zqueue info --json", '"tasks": {"')
                client = shell.run(f'"{sys.executable}" client.py')
                assert client.returncode == 0, client.stderr
                assert client.stdout == "2\n5\n99990000.0\n" or client.stdout == "2\n5\n99990000\n"
            continue
        done = shell.run(command)
        assert done.returncode == 0, done.stderr
        if output:
            assert done.stdout == output, command


@pytest.mark.system
def test_operations_commands_and_configuration(shell: Shell) -> None:
    (shell.folder / "workers").symlink_to(ROOT / "workers")
    (shell.folder / "zqueue.toml").write_text(
        shell.here(file_block("docs/operations.md", "zqueue.toml", "toml"))
    )
    for command, _ in commands("docs/operations.md"):
        shell.start(command)
    shell.wait_for("zqueue info --json", '"count_words": "words"')
    state = shell.run("zqueue info --json").stdout
    assert '"bytes_max": 2147483648' in state
    assert '"bytes_max": 536870912' in state


def test_every_link_leads_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.name}: {link}"
