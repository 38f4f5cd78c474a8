"""deploy/prometheus, with Prometheus itself, and the alerts in docs/operations.md"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import Broker, Processes, free_port, wait_until

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
CONFIG = FOLDER / "prometheus.yml"
RULES = FOLDER / "zqueue.rules.yml"
CASES = FOLDER / "zqueue.rules.test.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "zqueue.json"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()

SIDECAR = "127.0.0.1:9464"
"""Where the configuration looks for the sidecar."""

EXPRESSION = {
    RULES: r"^ +expr: (?:>-\n)?(.*(?:\n {10,}.*)*)",
    DASHBOARD: r'"(?:expr|definition)": (".*")',
}
"""How to find the queries of a file."""

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


def promtool(*arguments: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("promtool"), *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )


# --- what is written ---


def alerts() -> dict[str, str]:
    """What the rules say of each alert."""
    _, *texts = re.split(r"^ +- alert: ", RULES.read_text(), flags=re.MULTILINE)
    return {text.split()[0]: text for text in texts}


def cases() -> list[tuple[str, bool]]:
    """``(alert, whether it must fire)`` of everything that is tried."""
    found = re.findall(r"alertname: (\w+)\n +exp_alerts:(.*)\n", CASES.read_text())
    assert len(found) == CASES.read_text().count("alertname:")
    return [(name, rest != " []") for name, rest in found]


def runbooks() -> dict[str, str]:
    """The sections on alerts, by heading."""
    (chapter,) = re.findall(r"^## Alerts\n(.*?)(?=^## )", OPERATIONS, re.MULTILINE | re.DOTALL)
    _, *sections = re.split(r"^### ", chapter, flags=re.MULTILINE)
    return {heading: text.strip() for heading, _, text in (s.partition("\n") for s in sections)}


def names_in(text: str) -> set[str]:
    """The metrics of the sidecar in a text; not those that rules record, which have colons."""
    return set(re.findall(r"(?<![\w:])(?:zqueue|process|python)_\w+\b(?![:\w])", text))


@pytest.fixture(params=sorted(alerts()))
def alert(request: pytest.FixtureRequest) -> str:
    return request.param


def test_it_says_what_and_how_bad(alert):
    text = alerts()[alert]
    assert re.search(r"labels: \{severity: (critical|warning|info)\}", text)
    assert re.search(r'summary: "\S', text)
    assert re.search(r"description: >-\n +\S", text)


def test_it_has_a_runbook(alert):
    assert f"runbook_url: docs/operations.md#{alert.lower()}\n" in alerts()[alert]
    assert len(runbooks()[alert]) > 100


def test_there_are_no_runbooks_but_for_alerts():
    assert sorted(runbooks()) == sorted(alerts())


def test_it_is_shown_to_fire_and_not_to_fire(alert):
    assert {fires for name, fires in cases() if name == alert} == {True, False}


def test_nothing_that_is_gone_is_tried():
    assert {name for name, _ in cases()} == set(alerts())


# --- what promtool says ---


def put(folder: Path, config: str, rules: str) -> Path:
    """The files as they are to be installed, changed."""
    (folder / RULES.name).write_text(rules)
    (folder / CONFIG.name).write_text(config)
    (folder / CASES.name).write_text(CASES.read_text())
    return folder / CONFIG.name


def test_the_configuration_is_right():
    done = promtool("check", "config", CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_examples_are_right(tmp_path: Path):
    """With one in place of what it stands for."""
    text = re.sub(r"^( *)#(?=[a-z]| {2,}[a-z-])", r"\1", CONFIG.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^ +static_configs:\n +# One.*\n.*9464.*\n", "", text, flags=re.MULTILINE)
    assert "\n    file_sd_configs:\n      - files:" in text
    assert "\n  alertmanagers:\n    - static_configs:" in text
    (listed,) = re.findall(r"#   (\[\{.*\}\])", text)
    (tmp_path / "zqueue-north.json").write_text(listed)
    done = promtool("check", "config", put(tmp_path, text, RULES.read_text()))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_right():
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_fire_when_they_should():
    done = promtool("test", "rules", CASES)
    assert done.returncode == 0, done.stdout + done.stderr


def failed_under(folder: Path, expression: str) -> set[str]:
    """The alerts whose tests fail if all have this expression and fire at once."""
    rules = re.sub(
        r"(- alert: \w+\n)(?:.*\n)*?( +labels:)",
        rf"\1        expr: {expression}\n\2",
        RULES.read_text(),
    )
    assert rules.count(f"expr: {expression}\n") == len(alerts())
    put(folder, CONFIG.read_text(), rules)
    done = promtool("test", "rules", folder / CASES.name)
    assert done.returncode != 0
    return set(re.findall(r"alertname: ?(\w+)", done.stdout + done.stderr))


@pytest.mark.parametrize("expression", ["vector(1) > 1", "vector(1)"])
def test_what_always_or_never_fires_is_noticed(expression: str, tmp_path: Path):
    assert failed_under(tmp_path, expression) == set(alerts())


# --- with everything there is ---


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


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    with monitoring(tmp_path_factory.mktemp("prometheus")) as monitored:
        yield monitored


@pytest.mark.system
def test_prometheus_finds_one_fault_with_what_the_sidecar_tells(monitored):
    """Percentiles of a window are gauges, and yet their label is the one that people look for."""
    done = promtool("check", "metrics", given=monitored.exposition())
    meant = r'zqueue_\w+_quantile_seconds non-summary metrics should not have "quantile" label'
    found = (done.stdout + done.stderr).splitlines()
    assert [line for line in found if line and not re.fullmatch(meant, line)] == []


@pytest.mark.system
@pytest.mark.parametrize("path", [RULES, DASHBOARD], ids=lambda path: path.name)
def test_every_metric_is_one_that_the_sidecar_tells(monitored, path: Path):
    told = set(re.findall(r"^(\w+)[{ ]", monitored.exposition(), re.MULTILINE))
    asked = names_in("\n".join(re.findall(EXPRESSION[path], path.read_text(), re.MULTILINE)))
    assert len(asked) > 10
    assert asked <= told


@pytest.mark.system
def test_prometheus_evaluates_every_rule(monitored):
    def rules() -> list[dict[str, Any]]:
        groups = monitored.api("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), UP_S, what=rules)
    assert [rule for rule in rules() if rule["health"] != "ok"] == []
    assert {rule["name"] for rule in rules() if rule["type"] == "alerting"} == set(alerts())


@pytest.mark.system
def test_every_record_is_recorded(monitored):
    records = set(re.findall(r"- record: (\S+)", RULES.read_text()))
    assert len(records) >= 6
    wait_until(lambda: all(map(monitored.values, records)), UP_S, what=records)


@pytest.mark.system
def test_only_what_is_wrong_is_an_alert(monitored):
    """Dead letters are; the last test of all, as it ends the broker."""

    def raised() -> set[str]:
        return {alert["labels"]["alertname"] for alert in monitored.api("alerts")["alerts"]}

    wait_until(lambda: "ZqueueDeadLetters" in raised(), UP_S, what=raised)
    assert raised() <= {"ZqueueDeadLetters", "ZqueueTasksFail"}
    monitored.broker.process.kill()
    wait_until(lambda: "ZqueueBrokerAbsent" in raised(), UP_S, what=raised)
