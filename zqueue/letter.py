"""A dead letter, as people see it: what it carries, why it died, and how it is written down.

Each broker numbers its letters by itself. Of several brokers a letter has a *name*, which begins
with the first digits of its broker's id: 3f9a01bc-17.
"""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

from .errors import BodyError, LocalError, ProtocolError
from .wire.codec import pack
from .wire.letters import read_letter, tell_letter
from .wire.unpacking import unpack, unpack_bodies

ID_DIGITS = 8
"""Of a broker's id, in the names of its letters."""


class BadLetter(LocalError):
    """A line is not a dead letter as `DeadLetter.to_json` writes it."""


class DeadLetter(NamedTuple):
    """A task that was set aside for good, and why. Times are seconds since 1970."""

    number: int
    queue: str
    task: str
    body: Any
    """What the task carries: for a call, its arguments. Bytes, packed, if it cannot be unpacked."""
    reason: str
    """``failed``, ``timeout``, ``crashed``, ``malformed`` or ``expired``."""
    error: str
    """The name of the exception's class."""
    text: str
    traceback: str
    deliveries: int
    failures: int
    timeouts: int
    crashes: int
    sent_s: float
    died_s: float
    options: dict[str, Any]
    id: str
    """As `zqueue.current` had it."""
    packed: dict[str, Any]
    """The letter as a broker tells it, with its body."""
    broker: str = ""
    """The first digits of its broker's id, where there are several brokers."""

    @property
    def name(self) -> str:
        """What to call it by: its number, and where there are several brokers, which of them."""
        return name_of(self.broker, self.number)

    def __repr__(self) -> str:
        what = f"{self.error}: {self.text}"[:80]
        return f"<DeadLetter {self.number} {self.queue}/{self.task} {self.reason}, {what}>"

    def to_json(self) -> str:
        """One line of JSON, of which `from_json` makes the same letter."""
        told = {key: value for key, value in self.packed.items() if key != "nbytes"}
        body, options = told.pop("body"), told.pop("options")
        value = _plain(body)
        if value is None:
            told["body_msgpack"] = base64.b64encode(body).decode()
        else:
            told["body"] = value[0]
        if options:
            told["options_msgpack"] = base64.b64encode(options).decode()
        if self.broker:
            told["broker"] = self.broker
        return json.dumps(told)

    @classmethod
    def from_json(cls, line: str | bytes) -> DeadLetter:
        """The letter of such a line. Raises `BadLetter`."""
        try:
            told = json.loads(line)
            if not isinstance(told, dict):
                raise ValueError("not an object")
            told.pop("broker", None)
            if "body_msgpack" in told:
                told["body"] = base64.b64decode(told.pop("body_msgpack"), validate=True)
            else:
                told["body"] = pack([told["body"]])
            told["options"] = base64.b64decode(told.pop("options_msgpack", ""), validate=True)
            letter = read_letter(told, told.pop("body"))
            return letter_of({**tell_letter(letter), "body": letter.body})
        except KeyError as error:
            raise BadLetter(f"not a dead letter: it has no {error}") from None
        except (ValueError, TypeError, RecursionError, BodyError, ProtocolError) as error:
            raise BadLetter(f"not a dead letter: {error}") from None


def name_of(broker: str, number: int) -> str:
    """What to call a letter of a broker by, which has no name if it is the only one."""
    return f"{broker}-{number}" if broker else str(number)


def letter_of(told: dict[str, Any], broker: str = "") -> DeadLetter:
    """The letter that a broker tells of."""
    try:
        (body,) = unpack_bodies(told["body"])
    except (ProtocolError, ValueError):
        body = told["body"]
    name = f"{told['origin']:012x}-{told['sequence']}-{told['position']}"
    options = unpack(told["options"]) if told["options"] else {}
    values = {key: told[key] for key in DeadLetter._fields if key in told}
    return DeadLetter(**{**values, "body": body, "options": options, "id": name, "packed": told,
                         "broker": broker})  # fmt: skip


def _plain(body: bytes) -> list[Any] | None:
    """The value in a body, as a list of one; None if JSON has no such value."""
    try:
        (value,) = unpack_bodies(body)
        again = json.loads(json.dumps(value, allow_nan=False))
        return [value] if pack([again]) == body else None
    except (ProtocolError, BodyError, ValueError, TypeError, RecursionError):
        return None
