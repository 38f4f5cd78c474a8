"""Dead letters from outside: looked at, replayed, dropped, written down and read again.

Theory of operation. A broker keeps no state of who goes through its letters: everything here asks
for a page, and goes on after the number that the answer ends with. A replay ends at the newest
letter that there was when it began, or what fails again would be replayed for ever. Whoever is
interrupted leaves letters that are not dealt with; doing the same again goes on with those.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

from .client.ask import Asker
from .config import default_url
from .core.dead import NUMBER_MAX, Group
from .errors import BodyError, ConfigError, LocalError, ProtocolError, QueueFull, ZQueueError
from .seconds import check_seconds
from .wire.codec import pack
from .wire.headers import check_name
from .wire.letters import LETTERS_BYTES_MAX, LETTERS_MAX, REPLAY_MAX, read_letter, tell_letter
from .wire.messages import DROP, IMPORT, REPLAY
from .wire.unpacking import unpack, unpack_bodies

PACE_S = 0.1
"""A replay at a rate puts what is due so often, seconds."""

FULL_RETRY_S = 0.2
"""How soon a full queue is tried again."""

ANSWER_S = 5.0
"""How long a broker may take to answer, seconds."""

Done = Callable[[int], None]
"""Is told how many letters were dealt with so far."""


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
        return json.dumps(told)

    @classmethod
    def from_json(cls, line: str | bytes) -> DeadLetter:
        """The letter of such a line. Raises `BadLetter`."""
        try:
            told = json.loads(line)
            if not isinstance(told, dict):
                raise ValueError("not an object")
            if "body_msgpack" in told:
                told["body"] = base64.b64decode(told.pop("body_msgpack"), validate=True)
            else:
                told["body"] = pack([told["body"]])
            told["options"] = base64.b64decode(told.pop("options_msgpack", ""), validate=True)
            letter = read_letter(told, told.pop("body"))
            return _letter({**tell_letter(letter), "body": letter.body})
        except KeyError as error:
            raise BadLetter(f"not a dead letter: it has no {error}") from None
        except (ValueError, TypeError, RecursionError, BodyError, ProtocolError) as error:
            raise BadLetter(f"not a dead letter: {error}") from None


class DeadLetters:
    """The dead letters of a broker. Not thread-safe; `close` it, or use it with ``with``.

    ``for letter in DeadLetters(url)`` gives all of them, the oldest first. Which ones are meant can
    be said by ``queue``, ``task``, ``error`` (the name of the exception's class), ``reason``
    (``failed``, ``timeout``, ``crashed``, ``malformed`` or ``expired``) and ``since`` (a datetime,
    or seconds since 1970).

    Parameters:
        url: the broker's address; by default ``ZQUEUE_URL``, or tcp://127.0.0.1:5555.

    All methods raise `BrokerLost` if no broker answers, and `ConfigError` for a filter that is
    none.
    """

    def __init__(self, url: str | None = None) -> None:
        self._asker = Asker(url or default_url())

    def __repr__(self) -> str:
        return f"<DeadLetters of {self._asker.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def __iter__(self) -> Iterator[DeadLetter]:
        return self.select()

    def __len__(self) -> int:
        return int(self.totals()["kept"])

    def close(self) -> None:
        """Disconnect. The next question connects anew."""
        self._asker.close()

    def totals(self) -> dict[str, int]:
        """How many are ``kept``, of at most ``letters_max`` and ``bytes_max``; and of the ``total``
        since the broker's start how many were ``evicted``, ``replayed`` and ``dropped``."""
        told: dict[str, int] = self._ask("dead-groups", limit=1)
        return {key: told[key] for key in told if key not in ("groups", "next")}

    def groups(self, **which: Any) -> list[Group]:
        """Letters by queue, task, error and reason: how many, and when the first and the last of
        them died. The group that got a letter last comes first."""
        groups: list[Group] = []
        wanted, after = _wanted(which), 0
        while True:
            told = self._ask("dead-groups", **wanted, after=after)
            groups += [Group(**{key: row[key] for key in Group._fields}) for row in told["groups"]]
            if (after := told["next"]) is None:
                return groups

    def count(self, **which: Any) -> int:
        """How many there are."""
        return sum(group.letters for group in self.groups(**which))

    def get(self, number: int) -> DeadLetter | None:
        """The letter of that number; None if it is kept no more."""
        told = self._ask("dead", after=number - 1, upto=number)["letters"]
        return _letter(told[0]) if told else None

    def select(self, *, newest: bool = False, **which: Any) -> Iterator[DeadLetter]:
        """Letters one after the other, the oldest first, or the ``newest``."""
        wanted = _wanted(which)
        edge, at = ("before", NUMBER_MAX) if newest else ("after", 0)
        while True:
            told = self._ask("dead", **wanted, **{edge: at})
            yield from map(_letter, told["letters"])
            if (at := told["next"]) is None:
                return

    def replay(
        self, *, numbers: Iterable[int] = (), to: str = "", rate: float = math.inf,
        timeout: float | None = 30.0, all: bool = False, done: Done | None = None, **which: Any,
    ) -> int:  # fmt: skip
        """Make tasks of letters again: with the same body and options, at their first attempt.

        What fails again becomes a new letter, and is not replayed again by the same call. A letter
        whose body is damaged stays what it is.

        Parameters:
            numbers: the letters, by number; or say by a filter which.
            to: the queue they go to; by default the one they were in.
            rate: at most so many a second.
            timeout: seconds to wait for room in a queue that is full.
            all: must be given if no filter is.
            done: is called with how many were replayed so far.

        Returns how many were replayed. Raises `QueueFull`: the queue had no room for ``timeout``
        seconds; those not replayed are letters still.
        """
        if to:
            check_name(to, "queue")
        if not rate > 0:
            raise ConfigError(f"rate must be above 0 a second, not {rate!r}")
        patience_s = check_seconds(timeout, "timeout")
        replayed, pace = 0, _Pace(rate)
        for page in self._pages(numbers, all, which):
            while page is not None:
                told = self._control(REPLAY, to, {**page, "limit": pace.room()})
                replayed += told["replayed"]
                pace.used(told["replayed"])
                if done is not None:
                    done(replayed)
                if "stopped" in told and not pace.may_try_again(patience_s):
                    raise _no_room(told, replayed)
                page = _rest(page, told["next"])
        return replayed

    def drop(
        self, *, numbers: Iterable[int] = (), all: bool = False, done: Done | None = None,
        **which: Any,
    ) -> int:  # fmt: skip
        """Keep letters no more. Parameters as of `replay`. Returns how many were dropped."""
        dropped = 0
        for page in self._pages(numbers, all, which):
            while page is not None:
                told = self._control(DROP, "", {**page, "limit": REPLAY_MAX})
                dropped += told["dropped"]
                if done is not None:
                    done(dropped)
                page = _rest(page, told["next"])
        return dropped

    def add(self, letters: Iterable[DeadLetter], *, done: Done | None = None) -> int:
        """Let the broker keep letters of another one, or of before. None is dropped for them.

        Returns how many it keeps. Raises `ZQueueError`: there is no room for more; ``added`` of
        that error says how many there were before.
        """
        added = 0
        for page in _packets(letters):
            while page:
                told = self._add(page)
                if told["full"] and len(page) == 1:
                    raise NoRoom(added)
                if told["full"]:  # Perhaps for some of them.
                    page, rest = page[:1], page[1:]
                    told = self._add(page)
                    if told["full"]:
                        raise NoRoom(added)
                    page = rest
                else:
                    page = []
                added += told["imported"]
                if done is not None:
                    done(added)
        return added

    def _add(self, letters: list[DeadLetter]) -> dict[str, Any]:
        rows = [{**letter.packed} for letter in letters]
        bodies = [row.pop("body") for row in rows]
        return self._asker.control(IMPORT, "", {"letters": rows}, bodies, timeout=ANSWER_S)

    def _pages(
        self, numbers: Iterable[int], all: bool, which: dict[str, Any]
    ) -> Iterator[dict[str, Any] | None]:
        """What to say of which letters are meant, and no later ones."""
        wanted, numbers = _wanted(which), list(numbers)
        if (bool(numbers) + bool(wanted) + bool(all)) != 1:
            raise ConfigError(
                "say which dead letters: by number, or by a filter (queue, task, error, reason, "
                "since), or all=True, and only by one of these"
            )
        for number in numbers:
            yield {"after": number - 1, "upto": number}
        newest = None if numbers else self._ask("dead", **wanted, before=NUMBER_MAX, limit=1)
        if newest and newest["letters"]:
            yield {**wanted, "after": 0, "upto": newest["letters"][0]["number"]}

    def _ask(self, what: str, **which: Any) -> dict[str, Any]:
        return self._asker.ask(what, which, timeout=ANSWER_S)

    def _control(self, action: str, queue: str, which: dict[str, Any]) -> dict[str, Any]:
        return self._asker.control(action, queue, which, timeout=ANSWER_S)


class NoRoom(ZQueueError):
    """A broker keeps as many dead letters as it may. ``added`` says how many were taken before."""

    def __init__(self, added: int) -> None:
        super().__init__(
            f"the broker has no room for more dead letters, {added} were imported: replay or "
            "drop some, or start it with a larger --dead-max or --dead-bytes"
        )
        self.added = added


class _Pace:
    """How many letters may be replayed now, and how long to wait."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._never = threading.Event()
        self._at = monotonic()
        """When the next one is due."""
        self._stuck_at = math.inf
        """Since when there is no room."""

    def room(self) -> int:
        """Wait until one is due. Returns how many are."""
        if math.isinf(self._rate):
            return REPLAY_MAX
        while (left := self._at - monotonic()) > 0:
            self._never.wait(left)
        due = (monotonic() - self._at + PACE_S) * self._rate
        return max(1, min(int(due), REPLAY_MAX))

    def used(self, letters: int) -> None:
        """So many were replayed."""
        if letters:
            self._stuck_at = math.inf
        # What was not used is not saved up.
        self._at = max(self._at, monotonic() - PACE_S) + letters / self._rate

    def may_try_again(self, patience_s: float) -> bool:
        """Whether to go on with a queue that has no room, after a pause."""
        self._stuck_at = min(self._stuck_at, monotonic())
        if monotonic() - self._stuck_at >= patience_s:
            return False
        self._never.wait(min(FULL_RETRY_S, patience_s))
        return True


def _rest(page: dict[str, Any], after: int | None) -> dict[str, Any] | None:
    return None if after is None else {**page, "after": after}


def _no_room(told: dict[str, Any], replayed: int) -> QueueFull:
    what = "is full" if told["stopped"] == "full" else "takes nothing, it is draining"
    return QueueFull(
        f"queue {told['queue']!r} {what}: {replayed:,} were replayed, the others are dead letters "
        "still; do the same again when there is room"
    )


def _wanted(which: dict[str, Any]) -> dict[str, Any]:
    """A filter, as a broker takes it. Raises `ConfigError`."""
    wanted = {key: value for key, value in which.items() if value is not None}
    for key, value in wanted.items():
        if key == "since":
            if isinstance(value, datetime.datetime):
                wanted[key] = value.timestamp()
            elif isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise ConfigError(f"since is a datetime, or seconds since 1970, not {value!r}")
        elif key not in ("queue", "task", "error", "reason"):
            raise ConfigError(
                f"{key!r} is nothing to choose dead letters by: there are queue, task, error, "
                "reason and since"
            )
        elif not isinstance(value, str):
            raise ConfigError(f"{key} is a text, not {value!r}")
    return wanted


def _letter(told: dict[str, Any]) -> DeadLetter:
    try:
        (body,) = unpack_bodies(told["body"])
    except (ProtocolError, ValueError):
        body = told["body"]
    name = f"{told['origin']:012x}-{told['sequence']}-{told['position']}"
    options = unpack(told["options"]) if told["options"] else {}
    values = {key: told[key] for key in DeadLetter._fields if key in told}
    return DeadLetter(**{**values, "body": body, "options": options, "id": name, "packed": told})


def _plain(body: bytes) -> list[Any] | None:
    """The value in a body, as a list of one; None if JSON has no such value."""
    try:
        (value,) = unpack_bodies(body)
        again = json.loads(json.dumps(value, allow_nan=False))
        return [value] if pack([again]) == body else None
    except (ProtocolError, BodyError, ValueError, TypeError, RecursionError):
        return None


def _packets(letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """As many as go in a message."""
    packet: list[DeadLetter] = []
    nbytes = 0
    for letter in letters:
        size = len(letter.packed["body"]) + len(letter.text) + len(letter.traceback)
        if packet and (len(packet) >= LETTERS_MAX or nbytes + size > LETTERS_BYTES_MAX):
            yield packet
            packet, nbytes = [], 0
        packet.append(letter)
        nbytes += size
    if packet:
        yield packet
