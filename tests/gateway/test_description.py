"""Requests that a program makes from the description alone, right ones and wrong ones."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Client

COMMAND = (
    sys.executable, "-m", "schemathesis.cli", "run", "--seed", "1", "--max-examples", "2",
    "--phases", "coverage,fuzzing", "--generation-database", "none", "--no-color",
    # It does not know that a result may be gone (410), and a key of another body (422).
    "--exclude-checks", "positive_data_acceptance",
)  # fmt: skip


def test_each_answer_is_as_it_is_described(
    client: Client, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """And none of them makes the gateway or the broker fall over."""
    if importlib.util.find_spec("schemathesis") is None:
        assert "CI" not in os.environ, "CI installs schemathesis for this"
        pytest.skip("schemathesis is not installed")
    (tmp_path / "schemathesis.toml").write_text('[parameters]\n"path.task" = "double"\n')
    with caplog.at_level(logging.WARNING):
        done = subprocess.run(
            [*COMMAND, f"{client.url}/openapi.json"], cwd=tmp_path, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [record for record in caplog.records if record.exc_info]
    assert client.get("/readyz").status == 200
