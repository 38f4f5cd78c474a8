"""deploy/prometheus, with Prometheus itself, and the alerts in docs/operations.md"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import wait_until

from .monitored import CASES, CONFIG, RULES, UP_S, put, tool

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "zqueue.json"
OPERATIONS = (DEPLOY.parent / "docs" / "operations.md").read_text()

EXPRESSION = {
    RULES: r"^ +expr: (?:>-\n)?(.*(?:\n {10,}.*)*)",
    DASHBOARD: r'"(?:expr|definition)": (".*")',
}
"""How to find the queries of a file."""


def promtool(*arguments: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("promtool"), *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        timeout=240,
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


def test_every_alert_says_what_and_how_bad_and_what_to_do():
    said = (
        r"labels: \{severity: (critical|warning|info)\}", r'summary: "\S', r"description: >-\n +\S",
    )  # fmt: skip
    for alert, text in alerts().items():
        assert all(re.search(part, text) for part in said), alert
        assert f"runbook_url: docs/operations.md#{alert.lower()}\n" in text, alert
        assert len(runbooks()[alert]) > 100, alert


def test_every_alert_is_shown_to_fire_and_not_to_fire():
    tried = set(cases())
    assert not [
        (alert, fires)
        for alert in alerts()
        for fires in (True, False)
        if (alert, fires) not in tried
    ]


# --- what promtool says ---


def test_the_configuration_is_right():
    done = promtool("check", "config", CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_examples_are_right(tmp_path: Path):
    """With one in place of what it stands for."""
    text = re.sub(r"^( *)#(?=[a-z]| {2,}[a-z-])", r"\1", CONFIG.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^ +static_configs:\n +# One.*\n.*9464.*\n", "", text, flags=re.MULTILINE)
    assert "\n    file_sd_configs:\n      - files:" in text
    assert "\n  alertmanagers:\n    - static_configs:" in text
    (token,) = re.findall(r"credentials_file: (\S+)", text)
    (tmp_path / "zqueue.token").write_text("0123456789abcdef")
    text = text.replace(token, str(tmp_path / "zqueue.token"))
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


def test_what_always_or_never_fires_is_noticed(tmp_path: Path):
    """If all alerts had such an expression and fired at once, each would fail its test."""
    for expression in ("vector(1) > 1", "vector(1)"):
        rules = re.sub(
            r"(- alert: \w+\n)(?:.*\n)*?( +labels:)",
            rf"\1        expr: {expression}\n\2",
            RULES.read_text(),
        )
        assert rules.count(f"expr: {expression}\n") == len(alerts())
        put(tmp_path, CONFIG.read_text(), rules)
        done = promtool("test", "rules", tmp_path / CASES.name)
        assert done.returncode != 0
        failed = set(re.findall(r"alertname: ?(\w+)", done.stdout + done.stderr))
        assert failed == set(alerts()), expression


# --- with everything there is ---


@pytest.mark.system
def test_promtool_finds_no_fault_with_a_scrape(monitored):
    """And it would find one: the label that belongs to summaries, on a gauge."""
    scraped = monitored.exposition()
    assert scraped.count("_quantile_seconds{") > 50
    done = promtool("check", "metrics", given=scraped)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = promtool("check", "metrics", given=scraped.replace(',q="0.5"', ',quantile="0.5"'))
    assert done.returncode != 0
    assert 'should not have "quantile" label' in done.stdout + done.stderr


@pytest.mark.system
def test_every_metric_that_is_asked_for_is_exposed(monitored):
    def missing(asked: set[str]) -> set[str]:
        return asked - set(re.findall(r"^(\w+)[{ ]", monitored.exposition(), re.MULTILINE))

    for path, pattern in EXPRESSION.items():
        asked = names_in("\n".join(re.findall(pattern, path.read_text(), re.MULTILINE)))
        assert len(asked) > 10, path.name
        wait_until(lambda a=asked: not missing(a), what=lambda a=asked: f"{missing(a)}")


@pytest.mark.system
def test_prometheus_evaluates_every_rule(monitored):
    def rules() -> list[dict[str, Any]]:
        groups = monitored.api("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), UP_S, what=rules)
    assert [rule for rule in rules() if rule["health"] != "ok"] == []
    assert {rule["name"] for rule in rules() if rule["type"] == "alerting"} == set(alerts())


@pytest.mark.system
def test_only_what_is_wrong_is_an_alert(monitored):
    """Dead letters are, and a broker that does not answer."""

    def raised() -> set[str]:
        return {alert["labels"]["alertname"] for alert in monitored.api("alerts")["alerts"]}

    wait_until(lambda: "ZqueueDeadLetters" in raised(), UP_S, what=raised)
    assert raised() <= {"ZqueueDeadLetters", "ZqueueTasksFail"}
    monitored.broker.process.kill()
    try:
        wait_until(lambda: "ZqueueBrokerAbsent" in raised(), UP_S, what=raised)
    finally:
        monitored.broker.start()  # Other tests look at it, too.
