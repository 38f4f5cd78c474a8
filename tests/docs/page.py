"""docs/protocol.md, read: its sections, tables and what stands between backticks."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text()


def section(title: str) -> str:
    """The text below a heading of the second level that ends with ``title``."""
    match = re.search(rf"^## \d+\. {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert match, f"the page has no section {title!r}"
    return match[1]


def rows(text: str, *header: str) -> list[list[str]]:
    """The cells of the first table with that header."""
    lines = text[text.index("| " + " | ".join(header) + " |") :].splitlines()
    found = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def words(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def answers() -> dict[str, dict[str, str]]:
    """For each thing to ask for: the keys of the answer, and what they mean."""
    tables = {}
    for part in section("Maps").split("`Tell` after `Ask` ")[1:]:
        table = rows(part, "key", "meaning")
        tables[words(part)[0]] = {w: row[1] for row in table for w in words(row[0])}
    return tables


def report_keys() -> set[str]:
    """What a worker's report may say of its state."""
    return {word for row in rows(section("Maps"), "key", "meaning") for word in words(row[0])}
