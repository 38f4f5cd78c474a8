"""Dead letters from outside: looked at, replayed, dropped, written down and read again.

Theory of operation. A broker keeps no state of who goes through its letters: everything here asks
for a page, and goes on after the number that the answer ends with. A replay ends at the newest
letter that there was when it began, or what fails again would be replayed for ever. Whoever is
interrupted leaves letters that are not dealt with; doing the same again goes on with those.
"""

from __future__ import annotations

import datetime
import heapq
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from types import TracebackType
from typing import Any, Self

from .client.ask import Asker
from .client.everywhere import by_broker
from .config import default_url
from .core.dead import NUMBER_MAX, Group
from .errors import ConfigError, QueueFull, ZQueueError
from .letter import ID_DIGITS, DeadLetter, letter_of, name_of
from .net.lookup import urls_now
from .seconds import check_seconds
from .wire.headers import check_name
from .wire.letters import LETTERS_BYTES_MAX, LETTERS_MAX, REPLAY_MAX
from .wire.messages import DROP, IMPORT, REPLAY

PACE_S = 0.1
"""A replay at a rate puts what is due so often, seconds."""

FULL_RETRY_S = 0.2
"""How soon a full queue is tried again."""

ANSWER_S = 5.0
"""How long a broker may take to answer, seconds."""

Done = Callable[[int], None]
"""Is told how many letters were dealt with so far."""


class LetterGroup(Group):
    """Letters that tell the same story, at all brokers."""

    broker = ""
    """As `DeadLetter.broker`, of the newest of them."""

    @property
    def name(self) -> str:
        """The name of the newest of them."""
        return name_of(self.broker, self.newest)


