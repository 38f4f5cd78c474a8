"""The examples of docs/testing.md are tests, and pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import blocks

DOCUMENT = "docs/testing.md"


@pytest.mark.system
def test_the_examples_pass(tmp_path: Path) -> None:
    names = []
    for block in blocks(DOCUMENT, "python"):
        names.append(block.partition("\n")[0].removeprefix("# "))
        (tmp_path / names[-1]).write_text(block)
    assert names[0] == "shop.py"
    assert len(names) == 5
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *names[1:]],
        cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("ZQUEUE_")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout
