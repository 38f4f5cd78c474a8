"""zqueue: a broker, worker processes, at least once."""

from __future__ import annotations

import contextlib

from bodies import body

import zqueue
from peers import driver
from zqueue.ask import Asker
from zqueue.errors import BrokerLost

app = zqueue.App()


@app.task(queue="probe")
def hello() -> None:
    """Shows its worker."""
    driver.hello()


@app.task(queue="noop")
def noop(body: object) -> None:
    """W1."""


@app.task(queue="probe")
def probe(due_ns: int) -> None:
    """W2."""
    driver.note_latency(due_ns)


@app.task(queue="count")
def count(text: str) -> int:
    """W3."""
    return driver.words(text)


class Driver(driver.Driver):
    """One body: `send` and `submit`. More: `send_many` and `map`, which choose how many."""

    def start(self) -> str:
        """A broker, a pool."""
        app.url = f"tcp://127.0.0.1:{driver.port()}"
        self._asker = Asker(app.url)
        for command in (
            ("broker", "--bind", app.url),
            ("worker", "peers.ours", "-p", self.workers, "--url", app.url),
        ):
            # When it is ended before its time, nothing has to be finished.
            self.processes.start_python(
                "-m", "zqueue", "-l", "warning", *command, "--drain-timeout", 0
            )
        self.wait_for_workers()
        return f"zqueue {zqueue.__version__}"

    def hello(self) -> None:
        """One task."""
        hello.send()

    def throughput(self, tasks: int) -> None:
        """Until the broker holds none any more: an acknowledgement is what removes them."""
        if self.bodies > 1:
            noop.send_many(body(i) for i in range(tasks))
        else:
            send = noop.send
            for i in range(tasks):
                send(body(i))
        app.flush(driver.DEADLINE_S)
        self.wait_until(self._empty, "the last acknowledgement")

    def _empty(self) -> bool:
        with contextlib.suppress(BrokerLost):  # A busy broker may be late.
            queue = self._asker.ask(timeout=0.5)["queues"]["noop"]
            return not queue["ready"] and not queue["leased"]
        return False

    def probe(self, due_ns: int) -> None:
        """One task."""
        probe.send(due_ns)

    def count(self, chunks: list[str]) -> int:
        """Results in order."""
        if self.bodies > 1:
            return sum(count.map(chunks))
        futures = [count.submit(chunk) for chunk in chunks]
        return sum(future.result(driver.DEADLINE_S) for future in futures)

    def close(self) -> None:
        """Its connection."""
        self._asker.close()
        app.close(5)
