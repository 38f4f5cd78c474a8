"""What is wrong with a host is said before anything is changed anywhere, with what to do."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zqueue.testing import wait_until

from .lab import WORK_S, Lab

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def bare(boot: Callable[..., Lab]) -> Lab:
    """Two hosts with nothing of ours."""
    return boot(2, workers=1)


def refused(lab: Lab, host: str, said: str, code: int = 6) -> None:
    """The host is named, once, with what to do, and no host was touched."""
    out, errors = lab.deploy("up", code=code)
    count = "1 of 2 reachable" if code == 3 else "1 of 2 fit"
    assert out.splitlines()[-1] == f"{count}; nothing was changed", errors
    (line,) = [line for line in errors.splitlines() if line.startswith("zqueue: ")]
    assert line.startswith(f"zqueue: {host}: "), errors
    assert re.search(said, line), errors
    for each in lab.hosts:
        root = lab.state / each / "root"
        assert not (root / "opt/zqueue").exists()
        assert not (root / "etc/zqueue/keys").exists()


@contextlib.contextmanager
def broken(lab: Lab, host: str, how: str, mended: str) -> Iterator[None]:
    """Something is wrong with a host, as long as the block runs."""
    lab.on(host, how)
    try:
        yield
    finally:
        lab.on(host, mended)


@contextlib.contextmanager
def written(lab: Lab, path: Path, text: str) -> Iterator[None]:
    """A file has another text, as long as the block runs."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def changed(lab: Lab, before: str, after: str) -> contextlib.AbstractContextManager[None]:
    """The inventory has another text, as long as the block runs."""
    text = lab.inventory.read_text()
    assert before in text
    return written(lab, lab.inventory, text.replace(before, after))


def test_a_typo_in_the_inventory(bare: Lab):
    with changed(bare, 'brokers = ["h1"]', 'brokers = ["h11"]'):
        _, said = bare.deploy("up", code=2)
    assert "did you mean 'h1'" in said
    assert len(said.splitlines()) == 1


def test_an_option_of_the_broker_that_there_is_not(bare: Lab):
    with changed(bare, "data_dir =", "data_dri ="):
        _, said = bare.deploy("up", code=2)
    assert "did you mean 'data-dir'" in said


def test_a_host_that_is_down(bare: Lab):
    bare.do("unplug", "h2")
    try:
        refused(bare, "h2", "ssh does not reach it .*: try ssh 10.99.0.12", code=3)
    finally:
        bare.do("plug", "h2")


def test_a_wrong_host_key(bare: Lab):
    path = bare.state / "known_hosts"
    first, second = path.read_text().splitlines()
    wrong = second.replace(second.split()[2], first.split()[2])
    with written(bare, path, f"{first}\n{wrong}\n"):
        refused(bare, "h2", "its host key is not the one that is known.*ssh-keygen -R", code=3)
    with written(bare, path, f"{first}\n"):
        refused(bare, "h2", "its host key is not known: connect by hand once", code=3)


def test_no_sudo(bare: Lab):
    with broken(
        bare, "h2", "mv /etc/sudoers.d/deploy /etc/kept", "mv /etc/kept /etc/sudoers.d/deploy"
    ):
        refused(bare, "h2", r"sudo asks for a password.*NOPASSWD")


def test_an_old_python(bare: Lab):
    """It answers as Python 3.9 does when it is asked for its version."""
    bare.on("h2", "printf '#!/bin/sh\\necho python 3.9.2 venv\\n' > /usr/bin/python3.9; "
                  "chmod 755 /usr/bin/python3.9")  # fmt: skip
    place = 'address = "10.99.0.12"'
    with changed(bare, place, f'{place}\npython = "python3.9"'):
        refused(bare, "h2", "python3.9 is Python 3.9.2: install 3.11 or later")
    with changed(bare, place, f'{place}\npython = "/nowhere/python3"'):
        refused(bare, "h2", "there is no /nowhere/python3: install Python 3.11")


def test_a_clock_an_hour_off(bare: Lab):
    date = "/usr/local/bin/date"
    script = '#!/bin/sh\\nexec faketime -f +1h /bin/date "$@"\\n'
    how = f"printf '{script}' > {date}; chmod 755 {date}"
    with broken(bare, "h2", how, f"rm {date}"):
        refused(bare, "h2", r"its clock is 3,\d\d\d s ahead of ours: start its time service")


