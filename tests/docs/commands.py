"""The fenced blocks of a document."""

from __future__ import annotations

import re

from tests.shell import ROOT, Command
from tests.shell import commands as commands_of


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a document in one language."""
    text = (ROOT / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def file_block(document: str, name: str, language: str = "python") -> str:
    """The block that begins with the name of the file it is meant for."""
    (found,) = [b for b in blocks(document, language) if b.startswith(f"# {name}\n")]
    return found


def commands(document: str) -> list[Command]:
    """The commands of all console blocks, in order."""
    return commands_of("\n\n".join(blocks(document, "console")))
