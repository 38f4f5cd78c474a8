"""What is sent to hosts: wheels with their digests, the app's files, units and the installer.

Wheels are gathered here by pip, once for each kind of host, and kept: hosts need no internet, and
take only what has the digest of the lock.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError, ZQueueError
from ..version import __version__
from .facts import BROKER_UNIT, METRICS_UNIT, Facts
from .inventory import Inventory, is_file
from .release import WORKER_TEMPLATE, Shipped, digest

FILES = Path(__file__).parent / "files"
PACKAGE = "zqueue-pool"
PIP_S = 900.0
SHIPPED_BYTES_MAX = 64 << 20
"""Of the app's files: they are sent to every host, and compared each time."""
SETS_KEPT = 8
"""Of wheels, in the cache."""


class Kind(NamedTuple):
    """What decides which wheels a host takes."""

    python: tuple[int, ...]
    architecture: str
    is_musl: bool = False

    @classmethod
    def of(cls, facts: Facts) -> Kind:
        """Of a host."""
        return cls(facts.python[:2], facts.architecture, facts.libc == "musl")

    @classmethod
    def here(cls) -> Kind:
        """Of this machine."""
        return cls(sys.version_info[:2], platform.machine(), platform.libc_ver()[0] != "glibc")

    def options(self) -> list[str]:
        """For ``pip download``, to choose for this kind."""
        libc = ("musllinux_1_2",) if self.is_musl else ("manylinux_2_28", "manylinux_2_17")
        platforms = [f"--platform={each}_{self.architecture}" for each in libc]
        version = ".".join(map(str, self.python))
        return ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}",
                *platforms]  # fmt: skip


class Wheels(NamedTuple):
    """An environment, before it is made."""

    venv: str
    lock: bytes
    files: dict[str, Path]


def gather(inventory: Inventory, folder: Path, kind: Kind, cache: Path) -> Wheels:
    """All wheels for a kind of host: zqueue, pip, and what the apps require.

    Parameters:
        folder: of the inventory.
        cache: where they are kept between runs.

    Raises `ConfigError` for what the inventory names and is not there, `ZQueueError` with pip's
    last words.
    """
    requirements = _read(folder / inventory.requirements) if inventory.requirements else b""
    offered = folder / inventory.wheels if inventory.wheels else None
    if offered is not None and not offered.is_dir():
        raise ConfigError(f"there is no folder {offered}, which [cluster] wheels names")
    found = sorted(offered.glob("*.whl")) if offered is not None else []
    listing = [f"{wheel.name} {_sha256(wheel)}" for wheel in found]
    key = digest(__version__, _own_digest(), requirements, repr(kind), *listing)
    place = cache / key
    if not (place / "lock.txt").exists():
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as made:
            _gather(Path(made), inventory, folder, kind, offered, found)
            lock = _lock(sorted(Path(made).glob("*.whl")))
            Path(made, "lock.txt").write_text(lock)
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(made, place)
        _forget_old(cache)
    os.utime(place)
    packed = (place / "lock.txt").read_bytes()
    version = ".".join(map(str, kind.python))
    files = {f"wheels/{wheel.name}": wheel for wheel in sorted(place.glob("*.whl"))}
    return Wheels(digest(packed, version, kind.architecture), packed, files)


def _gather(
    made: Path, inventory: Inventory, folder: Path, kind: Kind, offered: Path | None,
    found: list[Path],
) -> None:  # fmt: skip
    source = FILES.resolve().parent
    wanted = [f"{PACKAGE}=={__version__}", "pip"]
    has_zqueue = any(wheel.name.startswith("zqueue_pool-") for wheel in found)
    links = ["--find-links", str(offered)] if offered is not None else []
    if not has_zqueue and (source / "setup.py").exists():
        if kind != Kind.here():
            raise ConfigError(
                f"hosts have Python {'.'.join(map(str, kind.python))} on {kind.architecture}, and "
                "this checkout builds for another: make wheels (tox -e wheels) and name their "
                'folder in [cluster] wheels = "dist"'
            )
        with tempfile.TemporaryDirectory() as built:
            _pip("wheel", "--no-deps", "--wheel-dir", built, str(source))
            return _download(made, [*links, "--find-links", built], wanted, inventory, folder, kind)
    return _download(made, links, wanted, inventory, folder, kind)


def _download(
    made: Path, links: list[str], wanted: list[str], inventory: Inventory, folder: Path, kind: Kind
) -> None:
    named = ["-r", inventory.requirements] if inventory.requirements else []
    if kind == Kind.here():  # Then pip may build what comes as sources.
        _pip("wheel", "--wheel-dir", str(made), *links, *wanted, *named, cwd=folder)
    else:
        _pip("download", "--dest", str(made), *kind.options(), *links, *wanted, *named, cwd=folder)


def _pip(verb: str, *arguments: str, cwd: Path | None = None) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check",
               "--no-input", verb, *arguments]  # fmt: skip
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PIP_S, cwd=cwd)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ZQueueError(f"pip {verb} did not end within {PIP_S:g} s") from None
    if "No module named pip" in done.stderr:
        raise ZQueueError(f"there is no pip here: {sys.executable} -m ensurepip")
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if line.startswith("ERROR")]
        raise ZQueueError(f"pip cannot get the wheels for the hosts: {'; '.join(said[-2:])}")


def _lock(wheels: Iterable[Path]) -> str:
    lines = []
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        if name != "pip":  # It installs the others, and is not one of them.
            lines.append(f"{name.replace('_', '-')}=={version} --hash=sha256:{_sha256(wheel)}\n")
    return "".join(lines)


def _forget_old(cache: Path) -> None:
    sets = sorted(cache.iterdir(), key=lambda place: place.stat().st_mtime, reverse=True)
    for place in sets[SETS_KEPT:]:
        shutil.rmtree(place, ignore_errors=True)


def _own_digest() -> str:
    """Of our own text: a checkout changes without a new version."""
    package = Path(__file__).parents[1]
    made = hashlib.sha256()
    for path in sorted(package.rglob("*.py*")):
        if path.suffix in (".py", ".pxd"):
            made.update(path.read_bytes())
    return made.hexdigest()


def shipped(inventory: Inventory, folder: Path) -> Shipped:
    """The files that hosts get, from below the inventory's folder. Raises `ConfigError`."""
    apps: dict[str, bytes] = {}
    programs = [program for program in inventory.apps.values() if is_file(program)]
    for name in (*programs, *inventory.files):
        place = folder / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if (path.is_file() and "__pycache__" not in path.parts) or not place.exists():
                apps[path.relative_to(folder).as_posix()] = _read(path)
    if sum(map(len, apps.values())) > SHIPPED_BYTES_MAX:
        raise ConfigError(f"the apps' files are over {SHIPPED_BYTES_MAX >> 20} MiB: ship data "
                          "another way")  # fmt: skip
    served = (BROKER_UNIT, METRICS_UNIT, WORKER_TEMPLATE)
    units = {name: (FILES / "systemd" / name).read_bytes() for name in served}
    rules = [FILES / "prometheus" / name for name in ("prometheus.yml", "zqueue.rules.yml")]
    monitoring = [*rules, FILES / "grafana" / "zqueue.json"]
    return Shipped(apps, units, {path.name: path.read_bytes() for path in monitoring})


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}, which the inventory names: {error.strerror}") from (
            None
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def default_cache() -> Path:
    """Where wheels are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "zqueue" / "wheels"
