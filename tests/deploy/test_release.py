"""zqueue/deploy/release.py"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from zqueue.deploy.facts import BROKER_UNIT, METRICS_UNIT
from zqueue.deploy.release import PLACES, digest, make_release

from .cluster import SHIPPED, TEXT, VENV, inventory, releases

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"


def test_each_host_gets_what_it_runs():
    found = releases(inventory())
    assert list(found["h1"].units) == [BROKER_UNIT, METRICS_UNIT]
    assert list(found["h2"].units) == ["zqueue-worker@wordcount.service"]
    assert "apps/workers/wordcount.py" not in found["h1"].files
    assert found["h2"].files["apps/workers/wordcount.py"] == b"app = 1\n"
    assert found["h3"].files["worker-mail.env"] == (
        b"ZQUEUE_APP=shop.mail:app\nZQUEUE_WORKER_PROCESSES=1\n"
    )


def test_its_configuration_is_what_the_inventory_says():
    tables = tomllib.loads(releases(inventory())["h1"].files["zqueue.toml"].decode())
    assert tables["broker"] == {
        "bind": "tcp://0.0.0.0:5555",
        "keys": "/etc/zqueue/keys",
        "data_dir": "/var/lib/zqueue/queues",
    }
    assert tables["metrics"]["key_file"] == "/etc/zqueue/observe.key"
    tables = tomllib.loads(releases(inventory())["h2"].files["zqueue.toml"].decode())
    assert tables == {"worker": {"key_file": "/etc/zqueue/worker.key"}}


@pytest.mark.parametrize("value", ['a "b" \\ c', "tschüß\t", True, 1.5, 7])
def test_any_option_comes_through(value):
    text = TEXT.replace("[broker]", "[worker]\nqueues = 0\n[broker]")
    found = inventory(text)
    found.options.worker["queues"] = value  # type: ignore[index]
    release = make_release(found, found.hosts["h2"], VENV, SHIPPED)
    assert tomllib.loads(release.files["zqueue.toml"].decode())["worker"]["queues"] == value


def test_the_same_content_has_the_same_name():
    assert releases(inventory()) == releases(inventory())


def changed(text: str = TEXT, app: bytes = b"app = 1\n") -> dict[str, set[str]]:
    """The units of each host that a change starts anew; none named: another name would be a
    release without a cause."""
    before = releases(inventory())
    after = releases(inventory(text), SHIPPED._replace(apps={"workers/wordcount.py": app}))
    assert {n for n in before if before[n].id != after[n].id} >= {
        n for n in before if before[n].units != after[n].units
    }
    units = {n: set(after[n].units.items()) - set(before[n].units.items()) for n in before}
    return {n: {unit for unit, _ in found} for n, found in units.items() if found}


def test_only_what_a_change_concerns_starts_anew():
    words = {"zqueue-worker@wordcount.service"}
    assert changed(app=b"app = 2\n")["h2"] == words
    assert "h1" not in changed(app=b"app = 2\n")
    assert changed(TEXT.replace("wordcount = 4", "wordcount = 5")) == {"h3": words}
    assert changed(TEXT + "peers = 50\n") == {"h1": {BROKER_UNIT}}
    assert changed(TEXT + '[metrics]\nlisten = "127.0.0.1:9000"\n') == {"h1": {METRICS_UNIT}}
    assert changed() == {}


def test_the_scrape_file_names_the_sidecar():
    text = TEXT + '[metrics]\nlisten = "10.0.0.11:9000"\n'
    files = releases(inventory(text))["h1"].files
    assert files["monitoring/prometheus.yml"] == b'targets: ["10.0.0.11:9000"]\n'
    assert files["monitoring/zqueue.json"] == b"{}"


def test_an_app_with_no_process_is_not_there():
    release = releases(inventory(TEXT.replace("wordcount = 2", "wordcount = 0")))["h2"]
    assert dict(release.units) == {}


def test_units_find_what_a_release_has():
    """Each place that a unit names by hand is replaced, and no other is left."""
    for path in UNITS.iterdir():
        text = path.read_text()
        for by_hand, in_release in PLACES.items():
            text = text.replace(by_hand, in_release)
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert "/etc/zqueue" not in "\n".join(lines), path.name
        for line in lines:
            if line.startswith(("ExecStart=", "EnvironmentFile=")):
                assert "/opt/zqueue/current/" in line
    text = "\n".join(path.read_text() for path in UNITS.iterdir())
    assert all(by_hand in text for by_hand in PLACES)


def test_the_borders_of_parts_count():
    assert digest("ab", "c") != digest("a", "bc")
