"""What is wrong with a host is said before anything is changed anywhere, with what to do."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable

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
    assert out.splitlines()[-1] == "1 of 2 not touched", errors
    (line,) = [line for line in errors.splitlines() if line.startswith("zqueue: ")]
    assert line.startswith(f"zqueue: {host}: "), errors
    assert re.search(said, line), errors
    for each in lab.hosts:
        root = lab.state / each / "root"
        assert not (root / "opt/zqueue").exists()
        assert not (root / "etc/zqueue/keys").exists()


def test_a_typo_in_the_inventory(bare: Lab):
    bare.change('brokers = ["h1"]', 'brokers = ["h11"]')
    _, said = bare.deploy("up", code=2)
    bare.change('brokers = ["h11"]', 'brokers = ["h1"]')
    assert "did you mean 'h1'" in said
    assert len(said.splitlines()) == 1


def test_an_option_of_the_broker_that_there_is_not(bare: Lab):
    bare.change("data_dir =", "data_dri =")
    _, said = bare.deploy("up", code=2)
    bare.change("data_dri =", "data_dir =")
    assert "did you mean 'data-dir'" in said


def test_a_host_that_is_down(bare: Lab):
    bare.do("unplug", "h2")
    refused(bare, "h2", "ssh does not reach it .*: try ssh 10.99.0.12", code=3)
    bare.do("plug", "h2")


def test_a_wrong_host_key(bare: Lab):
    known = bare.state / "known_hosts"
    right = known.read_text()
    wrong = right.replace(right.splitlines()[1].split()[2], right.splitlines()[0].split()[2])
    known.write_text(wrong)
    refused(bare, "h2", "its host key is not the one that is known.*ssh-keygen -R", code=3)
    known.write_text("".join(line for line in right.splitlines(True) if "h2" not in line))
    refused(bare, "h2", "its host key is not known: connect by hand once", code=3)
    known.write_text(right)


def test_no_sudo(bare: Lab):
    bare.on("h2", "mv /etc/sudoers.d/deploy /etc/sudoers.d.kept")
    refused(bare, "h2", r"sudo asks for a password.*NOPASSWD", code=3)
    bare.on("h2", "mv /etc/sudoers.d.kept /etc/sudoers.d/deploy")


def test_an_old_python(bare: Lab):
    """It answers as Python 3.9 does when it is asked for its version."""
    bare.on("h2", "printf '#!/bin/sh\\necho python 3.9.2 venv\\n' > /usr/bin/python3.9; "
                  "chmod 755 /usr/bin/python3.9")  # fmt: skip
    bare.change('address = "10.99.0.12"', 'address = "10.99.0.12"\npython = "python3.9"')
    refused(bare, "h2", "python3.9 is Python 3.9.2: install 3.11 or later")
    bare.change('python = "python3.9"', 'python = "/nowhere/python3"')
    refused(bare, "h2", "there is no /nowhere/python3: install Python 3.11")
    bare.change('\npython = "/nowhere/python3"', "")


def test_a_clock_an_hour_off(bare: Lab):
    bare.on("h2", "printf '#!/bin/sh\\nexec faketime \"+1 hour\" /bin/date \"$@\"\\n' "
                  "> /usr/local/bin/date; chmod 755 /usr/local/bin/date")  # fmt: skip
    refused(bare, "h2", r"its clock is 3,\d\d\d s ahead of ours: start its time service")
    bare.on("h2", "rm /usr/local/bin/date")


def test_a_port_that_is_taken(bare: Lab):
    bare.on("h1", "systemd-run --quiet --unit=squatter python3 -m http.server 5555")
    listening = "ss -ltn 2>/dev/null | grep -q :5555 || grep -q :15B3 /proc/net/tcp"
    wait_until(lambda: bare.on("h1", f"({listening}) && echo yes || true"), WORK_S)
    refused(bare, "h1", "port 5555 is taken by another program")
    bare.on("h1", "systemctl stop squatter")


def test_a_disk_that_is_full(bare: Lab):
    bare.on("h2", "mount -t tmpfs -o size=8m tmpfs /opt")
    refused(bare, "h2", r"/opt has \d MB free and needs 200: make room")
    bare.on("h2", "umount /opt")


def test_a_firewall_that_blocks_one_direction(bare: Lab):
    """h2's questions arrive, and what h1 answers does not."""
    bare.do("deafen", "h2", "h1")
    refused(bare, "h2", "does not reach the broker at 10.99.0.11:5555 .*firewall")
    bare.do("heal")


def test_a_disk_that_fills_while_it_is_written(bare: Lab):
    """Past the check: the place for what is sent, and not that for what is installed."""
    bare.on("h2", "mount -t tmpfs -o size=1m tmpfs /tmp")
    _, said = bare.deploy("up", code=1)
    bare.on("h2", "umount /tmp")
    assert re.search("zqueue: h2: a disk is full .*: make room", said)
    for host in bare.hosts:
        assert not (bare.state / host / "root/opt/zqueue/current").is_symlink(), "nothing switched"


def test_a_run_that_is_killed_half_way_is_carried_on(bare: Lab):
    process = subprocess.Popen(bare.controller("up"), env=bare.env, cwd=bare.folder,
                               stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "worker.key" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: bare.last("up") == "2 of 2 ready", WORK_S, every=1)
    assert bare.last("up") == "2 of 2 ready, nothing to change"


def test_a_key_file_that_others_can_read(bare: Lab):
    bare.on("h2", "chmod 644 /etc/zqueue/worker.key")
    out, said = bare.deploy("up", code=6)
    assert out == "1 of 2 not touched\n"
    assert "zqueue: h2: /etc/zqueue/worker.key can be read by others (mode 0644): chmod 600" in said
    bare.on("h2", "chmod 600 /etc/zqueue/worker.key")


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
