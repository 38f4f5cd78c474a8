"""zqueue/deploy/plan.py: inventory and facts in, steps out."""

from __future__ import annotations

from zqueue.auth.users import parse_users
from zqueue.deploy.facts import BROKER_UNIT, METRICS_UNIT, Facts, Unit
from zqueue.deploy.plan import (
    Change,
    Plan,
    all_publics,
    clients_text,
    going_back,
    make_plan,
    way_back,
)  # fmt: skip

from .cluster import (
    SHIPPED,
    TEXT,
    TWO,
    VENV,
    bare,
    inventory,
    public,
    releases,
    running,
    write_list,
)

WORDS, MAIL = "zqueue-worker@wordcount.service", "zqueue-worker@mail.service"


def plan(hosts: dict[str, Facts], text: str = TEXT, app: bytes = b"app = 1\n", **options) -> Plan:
    found = inventory(text)
    shipped = SHIPPED._replace(apps={"workers/wordcount.py": app})
    return make_plan(found, releases(found, shipped), hosts, **options)


def hosts_of(made: Plan) -> list[list[str]]:
    """The hosts of each wave."""
    return [[change.host for change in wave] for wave in made.waves]


def started(made: Plan) -> dict[str, list[str]]:
    return {change.host: [unit for unit, _ in change.starts]
            for wave in made.waves for change in wave}  # fmt: skip


def test_from_nothing():
    made = plan({name: bare(name) for name in ("h1", "h2", "h3")})
    assert [step.host for step in made.stages] == ["h1", "h2", "h3"]
    assert all(step.needs_venv for step in made.stages)
    assert [(step.host, step.is_broker, step.files) for step in made.keys] == [
        ("h1", True, ("observe.key",)),
        ("h2", False, ("worker.key",)),
        ("h3", False, ("worker.key",)),
    ]
    assert hosts_of(made) == [["h1"], ["h2", "h3"]], "the broker first, then all that are idle"
    assert started(made) == {"h1": [BROKER_UNIT, METRICS_UNIT], "h2": [WORDS], "h3": [MAIL, WORDS]}
    assert made.waves[0][0].writes_clients


def test_what_is_as_it_should_be_is_left_alone():
    assert plan(running(inventory())).is_empty()


def test_a_new_app_goes_from_host_to_host():
    made = plan(running(inventory()), app=b"app = 2\n")
    assert [(step.host, step.needs_venv) for step in made.stages] == [("h2", False), ("h3", False)]
    assert hosts_of(made) == [["h2"], ["h3"]], "never two hosts out at once"
    assert started(made) == {"h2": [WORDS], "h3": [MAIL, WORDS]}


def test_a_service_that_has_ended_is_started():
    hosts = running(inventory())
    unit = hosts["h3"].units[WORDS]
    hosts["h3"].units[WORDS] = unit._replace(state="failed", pid=0)
    made = plan(hosts)
    assert (made.stages, made.keys) == ((), ())
    assert started(made) == {"h3": [WORDS]}


def test_a_run_that_ended_half_way_is_carried_on():
    """It had switched, and not started all anew."""
    hosts = running(inventory(), releases(inventory(), SHIPPED._replace(
        apps={"workers/wordcount.py": b"app = 2\n"})))  # fmt: skip
    hosts["h2"].units[WORDS] = hosts["h2"].units[WORDS]._replace(stamp="of before")
    hosts["h3"].units[WORDS] = Unit("active", 77, "-")
    assert started(plan(hosts, app=b"app = 2\n")) == {"h2": [WORDS], "h3": [WORDS]}


def test_half_an_environment_is_none():
    hosts = running(inventory())
    hosts["h2"].venvs.clear()
    (stage,) = plan(hosts).stages
    assert (stage.host, stage.needs_venv) == ("h2", True)


def test_an_app_that_is_not_wanted_any_more_is_stopped():
    made = plan(running(inventory()), TEXT.replace(", mail = 1", ""))
    assert hosts_of(made) == [["h3"]]
    assert made.waves[0][0].stops == (MAIL,)


def test_a_new_host_joins_and_the_broker_goes_on():
    text = TEXT + '[hosts.h4]\naddress = "10.0.0.14"\nworkers = { wordcount = 1 }\n'
    hosts = running(inventory()) | {"h4": bare("h4")}
    made = plan(hosts, text)
    assert [step.host for step in made.stages] == ["h4"]
    assert hosts_of(made) == [["h1"], ["h4"]], "the broker learns of it before it comes"
    assert started(made) == {"h1": [], "h4": [WORDS]}
    assert "write the list of clients" in "\n".join(made.lines())


def test_a_host_that_left_is_not_let_in_any_more():
    text = TEXT.replace(TEXT[TEXT.index("[hosts.h3]") : TEXT.index("[broker]")], "").replace(
        ', mail = "shop.mail:app"', ""
    )
    hosts = running(inventory())
    del hosts["h3"]
    (wave,) = plan(hosts, text).waves
    assert (wave[0].host, wave[0].writes_clients, wave[0].starts) == ("h1", True, ())


