"""docs/security.md is run from top to bottom."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.commands import ROOT, commands, file_block
from tests.shell import Shell
from tests.system.harness import free_port
from zqueue.auth.users import ROLES
from zqueue.client.ask import ask
from zqueue.errors import BrokerLost
from zqueue.testing import wait_until

PAGE = "docs/security.md"


@pytest.mark.system
def test_from_top_to_bottom(shell: Shell) -> None:
    (shell.folder / "app.py").write_text(file_block(PAGE, "app.py"))
    shell.env.pop("ZQUEUE_URL")
    shell.env.pop("ZQUEUE_BROKER_BIND")
    url = shell.url = f"tcp://127.0.0.1:{free_port()}"
    asked = f"{url}?key={shell.folder / 'web.key'}"

    def workers() -> int:
        try:
            return len((ask(asked, timeout=0.5))["workers"])
        except BrokerLost:
            return -1

    for command, output in commands(PAGE):
        if command.startswith("zqueue broker"):
            shell.start(command)
            wait_until(lambda: workers() == 0, what="the broker")
        elif command.startswith("zqueue worker"):
            shell.start(command)
            wait_until(lambda: workers() == 1, what="the worker")
        else:
            assert shell.output(command).endswith(output)
    wait_until(lambda: workers() == 0, what="the worker is not heard any more")


def test_the_roles_are_those_that_there_are() -> None:
    text = (ROOT / PAGE).read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(ROLES)


def test_the_tests_that_it_names_are_there() -> None:
    text = (ROOT / PAGE).read_text()
    named = re.findall(r"\[([\w/]+\.py)::(\w+)\]\(\.\./tests/([\w/]+\.py)\)", text)
    assert len(named) == text.count("::") > 40
    for path, name, link in named:
        assert path == link
        tree = ast.parse((ROOT / "tests" / path).read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in names, f"{path}::{name}"


def test_each_rule_names_one() -> None:
    (table,) = re.findall(r"^\| rule \| tests \|\n\| --- \| --- \|\n((?:\|.*\n)+)",
                          (ROOT / PAGE).read_text(), re.MULTILINE)  # fmt: skip
    assert all("::" in row for row in table.splitlines())
