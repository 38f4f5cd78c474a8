"""zqueue/deploy/ssh.py: what is sent, and what is said of ssh's complaints."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from zqueue.deploy.ssh import REMOTE, HostFailed, HostLost, Ssh, complaint, explain, pack

CHANGED = "@  WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!  @\nHost key verification failed.\n"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            CHANGED,
            "not the one that is known for h2: if the host was set up anew, ssh-keygen -R h2",
        ),
        ("Host key verification failed.", "its host key is not known: connect by hand once"),
        ("me@h2: Permission denied (publickey).", "ssh lets us not in (me@h2: Permission denied"),
        ("ssh: connect to host h2 port 22: Connection refused", "ssh does not reach it (ssh: conn"),
        ("", "ssh does not reach it (it said nothing): try ssh h2"),
    ],
    ids=["changed", "unknown", "denied", "refused", "silent"],
)
def test_a_complaint_of_ssh_tells_what_to_do(said, told):
    assert told in explain("h2", said)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("sudo: a password is required\n", "sudo asks for a password or forbids it"),
        ("tar: x: Cannot write: No space left on device\n", "a disk is full"),
        ("noise\nzqueue: port 1 is taken\n", "noise; zqueue: port 1 is taken"),
        ("zqueue: there is no release x\n", "there is no release x"),
        ("", "it failed and said nothing"),
    ],
    ids=["sudo", "disk", "noise", "ours", "silent"],
)
def test_a_complaint_of_a_host_tells_what_to_do(said, told):
    assert complaint(said).startswith(told)


def test_of_the_same_files_an_archive_has_the_same_bytes(tmp_path: Path):
    path = tmp_path / "wheel"
    path.write_bytes(b"wheel")
    assert pack({"b": b"2", "a": path}) == pack({"a": b"wheel", "b": b"2"})
    with tarfile.open(fileobj=io.BytesIO(pack({"b": b"2", "a": path}))) as archive:
        assert archive.getnames() == ["a", "b"]


def run(archive: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """The remote command, as a shell there runs it; `sudo` is one that runs its command."""
    sudo = folder / "sudo"
    sudo.write_text('#!/bin/sh\n[ "$1" = -n ] && shift && exec "$@"\n')
    sudo.chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "TMPDIR": str(folder)}
    return subprocess.run(["sh", "-c", REMOTE], input=archive, env=environment,
                          capture_output=True, timeout=60)  # fmt: skip


@pytest.mark.system
def test_the_remote_command_runs_the_installer_and_leaves_nothing(tmp_path: Path):
    script = b'd=$(dirname "$0"); ls "$d"; cat "$d/commands"; stat -c %a "$d"; exit 3\n'
    done = run(pack({"install.sh": script, "commands": b"$(touch /tmp/x) `id`\n"}), tmp_path)
    assert done.returncode == 3
    assert done.stdout == b"commands\ninstall.sh\n$(touch /tmp/x) `id`\n700\n"
    assert [path.name for path in tmp_path.iterdir()] == ["sudo"]


@pytest.mark.system
def test_half_an_archive_does_nothing(tmp_path: Path):
    archive = pack({"install.sh": b"echo ran\n", "z": b"z" * 50_000})
    done = run(archive[:20_000], tmp_path)
    assert (done.returncode != 0, done.stdout) == (True, b"")


SSH = """\
#!/bin/sh
printf '%s\\n' "$@" > "$0.args"
case " $* " in *" -N "*) exit 0 ;; *" -O "*) exit 0 ;; esac
cat > "$0.stdin"
{answer}
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Stands in for the program, to see how it is called."""

    def answer(text: str) -> Path:
        path = tmp_path / "ssh"
        path.write_text(SSH.format(answer=text))
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return path

    return answer


@pytest.mark.system
def test_names_stand_behind_the_options_and_archives_come_by_stdin(ssh):
    path = ssh("echo done")
    with Ssh("/etc/their_config") as connections:
        folder = Path(connections._folder.name)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        connections.connect("h2", "me@h2")
        assert connections.run("h2", "me@h2", b"secret") == "done\n"
        arguments = Path(f"{path}.args").read_text().split("\n")
    assert not folder.exists()
    assert Path(f"{path}.stdin").read_bytes() == b"secret"
    place = arguments.index("--")
    assert arguments[place + 1] == "me@h2"
    assert arguments[:2] == ["-F", "/etc/their_config"]
    given = " ".join(arguments[:place])
    assert "BatchMode=yes" in given
    assert "StrictHostKeyChecking" not in given, "that is the user's to say"
    assert "UserKnownHostsFile" not in given


@pytest.mark.system
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("echo 'zqueue: no room' >&2; exit 1", HostFailed),
        ("echo 'client_loop: send disconnect' >&2; exit 255", HostLost),
    ],
    ids=["failed", "lost"],
)
def test_a_host_that_fails_is_told_from_one_that_is_lost(ssh, answer, error):
    ssh(answer)
    with Ssh() as connections, pytest.raises(HostFailed, match="h2: ") as raised:
        connections.run("h2", "h2", b"")
    assert type(raised.value) is error
