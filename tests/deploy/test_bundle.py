"""zqueue/deploy/bundle.py"""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest

from zqueue.deploy.bundle import Kind, gather, shipped
from zqueue.errors import ConfigError, ZQueueError
from zqueue.version import __version__

from .cluster import TEXT, inventory

HERE = Kind.here()


def wheel(folder: Path, name: str, version: str, needs: str = "") -> Path:
    """The least that is a wheel."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        requires = f"Requires-Dist: {needs}\n" if needs else ""
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory's folder, with wheels; pip looks nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    site = tmp_path / "site"
    (site / "workers").mkdir(parents=True)
    (site / "workers" / "wordcount.py").write_text("app = 1\n")
    wheel(site / "dist", "zqueue_pool", __version__, "helper")
    wheel(site / "dist", "helper", "1.5")
    wheel(site / "dist", "pip", "99")
    return site


WHEELS = TEXT.replace("[hosts.h1]", 'wheels = "dist"\n[hosts.h1]')


@pytest.mark.system
def test_wheels_are_gathered_once_with_their_digests(site, tmp_path, monkeypatch):
    found = gather(inventory(WHEELS), site, HERE, tmp_path / "cache")
    assert [Path(name).name.split("-")[0] for name in found.files] == [
        "helper", "pip", "zqueue_pool",
    ]  # fmt: skip
    lines = found.lock.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["helper==1.5", f"zqueue-pool=={__version__}"]
    for name, path in found.files.items():
        if "pip" not in name:
            assert hashlib.sha256(path.read_bytes()).hexdigest() in found.lock.decode()
    monkeypatch.setattr("zqueue.deploy.bundle._pip", None)
    assert gather(inventory(WHEELS), site, HERE, tmp_path / "cache") == found, "pip is not asked"


@pytest.mark.system
def test_another_wheel_is_another_environment(site, tmp_path):
    before = gather(inventory(WHEELS), site, HERE, tmp_path / "cache")
    wheel(site / "dist", "helper", "1.6")
    after = gather(inventory(WHEELS), site, HERE, tmp_path / "cache")
    assert before.venv != after.venv
    assert b"helper==1.6" in after.lock


@pytest.mark.system
def test_what_apps_require_comes_along(site, tmp_path):
    wheel(site / "dist", "shop", "2.0")
    (site / "requirements.txt").write_text("shop\n")
    text = WHEELS.replace("[hosts.h1]", 'requirements = "requirements.txt"\n[hosts.h1]', 1)
    assert b"shop==2.0" in gather(inventory(text), site, HERE, tmp_path / "cache").lock


@pytest.mark.system
def test_hosts_of_another_kind_get_what_is_for_them(site, tmp_path):
    other = Kind((3, 13), "aarch64")
    found = gather(inventory(WHEELS), site, other, tmp_path / "cache")
    assert found.venv != gather(inventory(WHEELS), site, HERE, tmp_path / "cache").venv


@pytest.mark.system
def test_what_pip_cannot_get_is_one_sentence(site, tmp_path):
    (site / "dist" / "helper-1.5-py3-none-any.whl").unlink()
    with pytest.raises(ZQueueError, match=r"pip cannot get the wheels.*helper") as raised:
        gather(inventory(WHEELS), site, HERE, tmp_path / "cache")
    assert "\n" not in str(raised.value)
    assert not [path for path in (tmp_path / "cache").iterdir() if (path / "lock.txt").exists()]


def test_a_folder_of_wheels_that_is_not_there(site, tmp_path):
    text = WHEELS.replace('"dist"', '"dits"')
    with pytest.raises(ConfigError, match=re.escape(f"there is no folder {site / 'dits'}")):
        gather(inventory(text), site, HERE, tmp_path / "cache")


def test_the_files_that_hosts_get(site):
    (site / "workers" / "texts").mkdir()
    (site / "workers" / "texts" / "a.txt").write_text("to be")
    text = TEXT.replace("[hosts.h1]", 'files = ["workers/texts"]\n[hosts.h1]', 1)
    found = shipped(inventory(text), site)
    assert found.apps == {"workers/wordcount.py": b"app = 1\n", "workers/texts/a.txt": b"to be"}
    assert set(found.units) == {
        "zqueue-broker.service", "zqueue-metrics.service", "zqueue-worker@.service",
    }  # fmt: skip
    assert set(found.monitoring) == {"prometheus.yml", "zqueue.rules.yml", "zqueue.json"}


def test_a_file_that_is_not_there(site):
    (site / "workers" / "wordcount.py").unlink()
    with pytest.raises(ConfigError, match=r"cannot read .*wordcount.py, which the inventory names"):
        shipped(inventory(), site)
