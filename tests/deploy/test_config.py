"""deploy/zqueue.toml"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from time import monotonic

import click
import pytest
from click.testing import CliRunner

from zqueue.cli import cli
from zqueue.client.ask import ask
from zqueue.config import BrokerConfig, WorkerConfig
from zqueue.errors import BrokerLost

SAMPLE = Path(__file__).parents[2] / "deploy" / "zqueue.toml"
TABLES = tomllib.loads(SAMPLE.read_text())

WAIT_S = 20.0


def with_examples() -> str:
    """The sample with its examples in force."""
    return re.sub(r"^#(?=[a-z_]+ = )", "", SAMPLE.read_text(), flags=re.MULTILINE)


def options(verb: str) -> dict[str, click.Option]:
    """A verb's options by the keys that they have in a file."""
    found = [param for param in cli.commands[verb].params if isinstance(param, click.Option)]
    longest = [max(param.opts, key=len).removeprefix("--") for param in found]
    return dict(zip((name.replace("-", "_") for name in longest), found, strict=True))


@pytest.mark.parametrize("verb", list(TABLES))
def test_it_has_every_key(verb):
    tables = tomllib.loads(with_examples())
    assert set(tables[verb]) == set(options(verb))


@pytest.mark.parametrize("verb", list(TABLES))
def test_the_command_line_takes_it(verb):
    done = CliRunner().invoke(cli, ["--config", str(SAMPLE), verb, "--help"])
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", list(TABLES))
def test_the_command_line_takes_its_examples(verb, tmp_path: Path):
    (tmp_path / "zqueue.toml").write_text(with_examples())
    done = CliRunner().invoke(cli, ["--config", str(tmp_path / "zqueue.toml"), verb, "--help"])
    assert (done.exit_code, done.stderr) == (0, "")


def test_the_examples_reach_the_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    got: list[BrokerConfig] = []
    monkeypatch.setattr("zqueue.broker.process.run_broker", lambda config: got.append(config) or 0)
    (tmp_path / "zqueue.toml").write_text(with_examples())
    done = CliRunner().invoke(cli, ["--config", str(tmp_path / "zqueue.toml"), "broker"])
    assert done.exit_code == 0, done.output
    expected = BrokerConfig(
        ingest="tcp://127.0.0.1:5557", egress={"events": "tcp://127.0.0.1:5558"},
        data_dir="/var/lib/zqueue/queues", durability="disk", keys="/etc/zqueue/keys",
    )  # fmt: skip
    assert got == [expected]


def test_the_examples_reach_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    got: list[WorkerConfig] = []
    monkeypatch.setattr(
        "zqueue.worker.supervisor.run_supervisor", lambda config: got.append(config) or 0
    )
    (tmp_path / "zqueue.toml").write_text(with_examples())
    done = CliRunner().invoke(cli, ["--config", str(tmp_path / "zqueue.toml"), "worker", "a.py"])
    assert done.exit_code == 0, done.output
    expected = WorkerConfig(
        app="a.py", url="tcp://127.0.0.1:5555?key=/etc/zqueue/worker.key",
        queues=("words", "checksum"),
    )  # fmt: skip
    assert got == [expected]


@pytest.mark.system
def test_a_broker_starts_with_it():
    with tempfile.TemporaryDirectory(prefix="zqueue-") as folder:
        url = f"ipc://{folder}/broker"
        command = [sys.executable, "-m", "zqueue", "--config", str(SAMPLE), "broker", "--bind", url]
        broker = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        try:
            assert answer(url, broker)["bytes_max"] == 1 << 30
            broker.send_signal(signal.SIGTERM)
            _, log = broker.communicate(timeout=WAIT_S)
        finally:
            if broker.poll() is None:
                broker.kill()
                broker.communicate()
        assert broker.returncode == 0, log


def answer(url: str, broker: subprocess.Popen[str]) -> dict:
    """What the broker says of itself, as soon as it answers."""
    deadline = monotonic() + WAIT_S
    while monotonic() < deadline and broker.poll() is None:
        try:
            return ask(url, timeout=0.2)
        except BrokerLost:
            continue
    pytest.fail(f"no broker answers: exit code {broker.returncode}")
