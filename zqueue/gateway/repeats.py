"""Repeats: requests that come again with the same idempotency key. Time is an argument.

The header is that of a draft of the IETF (draft-ietf-httpapi-idempotency-key-header), which may
change. Its rules: the same key with the same body has the same answer; with another body it is an
error (422), and while the first one is under way a conflict (409). What was refused is forgotten:
it may be tried again. Answers are kept in memory, and lost with the gateway.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from ..http.asgi import Answer
from .problems import Problem

KEPT_S = 600.0
KEYS_MAX = 100_000
BYTES_MAX = 64 << 20
KEY_CHARS_MAX = 255

ENTRY_BYTES = 500
"""What an entry takes beside its answer's body, about."""


class Repeats:
    """Answers by key. A key is of one token, method and path."""

    def __init__(
        self, kept_s: float = KEPT_S, keys_max: int = KEYS_MAX, bytes_max: int = BYTES_MAX
    ) -> None:
        self._kept_s = kept_s
        self._keys_max = keys_max
        self._bytes_max = bytes_max
        self._answers: OrderedDict[tuple[str, ...], tuple[bytes, Answer, float]] = OrderedDict()
        self._open: dict[tuple[str, ...], bytes] = {}
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Repeats: {len(self._answers)} answers, {len(self._open)} under way>"

    def begin(self, key: tuple[str, ...], body: bytes, now: float) -> Answer | None:
        """A request has come. Returns its answer if it had one; else call `end` or `forget`.

        Raises `Problem`: 409, 422.
        """
        self.tick(now)
        print_ = hashlib.sha256(body).digest()
        known = self._open.get(key)
        found = self._answers.get(key)
        if (known or (found and found[0]) or print_) != print_:
            raise Problem(422, "This Idempotency-Key was used with another body.")
        if known is not None:
            raise Problem(409, "A request with this Idempotency-Key is under way.", retry_s=1)
        if found is not None:
            return found[1]
        self._open[key] = print_
        return None

    def end(self, key: tuple[str, ...], answer: Answer, now: float) -> None:
        """It is answered."""
        print_ = self._open.pop(key)
        self._answers[key] = (print_, answer, now)
        self._bytes += ENTRY_BYTES + len(answer.body)
        while len(self._answers) > self._keys_max or self._bytes > self._bytes_max:
            self._drop()

    def forget(self, key: tuple[str, ...]) -> None:
        """It came to nothing."""
        self._open.pop(key, None)

    def tick(self, now: float) -> None:
        """Drop what was kept for its time."""
        while self._answers and next(iter(self._answers.values()))[2] + self._kept_s <= now:
            self._drop()

    def _drop(self) -> None:
        _, (_, answer, _) = self._answers.popitem(last=False)
        self._bytes -= ENTRY_BYTES + len(answer.body)
