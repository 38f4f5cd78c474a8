"""What is asked of each broker of a list. A broker that the list names twice is asked once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from ..net.lookup import urls_now
from .ask import Asker
from .questions import Cancellation


def by_broker(askers: Iterable[Asker], timeout: float | None = 3.0) -> dict[str, Asker]:
    """By the brokers' ids; of several addresses of one broker the first. Raises as `Asker.ask`."""
    found: dict[str, Asker] = {}
    for asker in askers:
        found.setdefault(asker.ask(timeout=timeout)["id"], asker)
    return found


def cancel_at(
    url: str, *ids: str, queue: str = "", key: str = "", timeout: float | None = 3.0, **which: Any
) -> Cancellation:
    """Cancel at each broker: see `Asker.cancel`."""
    counts = Cancellation()
    with _askers_of(url, queue, timeout) as askers:
        for asker in askers:
            told = asker.cancel(*ids, queue=queue, key=key, timeout=timeout, **which)
            counts = counts.plus(told)
    named = len(dict.fromkeys(ids)) + bool(key)
    return counts._replace(unknown=max(0, named - sum(counts[:3])))


def peek_at(url: str, name: str, **which: Any) -> list[tuple[str, dict[str, Any]]]:
    """What waits at each broker: see `Asker.peek`."""
    with _askers_of(url, name, 3.0) as askers:
        return [(asker.url, asker.peek(name, **which)) for asker in askers]


@contextlib.contextmanager
def _askers_of(url: str, queue: str, timeout: float | None) -> Iterator[list[Asker]]:
    """One for each broker, but for those that do not have a queue that others have."""
    with contextlib.ExitStack() as stack:
        askers = [stack.enter_context(Asker(each)) for each in urls_now([url])]
        if len(askers) > 1:
            askers = list(by_broker(askers, timeout).values())
        if len(askers) > 1 and queue:
            having = [each for each in askers if queue in each.ask(timeout=timeout)["queues"]]
            askers = having or askers
        yield askers
