"""docs/deployment.md: its inventory is one, and each command is one that there is.

tests/hosts runs the verbs on hosts.
"""

from __future__ import annotations

import re
import shlex

import click
import pytest

from tests.docs.commands import ROOT, commands, file_block
from zqueue.cli import cli
from zqueue.cli_deploy import deploy
from zqueue.deploy.inventory import parse_inventory

PAGE = "docs/deployment.md"
TEXT = (ROOT / PAGE).read_text()


def inventory_text() -> str:
    more = re.findall(r"^```toml\n# hosts.toml, further down\n(.*?)^```", TEXT, re.M | re.S)
    return file_block(PAGE, "hosts.toml", "toml") + "".join(more)


def test_the_inventory_is_one():
    found = parse_inventory(inventory_text(), "hosts.toml")
    assert list(found.hosts) == ["h1", "h2", "h3"]
    assert [user.name for user in found.clients] == ["web"]
    for program in found.apps.values():
        assert (ROOT / program).is_file()


@pytest.mark.parametrize("line", [command.line for command in commands(PAGE)])
def test_a_command_is_one_that_there_is(line: str):
    words = shlex.split(line)
    assert words[:2] == ["zqueue", "deploy"]
    verb = deploy.commands[words[2]]
    with click.Context(cli, info_name="zqueue") as parent:
        verb.make_context(words[2], words[3:], parent=parent)


def test_every_verb_is_told():
    rows = re.findall(r"^\| `([^|]*)` \|", TEXT, re.MULTILINE)
    told = {word for row in rows for word in re.findall(r"[a-z]+", row.split("`")[0])}
    assert set(deploy.commands) <= told
