"""Sockets: what their options bring about."""

from __future__ import annotations

import zmq

from tests.system.harness import bare
from zqueue.config import Address
from zqueue.net.sockets import UNREAD_MESSAGES, bind, make_socket

MIB = 1 << 20
KERNEL_BYTES = 16 << 20
"""Buffers of one connection of the loopback interface, at both ends: 4 to 6 MiB as a rule."""


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
