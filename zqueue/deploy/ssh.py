"""Commands on other hosts, by the user's own ssh: its configuration, agent, jump hosts, host keys.

One connection a host (ControlMaster), and a remote command that never changes: it unpacks what
comes by stdin into a directory of its own and runs the `install.sh` in it, as root. So no shell
ever reads a name, and nothing secret is in a command line.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from ..errors import ZQueueError

CONNECT_S = 10
"""Until a host answers."""

COMMAND_S = 600.0
"""Of anything that a host does for us: a broker may look through its data dir for minutes."""

PERSIST_S = 60
"""How long a connection outlives a controller that was killed."""

_UNPACK = """\
set -eu; umask 077; d=$(mktemp -d "${TMPDIR:-/tmp}/zqueue.XXXXXXXX"); trap 'rm -rf "$d"' EXIT
trap 'exit 1' HUP INT TERM; tar -xf - -C "$d"; sh "$d/install.sh"
"""
_AS_ROOT = 'if [ "$(id -u)" = 0 ]; then exec /bin/sh -c "$0"; fi; exec sudo -n /bin/sh -c "$0"'
REMOTE = f"exec /bin/sh -c {shlex.quote(_AS_ROOT)} {shlex.quote(_UNPACK)}"
"""What the user's shell there is given."""


class HostFailed(ZQueueError):
    """A host did not do what it was asked."""

    def __init__(self, host: str, text: str) -> None:
        super().__init__(f"{host}: {text}")
        self.host, self.text = host, text


class HostLost(HostFailed):
    """A host cannot be reached."""


def explain(ssh: str, said: str) -> str:
    """ssh's complaint, as one sentence with what to do."""
    last = said.strip().splitlines()[-1:] or ["it said nothing"]
    if "IDENTIFICATION HAS CHANGED" in said:
        return (
            f"its host key is not the one that is known for {ssh}: if the host was set up anew, "
            f"ssh-keygen -R {ssh} and connect by hand once; otherwise somebody is in between"
        )
    if "Host key verification failed" in said or "host key is known" in said:
        return f"its host key is not known: connect by hand once (ssh {ssh}) and compare it"
    if "Permission denied" in said:
        return f"ssh lets us not in ({last[0]}): try ssh {ssh}"
    return f"ssh does not reach it ({last[0]}): try ssh {ssh}"


def complaint(said: str) -> str:
    """What a host said at its stderr, as one sentence."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any("sudo:" in line for line in lines):
        return (
            f"sudo asks for a password or forbids it ({lines[-1]}): let this user run /bin/sh "
            "by sudo without one (NOPASSWD), or connect as root"
        )
    if any("No space left" in line for line in lines):
        return f"a disk is full ({lines[-1]}): make room in /opt and /tmp"
    return "; ".join(lines[-4:]).removeprefix("zqueue: ") or "it failed and said nothing"


def pack(files: Mapping[str, bytes | Path]) -> bytes:
    """A tar archive of files by their names; of the same files always the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            packed = content.read_bytes() if isinstance(content, Path) else content
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(packed), 0o644
            archive.addfile(entry, io.BytesIO(packed))
    return buffer.getvalue()


class Ssh:
    """Connections to hosts, for as long as it is entered."""

    def __init__(self, config: str | None = None) -> None:
        self._config = ["-F", config] if config else []
        self._open: set[str] = set()

    def __enter__(self) -> Ssh:
        # Short, for a socket's path is at most 107 bytes, and ours alone (0700).
        self._folder = tempfile.TemporaryDirectory(prefix="zq-", dir="/tmp")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        for ssh in self._open:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(self._command("-O", "exit", "--", ssh), stdin=subprocess.DEVNULL,
                               capture_output=True, timeout=CONNECT_S)  # fmt: skip
        self._folder.cleanup()

    def connect(self, host: str, ssh: str) -> None:
        """Open the connection to a host. Raises `HostLost`."""
        # The master keeps its stderr for as long as it lives: a file, and no pipe to wait for.
        with tempfile.TemporaryFile("w+") as said:
            command = self._command("-f", "-N", "-o", "ControlMaster=yes", "--", ssh)
            try:
                done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                      timeout=3 * CONNECT_S)  # fmt: skip
            except subprocess.TimeoutExpired:
                raise HostLost(host, explain(ssh, "no answer")) from None
            except FileNotFoundError:
                raise ZQueueError("there is no ssh here: install openssh-client") from None
            said.seek(0)
            if done.returncode:
                raise HostLost(host, explain(ssh, said.read()))
        self._open.add(ssh)

    def run(self, host: str, ssh: str, archive: bytes, timeout_s: float = COMMAND_S) -> str:
        """Run an archive's `install.sh` and return what it printed. Raises `HostFailed`."""
        command = self._command("-o", "ControlMaster=no", "--", ssh, REMOTE)
        try:
            done = subprocess.run(command, input=archive, capture_output=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise HostLost(host, f"it did not end within {timeout_s:g} s: try ssh {ssh}") from None
        said = done.stderr.decode(errors="replace")
        if done.returncode == 255 and "zqueue:" not in said:
            raise HostLost(host, explain(ssh, said))
        if done.returncode:
            raise HostFailed(host, complaint(said))
        return done.stdout.decode(errors="replace")

    @contextlib.contextmanager
    def follow(self, ssh: str, archive: bytes) -> Iterator[subprocess.Popen[bytes]]:
        """Run an archive's `install.sh` with a pipe for what it prints, until the block ends."""
        command = self._command("-o", "ControlMaster=no", "--", ssh, REMOTE)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdin is not None
            try:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(archive)
                    process.stdin.close()
                yield process
            finally:
                process.terminate()

    def _command(self, *arguments: str) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ControlPath": f"{self._folder.name}/%C",
            "ControlPersist": str(PERSIST_S),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "LogLevel": "ERROR",
        }
        given = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        return ["ssh", *self._config, *given, *arguments]
