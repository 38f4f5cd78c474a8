"""deploy/systemd and deploy/README.md"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from zqueue.cli import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
README = (DEPLOY / "README.md").read_text()

BROKER = DEPLOY / "systemd" / "zqueue-broker.service"
WORKER = DEPLOY / "systemd" / "zqueue-worker@.service"
UNITS = [BROKER, WORKER]

BINARY = "/opt/zqueue/bin/zqueue"


def parse(unit: Path) -> configparser.ConfigParser:
    """A unit's settings, names as they are written."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit.read_text())
    return parser


@pytest.fixture(params=UNITS, ids=lambda unit: unit.name)
def unit(request) -> Path:
    return request.param


@pytest.fixture
def service(unit) -> configparser.SectionProxy:
    return parse(unit)["Service"]


def verb(unit: Path) -> str:
    return "broker" if unit is BROKER else "worker"


def test_stopping_drains(service):
    assert service["KillSignal"] == "SIGTERM"
    assert service["KillMode"] == "mixed"


def test_there_is_time_to_drain(unit, service):
    """With the sample's value, and 5 s for what comes after a drain."""
    configured = tomllib.loads((DEPLOY / "zqueue.toml").read_text())[verb(unit)]
    assert int(service["TimeoutStopSec"]) >= configured["drain_timeout"] + 5
    assert f"`TimeoutStopSec={service['TimeoutStopSec']}`" in README
    assert f"`drain_timeout`, {configured['drain_timeout']:g} seconds" in README


def test_failures_are_answered_by_a_restart_but_mistakes_are_not(unit, service):
    """Nor is a data dir that is damaged or taken."""
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == ("2 4" if unit == BROKER else "2")
    assert parse(unit)["Unit"]["StartLimitIntervalSec"] == "0"


def test_workers_that_hit_the_drain_timeout_have_not_failed():
    """Their tasks went back; a broker's in memory are lost, which is a failure."""
    assert parse(WORKER)["Service"]["SuccessExitStatus"] == "5"
    assert "SuccessExitStatus" not in parse(BROKER)["Service"]


def test_rights_are_few(service):
    assert service["User"] == "zqueue"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["ProtectHome"] == "yes"
    assert service["CapabilityBoundingSet"] == ""


def test_the_command_is_one_that_there_is(unit, service):
    command = shlex.split(service["ExecStart"])
    assert command[:3] == [BINARY, "--config", "/etc/zqueue/zqueue.toml"]
    assert command[3] == verb(unit)
    arguments = ["--config", str(DEPLOY / "zqueue.toml"), *command[3:], "--help"]
    done = CliRunner().invoke(cli, arguments)
    assert (done.exit_code, done.stderr) == (0, "")


def test_the_readme_names_files_that_there_are():
    for target in re.findall(r"\]\((.*?)\)", README):
        assert (DEPLOY / target).is_file(), target
    for path in re.findall(r"\bdeploy/[\w/.@-]+", README):
        assert (ROOT / path).exists(), path


def test_the_readme_puts_files_where_the_units_look():
    block, *_ = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    commands = [shlex.split(line.removeprefix("# ")) for line in block.splitlines()]
    assert ["cp", "-r", "workers", "/opt/zqueue/"] in commands
    assert ["install", "-D", "-m", "644", "deploy/zqueue.toml", "/etc/zqueue/zqueue.toml"] in (
        commands
    )
    for unit in UNITS:
        assert parse(unit)["Service"]["ExecStart"].startswith("/opt/zqueue/bin/zqueue ")
        (install,) = [c for c in commands if f"deploy/systemd/{unit.name}" in c]
        assert install[-1] == "/etc/systemd/system/"
    (enable,) = [c for c in commands if c[:2] == ["systemctl", "enable"]]
    assert enable[3:] == ["zqueue-broker.service", "zqueue-worker@wordcount.service"]
    assert (ROOT / "workers" / "wordcount.py").is_file()
    (health,) = [c for c in commands if c[0] == BINARY]
    assert CliRunner().invoke(cli, [*health[3:], "--help"]).exit_code == 0


def complaints(units: list[Path]) -> list[str]:
    """What systemd finds wrong with units; skips the test if it cannot be asked."""
    if shutil.which("systemd-analyze") is None:
        assert "CI" not in os.environ, "CI installs systemd for this"
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    found = [line for line in done.stderr.splitlines() if "zqueue" in line]
    if done.returncode and not found:
        pytest.skip(f"systemd-analyze cannot look at units here: {done.stderr.strip()}")
    return found


@pytest.mark.system
def test_systemd_finds_no_fault(tmp_path: Path):
    """With a binary that exists here, as it is looked for; and a fault would be found."""
    copies = []
    for unit in UNITS:
        copies.append(tmp_path / unit.name)
        copies[-1].write_text(unit.read_text().replace(BINARY, sys.executable))
    assert complaints(copies) == []
    copies[0].write_text(copies[0].read_text().replace("KillMode=", "KilMode="))
    (fault,) = complaints(copies)
    assert "KilMode" in fault
