"""The mailbox of an event loop: what other threads tell it. One wake-up is for all of it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Mailbox:
    """Calls to be made in a loop. Any thread may post them; a loop that is closed makes none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weak: whoever remembers mailboxes by their loops would keep the loops.
        self._loop = weakref.ref(loop)
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._is_woken = False
        """Whether the loop will look at what was posted before this was read."""

    def __repr__(self) -> str:
        return f"<Mailbox with {len(self._calls)} calls>"

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Have the loop make a call."""
        self._calls.append((function, args))
        if self._is_woken:
            return
        self._is_woken = True
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # It is closed, and whoever waited there is gone.
            loop = None
        if loop is None:
            self._is_woken = False
            self._calls.clear()

    def _deliver(self) -> None:
        self._is_woken = False  # Before the first look: what comes behind the last one wakes again.
        calls = self._calls
        while calls:
            function, args = calls.popleft()
            function(*args)


_mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = (
    weakref.WeakKeyDictionary()
)


def mailbox_of(loop: asyncio.AbstractEventLoop) -> Mailbox:
    """The mailbox of a loop, to be asked for in its thread."""
    mailbox = _mailboxes.get(loop)
    if mailbox is None:
        mailbox = _mailboxes[loop] = Mailbox(loop)
    return mailbox


async def aside(function: Callable[..., T], *args: Any) -> T:
    """Make a call that may wait, in a thread of its own, and await what it returns or raises. If
    the await is cancelled, the call goes on."""
    loop = asyncio.get_running_loop()
    mailbox, future = mailbox_of(loop), loop.create_future()

    def tell(error: BaseException | None, value: T | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def run() -> None:
        try:
            value = function(*args)
        except BaseException as error:
            mailbox.post(tell, error, None)
        else:
            mailbox.post(tell, None, value)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="zqueue-aside", daemon=True).start()
    return cast(T, await future)


def wait_in_loop(future: Future[T]) -> Generator[Any, None, T]:
    """Await a future of another thread's. Cancelling that cancels the future, too."""
    if not future.done():
        loop = asyncio.get_running_loop()
        waiter, mailbox = loop.create_future(), mailbox_of(loop)
        future.add_done_callback(lambda _: mailbox.post(_release, waiter))
        try:
            yield from waiter
        except asyncio.CancelledError:
            future.cancel()
            raise
    if future.cancelled():
        raise asyncio.CancelledError
    return future.result()


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
