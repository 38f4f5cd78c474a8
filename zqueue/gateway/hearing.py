"""Hearing in the loop of what other threads complete."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

from ..client.mailbox import mailbox_of


def done_of(future: Future[Any]) -> asyncio.Future[None]:
    """Done when that one is, whatever came of it."""
    loop = asyncio.get_running_loop()
    here: asyncio.Future[None] = loop.create_future()
    post = mailbox_of(loop).post
    future.add_done_callback(lambda _: post(_finish, here))
    return here


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
