"""zqueue/deploy/keyring.py"""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from zqueue.auth.files import read_broker_pair, read_client_key, read_users
from zqueue.deploy.keyring import keep

URLS = ["tcp://10.0.0.11:5555"]


def client(broker_keys: list[str], **changes) -> dict:
    brokers = dict.fromkeys(URLS, broker_keys)
    key = {"file": "worker.key", "name": "worker-h2", "brokers": brokers}
    return {"clients": [key | {"renew": False} | changes]}


def broker(folder: Path) -> str:
    (line,) = keep(folder, "", {"broker": True})
    said, file, public = line.split()
    assert (said, file) == ("public", "keys/broker.key")
    return public


def made(folder: Path, wanted: dict) -> str:
    """The public key of worker.key."""
    (line,) = [line for line in keep(folder, "", wanted) if line.startswith("public worker.key ")]
    return line.split()[2]


def test_a_broker_s_key_is_made_once(tmp_path: Path):
    public = broker(tmp_path)
    assert broker(tmp_path) == public
    assert read_broker_pair(str(tmp_path / "keys")).public == public
    assert stat.S_IMODE((tmp_path / "keys" / "broker.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_a_client_keeps_its_pair_when_the_broker_changes(tmp_path: Path):
    old, new = "o" * 40, "n" * 40
    public = made(tmp_path, client([old]))
    assert made(tmp_path, client([old, new])) == public
    key = read_client_key(str(tmp_path / "worker.key"))
    assert (key.pair.public, key.broker_keys, key.urls) == (public, (old, new), tuple(URLS))
    assert stat.S_IMODE((tmp_path / "worker.key").stat().st_mode) == 0o600


def test_a_client_of_two_brokers_knows_each_by_its_key(tmp_path: Path):
    brokers = {"tcp://10.0.0.11:5555": ["o" * 40], "tcp://10.0.0.12:5555": ["p" * 40, "q" * 40]}
    made(tmp_path, client([], brokers=brokers))
    key = read_client_key(str(tmp_path / "worker.key"))
    assert key.urls == tuple(brokers)
    assert {url: list(key.keys_of(url)) for url in brokers} == brokers


def test_a_client_gets_another_pair_when_it_is_told_to(tmp_path: Path):
    public = made(tmp_path, client(["o" * 40]))
    assert made(tmp_path, client(["o" * 40], renew=True)) != public


def test_the_broker_s_key_changes_in_two_steps(tmp_path: Path):
    old = broker(tmp_path)
    lines = keep(tmp_path, "", {"rotate": "begin"})
    assert len(lines) == 2
    new = lines[1].removeprefix("public keys/broker-next.key ")
    assert keep(tmp_path, "", {"rotate": "begin"}) == lines, "half a change is carried on"
    assert keep(tmp_path, "", {"rotate": "finish"}) == [f"public keys/broker.key {new}"]
    assert new != old
    assert keep(tmp_path, "", {"rotate": "finish"}) == [f"public keys/broker.key {new}"]


def test_the_list_is_written(tmp_path: Path):
    line = '"web" = { key = "%s", roles = ["produce"] }\n' % ("w" * 40)
    keep(tmp_path, "", {"list": f"[clients]\n{line}"})
    assert [user.name for user in read_users(str(tmp_path / "keys"))] == ["web"]


@pytest.mark.system
def test_as_a_program_it_prints_no_secret(tmp_path: Path):
    def run(wanted: dict) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "zqueue.deploy.keyring", str(tmp_path), ""]
        return subprocess.run(command, input=json.dumps(wanted), capture_output=True, text=True,
                              timeout=60)  # fmt: skip

    done = run({"broker": True, **client(["o" * 40])})
    assert done.returncode == 0, done.stderr
    secrets = [read_broker_pair(str(tmp_path / "keys")).secret,
               read_client_key(str(tmp_path / "worker.key")).pair.secret]  # fmt: skip
    assert not any(secret in done.stdout + done.stderr for secret in secrets)
    (tmp_path / "worker.key").chmod(0o644)
    done = run(client(["o" * 40]))
    assert (done.returncode, done.stdout) == (1, "")
    assert "worker.key can be read or written by others: chmod 600" in done.stderr