def test_a_limit_leaves_the_others_in_the_list():
    """The host that nobody asked keeps the key that the list has."""
    hosts = running(inventory())
    del hosts["h3"]
    made = plan(hosts, app=b"app = 2\n", limit=["h2"])
    assert hosts_of(made) == [["h2"]]
    text = clients_text(inventory(), all_publics(inventory(), hosts))
    assert public("worker.key", "h3") in text


def test_new_keys_are_listed_before_they_are_used():
    made = plan(running(inventory()), limit=["h3"], renews=["h3"])
    assert [(step.host, step.files, step.renews) for step in made.keys] == [
        ("h3", ("worker.key",), True)
    ]
    assert hosts_of(made) == [["h1"], ["h3"]]
    assert started(made) == {"h1": [], "h3": [MAIL, WORDS]}
    assert made.waves[0][0].writes_clients
    assert not made.waves[0][0].switches(), "the broker stays what it is"


def test_another_address_of_the_broker_reaches_all_key_files():
    made = plan(running(inventory()), TEXT.replace("10.0.0.11", "10.0.0.99"))
    assert [step.host for step in made.keys] == ["h1", "h2", "h3"]
    assert not any(step.renews or step.is_broker for step in made.keys), "the pairs stay"
    assert started(made) == {"h1": [METRICS_UNIT], "h2": [WORDS], "h3": [MAIL, WORDS]}


def test_a_restart_starts_everything_and_switches_nothing():
    made = plan(running(inventory()), restarts=True)
    assert (made.stages, made.keys) == ((), ())
    assert hosts_of(made) == [["h1"], ["h2"], ["h3"]]
    assert not any(change.switches() for wave in made.waves for change in wave)


def test_the_list_is_one_that_a_broker_reads():
    found = inventory(TEXT + '[clients.web]\nkey = "' + "w" * 40 + '"\nroles = ["produce"]\n'
                      'queues = ["mail*"]\n')  # fmt: skip
    hosts = running(found)
    users = parse_users(clients_text(found, all_publics(found, hosts)), "clients.toml")
    assert [(user.name, *user.roles) for user in users] == [
        ("observe-h1", "observe"), ("worker-h2", "work"), ("worker-h3", "work"),
        ("web", "produce"),
    ]  # fmt: skip
    web = users.get("web")
    assert web is not None
    assert web.queues == ("mail*",)


def test_the_way_back_is_what_there_was():
    hosts = running(inventory())
    (change,) = plan(hosts, app=b"app = 2\n").waves[0]
    back = way_back(change, hosts["h2"])
    assert (back.release, back.before) == (change.before, change.release)
    assert back.starts == ((WORDS, hosts["h2"].units[WORDS].stamp),)
    assert back.stops == ()


def test_the_way_back_to_nothing_stops_what_was_started():
    (change,) = plan({name: bare(name) for name in ("h1", "h2", "h3")}).waves[0]
    back = way_back(change, bare("h1"))
    assert (back.starts, back.stops) == ((), (METRICS_UNIT, BROKER_UNIT)), "in reverse"
    assert not back.switches()


def test_the_way_back_starts_what_was_stopped():
    hosts = running(inventory())
    ((change,),) = plan(hosts, TEXT.replace(", mail = 1", "")).waves
    assert dict(way_back(change, hosts["h3"]).starts)[MAIL] == hosts["h3"].units[MAIL].stamp


def test_going_back_leads_to_the_release_before():
    hosts = running(inventory())
    hosts["h2"].previous = "before"
    hosts["h2"].previous_units = {MAIL: "stamp"}
    made = going_back(hosts)
    current = hosts["h2"].current
    assert made.waves == ((Change("h2", "before", current, ((MAIL, "stamp"),), (WORDS,)),),)
    assert VENV in hosts["h2"].venvs


def test_a_list_that_somebody_changed_is_written_again():
    hosts = running(inventory())
    hosts["h1"].clients = "another"
    assert started(plan(hosts)) == {"h1": []}
    write_list(inventory(), hosts)
    assert plan(hosts).is_empty()


def test_two_brokers_one_after_the_other():
    hosts = running(inventory(TWO))
    assert plan(hosts, TWO).is_empty()
    made = make_plan(inventory(TWO), releases(inventory(TWO)), hosts, restarts=True)
    assert hosts_of(made) == [["h1"], ["h2"], ["h3"]]


def test_another_broker_joins_and_every_client_learns_its_key():
    made = plan(running(inventory()), TWO)
    assert [(step.host, step.is_broker) for step in made.keys] == [
        ("h1", False), ("h2", True), ("h3", False)]  # fmt: skip
    assert hosts_of(made) == [["h1"], ["h2"], ["h3"]]
    assert BROKER_UNIT in started(made)["h2"]
    assert BROKER_UNIT not in started(made)["h1"]


def test_brokers_that_change_places_change_their_clients():
    hosts = running(inventory(TWO))
    one, other = (hosts[name].keys["keys/broker.key"] for name in ("h1", "h2"))
    hosts["h1"].keys["keys/broker.key"], hosts["h2"].keys["keys/broker.key"] = other, one
    assert [step.files for step in plan(hosts, TWO).keys] == [
        ("observe.key",), ("observe.key", "worker.key"), ("worker.key",)]  # fmt: skip
