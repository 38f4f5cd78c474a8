"""The programs of docs/asyncio.md run, and its tests pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import blocks
from zqueue.testing import Cluster

pytestmark = pytest.mark.system

DOCUMENT = "docs/asyncio.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for block in blocks(DOCUMENT, "python"):
        (tmp_path / block.partition("\n")[0].removeprefix("# ")).write_text(block)
    return tmp_path


def run(folder: Path, *command: str, **env: str) -> str:
    cleared = {name: value for name, value in os.environ.items() if not name.startswith("ZQUEUE_")}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=cleared | env,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_web_application(folder: Path) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("httpx")
    assert "3 passed" in run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_web.py")


def test_the_flow_and_what_is_published(folder: Path) -> None:
    (folder / "ask.py").write_text("import flow\nprint(flow.report.submit(3).result(30))\n")
    with Cluster() as cluster:
        for queue in ("default", "flows"):
            cluster.start_workers(folder / "flow.py", 1, "-Q", queue)
        assert run(folder, "ask.py", ZQUEUE_URL=cluster.url) == "page 0, page 1, page 2\n"
        assert run(folder, "publish.py", ZQUEUE_URL=cluster.url) == "confirmed\n"
        assert cluster.queue("events")["ready"] == 2
