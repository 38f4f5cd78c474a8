"""One dead letter, for somebody who looks at it: asked for when wanted, never gathered.

Its body is not told. It may be large, and whoever may see figures and errors on a page is not
always one who may see what users have sent; ``zqueue dlq show`` tells it.
"""

from __future__ import annotations

import threading
from typing import Any

from ..client.ask import ask
from ..errors import BrokerLost
from . import untrusted
from .series import Json

ASK_S = 2.0
"""How long a broker may take to answer, and how long others may wait for their turn, seconds."""

TRACEBACK_CHARS_MAX = 16_384

_one_at_a_time = threading.Lock()
"""Each question opens files: however many ask, there is one at a time."""


def letter_of(url: str, number: int) -> Json | None:
    """What there is to know of a letter; None if it is kept no more.

    Raises `BrokerLost`: no answer, or too many ask at once; and `Refused`, or `ProtocolError`: what
    answers is no broker of this version.
    """
    if not _one_at_a_time.acquire(timeout=ASK_S):
        raise BrokerLost("Too many ask for dead letters at once: try again.")
    try:
        told = ask(url, "dead", {"after": number - 1, "upto": number}, timeout=ASK_S)
    finally:
        _one_at_a_time.release()
    for letter in untrusted.rows(told.get("letters")):
        return _checked(letter)
    return None


def _checked(letter: dict[str, Any]) -> Json:
    traceback = letter.get("traceback")
    return {
        **{
            key: untrusted.text(letter.get(key))
            for key in ("queue", "task", "reason", "error", "text")
        },
        **{
            key: untrusted.number(letter.get(key))
            for key in ("number", "deliveries", "failures", "timeouts", "crashes", "nbytes")
        },
        "sent_s": untrusted.figure(letter.get("sent_s")),
        "died_s": untrusted.figure(letter.get("died_s")),
        "traceback": traceback[:TRACEBACK_CHARS_MAX] if type(traceback) is str else "",
    }
