"""zqueue: a broker, worker processes, at least once."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from time import monotonic, monotonic_ns
from typing import Any

import zqueue
from peers import driver, working
from zqueue.client.ask import Asker
from zqueue.errors import BrokerLost

app = zqueue.App()


hello, probe = map(app.task(queue="probe"), (working.hello, working.note_latency))
count = app.task(queue="count")(working.words)


nap = app.task(queue="noop")(working.nap)


@app.task(queue="noop")
def noop(body: object) -> None:
    """W1."""


class Driver(driver.Driver):
    """One body: `send` and `submit`. More: `send_many` and `map`, which choose how many."""

    def start(self) -> str:
        bind = f"tcp://127.0.0.1:{driver.port()}"
        app.url = f"{bind}?key={key}" if (key := self.options.get("key")) else bind
        self._asker = Asker(app.url)
        start = functools.partial(self.processes.start_python, "-m", "zqueue", "-l", "error")
        # When it is ended before its time, nothing has to be finished: but profiles be saved.
        at_once = ("--drain-timeout", 5 if "PERF_WATCH" in os.environ else 0)
        more = self.options.get("broker", ())
        self.pids["broker"] = [start("broker", "--bind", bind, *at_once, *more)]
        if self.workers:
            threads = ("--threads", self.options.get("threads", 1))
            start("worker", "peers.ours", "-p", self.workers, "--url", app.url, *threads, *at_once)
        self.wait_until(self._answers, "the broker")
        self.wait_for_workers()
        self.pids["worker"] = [worker["pid"] for worker in self._asker.ask()["workers"]]
        return f"zqueue {zqueue.__version__}"

    def hello(self) -> None:
        hello.send()

    def throughput(self, tasks: int) -> None:
        """Until the broker holds none any more: an acknowledgement is what removes them.

        The option ``bodies_a_call`` says how many go into one call: 1 is `send`, 0 are all.
        """
        make, step = self.make, self.options.get("bodies_a_call", int(self.bodies == 1))
        if step == 1:
            send = noop.send
            for i in range(tasks):
                send(make(i))
        else:
            for start in range(0, tasks, step or tasks):
                noop.send_many(make(i) for i in range(start, min(start + (step or tasks), tasks)))
        self._finish()

    def naps(self, tasks: int) -> None:
        for _ in range(tasks):
            nap.send()
        self._finish()

    def _finish(self) -> None:
        app.flush(driver.DEADLINE_S)
        self.wait_until(self._empty, "the last acknowledgement")

    def _empty(self) -> bool:
        state = self._answers()
        queue = state and state["queues"]["noop"]
        return bool(queue) and not queue["ready"] and not queue["leased"]

    def _answers(self) -> dict[str, Any]:
        with contextlib.suppress(BrokerLost):  # A busy broker may be late.
            return self._asker.ask(timeout=0.5)
        return {}

    def obey_backlog(self, tasks: int) -> dict[str, Any]:
        """Let tasks gather while the workers are stopped, then see how long they take."""
        for pid in self.pids["worker"]:
            os.kill(pid, signal.SIGSTOP)
        try:
            noop.send_many(self.make(i) for i in range(tasks))
            app.flush(driver.DEADLINE_S)
            began = monotonic()
        finally:
            for pid in self.pids["worker"]:
                os.kill(pid, signal.SIGCONT)
        self._finish()
        return {"tasks": tasks, "seconds": monotonic() - began}

    def obey_state(self) -> dict[str, Any]:
        """What the broker tells of itself, its workers and their collections."""
        return self._asker.ask()

    def probe(self, due_ns: int) -> None:
        probe.send(due_ns, monotonic_ns())

    def count(self, chunks: list[str]) -> int:
        """Results in order."""
        if self.bodies > 1:
            return sum(count.map(chunks))
        futures = [count.submit(chunk) for chunk in chunks]
        return sum(future.result(driver.DEADLINE_S) for future in futures)

    def close(self) -> None:
        self._asker.close()
        app.close(5)
