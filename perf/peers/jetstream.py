"""NATS JetStream: a work queue in files, at least once."""

from __future__ import annotations

import asyncio

from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, PubAck, RetentionPolicy, StorageType

from peers import driver, nats_core, packed, working

IN_FLIGHT = 4000
"""Messages published and not confirmed, or delivered and not acknowledged: the client's default
for the first. The server's for the second is 1,000."""

IN_FLIGHT_PACKED = 256
"""Some 40 MB of texts: a server discards what it has no room for while it writes."""


class Driver(nats_core.Driver):
    """The producer. Every message is confirmed by the server and acknowledged by a worker."""

    module = "peers.jetstream"

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        synced = {key: options[key] for key in ("sync_interval",) if key in options}
        self.server = {"jetstream": {"store_dir": str(working.folder()), **synced}}

    async def connect(self) -> None:
        """The client and the stream."""
        await super().connect()
        limit = IN_FLIGHT if self.bodies == 1 else IN_FLIGHT_PACKED
        self._stream = self.client.jetstream(publish_async_max_pending=limit)
        self._refused: list[BaseException] = []
        await self._stream.add_stream(
            name="tasks", subjects=["tasks"], retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
        )  # fmt: skip

    async def send(self, message: bytes) -> None:
        """One message to the stream; its confirm is waited for later."""
        confirm = await self._stream.publish_async("tasks", message)
        confirm.add_done_callback(self._confirmed)

    def _confirmed(self, confirm: asyncio.Future[PubAck]) -> None:
        error = confirm.exception()
        if error is not None:
            self._refused.append(error)

    async def flush(self) -> None:
        """All is confirmed."""
        await self._stream.publish_async_completed()
        if self._refused:
            raise RuntimeError(f"{len(self._refused)} messages refused: {self._refused[0]}")

    def settled(self) -> bool:
        """No message is waiting or in flight."""
        asked = self._stream.consumer_info("tasks", "workers")
        state = self.run(asked)
        return not state.num_pending and not state.num_ack_pending


async def work() -> None:
    """A worker."""
    client = await nats_core.connect()
    handle = packed.worker()

    async def take(message: Msg) -> None:
        answer = handle(message.data)
        if answer is not None:
            await client.publish("results", answer)
        await message.ack()

    await client.jetstream().subscribe(
        "tasks", queue="workers", durable="workers", cb=take, manual_ack=True,
        config=ConsumerConfig(max_ack_pending=IN_FLIGHT, ack_wait=60), **nats_core.UNBOUNDED,
    )  # fmt: skip
    await client.flush()
    working.mark_ready()
    await asyncio.Event().wait()


if __name__ == "__main__":
    driver.new_loop().run_until_complete(work())
