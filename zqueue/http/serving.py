"""Serving: uvicorn, under our signals, our limits and our log.

Theory of operation. `Serving.run` is a loop in the thread that calls it. ``stop`` closes the
listener and lets what is being answered finish, `STOP_S` at most. uvicorn installs no handler of a
signal, reads no environment and sets up no log. It says nothing but that an application failed.
With the extra ``http`` the loop is uvloop's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvicorn

from .asgi import Application
from .connections import end_overdue, limited_protocol
from .listening import Listener
from .patience import Limits

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop
except ImportError:  # Without the extra `http`.
    from asyncio import new_event_loop

logger = logging.getLogger("zqueue")

LOOK_S = 1.0
"""How often connections are looked at, and the date of answers is made, seconds."""

STOP_S = 2
"""How long answers may take after ``stop``, seconds."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopped.set()

    async def main_loop(self) -> None:
        """Wake up every `LOOK_S`, and not ten times a second to see whether there is an end."""
        loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            end_overdue(self.server_state.connections, loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), LOOK_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: they are waited for elsewhere."""
        yield


class Serving:
    """Serves an application at a listener, until it is stopped.

    ``certificate`` and ``key`` are PEM files. Raises OSError or `ssl.SSLError` for those.
    """

    def __init__(
        self, application: Application, listener: Listener, limits: Limits, *,
        certificate: str | None = None, key: str | None = None, stop_s: int = STOP_S,
    ) -> None:  # fmt: skip
        self._listener = listener
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        config = uvicorn.Config(
            application, http=limited_protocol(limits), ws="none", lifespan="on", log_config=None,
            access_log=False, proxy_headers=False, forwarded_allow_ips="", server_header=False,
            timeout_keep_alive=limits.idle_s, timeout_graceful_shutdown=stop_s,
            h11_max_incomplete_event_size=limits.head_bytes_max, ssl_certfile=certificate,
            ssl_keyfile=key, workers=1,
        )  # fmt: skip
        config.load()
        self._server = _Server(config)

    def __repr__(self) -> str:
        return f"<Serving at {self._listener.url}: {self.connections} connections>"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._server.server_state.connections)

    def run(self, beside: Coroutine[Any, Any, None]) -> None:
        """Serve until ``beside`` ends, which runs in the same loop."""
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(self._serve(beside))

    async def _serve(self, beside: Coroutine[Any, Any, None]) -> None:
        asyncio.get_running_loop().set_exception_handler(_log_fault)
        serving = asyncio.ensure_future(self._server.serve([self._listener.socket]))
        task = asyncio.ensure_future(beside)
        await asyncio.wait({task, serving}, return_when=asyncio.FIRST_COMPLETED)
        self._server.stop()
        await serving
        await task


async def until_signal() -> None:
    """Returns at SIGTERM or SIGINT. In the main thread."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wanted, came.set)
    await came.wait()


def _log_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """In one line if the system did not do what was asked, as when there is no descriptor left."""
    error = context.get("exception")
    if isinstance(error, OSError):
        logger.warning("%s: %s", context["message"], error)
    else:
        logger.error("%s", context["message"], exc_info=error)