class DeadLetters:
    """The dead letters of a broker, or of several. Not thread-safe; `close` it, or use ``with``.

    ``for letter in DeadLetters(url)`` gives all of them, the oldest first. Which ones are meant can
    be said by ``queue``, ``task``, ``error`` (the name of the exception's class), ``reason``
    (``failed``, ``timeout``, ``crashed``, ``malformed`` or ``expired``) and ``since`` (a datetime,
    or seconds since 1970).

    Parameters:
        url: the broker's address, or those of several, with commas between them; by default
            ``ZQUEUE_URL``, or tcp://127.0.0.1:5555.

    All methods raise `BrokerLost` if a broker does not answer, and `ConfigError` for a filter that
    is none.
    """

    def __init__(self, url: str | None = None) -> None:
        self._askers = [Asker(each) for each in urls_now([url or default_url()])]

    def __repr__(self) -> str:
        return f"<DeadLetters of {', '.join(asker.url for asker in self._askers)}>"

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
        for asker in self._askers:
            asker.close()

    def totals(self) -> dict[str, int]:
        """How many are ``kept``, of at most ``letters_max`` and ``bytes_max``; and of the ``total``
        since the broker's start how many were ``evicted``, ``replayed`` and ``dropped``."""
        totals = Counter[str]()
        for asker in self._brokers().values():
            told = _ask(asker, "dead-groups", limit=1)
            totals.update({key: told[key] for key in told if key not in ("groups", "next")})
        return dict(totals)

    def groups(self, **which: Any) -> list[LetterGroup]:
        """Letters by queue, task, error and reason: how many, and when the first and the last of
        them died. The group that got a letter last comes first."""
        groups: dict[tuple[str, ...], LetterGroup] = {}
        brokers, wanted = self._brokers(), _wanted(which)
        for broker, asker in brokers.items():
            after: int | None = 0
            while after is not None:
                told = _ask(asker, "dead-groups", **wanted, after=after)
                for row in told["groups"]:
                    group = LetterGroup(**{key: row[key] for key in Group._fields})
                    group.broker = broker
                    same = groups.get(group[:4])
                    groups[group[:4]] = group if same is None else _together(same, group)
                after = told["next"]
        if len(brokers) == 1:
            return list(groups.values())
        return sorted(groups.values(), key=lambda group: group.last_s, reverse=True)

    def count(self, **which: Any) -> int:
        """How many there are."""
        return sum(group.letters for group in self.groups(**which))

    def get(self, number: int | str) -> DeadLetter | None:
        """The letter of that number, or name; None if it is kept no more."""
        broker, asker, at = _find(self._brokers(), number)
        told = _ask(asker, "dead", after=at - 1, upto=at)["letters"]
        return letter_of(told[0], broker) if told else None

    def select(self, *, newest: bool = False, **which: Any) -> Iterator[DeadLetter]:
        """Letters one after the other, the oldest first, or the ``newest``."""
        wanted = _wanted(which)
        each = [_select(asker, broker, newest, wanted) for broker, asker in self._brokers().items()]
        yield from heapq.merge(*each, key=lambda letter: letter.died_s, reverse=newest)

    def replay(
        self, *, numbers: Iterable[int | str] = (), to: str = "", rate: float = math.inf,
        timeout: float | None = 30.0, all: bool = False, done: Done | None = None, **which: Any,
    ) -> int:  # fmt: skip
        """Make tasks of letters again: with the same body and options, at their first attempt.

        What fails again becomes a new letter, and is not replayed again by the same call. A letter
        whose body is damaged stays what it is.

        Parameters:
            numbers: the letters, by number or name; or say by a filter which.
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
        for asker, page in self._pages(numbers, all, which):
            while page is not None:
                told = _control(asker, REPLAY, to, {**page, "limit": pace.room()})
                replayed += told["replayed"]
                pace.used(told["replayed"])
                if done is not None:
                    done(replayed)
                if "stopped" in told and not pace.may_try_again(patience_s):
                    raise _no_room(told, replayed)
                page = _rest(page, told["next"])
        return replayed

    def drop(
        self, *, numbers: Iterable[int | str] = (), all: bool = False, done: Done | None = None,
        **which: Any,
    ) -> int:  # fmt: skip
        """Keep letters no more. Parameters as of `replay`. Returns how many were dropped."""
        dropped = 0
        for asker, page in self._pages(numbers, all, which):
            while page is not None:
                told = _control(asker, DROP, "", {**page, "limit": REPLAY_MAX})
                dropped += told["dropped"]
                if done is not None:
                    done(dropped)
                page = _rest(page, told["next"])
        return dropped

    def add(self, letters: Iterable[DeadLetter], *, done: Done | None = None) -> int:
        """Let a broker keep letters of another one, or of before: of several the first that has
        room. None is dropped for them.

        Returns how many it keeps. Raises `ZQueueError`: there is no room for more; ``added`` of
        that error says how many there were before.
        """
        added, brokers = 0, list(self._brokers().values())
        for page in _packets(letters):
            while page:
                told = _add(brokers[0], page)
                count = len(page)
                if told["full"] and count > 1:  # Perhaps not for some of them.
                    told, count = _add(brokers[0], page[:1]), 1
                if told["full"]:
                    del brokers[0]
                    if not brokers:
                        raise NoRoom(added)
                    continue
                page = page[count:]
                added += told["imported"]
                if done is not None:
                    done(added)
        return added

    def _brokers(self) -> dict[str, Asker]:
        """By the first digits of their ids. One alone has no name."""
        if len(self._askers) == 1:
            return {"": self._askers[0]}
        brokers = by_broker(self._askers, ANSWER_S)
        return {each[:ID_DIGITS]: asker for each, asker in brokers.items()}

    def _pages(
        self, numbers: Iterable[int | str], all: bool, which: dict[str, Any]
    ) -> Iterator[tuple[Asker, dict[str, Any] | None]]:
        """What to say of which letters are meant, and no later ones."""
        wanted, numbers = _wanted(which), list(numbers)
        if (bool(numbers) + bool(wanted) + bool(all)) != 1:
            raise ConfigError(
                "say which dead letters: by number, or by a filter (queue, task, error, reason, "
                "since), or all=True, and only by one of these"
            )
        brokers = self._brokers()
        for _, asker, number in [_find(brokers, number) for number in numbers]:
            yield asker, {"after": number - 1, "upto": number}
        for asker in () if numbers else brokers.values():
            newest = _ask(asker, "dead", **wanted, before=NUMBER_MAX, limit=1)["letters"]
            if newest:
                yield asker, {**wanted, "after": 0, "upto": newest[0]["number"]}


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


def _ask(asker: Asker, what: str, **which: Any) -> dict[str, Any]:
    return asker.ask(what, which, timeout=ANSWER_S)


def _control(asker: Asker, action: str, queue: str, which: dict[str, Any]) -> dict[str, Any]:
    return asker.control(action, queue, which, timeout=ANSWER_S)


def _add(asker: Asker, letters: list[DeadLetter]) -> dict[str, Any]:
    rows = [{**letter.packed} for letter in letters]
    bodies = [row.pop("body") for row in rows]
    return asker.control(IMPORT, "", {"letters": rows}, bodies, timeout=ANSWER_S)


def _select(
    asker: Asker, broker: str, newest: bool, wanted: dict[str, Any]
) -> Iterator[DeadLetter]:
    edge, at = ("before", NUMBER_MAX) if newest else ("after", 0)
    while True:
        told = _ask(asker, "dead", **wanted, **{edge: at})
        for letter in told["letters"]:
            yield letter_of(letter, broker)
        if (at := told["next"]) is None:
            return


def _together(one: LetterGroup, other: LetterGroup) -> LetterGroup:
    """A group, of what it is at two brokers."""
    newer = max(one, other, key=lambda group: group.last_s)
    both = newer._replace(
        letters=one.letters + other.letters, first_s=min(one.first_s, other.first_s)
    )
    both.broker = newer.broker
    return both


def _find(brokers: dict[str, Asker], name: int | str) -> tuple[str, Asker, int]:
    """The broker and the number of a letter. Raises `ConfigError`."""
    broker, _, number = str(name).rpartition("-")
    if broker not in brokers and not broker:
        raise ConfigError(
            f"dead letter {name} of which broker? Each numbers its own: give the whole name, as "
            f"in {name_of(next(iter(brokers)), 17)}"
        )
    if broker not in brokers:
        raise ConfigError(f"dead letter {name} is of none of these brokers: give its --url")
    return broker, brokers[broker], int(number)


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
