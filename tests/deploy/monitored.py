"""A broker with work to do, its sidecar, and a real Prometheus that scrapes it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import Broker, Processes, free_port, wait_until

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
CONFIG = FOLDER / "prometheus.yml"
RULES = FOLDER / "zqueue.rules.yml"
CASES = FOLDER / "zqueue.rules.test.yml"

SIDECAR = "127.0.0.1:9464"
"""Where the configuration looks for the sidecar."""

UP_S = 60.0
"""Until all there is to know was scraped twice and evaluated, on a busy machine."""

PROGRAM = '''
import sys
import time

import zqueue

app = zqueue.App()


@app.task(queue="words")
def count_words(text):
    """Leaves something for the garbage collector."""
    for _ in range(1000):
        cycle = []
        cycle.append(cycle)
    return len(text.split())


@app.task(queue="broken")
def fail_often(number):
    if number % 3 == 0:
        raise ValueError(number)


if __name__ == "__main__":
    while True:
        count_words.send_many(["to be or not to be"] * 50)
        fail_often.send_many(range(20))
        time.sleep(0.05)
'''


def tool(name: str) -> str:
    """The path of a program of the package `prometheus`; skips the test if there is none."""
    path = shutil.which(name)
    if path is None:
        assert "CI" not in os.environ, "CI installs prometheus for this"
        pytest.skip(f"{name} is not installed")
    return path


def put(folder: Path, config: str, rules: str) -> Path:
    """The files as they are to be installed, changed."""
    (folder / RULES.name).write_text(rules)
    (folder / CONFIG.name).write_text(config)
    (folder / CASES.name).write_text(CASES.read_text())
    return folder / CONFIG.name


class Monitored:
    """A broker with work to do, a sidecar that watches it, and a Prometheus that scrapes that."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        prometheus = tool("prometheus")
        program = folder / "program.py"
        program.write_text(PROGRAM)
        self.broker = Broker(processes, f"tcp://127.0.0.1:{free_port()}", ())
        url = ("--url", self.broker.url)
        processes.zqueue("worker", str(program), "-p", "2", *url)
        environment = os.environ | {"ZQUEUE_URL": self.broker.url}
        processes.start("load", sys.executable, str(program), env=environment)
        self.target = f"127.0.0.1:{free_port()}"
        self.sidecar = processes.zqueue("metrics", "--listen", self.target, *url)
        config = re.sub(r"(scrape|evaluation)_interval: .*", r"\1_interval: 1s", CONFIG.read_text())
        config = re.sub("scrape_timeout: .*", "scrape_timeout: 1s", config)
        assert SIDECAR in config
        config_path = put(folder, config.replace(SIDECAR, self.target), RULES.read_text())
        listen = f"127.0.0.1:{free_port()}"
        self.url = f"http://{listen}/api/v1/"
        self.prometheus = processes.start(
            "prometheus",
            prometheus,
            f"--config.file={config_path}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={listen}",
        )

    def exposition(self) -> str:
        """What the sidecar tells Prometheus."""
        return read(f"http://{self.target}/metrics")

    def api(self, call: str, **parameters: str) -> Any:
        """What Prometheus answers."""
        answer = json.loads(read(f"{self.url}{call}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, expression: str) -> list[float]:
        """The present values of an expression that are numbers."""
        found = self.api("query", query=expression)["result"]
        values = [float(sample["value"][1]) for sample in found]
        return [value for value in values if not math.isnan(value)]

    def is_up(self) -> bool:
        """Whether tasks were seen to run, and rules to be evaluated."""
        assert self.prometheus.is_running(), self.prometheus.err
        assert self.sidecar.is_running(), self.sidecar.err
        with contextlib.suppress(OSError):
            return bool(self.values("broker_queue:zqueue_failures:ratio_rate5m > 0"))
        return False


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


@contextlib.contextmanager
def monitoring(folder: Path) -> Iterator[Monitored]:
    """All of it, for as long as the block runs."""
    processes = Processes(folder)
    try:
        monitored = Monitored(folder, processes)
        wait_until(monitored.is_up, UP_S, every=0.2, what=lambda: list(processes.shown()))
        yield monitored
    finally:
        processes.end()
