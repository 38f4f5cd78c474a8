"""Problems: what went wrong, as RFC 9457 wants it told."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import Any

from ..errors import (
    AlreadySent,
    BodyError,
    BodyTooLarge,
    BrokerLost,
    Closed,
    InvalidName,
    QueueFull,
    Refused,
    ZQueueError,
)
from ..http.asgi import NO_STORE, Answer, Header

KIND = b"application/problem+json"

DETAIL_CHARS_MAX = 1_000

RETRY_S = 1
"""When to try again what there is no room for, seconds."""

ASKS: Header = (b"www-authenticate", b'Bearer realm="zqueue"')


class Problem(Exception):
    """Why a request is not served.

    ``further`` are members of the answer beside ``status``, ``title`` and ``detail``.
    """

    def __init__(
        self, status: int, detail: str, *headers: Header, retry_s: float | None = None,
        **further: Any,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status = status
        self.detail = detail[:DETAIL_CHARS_MAX]
        self.headers = headers
        self.retry_s = retry_s
        self.further = further

    def with_members(self, **further: Any) -> Problem:
        """The same, with further members."""
        return Problem(self.status, self.detail, *self.headers, retry_s=self.retry_s,
                       **{**self.further, **further})  # fmt: skip

    def as_data(self) -> dict[str, Any]:
        """Its members."""
        title = HTTPStatus(self.status).phrase
        told = {"status": self.status, "title": title, "detail": self.detail, **self.further}
        return told if self.retry_s is None else {**told, "retry_after_s": self.retry_s}

    def answer(self) -> Answer:
        """It as an answer."""
        headers = [NO_STORE, *self.headers]
        if self.retry_s is not None:
            headers.append((b"retry-after", b"%d" % math.ceil(self.retry_s)))
        return Answer(self.status, KIND, json.dumps(self.as_data()).encode(), tuple(headers))


def problem_of(error: ZQueueError) -> Problem:
    """What an error of a producer is to a client."""
    text = str(error)
    if isinstance(error, QueueFull):
        return Problem(429, text, retry_s=RETRY_S)
    if isinstance(error, BodyTooLarge):
        return Problem(413, text)
    if isinstance(error, BodyError | InvalidName):
        return Problem(400, text)
    if isinstance(error, AlreadySent):
        return Problem(409, text, id=error.id)
    if isinstance(error, BrokerLost | Closed):
        return Problem(503, text, retry_s=RETRY_S)
    if isinstance(error, Refused):
        if error.code == "draining":
            return Problem(503, text, retry_s=RETRY_S)
        return Problem(403 if error.code == "forbidden" else 400, text, code=error.code)
    return Problem(503, text, retry_s=RETRY_S)
