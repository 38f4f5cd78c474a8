"""zqueue/deploy/facts.py"""

from __future__ import annotations

import pytest

from zqueue.deploy.facts import KeyFile, Unit, find_faults, parse_facts
from zqueue.errors import ProtocolError

from .cluster import BROKER_PUBLIC, TEXT, bare, inventory, running

KEY = "4o^(L@)%16q+Tk$H::5}X2v89G<^{)!xuM/iF[$g"
assert len(KEY) == 40

TOLD = f"""\
Welcome to h2, said the profile
zqueue-facts 1
clock 1000.5
hostname h2
architecture x86_64
libc glibc-2.36
init systemd
python 3.11.2 venv
disk_kb 123456789
nofile 524288
current aaaa
previous bbbb
release aaaa
release bbbb
venv cccc
key worker.key 600 zqueue {KEY}
broker_keys worker.key {KEY} {BROKER_PUBLIC}
urls worker.key tcp://10.0.0.11:5555
key observe.key 644 root
unit zqueue-worker@mail.service active 812 dddd
previous_unit zqueue-worker@mail.service eeee
client worker-h2 {KEY}
listening 22
reach 10.0.0.11:5555 refused
something new that is not known here
"""


def test_what_a_host_tells():
    facts = parse_facts(TOLD, 999.0, 1001.0)
    assert (facts.hostname, facts.architecture, facts.init) == ("h2", "x86_64", "systemd")
    assert (facts.python, facts.has_venv) == ((3, 11, 2), True)
    assert (facts.disk_kb, facts.nofile) == (123456789, 524288)
    assert (facts.current, facts.previous) == ("aaaa", "bbbb")
    assert (facts.releases, facts.venvs) == ({"aaaa", "bbbb"}, {"cccc"})
    urls = ("tcp://10.0.0.11:5555",)
    assert facts.keys == {
        "worker.key": KeyFile(0o600, "zqueue", KEY, (KEY, BROKER_PUBLIC), urls),
        "observe.key": KeyFile(0o644, "root", ""),
    }
    assert facts.units == {"zqueue-worker@mail.service": Unit("active", 812, "dddd")}
    assert facts.previous_units == {"zqueue-worker@mail.service": "eeee"}
    assert (facts.listed, facts.listening) == ({"worker-h2": KEY}, {22})
    assert facts.reach == {"10.0.0.11:5555": "refused"}


def test_a_clock_is_right_if_it_can_be():
    """The answer took from 999 to 1001, and the clock was read somewhere in between."""
    assert parse_facts(TOLD, 999.0, 1001.0).clock == 0
    assert parse_facts(TOLD, 1010.0, 1011.0).clock == -9.5
    assert parse_facts(TOLD, 900.0, 901.0).clock == 99.5


@pytest.mark.parametrize("text", ["", "bash: tar: command not found", "zqueue-facts 2"])
def test_what_is_no_answer(text):
    with pytest.raises(ProtocolError, match="instead of facts"):
        parse_facts(text, 0, 1)


@pytest.mark.parametrize("line", ["clock soon", "disk_kb", "key", "unit x active", "nofile many"])
def test_a_fact_that_is_none(line):
    with pytest.raises(ProtocolError, match=f"told '{line}' as a fact"):
        parse_facts(f"zqueue-facts 1\n{line}\n", 0, 1)


# --- what is wrong ---


def faults_of(**changes) -> list[str]:
    """What is said of h2, of which something is as it should not be."""
    facts = bare("h2")
    for name, value in changes.items():
        setattr(facts, name, value)
    return [fault.text for fault in find_faults(inventory(), {"h2": facts})]


def test_a_fit_host_has_no_fault():
    assert faults_of() == []
    assert faults_of(reach={"10.0.0.11:5555": "refused"}) == [], "nobody listens there yet"
    assert find_faults(inventory(), running(inventory())) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"python": ()}, "there is no python3: install Python 3.11"),
        ({"python": (3, 9, 2)}, "python3 is Python 3.9.2: install 3.11 or later and name it"),
        ({"has_venv": False}, "no module venv: install it"),
        ({"architecture": "mips"}, "its processor is mips"),
        ({"clock": 3600.0}, "its clock is 3,600 s ahead of ours: start its time service"),
        ({"clock": -3.0}, "its clock is 3 s behind ours"),
        ({"disk_kb": 5_000}, "/opt has 5 MB free and needs 200: make room"),
        ({"nofile": 256}, "a process may open 256 files and needs 4096"),
        ({"reach": {"10.0.0.11:5555": "no-answer"}},
         "does not reach the broker at 10.0.0.11:5555 (no-answer): open the port in the firewall"),
        ({"keys": {"worker.key": KeyFile(0o644, "zqueue", KEY)}},
         "/etc/zqueue/worker.key can be read by others (mode 0644): chmod 600"),
        ({"keys": {"worker.key": KeyFile(0o600, "root", KEY)}}, "belongs to root"),
        ({"keys": {"worker.key": KeyFile(0o600, "zqueue", "")}}, "is no key file: move it away"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_fault_is_one_sentence_with_what_to_do(changes, said):
    (text,) = faults_of(**changes)
    assert said in text


def test_a_port_that_another_program_has():
    hosts = {"h1": bare("h1")}
    hosts["h1"].listening = {5555}
    (fault,) = find_faults(inventory(), hosts)
    assert fault.host == "h1"
    assert "port 5555 is taken by another program" in fault.text
    running_hosts = running(inventory())
    assert 5555 in running_hosts["h1"].listening
    assert find_faults(inventory(), running_hosts) == []


def test_a_key_of_another_cluster():
    hosts = running(inventory())
    stranger = hosts["h3"].keys["worker.key"]._replace(broker_keys=(KEY,))
    hosts["h3"].keys["worker.key"] = stranger
    (fault,) = find_faults(inventory(), hosts)
    assert fault.host == "h3"
    assert "worker.key is for another broker" in fault.text
    assert "--limit h3 --new-keys" in fault.text
    assert find_faults(inventory(), hosts, renews=True) == []


def test_two_hosts_of_one_name():
    hosts = running(inventory())
    hosts["h3"].hostname = "h2"
    (fault,) = find_faults(inventory(), hosts)
    assert "calls itself 'h2' as h2 does" in fault.text


def test_a_host_without_the_systemd_that_is_asked_for():
    text = '[hosts.h2]\naddress = "10.0.0.12"\n'
    changed = inventory(TEXT.replace(text, text + 'service = "systemd"\n'))
    facts = bare("h2")
    facts.init = "plain"
    (fault,) = find_faults(changed, {"h2": facts})
    assert "systemd does not run there" in fault.text
