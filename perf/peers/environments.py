"""The environments of the systems: what is missing, how to get it, and making them."""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path

from peers.registry import BY_NAME, ENVIRONMENTS, MODULES, PEERS, PROGRAMS, Peer

DEFAULT = Path("~/.cache/zqueue-peers")
STAMP = "zqueue-peers.txt"


def program(name: str) -> str | None:
    """Where a program is, also where Debian has those of PostgreSQL; None if it is not there."""
    servers = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *servers[-1:]]))


class Environments:
    """The folder that holds one environment for each system that needs one."""

    def __init__(self, folder: Path = DEFAULT) -> None:
        self._told = folder
        self.folder = folder.expanduser().absolute()

    def python(self, peer: Peer) -> Path:
        """What runs a system's driver."""
        if not peer.environment:
            return Path(sys.executable)
        return self.folder / peer.environment / "bin" / "python"

    def missing(self, peer: Peer) -> dict[str, str]:
        """What a system lacks, and the command that gets it. Empty: it can be measured."""
        lacks = {}
        if peer.environment and not self._is_made(peer.environment):
            where = self.folder / peer.environment
            lacks[f"an environment in {where}"] = self._setup_command(peer.environment)
        for name in peer.programs:
            if program(name) is None:
                lacks[name] = PROGRAMS[name]
        needed = peer.modules
        if peer.against:
            needed += BY_NAME[peer.against].modules
        for module in needed:
            if importlib.util.find_spec(module) is None:
                lacks[f"the module {module}"] = MODULES[module]
        return lacks

    def make(self, peers: Iterable[Peer]) -> None:
        """Make what environments are missing or of another time. Needs a package index.

        Raises `subprocess.CalledProcessError` if one cannot be installed.
        """
        for name in dict.fromkeys(peer.environment for peer in peers if peer.environment):
            if self._is_made(name):
                continue
            where = self.folder / name
            print(f"{where}: {' '.join(ENVIRONMENTS[name])}", file=sys.stderr, flush=True)
            venv.create(where, clear=True, with_pip=True, symlinks=True)
            subprocess.run(
                [where / "bin" / "python", "-m", "pip", "install", "-q",
                 "--disable-pip-version-check", *ENVIRONMENTS[name]],
                check=True,
            )  # fmt: skip
            # Last, so that what was interrupted is not taken for made.
            (where / STAMP).write_text(_stamp(name))

    def _is_made(self, name: str) -> bool:
        stamp = self.folder / name / STAMP
        return stamp.exists() and stamp.read_text() == _stamp(name)

    def _setup_command(self, environment: str) -> str:
        name = next(peer.name for peer in PEERS if peer.environment == environment)
        script = os.path.relpath(Path(__file__).with_name("compare.py"))
        where = [] if self._told == DEFAULT else ["--envs", str(self._told)]
        return shlex.join(["python", script, "--setup", *where, name])


def _stamp(name: str) -> str:
    return "\n".join([platform.python_version(), *ENVIRONMENTS[name], ""])
