"""zqueue/deploy/inventory.py"""

from __future__ import annotations

from pathlib import Path

import pytest

from zqueue.deploy.inventory import parse_inventory
from zqueue.errors import ConfigError

from .cluster import TEXT, inventory

EXAMPLE = Path(__file__).parents[2] / "deploy" / "hosts.toml"


def test_it_says_what_each_host_is():
    found = inventory()
    assert found.urls() == ("tcp://10.0.0.11:5555",)
    assert found.monitor == "h1", "the first broker's, unless it says another"
    h3 = found.hosts["h3"]
    assert (h3.ssh, h3.address, h3.python) == ("deploy@h3.example", "10.0.0.13", "python3")
    assert dict(h3.workers) == {"wordcount": 4, "mail": 1}
    assert found.hosts["h2"].ssh == "10.0.0.12", "where others find it, if nothing else is said"


def test_the_example_is_one():
    found = parse_inventory(EXAMPLE.read_text(), "hosts.toml")
    assert list(found.hosts) == ["h1", "h2", "h3"]
    assert found.options.broker["data_dir"]


def test_brokers_come_first():
    text = TEXT.replace('brokers = ["h1"]', 'brokers = ["h3"]')
    assert [host.name for host in inventory(text).in_order()] == ["h3", "h1", "h2"]


def test_a_limit_names_hosts():
    assert [host.name for host in inventory().limited(["h3", "h1"])] == ["h1", "h3"]
    with pytest.raises(ConfigError, match="did you mean 'h1'"):
        inventory().limited(["h11"])


def test_it_can_be_scaled():
    found = inventory().scaled("h2", "", 8).scaled("h3", "mail", 0)
    assert dict(found.hosts["h2"].workers) == {"wordcount": 8}
    assert dict(found.hosts["h3"].workers) == {"wordcount": 4, "mail": 0}
    with pytest.raises(ConfigError, match="h3 runs 2 apps: write h3/APP=3"):
        inventory().scaled("h3", "", 3)
    with pytest.raises(ConfigError, match="did you mean 'mail'"):
        inventory().scaled("h3", "mial", 3)


CLIENT = '[clients.web]\nkey = "{}"\nroles = {}\n'

MISTAKES = {
    "no toml": ("[cluster", "hosts.toml cannot be read"),
    "no cluster": ("[hosts.h1]", r"\[cluster\] is missing.*deploy init"),
    "typo in a table": (TEXT + "[cleints]", "'cleints' is not known there: did you mean 'clients'"),
    "typo in a key": (TEXT.replace("brokers", "borkers"), "did you mean 'brokers'"),
    "typo in a host": (TEXT.replace('["h1"]', '["h4"]'), "'h4' is not a host of the inventory"),
    "typo in an app": (TEXT.replace("{ wordcount = 2 }", "{ wordcont = 2 }"),
                       r"\[hosts.h2\] workers.*did you mean 'wordcount'"),
    "an option as a host": (TEXT.replace("[hosts.h2]", '[hosts."-oProxyCommand=x"]'),
                            "is not a hostname"),
    "an option for ssh": (TEXT.replace("deploy@h3.example", "-oProxyCommand=x"), "ssh must be"),
    "a command for ssh": (TEXT.replace("deploy@h3.example", "h3;reboot"), "ssh must be"),
    "a space in an address": (TEXT.replace("10.0.0.13", "10.0.0.13 x"), "address must be"),
    "a line in a python": (TEXT.replace('ssh = "deploy', 'python = "a\\nb"\nssh = "deploy'),
                           "python must be"),
    "another service": (TEXT.replace('ssh = "deploy', 'service = "upstart"\nssh = "deploy'),
                        "one of auto, systemd, plain"),
    "two hosts at one place": (TEXT.replace("10.0.0.13", "10.0.0.12"), "h2 and h3 are both at"),
    "a broker twice": (TEXT.replace('["h1"]', '["h1", "h1"]'), "brokers must name a host"),
    "no broker": (TEXT.replace('["h1"]', "[]"), "must name a host"),
    "a port that is none": (TEXT.replace("[hosts.h1]", "port = 70000\n[hosts.h1]"), "1 to 65535"),
    "too many processes": (TEXT.replace("wordcount = 2 }", "wordcount = 9999 }"), "0 to 1,024"),
    "a file elsewhere": (TEXT.replace("workers/wordcount.py", "../wordcount.py"),
                         "a file below the inventory"),
    "a name for an env file": (TEXT.replace("{ wordcount =", '{ "a b" ='), "'a b' is no name"),
    "an option of ours": (TEXT + 'keys = "/tmp"', "keys follows from the inventory: leave it out"),
    "an option with lists": (TEXT + "peers = [1]", "peers must be one value"),
    "a client without roles": (TEXT + CLIENT.format("k" * 40, "[]"), "roles must be some of"),
    "a client's secret": (TEXT + CLIENT.format("short", '["produce"]'), "the public key that"),
    "a client with our name": (TEXT + CLIENT.format("k" * 40, '["work"]').replace(
        "web", "worker-h1"), "choose a name"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_is_one_sentence_with_its_place(mistake):
    text, said = MISTAKES[mistake]
    with pytest.raises(ConfigError, match=said) as raised:
        inventory(text)
    assert str(raised.value).startswith("hosts.toml")
    assert "\n" not in str(raised.value).partition(" cannot be read")[0]
