"""workers/checksum.py"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest


@pytest.fixture
def checksum(load):
    return load("checksum")


def test_tells_digest_size_and_path_of_a_file(checksum, tmp_path: Path):
    path = str(tmp_path / "abc")
    Path(path).write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert checksum.checksum(path) == {"digest": expected, "size": 3, "path": path}


def test_takes_every_algorithm_that_it_names(checksum, tmp_path: Path):
    path = str(tmp_path / "large")
    data = bytes(range(256)) * 5000
    Path(path).write_bytes(data)
    assert {"md5", "sha256", "blake2b"} <= checksum.ALGORITHMS
    for algorithm in checksum.ALGORITHMS:
        found = checksum.checksum(path, algorithm)
        assert found["digest"] == hashlib.new(algorithm, data).hexdigest()
        assert found["size"] == len(data)


@pytest.mark.system
def test_does_what_its_docstring_shows(checksum, shell):
    photos = shell.folder / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"abc")
    (photos / "b.jpg").write_bytes(b"other bytes")
    (photos / "copy of a.jpg").write_bytes(b"abc")
    digest = hashlib.sha256(b"other bytes").hexdigest()[:8]
    assert shell.follow(checksum.__doc__.replace("1f9f40be", digest)) == 6
