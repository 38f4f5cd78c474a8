"""deploy/systemd/zqueue-metrics.service, and what deploy/README.md says of metrics"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from zqueue.cli import cli

from .test_units import BINARY, BROKER, DEPLOY, README, ROOT, complaints, parse

METRICS = DEPLOY / "systemd" / "zqueue-metrics.service"
SERVICE = parse(METRICS)["Service"]


def test_it_is_as_safe_as_a_broker_but_for_what_it_runs():
    broker, metrics = dict(parse(BROKER)["Service"]), dict(SERVICE)
    differing = {k for k in broker.keys() | metrics.keys() if broker.get(k) != metrics.get(k)}
    assert differing == {
        "ExecStart", "LimitNOFILE", "Nice", "RestartPreventExitStatus", "RuntimeDirectory",
        "RuntimeDirectoryMode", "StateDirectory", "StateDirectoryMode",
        "TimeoutStartSec", "TimeoutStopSec",
    }  # fmt: skip


def test_the_command_is_one_that_there_is():
    command = shlex.split(SERVICE["ExecStart"])
    assert command[:4] == [BINARY, "--config", "/etc/zqueue/zqueue.toml", "metrics"]
    done = CliRunner().invoke(
        cli, ["--config", str(DEPLOY / "zqueue.toml"), *command[3:], "--help"]
    )
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.system
def test_systemd_finds_no_fault(tmp_path: Path):
    """With a binary that exists here, as it is looked for; and a fault would be found."""
    copy = tmp_path / METRICS.name
    copy.write_text(METRICS.read_text().replace(BINARY, sys.executable))
    assert complaints([copy]) == []
    copy.write_text(copy.read_text().replace("KillMode=", "KilMode="))
    (fault,) = complaints([copy])
    assert "KilMode" in fault


# --- the README ---


def test_the_readme_installs_every_file_where_it_is_looked_for():
    section = README.partition("\n## Metrics and alerts\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line) for line in block.splitlines()]
    places = {
        source: command[-1]
        for command in commands
        if command[0] == "install"
        for source in command[1:-1]
        if source.startswith("deploy/")
    }
    assert all((ROOT / source).is_file() for source in places)
    assert places[f"deploy/systemd/{METRICS.name}"] == "/etc/systemd/system/"
    for name in ("prometheus.yml", "zqueue.rules.yml"):
        assert places[f"deploy/prometheus/{name}"] == "/etc/prometheus/"
    provider = "deploy/grafana/provisioning/dashboards/zqueue.yml"
    assert places[provider] == "/etc/grafana/provisioning/dashboards/"
    source = "deploy/grafana/provisioning/datasources/zqueue.yml"
    assert places[source] == "/etc/grafana/provisioning/datasources/"
    folder = places["deploy/grafana/zqueue.json"].rpartition("/")[0]
    assert f"      path: {folder}\n" in (ROOT / provider).read_text()
