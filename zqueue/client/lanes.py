"""The lanes of a producer: which there are, and which are forgotten."""

from __future__ import annotations

from collections.abc import Iterator

from ..wire.options import TaskOptions
from .lane import Lane

LANES_MAX = 1024
"""No more lanes of options are made while there are so many of all kinds: each distinct key or time
has one until its tasks are confirmed."""

LaneKey = tuple[str, str, bool, bytes, bool]
"""Queue, task, whether results are wanted, packed options, and whether it is sent again."""


def _key_of(lane: Lane) -> LaneKey:
    return lane.queue, lane.task, lane.reply, lane.options, lane.resubmit


class Lanes:
    """All that may hold bodies."""

    def __init__(self) -> None:
        self._shared: dict[LaneKey, Lane] = {}
        self._parted: dict[Lane, None] = {}
        """Lanes of options that were idle and forgotten while somebody held them."""
        self._streams: dict[Lane, bool] = {}
        """Lanes of one call each, and whether nothing more will gather there."""

    def __repr__(self) -> str:
        return f"<Lanes: {len(self._shared)} shared, {len(self._streams)} of calls>"

    def __iter__(self) -> Iterator[Lane]:
        yield from self._shared.values()
        yield from self._streams
        yield from self._parted

    def find(
        self, queue: str, task: str, reply: bool, options: TaskOptions | None = None
    ) -> Lane | None:
        """The one that is shared by all who send so."""
        if options is None:
            return self._shared.get((queue, task, reply, b"", False))
        return self._shared.get((queue, task, reply, options.pack(), bool(options.resubmit)))

    def share(self, lane: Lane) -> Lane:
        """A new one, or that which is shared already."""
        return self._shared.setdefault(_key_of(lane), lane)

    def has_room_for(self, lane: Lane) -> bool:
        """Whether such a one may be added: of options there are as many as are not idle."""
        if lane.options and len(self._shared) >= LANES_MAX:
            for other in [*self._shared.values()]:
                self.forget(other)
            return len(self._shared) < LANES_MAX
        return True

    def add_stream(self, lane: Lane) -> None:
        """One of one call. It is forgotten when it was finished and all of it is settled."""
        self._streams[lane] = False

    def finish(self, lane: Lane) -> None:
        """Nothing more will gather in one of one call."""
        self._streams[lane] = True
        self.forget(lane)

    def hold(self, lane: Lane) -> None:
        """Something may gather in one that was forgotten."""
        if not lane.options or not lane.gathered or lane in self._streams:
            return
        if self._shared.get(_key_of(lane)) is not lane:
            self._parted[lane] = None

    def forget(self, lane: Lane) -> None:
        """If it is idle, and of one call or of options that may never come again."""
        if lane.in_flight or lane.gathered:
            return
        if lane in self._streams:
            if self._streams[lane]:
                del self._streams[lane]
        elif lane.options:
            if self._shared.get(_key_of(lane)) is lane:
                del self._shared[_key_of(lane)]
            self._parted.pop(lane, None)
