"""NATS core: a queue group, at most once."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from time import monotonic_ns
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from peers import driver, packed, working

UNBOUNDED: dict[str, Any] = {"pending_msgs_limit": 0, "pending_bytes_limit": 0}
"""With its bounds the client drops what its own program has no time for yet."""


class Driver(driver.AsyncDriver):
    """The producer. Results come back on a subject of their own."""

    module = "peers.nats_core"
    server: dict[str, Any] = {}  # noqa: RUF012

    def start(self) -> str:
        self._pack, self._unpack = packed.codec()
        # The server cuts off clients that are further behind than this (64 MB by default).
        options = {"listen": f"127.0.0.1:{driver.port()}", "max_pending": 1 << 30, **self.server}
        config = working.folder() / "server.conf"
        config.write_text(json.dumps(options))
        self.processes.start(Path(sys.prefix) / "bin" / "nats-server", "-c", config)
        self.wait_until(_listens, "the server")
        self.run(self.connect())
        for _ in range(self.workers):
            self.processes.start_python("-m", self.module)
        self.wait_for_marks()
        server = str(self.client.connected_server_version).strip("<>")
        return f"{server}, nats-py {version('nats-py')}"

    async def connect(self) -> None:
        """The client, listening for results."""
        self.client = await connect()
        self._total = self._counted = 0

        async def take(message: Msg) -> None:
            counts = self._unpack(message.data)
            self._total += sum(counts)
            self._counted += len(counts)

        await self.client.subscribe("results", cb=take, **UNBOUNDED)

    async def send(self, message: bytes) -> None:
        """One message to one of the workers."""
        await self.client.publish("tasks", message)

    async def flush(self) -> None:
        """The server has all that was sent."""
        await self.client.flush(60)

    def settled(self) -> bool:
        """Nothing is left to acknowledge."""
        return True

    def throughput(self, tasks: int) -> None:
        """Until all were executed and acknowledged."""
        wanted = self.executed() + tasks

        async def run() -> None:
            for message in packed.no_ops(tasks, self.bodies, self._pack, self.make):
                await self.send(message)
            await self.flush()

        self.run(run())
        self.wait_until(
            lambda: self.executed() >= wanted and self.settled(), "the last acknowledgement"
        )

    async def probe_async(self, due_ns: int) -> None:
        await self.send(self._pack((due_ns, monotonic_ns())))

    def count(self, chunks: list[str]) -> int:
        """Results in any order."""
        self._total = self._counted = 0

        async def run() -> None:
            for message in packed.text_messages(chunks, self.bodies, self._pack):
                await self.send(message)
            await self.flush()

        self.run(run())
        self.wait_until(lambda: self._counted >= len(chunks), "the last result")
        return self._total

    def close(self) -> None:
        self.run(self.client.close())


def _listens() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", driver.port())) == 0


async def connect() -> Client:
    """A client of our server."""
    return await nats.connect(f"nats://127.0.0.1:{driver.port()}")


async def work() -> None:
    """A worker."""
    client = await connect()
    handle = packed.worker()

    async def take(message: Msg) -> None:
        answer = handle(message.data)
        if answer is not None:
            await client.publish("results", answer)

    await client.subscribe("tasks", queue="workers", cb=take, **UNBOUNDED)
    await client.flush()
    working.mark_ready()
    await asyncio.Event().wait()


if __name__ == "__main__":
    driver.new_loop().run_until_complete(work())
