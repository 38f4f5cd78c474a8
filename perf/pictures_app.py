"""A small shop, for pictures.py: quick, slow and waiting tasks, and some that fail."""

from __future__ import annotations

import asyncio
import random
import time

import zqueue

app = zqueue.App()


@app.batch(queue="events", max_size=500, max_wait=0.02)
def index(events: list[dict[str, int]]) -> None:
    """Quick, by the hundred."""
    time.sleep(0.00002 * len(events))


@app.task(queue="mail")
async def send_mail(to: str) -> None:
    """Waits for others, many at a time."""
    await asyncio.sleep(random.uniform(0.02, 0.2))
    if random.random() < 0.004:
        raise ConnectionRefusedError(f"[Errno 111] Connect call failed: mail for {to}")


@app.task(queue="thumbnails")
def make_thumbnail(number: int) -> int:
    """Takes some time."""
    time.sleep(random.lognormvariate(-3.2, 0.6))
    return number


@app.task(queue="reports", timeout=60)
def write_report(month: int) -> int:
    """Takes long, and says how far it is."""
    pages = random.randrange(40, 90)
    for page in range(pages):
        time.sleep(0.1)
        zqueue.current().progress(page + 1, pages)
    return month


@app.task(queue="hooks", retries=2, backoff=0.5)
def call_hook(event: dict[str, str]) -> str:
    """Fails where nobody looked whether the key is there."""
    time.sleep(random.uniform(0.01, 0.05))
    return _address_of(event)


def _address_of(event: dict[str, str]) -> str:
    return event["url"]
