"""Hosts on one machine, a cluster on them, and work whose whole history is kept.

`hosts-lab` beside this file boots hosts with systemd and sshd of their own; the controller runs in
their network, and reaches nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zqueue.auth.files import ClientKey, KeyPair, client_lines, make_pair, write_secret
from zqueue.testing import wait_until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCRIPT = HERE / "hosts-lab"
PROGRAMS = ("systemd-nspawn", "nft", "sudo", "ip", "ssh", "ssh-keygen", "faketime")
SSHD = "/usr/sbin/sshd"

COMMAND_S = 240.0
"""Of any command: this machine is busy with other tests."""
WORK_S = 120.0
"""Until all that was sent has run."""

APP = '''\
import os
import time

import zqueue

app = zqueue.App()
VERSION = {version}


@app.task(queue="load")
def note(number, wait_s):
    """Leaves a line in the working directory of the service, which a power cut does not take."""
    time.sleep(wait_s)
    descriptor = os.open("ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, b"%d %d\\n" % (number, VERSION))
    os.close(descriptor)
'''

INVENTORY = """\
[cluster]
brokers = {brokers}
apps = {{ load = "load.py" }}
wheels = "{wheels}"
{hosts}
[broker]
data_dir = "/var/lib/zqueue/queues"

[clients.load]
key = "{key}"
roles = ["admin"]
"""

HOST = """
[hosts.h{n}]
ssh = "10.99.0.{address}"
address = "10.99.0.{address}"
workers = {{ load = {workers} }}
"""


def missing() -> list[str]:
    """Programs that the laboratory needs and this machine does not have."""
    return [name for name in (*PROGRAMS, SSHD) if shutil.which(name) is None]


def refusal() -> str:
    """Why this kernel, or whoever runs this, cannot have a laboratory; empty: it can."""
    if os.geteuid():
        return "only root can boot hosts"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"],
                           capture_output=True, text=True)  # fmt: skip
    if tried.returncode:
        return f"namespaces are refused: {tried.stderr.strip()}"
    return ""


def url_of(host: str) -> str:
    """Where a host's broker is."""
    return f"tcp://10.99.0.{10 + int(host[1:])}:5555"


