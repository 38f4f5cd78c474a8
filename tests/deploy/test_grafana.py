"""deploy/grafana, with figures of a real Prometheus"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import wait_until

from .test_prometheus import OPERATIONS, UP_S, Monitored, alerts, monitoring

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


def test_it_can_be_imported():
    """Without an id Grafana makes a new one; by its uid it is found again."""
    assert DASHBOARD["id"] is None
    assert DASHBOARD["uid"] == "zqueue"
    assert DASHBOARD["schemaVersion"] >= 41


def test_ids_are_unique():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_titles_are_unique_in_their_row():
    rows: list[list[str]] = []
    for panel in PANELS:
        if panel["type"] == "row":
            rows.append([])
        else:
            rows[-1].append(panel["title"])
    assert all(len(set(row)) == len(row) for row in rows)


def test_the_rows_are_those_that_people_look_for():
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == ["Overview", "Queues", "Latency", "Workers", "Garbage collector", "Sidecar"]


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


@pytest.mark.parametrize("panel", SHOWN, ids=title)
class TestPanel:
    def test_it_says_what_it_shows(self, panel):
        assert len(panel["description"]) > 10
        assert panel["description"].endswith(".")

    def test_it_has_a_unit_and_thresholds(self, panel):
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"]
        steps = defaults["thresholds"]["steps"]
        bounds = [step["value"] for step in steps[1:]]
        assert steps[0]["value"] is None
        assert bounds == sorted(bounds)

    def test_it_asks_the_chosen_prometheus(self, panel):
        targets = panel["targets"]
        assert targets
        assert len({target["refId"] for target in targets}) == len(targets)
        for asked in [panel, *targets]:
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}

    def test_it_names_alerts_that_there_are(self, panel):
        assert set(re.findall(r"\bZqueue\w+", panel["description"])) <= set(alerts())

    def test_what_it_chooses_by_can_be_chosen(self, panel):
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= set(VARIABLES)


def test_every_alert_is_named_by_a_panel():
    named = set(re.findall(r"\bZqueue\w+", " ".join(panel["description"] for panel in SHOWN)))
    assert named == set(alerts())


def test_thresholds_are_the_bounds_of_the_alerts():
    lines = {panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]
             for panel in SHOWN}  # fmt: skip
    for shown, alert in [
        ("Full to", "ZqueueQueueNearlyFull"), ("Oldest task", "ZqueueTasksWaitLong"),
        ("Failed", "ZqueueTasksFail"), ("In one task for", "ZqueueWorkerStuck"),
        ("Longest pause", "ZqueueBrokerPauses"), ("Memory for tasks", "ZqueueBrokerMemory"),
    ]:  # fmt: skip
        (bound, *_) = re.findall(r"> ([\d.]+)", alerts()[alert])
        assert lines[shown] == float(bound), shown


def test_it_leads_to_the_alerts_and_what_to_do():
    (link,) = DASHBOARD["links"]
    assert link["url"].startswith("/alerting/")
    assert "docs/operations.md" in link["tooltip"]
    assert "\n## Alerts\n" in OPERATIONS


def test_it_asks_for_nothing_from_outside():
    assert "http" not in json.dumps(DASHBOARD)


def test_what_can_be_chosen():
    assert list(VARIABLES) == ["datasource", "broker", "queue", "task"]
    for name in ("broker", "queue", "task"):
        variable = VARIABLES[name]
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (
            True, True, ".*",
        )  # fmt: skip
        assert variable["query"]["query"] == variable["definition"]


# --- with real figures ---


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    with monitoring(tmp_path_factory.mktemp("grafana")) as monitored:
        yield monitored


@pytest.mark.system
@pytest.mark.parametrize("panel", SHOWN, ids=title)
def test_it_has_something_to_show(monitored, panel):
    for target in panel["targets"]:
        expression = filled_in(target["expr"])
        wait_until(lambda e=expression: monitored.values(e), UP_S, every=0.2, what=expression)


@pytest.mark.system
@pytest.mark.parametrize("panel", SHOWN, ids=title)
def test_its_legend_uses_labels_that_there_are(monitored, panel):
    for target in panel["targets"]:
        used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        found = monitored.api("query", query=filled_in(target["expr"]))["result"]
        assert all(used <= set(sample["metric"]) for sample in found), found[:3]


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
@pytest.mark.parametrize(
    ("name", "expected"),
    [("queue", {"words", "broken"}), ("task", {"count_words", "fail_often"})],
)
def test_there_is_something_to_choose(monitored, name, expected):
    match = re.fullmatch(r"label_values\((.*), (\w+)\)", VARIABLES[name]["definition"])
    assert match is not None
    selector, label = match.groups()
    found = monitored.api(f"label/{label}/values", **{"match[]": filled_in(selector)})
    assert expected <= set(found)


@pytest.mark.system
def test_the_annotations_can_be_asked_for(monitored):
    (asked,) = [a for a in DASHBOARD["annotations"]["list"] if "expr" in a]
    assert isinstance(monitored.values(asked["expr"]), list)


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
