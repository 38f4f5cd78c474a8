"""Every command and code block of the README and of docs/operations.md is run here."""

from __future__ import annotations

import re
import sys

import pytest

from tests.docs.commands import commands, file_block
from tests.shell import ROOT, Shell
from tests.system.harness import wait_until


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
    assert ".ci/bare-debian" in ci, "which runs them as they stand in README.md"


@pytest.mark.system
def test_readme_from_top_to_bottom(shell: Shell) -> None:
    for name in ("shop.py", "client.py", "later.py"):
        (shell.folder / name).write_text(shell.here(file_block("README.md", name)))
    for command, output in commands("README.md"):
        if "-m venv" in command:
            continue
        if "--data-dir" in command:  # Beside the one that runs already.
            shell.start(f"{command.replace('/var/lib/zqueue', 'data')} --bind ipc://durable")
            wait_until((shell.folder / "data" / "zqueue-store").exists, what="the data dir")
            continue
        if command.startswith("zqueue cancel"):
            assert shell.output(f'"{sys.executable}" later.py') == "True\n"
        if command.startswith("zqueue dlq"):
            shell.wait_for(lambda state: state["counters"]["dead"] >= 1)
        if command.startswith(("zqueue broker", "zqueue worker")):
            shell.start(command)
            if "worker" in command:
                shell.wait_for(lambda state: bool(state["tasks"]))
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
        if "--data-dir" in command:  # Beside the one that runs already.
            command = command.replace("/var/lib/zqueue", "data") + " --bind ipc://durable"
        shell.start(command)
    state = shell.wait_for(lambda state: state["tasks"].get("count_words") == "words")
    assert state["bytes_max"] == 2147483648
    assert {queue["bytes_max"] for queue in state["queues"].values()} == {536870912}
    wait_until((shell.folder / "data" / "zqueue-store").exists, what="the data dir")


@pytest.mark.system
def test_benchmarks_commands(shell: Shell) -> None:
    """Those for users; those of the laboratory are run in `tests/perf`."""
    found = [command for command, _ in commands("docs/benchmarks.md")]
    assert found
    for command in found:
        done = shell.run(f"{command} --tasks 1000")
        assert done.returncode == 0, done.stderr
        assert "results" in done.stdout


def test_every_link_leads_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "perf/README.md"]:
        for link in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.name}: {link}"