def test_a_port_that_is_taken(bare: Lab):
    start = "systemd-run --quiet --unit=squatter python3 -m http.server 5555"
    with broken(bare, "h1", start, "systemctl stop squatter"):
        wait_until(
            lambda: bare.on("h1", "grep -c :15B3.*0A /proc/net/tcp || true") != "0\n", WORK_S
        )
        refused(bare, "h1", "port 5555 is taken by another program")


def test_a_disk_that_is_full(bare: Lab):
    with broken(bare, "h2", "mount -t tmpfs -o size=8m tmpfs /opt", "umount /opt"):
        refused(bare, "h2", r"/opt has \d MB free and needs 200: make room")


def test_a_firewall_that_blocks_one_direction(bare: Lab):
    """h2's questions arrive, and what h1 answers does not."""
    bare.do("deafen", "h2", "h1")
    try:
        refused(bare, "h2", "does not reach the broker at 10.99.0.11:5555 .*firewall")
    finally:
        bare.do("heal")


def test_a_disk_that_fills_while_it_is_written(bare: Lab):
    """Past the check: the place for what is sent, and not that for what is installed."""
    with broken(bare, "h2", "mount -t tmpfs -o size=1m tmpfs /tmp", "umount /tmp"):
        _, said = bare.deploy("up", code=1)
    assert re.search("zqueue: h2: a disk is full .*: make room", said)
    for host in bare.hosts:
        assert not (bare.state / host / "root/opt/zqueue/current").is_symlink(), "nothing switched"


def test_a_run_that_is_killed_half_way_is_carried_on(bare: Lab):
    process = subprocess.Popen(
        bare.controller("up"), env=bare.env, cwd=bare.folder, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "worker.key" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: bare.last("up") == "2 of 2 ready", WORK_S, every=1)
    assert bare.last("up") == "2 of 2 ready, nothing to change"


def test_a_key_file_that_others_can_read(bare: Lab):
    key = "/etc/zqueue/worker.key"
    with broken(bare, "h2", f"chmod 644 {key}", f"chmod 600 {key}"):
        out, said = bare.deploy("up", code=6)
    assert out == "1 of 2 fit; nothing was changed\n"
    assert "zqueue: h2: /etc/zqueue/worker.key can be read by others (mode 0644): chmod 600" in said


def test_a_key_of_another_cluster(bare: Lab):
    right = bare.on("h2", "cat /etc/zqueue/worker.key")
    other = re.sub('(broker_keys = )\\[".*"\\]', '\\1["' + "x" * 40 + '"]', right)
    path = bare.state / "h2/root/etc/zqueue/worker.key"
    path.write_text(other)
    _, said = bare.deploy("up", code=6)
    assert "zqueue: h2: /etc/zqueue/worker.key is for another broker" in said
    assert "--limit h2 --new-keys" in said
    assert bare.last("up", "--limit", "h2", "--new-keys") == "1 of 1 ready"


def test_without_systemd(bare: Lab):
    """Processes in sessions of their own, with a file that says which."""
    assert bare.last("down", "--purge") == "2 of 2 down"
    for host in bare.hosts:
        left = bare.on(host, "ls -d /opt/zqueue /etc/zqueue /var/lib/zqueue 2>/dev/null || true")
        assert left == ""
    bare.change('address = "10.99.0.11"', 'address = "10.99.0.11"\nservice = "plain"')
    bare.change('address = "10.99.0.12"', 'address = "10.99.0.12"\nservice = "plain"')
    assert bare.last("up") == "2 of 2 ready"
    assert bare.last("up") == "2 of 2 ready, nothing to change"
    assert bare.on("h2", "systemctl list-units --plain --no-legend 'zqueue-*'") == ""
    (pid, _) = bare.on("h2", "cat /run/zqueue-plain/zqueue-worker@load.service.pid").split()
    assert bare.on("h2", f"stat -c %U /proc/{pid}").strip() == "zqueue"
    assert "ready" in bare.last("restart")
    assert bare.deploy("logs", "--limit", "h1")[0]
    assert bare.last("down") == "2 of 2 down"
    assert bare.on("h2", "pgrep -u zqueue || true") == ""
