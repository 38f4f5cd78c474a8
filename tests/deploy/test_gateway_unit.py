"""deploy/systemd/zqueue-gateway.service"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from zqueue.cli import cli

from .test_units import BINARY, DEPLOY, complaints, parse

GATEWAY = DEPLOY / "systemd" / "zqueue-gateway.service"
METRICS = DEPLOY / "systemd" / "zqueue-metrics.service"
SERVICE = parse(GATEWAY)["Service"]


def test_it_is_as_safe_as_the_sidecar_but_for_what_it_runs():
    metrics, gateway = dict(parse(METRICS)["Service"]), dict(SERVICE)
    differing = {k for k in metrics.keys() | gateway.keys() if metrics.get(k) != gateway.get(k)}
    assert differing == {"ExecStart", "LimitNOFILE", "Nice", "TimeoutStopSec"}


def test_the_command_is_one_that_there_is():
    command = shlex.split(SERVICE["ExecStart"])
    assert command[:4] == [BINARY, "--config", "/etc/zqueue/zqueue.toml", "gateway"]
    done = CliRunner().invoke(
        cli, ["--config", str(DEPLOY / "zqueue.toml"), *command[3:], "--help"]
    )
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.system
def test_systemd_finds_no_fault(tmp_path: Path):
    copy = tmp_path / GATEWAY.name
    copy.write_text(GATEWAY.read_text().replace(BINARY, sys.executable))
    assert complaints([copy]) == []