class Lab:
    """Hosts h1, h2, …, as long as they are up."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self.wheels = wheels
        self.state = Path("/run/zqueue-lab")
        self.hosts: list[str] = []
        self.brokers: list[str] = []
        self.pair: KeyPair = make_pair()
        self.version = 1

    def up(self, count: int, *, workers: int = 2, brokers: int = 1) -> None:
        """Boot them, and write an inventory of them all."""
        self.do("up", str(count))
        self.hosts = [f"h{n}" for n in range(1, count + 1)]
        self.brokers = self.hosts[:brokers]
        self.write_app(1)
        hosts = "".join(HOST.format(n=n, address=10 + n, workers=workers)
                        for n in range(1, count + 1))  # fmt: skip
        text = INVENTORY.format(wheels=self.wheels, hosts=hosts, key=self.pair.public,
                                brokers=json.dumps(self.brokers))  # fmt: skip
        self.inventory.write_text(text)

    def down(self) -> None:
        """Remove them."""
        subprocess.run([str(SCRIPT), "down"], env=self.env, capture_output=True, timeout=COMMAND_S)

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {
            "HOSTS_LAB": str(self.state),
            "HOSTS_LAB_HIDE": f"/root {self.folder.parent}",
            "PYTHONPATH": str(ROOT),
            "PIP_NO_INDEX": "1",
            "XDG_CACHE_HOME": str(self.wheels.parent / "cache"),
            "ZQUEUE_DEPLOY_UP_TIMEOUT": "120",
            "ZQUEUE_DEPLOY_UPGRADE_WATCH": "0.5",
        }

    @property
    def inventory(self) -> Path:
        return self.folder / "hosts.toml"

    @property
    def ssh_config(self) -> Path:
        return self.state / "ssh_config"

    def write_app(self, version: int) -> None:
        """What workers run, from the next deployment on."""
        self.version = version
        (self.folder / "load.py").write_text(APP.format(version=version))

    def change(self, before: str, after: str) -> None:
        """Another text in the inventory."""
        text = self.inventory.read_text()
        assert before in text
        self.inventory.write_text(text.replace(before, after))

    # --- commands ---

    def do(self, *arguments: str) -> str:
        """A verb of the laboratory's script."""
        done = subprocess.run(
            [str(SCRIPT), *arguments], env=self.env, capture_output=True, text=True,
            timeout=COMMAND_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def on(self, host: str, command: str) -> str:
        """Run a line of shell on a host, as root, past the network."""
        return self.do("on", host, "sh", "-c", command)

    def controller(self, *arguments: str) -> list[str]:
        """How the controller is called, in the hosts' network."""
        config = ("--inventory", str(self.inventory), "--ssh-config", str(self.ssh_config))
        command = [sys.executable, "-m", "zqueue", "deploy", *arguments, *config]
        return ["ip", "netns", "exec", "zl-ctl", *command]

    def deploy(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """`zqueue deploy`: what it printed, and what it said beside."""
        done = subprocess.run(
            self.controller(*arguments), env=self.env, capture_output=True, text=True,
            timeout=COMMAND_S, cwd=self.folder,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout, done.stderr

    def last(self, *arguments: str, code: int = 0) -> str:
        """The last line that `zqueue deploy` prints."""
        return self.deploy(*arguments, code=code)[0].splitlines()[-1]

    @contextlib.contextmanager
    def cable(self, host: str, milliseconds: int) -> Iterator[None]:
        """A slow one, as long as the block runs."""
        command = [sys.executable, str(HERE / "slow-cable"), host, str(milliseconds)]
        process = subprocess.Popen(command, env=self.env, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: "slow0" in self.do("on", host, "ip", "-br", "addr"),
                       what="the slow cable")  # fmt: skip
            yield
        finally:
            process.terminate()
            process.communicate(timeout=COMMAND_S)

    # --- work ---

    def write_key(self) -> Path:
        """The key file of a producer in the hosts' network."""
        path = self.folder / "load.key"
        brokers = {url_of(host): tuple(self.broker_keys(host)) for host in self.brokers}
        key = ClientKey.of("load", self.pair, brokers)
        write_secret(path, client_lines(key), replace=True)
        return path

    def broker_keys(self, host: str = "h1") -> list[str]:
        """The public key of a broker, and the next one."""
        command = "sed -n 's/^public = \"\\(.*\\)\"$/\\1/p' /etc/zqueue/keys/broker*.key"
        return sorted(self.on(host, command).split())

    def info(self, host: str = "h1") -> dict[str, Any]:
        """What the broker says, asked on its own host."""
        text = self.on(host, "/opt/zqueue/current/venv/bin/zqueue info --json --key-file "
                             f"/etc/zqueue/observe.key --url {url_of(host)}")  # fmt: skip
        found: dict[str, Any] = json.loads(text)
        return found

    def ran(self) -> Counter[int]:
        """How often each task ran, on all hosts together."""
        runs: Counter[int] = Counter()
        for host in self.hosts:
            path = self.state / host / "root/var/lib/zqueue/load/ran"
            if path.exists():
                runs.update(int(line.split()[0]) for line in path.read_text().splitlines())
        return runs

    def versions(self) -> Counter[int]:
        """How many tasks each version of the app ran."""
        found: Counter[int] = Counter()
        for host in self.hosts:
            path = self.state / host / "root/var/lib/zqueue/load/ran"
            if path.exists():
                found.update(int(line.split()[1]) for line in path.read_text().splitlines())
        return found

    def is_ready(self) -> bool:
        """Whether every host has what it should have."""
        done = subprocess.run(self.controller("status"), env=self.env, capture_output=True,
                              timeout=COMMAND_S, cwd=self.folder)  # fmt: skip
        return done.returncode == 0


class Load:
    """A producer that goes on sending; what was confirmed is written down."""

    def __init__(self, lab: Lab, *, first: int = 0, wait_s: float = 0.01) -> None:
        self._lab = lab
        self._confirmed = lab.folder / f"confirmed-{first}"
        self._stop = lab.folder / f"stop-{first}"
        command = ["ip", "netns", "exec", "zl-ctl", sys.executable, str(HERE / "producer.py"),
                   str(first), str(wait_s), str(self._confirmed), str(self._stop)]  # fmt: skip
        self._process = subprocess.Popen(
            command, cwd=lab.folder, stderr=subprocess.PIPE, text=True,
            env=lab.env | {"PYTHONPATH": f"{ROOT}:{lab.folder}",
                           "ZQUEUE_KEY_FILE": str(lab.write_key())},
        )  # fmt: skip

    def confirmed(self) -> set[int]:
        """Tasks for which the broker has taken responsibility."""
        if not self._confirmed.exists():
            return set()
        return {int(line) for line in self._confirmed.read_text().split()}

    def flows(self, tasks: int = 100) -> None:
        """Wait until so many more were confirmed, and so many have run."""
        count, runs = len(self.confirmed()), self._lab.ran().total()
        wait_until(lambda: len(self.confirmed()) >= count + tasks, WORK_S, every=0.1,
                   what=lambda: ("confirms", self._said()))  # fmt: skip
        wait_until(lambda: self._lab.ran().total() >= runs + tasks, WORK_S, every=0.1,
                   what=lambda: ("runs", self._lab.ran().total()))  # fmt: skip

    def stop(self) -> None:
        """Send no more once the batch that is under way is confirmed."""
        self._stop.touch()

    def waiting(self) -> set[int]:
        """Tasks that were confirmed and have not run."""
        return self.confirmed() - set(self._lab.ran())

    def finish(self) -> Counter[int]:
        """Send no more, and wait until each task that was confirmed has run. Returns how often."""
        self.stop()
        assert self._process.wait(COMMAND_S) == 0, self._said()
        confirmed = self.confirmed()
        assert confirmed

        def lost() -> set[int]:
            return confirmed - set(self._lab.ran())

        wait_until(
            lambda: not lost(),
            WORK_S,
            every=0.2,
            what=lambda: (
                f"{len(lost())} of {len(confirmed)} confirmed tasks never ran",
                self._lab.info(),
            ),
        )
        return Counter({number: runs for number, runs in self._lab.ran().items()
                        if number in confirmed})  # fmt: skip

    def end(self) -> None:
        """For a test that failed."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def _said(self) -> str:
        if self._process.poll() is None:
            return "it still sends"
        return self._process.communicate()[1]
