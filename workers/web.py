"""Asks web servers how they are: the status of a URL, and how long the answer took.

The task is ``async``, so one process waits for many servers side by side (``--concurrency``, 100
by default). Redirects are not followed: their status is the answer. Whoever may send tasks can
have the worker's machine ask any address that it can reach.

Start a broker and a worker, each in a terminal of its own::

    $ zqueue broker
    $ zqueue worker workers/web.py

Send from the shell, one URL or a line of JSON each::

    $ zqueue send fetch_status '"http://127.0.0.1:8000/"' --wait
    {"url": "http://127.0.0.1:8000/", "status": 200, "ms": ...}
    $ echo '{"url": "http://127.0.0.1:8000/none", "timeout": 5}' | zqueue pipe fetch_status
    {"url": "http://127.0.0.1:8000/none", "status": 404, "ms": ...}

Send from Python (``PYTHONPATH=workers python``)::

    >>> from web import app, fetch_status
    >>> urls = ["http://127.0.0.1:8000/", "http://127.0.0.1:8000/none"]
    >>> for answer in fetch_status.map(urls):
    ...     print(answer["status"], answer["url"])
    200 http://127.0.0.1:8000/
    404 http://127.0.0.1:8000/none
    >>> fetch_status.submit("ftp://127.0.0.1/").result(timeout=60)
    Traceback (most recent call last):
        ...
    zqueue.errors.RemoteError: ValueError: 'ftp://127.0.0.1/': only http:// and https:// URLs
    >>> app.close()

Safe to run twice: it sends a GET, which by the rules of HTTP changes nothing at the server.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
import time
import urllib.parse
from typing import Any, NamedTuple

import zqueue

STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})\b")

app = zqueue.App()


class Request(NamedTuple):
    """Where to connect, and what to say there."""

    host: str
    port: int
    is_secure: bool
    data: bytes


@app.task(queue="web")
async def fetch_status(url: str, timeout: float = 10.0) -> dict[str, Any]:
    """The status that a server answers with, and the milliseconds from connecting to it.

    Raises `ValueError` for a URL that is none of the web or an answer that is not HTTP,
    `TimeoutError` after ``timeout`` seconds, `ConnectionError` if the server cannot be reached.
    """
    request = to_request(url)
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            line = await first_line(request)
    except TimeoutError:
        raise TimeoutError(f"{url!r}: no answer within {timeout:g} s") from None
    except OSError as error:
        raise ConnectionError(f"{url!r}: {error.strerror or error}") from error
    status = STATUS_LINE.match(line)
    if status is None:
        raise ValueError(f"{url!r}: the answer is not HTTP: {line[:60]!r}")
    ms = round((time.monotonic() - began) * 1000, 1)
    return {"url": url, "status": int(status[1]), "ms": ms}


def to_request(url: str) -> Request:
    """What a URL asks for. Raises `ValueError`."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r}: only http:// and https:// URLs")
    is_secure = parts.scheme == "https"
    host = parts.hostname
    if ":" in host:
        named = f"[{host}]"
    else:
        host = named = host.encode("idna").decode()
    if parts.port:
        named += f":{parts.port}"
    target = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    if parts.query:
        target += "?" + urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    data = f"GET {target} HTTP/1.1\r\nHost: {named}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    return Request(host, parts.port or (443 if is_secure else 80), is_secure, data.encode())


async def first_line(request: Request) -> bytes:
    """The first line of a server's answer. The rest is not waited for."""
    tls = tls_context() if request.is_secure else None
    reader, writer = await asyncio.open_connection(request.host, request.port, ssl=tls)
    try:
        writer.write(request.data)
        return await reader.readline()
    finally:
        writer.close()


@functools.cache
def tls_context() -> ssl.SSLContext:
    """How servers are verified: read once, as it takes a while."""
    return ssl.create_default_context()
