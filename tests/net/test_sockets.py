"""Sockets: what their options bring about."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from tests.system.harness import bare
from zqueue.config import Address
from zqueue.errors import ConfigError
from zqueue.net.sockets import UNREAD_MESSAGES, AddressInUse, bind, hold_ipc_path, make_socket

MIB = 1 << 20
KERNEL_BYTES = 24 << 20
"""Buffers of one connection of the loopback interface, at both ends: 4 to 17 MiB."""


def test_a_peer_that_nobody_reads_is_stopped() -> None:
    """Whatever it sends then waits at its own end."""
    address = Address.parse("tcp://127.0.0.1:*")
    with zmq.Context() as context:
        router = make_socket(context, zmq.ROUTER, address, frame_bytes_max=2 * MIB)
        with router, bare(zmq.DEALER, bind(router, address), SNDHWM=1) as dealer:
            sent = 0
            while dealer.poll(1_000, zmq.POLLOUT):
                dealer.send(bytes(MIB))
                sent += 1
                assert sent <= UNREAD_MESSAGES + KERNEL_BYTES // MIB
            assert sent >= UNREAD_MESSAGES
            for _ in range(sent):
                assert router.poll(10_000)
                router.recv_multipart()
            assert dealer.poll(10_000, zmq.POLLOUT), "read, and there is room again"


def test_the_path_is_for_its_owner_and_the_umask_stays(tmp_path: Path) -> None:
    """A directory that the process makes later must be one that it can enter."""
    address = Address.parse(f"ipc://{tmp_path}/broker")
    with hold_ipc_path(address), zmq.Context() as context:
        router = make_socket(context, zmq.ROUTER, address, frame_bytes_max=MIB)
        with router:
            bind(router, address)
            assert (tmp_path / "broker").stat().st_mode & 0o077 == 0
            assert (tmp_path / "broker.lock").stat().st_mode & 0o077 == 0
            (tmp_path / "later").mkdir()
            assert (tmp_path / "later").stat().st_mode & 0o100
    assert {path.name for path in tmp_path.iterdir()} == {"later"}


@pytest.mark.parametrize("name", ["notes", "notes.lock"])
def test_a_file_of_somebody_else_is_refused_and_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("years of work")
    address = Address.parse(f"ipc://{tmp_path}/notes")
    with pytest.raises(ConfigError, match=name), hold_ipc_path(address):
        raise AssertionError("held")
    assert (tmp_path / name).read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["broker", "broker.lock"])
def test_a_link_is_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes").write_text("")
    (tmp_path / name).symlink_to(tmp_path / "notes")
    with pytest.raises(ConfigError), hold_ipc_path(Address.parse(f"ipc://{tmp_path}/broker")):
        raise AssertionError("held")
    assert (tmp_path / name).is_symlink()


def test_a_path_is_held_by_one(tmp_path: Path) -> None:
    address = Address.parse(f"ipc://{tmp_path}/broker")
    with hold_ipc_path(address):
        with pytest.raises(AddressInUse), hold_ipc_path(address):
            raise AssertionError("held twice")
        assert (tmp_path / "broker.lock").exists(), "it is still the first one's"
    with hold_ipc_path(address):
        pass


def test_a_lock_that_was_removed_meanwhile_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last owner ends after we opened it, and before we lock it: a third one makes another."""
    path = tmp_path / "broker.lock"
    path.touch()
    real = fcntl.flock
    locked: list[int] = []

    def flock(descriptor: int, how: int) -> None:
        if not locked:
            path.unlink()
        locked.append(os.fstat(descriptor).st_ino)
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold_ipc_path(Address.parse(f"ipc://{tmp_path}/broker")):
        assert path.stat().st_ino == locked[-1]
        assert len(locked) == 2


FIRST_ID = """
import zmq
from zqueue.config import Address
from zqueue.net.sockets import bind, make_socket

context = zmq.Context()
address = Address.parse("tcp://127.0.0.1:*")
with make_socket(context, zmq.ROUTER, address, frame_bytes_max=100) as router:
    url = bind(router, address)
    with context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(url)
        dealer.send(b"")
        print(router.recv_multipart()[0].hex())
context.term()
"""


def test_nobody_can_guess_the_id_that_is_next() -> None:
    """libzmq aborts the process when it is to give an id that somebody has."""
    ids = {
        subprocess.run(
            [sys.executable, "-c", FIRST_ID], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(3)
    }
    assert len(ids) == 3
