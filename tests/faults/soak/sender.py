"""A producer of a soak: sends numbered tasks by the clock, and marks those that are confirmed.

Of every twenty, one has a key and is sent twice, one is delayed, and two are to give results. It
ends on SIGTERM, when all is confirmed and its results are there, and prints what it counted.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import zqueue
from tests.faults.soak.app import HOPELESS
from tests.faults.soak.marks import CONFIRMED, LIFE_TASKS, Marks

TICK_S = 0.1
BEHIND_S = 1.0
"""What could not be sent for longer is not made up for."""
PATIENCE_S = 120.0
FUTURES_MAX = 5000
KEY_WINDOW_S = 20.0
DELAY_S = 2.0


class Sender:
    """Sends the numbers from ``first`` on."""

    def __init__(self, producer: zqueue.Producer, first: int, confirmed: Marks) -> None:
        self.counts = dict.fromkeys(("confirmed", "results", "lost", "wrong", "earlier"), 0)
        self._producer = producer
        self._next = first
        self._end = first + LIFE_TASKS
        self._confirmed = confirmed
        self._futures: deque[tuple[int, Future[Any]]] = deque()

    def send(self, count: int) -> None:
        """Send so many, and wait until they are confirmed."""
        numbers = range(self._next, min(self._next + count, self._end))
        self._next = numbers.stop
        plain = [number for number in numbers if number % 20 not in (3, 7, 11, 12)]
        self._producer.send_many("work", [[number] for number in plain], task="work")
        for number in numbers:
            match number % 20:
                case 3:
                    options = zqueue.task_options(key=str(number), key_window=KEY_WINDOW_S)
                    for _ in range(2):
                        self._producer.send("work", [number], task="work", options=options)
                case 7:
                    options = zqueue.task_options(delay=DELAY_S)
                    self._producer.send("work", [number], task="work", options=options)
                case 11 | 12:
                    future = self._producer.submit("work", [number], task="work")
                    self._futures.append((number, future))
        self._producer.flush(PATIENCE_S)
        self._confirmed.set(numbers)
        self.counts["confirmed"] += len(numbers)

    def hear(self, *, all_: bool = False) -> None:
        """Look at the results that are there; of too many, and of ``all_``, at those to come."""
        futures = self._futures
        while futures and (all_ or futures[0][1].done() or len(futures) > FUTURES_MAX):
            number, future = futures.popleft()
            error = future.exception(PATIENCE_S)
            if error is None:
                right = future.result() == number
            elif isinstance(error, zqueue.ResultLost):
                self.counts["lost"] += 1
                continue
            else:
                right = number % HOPELESS == 0
            self.counts["results" if right else "wrong"] += 1

    def hear_earlier(self) -> None:
        """What an earlier life of this name was to hear."""
        for result in self._producer.earlier_results(timeout=0.5):
            ours = result.error is not None or isinstance(result.value, int)
            self.counts["earlier" if ours else "wrong"] += 1


def main(url: str, name: str, first: int, rate: float, folder: Path) -> None:
    """Send until SIGTERM comes."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    with zqueue.Producer(
        url, timeout=PATIENCE_S, connect_timeout=PATIENCE_S, name=name
    ) as producer:
        sender = Sender(producer, first, Marks(folder, CONFIRMED))
        sender.hear_earlier()
        due = time.monotonic()
        while not over.wait(max(0.0, due - time.monotonic())):
            due = max(due, time.monotonic() - BEHIND_S) + TICK_S
            sender.send(round(rate * TICK_S))
            sender.hear()
        sender.hear(all_=True)
        sender.hear_earlier()
    print(json.dumps(sender.counts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
