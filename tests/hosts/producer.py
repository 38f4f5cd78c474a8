"""A producer that sends batch after batch, and writes down what was confirmed.

producer.py FIRST WAIT_S CONFIRMED STOP: numbers from FIRST on; ends when there is a file STOP.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from load import app, note  # Of the laboratory's folder.

import zqueue

BATCH = 20
PAUSE_S = 0.05


def main() -> None:
    first, wait_s, confirmed, stop = sys.argv[1:]
    number = int(first)
    with open(confirmed, "a") as out:
        while not Path(stop).exists():
            numbers = range(number, number + BATCH)
            note.send_many(numbers, [float(wait_s)] * BATCH)
            while True:
                try:
                    app.flush(60)
                    break
                except zqueue.ZQueueError as error:
                    print(error, file=sys.stderr)
            out.writelines(f"{each}\n" for each in numbers)
            out.flush()
            number += BATCH
            time.sleep(PAUSE_S)


main()
