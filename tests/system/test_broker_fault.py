"""The broker's process: what becomes of it when its own code is at fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from zqueue.wire.codec import pack
from zqueue.wire.headers import decode, encode
from zqueue.wire.messages import Ask, Heartbeat, Hello, Welcome

from .harness import Processes, wait_until

pytestmark = pytest.mark.system

FAULTY = """
import logging
import sys
from zqueue.broker.process import Broker, run_broker
from zqueue.config import BrokerConfig
from zqueue.logs import set_up_logs

set_up_logs(form="text", level=logging.INFO)
Broker._about = lambda self: 1 // 0
sys.exit(run_broker(BrokerConfig(bind=sys.argv[1])))
"""
"""A broker whose answer to `Ask` raises what no broker expects."""


def test_a_fault_of_its_own_ends_it(processes: Processes, tmp_path: Path) -> None:
    """With the exit code of a failure, a traceback, and no answer: not even a goodbye."""
    url = f"ipc://{tmp_path}/faulty"
    broker = processes.python(FAULTY, url)
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.linger = 0
        peer.connect(url)
        peer.send_multipart([encode(Hello("observer", b"o")), pack({})])
        assert peer.poll(10_000)
        assert type(decode(peer.recv())) is Welcome
        peer.send(encode(Ask("info")))
        peer.send(encode(Heartbeat([])))
        wait_until(lambda: not broker.is_running(), what="its end")
        assert broker.wait() == 1
        assert "ZeroDivisionError" in broker.err
        assert "fault of its own" in broker.err
        assert not peer.poll(100)
    assert not (tmp_path / "faulty").exists()
