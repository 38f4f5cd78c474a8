"""deploy/grafana, with figures of a real Prometheus"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import wait_until

from .test_prometheus import UP_S, alerts

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARD = json.loads((FOLDER / "zqueue.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
SHOWN = [panel for panel in PANELS if panel["type"] != "row"]
VARIABLES = {v["name"]: v for v in DASHBOARD["templating"]["list"]}

COLUMNS = 24
"""Of Grafana's grid."""


def filled_in(text: str) -> str:
    """A query as Grafana asks it, with everything chosen."""
    text = text.replace("$__rate_interval", "1m")
    for name in VARIABLES:
        text = text.replace(f"${name}", ".*")
    assert "$" not in text
    return text


def title(panel: dict[str, Any]) -> str:
    return f"{panel['title']} ({panel['id']})"


# --- what is written ---


def test_panels_lie_beside_one_another():
    cells: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        grid = panel["gridPos"]
        assert grid["x"] >= 0
        assert grid["x"] + grid["w"] <= COLUMNS, title(panel)
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert (x, y) not in cells, f"{title(panel)} over {cells[x, y]}"
                cells[x, y] = title(panel)


def all_but(panels: list[dict[str, Any]], right: Callable[[dict[str, Any]], bool]) -> list[str]:
    """The panels that break a rule."""
    return [title(panel) for panel in panels if not right(panel)]


def test_panels_ask_the_chosen_prometheus():
    def asks(panel: dict[str, Any]) -> bool:
        targets = panel["targets"]
        sources = [asked["datasource"] for asked in [panel, *targets]]
        return 0 < len({target["refId"] for target in targets}) == len(targets) and sources == [
            {"type": "prometheus", "uid": "${datasource}"}
        ] * len(sources)

    assert not all_but(SHOWN, asks)


def test_what_panels_choose_by_can_be_chosen():
    def can(panel: dict[str, Any]) -> bool:
        queries = " ".join(target["expr"] for target in panel["targets"])
        return set(re.findall(r"\$(\w+)", queries)) - {"__rate_interval"} <= set(VARIABLES)

    assert not all_but(SHOWN, can)


def test_every_alert_is_named_by_a_panel():
    named = set(re.findall(r"\bZqueue\w+", " ".join(panel["description"] for panel in SHOWN)))
    assert named == set(alerts())


def test_thresholds_are_the_bounds_of_the_alerts():
    lines = {panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]
             for panel in SHOWN}  # fmt: skip
    for shown, alert in [
        ("Fill", "ZqueueQueueNearlyFull"), ("Oldest task", "ZqueueTasksWaitLong"),
        ("Failed", "ZqueueTasksFail"), ("Current task for", "ZqueueWorkerStuck"),
        ("Longest pause", "ZqueueBrokerPauses"), ("Memory for tasks", "ZqueueBrokerMemory"),
    ]:  # fmt: skip
        (bound, *_) = re.findall(r"> ([\d.]+)", alerts()[alert])
        assert lines[shown] == float(bound), shown


# --- with real figures ---


@pytest.mark.system
def test_every_panel_has_something_to_show(monitored):
    """And its legend uses labels that there are."""
    for panel in SHOWN:
        for target in panel["targets"]:
            expression = filled_in(target["expr"])
            wait_until(
                lambda e=expression: monitored.values(e), UP_S, every=0.2,
                what=f"{title(panel)}: {expression}",
            )  # fmt: skip
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            found = monitored.api("query", query=expression)["result"]
            assert all(used <= set(one["metric"]) for one in found), (title(panel), found[:3])


@pytest.mark.system
def test_the_heatmaps_have_buckets_with_something_in_them(monitored):
    maps = [panel for panel in SHOWN if panel["type"] == "heatmap"]
    assert len(maps) >= 2
    for panel in maps:
        (target,) = panel["targets"]
        expression = filled_in(target["expr"])
        wait_until(lambda e=expression: any(monitored.values(e)), UP_S, what=expression)
        assert len(monitored.values(expression)) > 5


@pytest.mark.system
def test_there_is_something_to_choose(monitored):
    for name, expected in (
        ("queue", {"words", "broken"}), ("task", {"count_words", "fail_often"}),
    ):  # fmt: skip
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", VARIABLES[name]["definition"])
        assert match is not None
        selector, label = match.groups()
        found = monitored.api(f"label/{label}/values", **{"match[]": filled_in(selector)})
        assert expected <= set(found), name


# --- provisioning ---


def test_provisioning_says_where_and_what():
    """The folder is that of the README: see test_metrics_unit."""
    provider = (FOLDER / "provisioning/dashboards/zqueue.yml").read_text()
    source = (FOLDER / "provisioning/datasources/zqueue.yml").read_text()
    for text in (provider, source):
        assert "\napiVersion: 1\n" in text
    assert "\n    type: file\n" in provider
    assert "\n    type: prometheus\n" in source
    config = (FOLDER.parent / "prometheus" / "prometheus.yml").read_text()
    (interval,) = re.findall(r"^    scrape_interval: (\w+)$", config, re.MULTILINE)
    assert f"      timeInterval: {interval}\n" in source
