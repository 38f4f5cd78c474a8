"""``zqueue queue …`` and ``zqueue info -i`` as processes."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from click.testing import CliRunner

from tests.system.harness import wait_until
from zqueue.cli import cli

from .conftest import Json

pytestmark = pytest.mark.system


def test_queues_are_listed(run: Any, mail: Any) -> None:
    done = run("queue", "ls", "--url", mail.url)
    assert (done.returncode, done.stderr) == (0, "")
    header, row = done.stdout.splitlines()
    assert header.split()[:3] == ["queue", "state", "ready"]
    assert row.split()[:3] == ["mail", "running", "3"]
    (data,) = json.loads(run("queue", "ls", "--url", mail.url, "--json").stdout)
    assert (data["queue"], data["state"], data["ready"]) == ("mail", "running", 3)


def test_pause_drain_resume(run: Any, mail: Any) -> None:
    def say(action: str, *options: str) -> str:
        done = run("queue", action, "mail", "--url", mail.url, *options)
        assert (done.returncode, done.stderr) == (0, "")
        return str(done.stdout)

    assert say("pause") == "queue 'mail' is paused\n"
    assert mail.queue("mail")["paused"] is True
    assert say("drain") == "queue 'mail' is paused, draining\n"
    assert "paused, draining" in run("queue", "ls", "--url", mail.url).stdout
    assert "queue 'mail' is paused: nothing" in run("info", "--url", mail.url).stdout
    reported = json.loads(say("resume", "--json"))
    assert reported == {"queue": "mail", "paused": False, "draining": False}
    assert say("resume") == "queue 'mail' is running\n"


def test_mistakes(run: Any, mail: Any, tmp_path: Any) -> None:
    for action in ("pause", "drain", "resume"):
        done = run("queue", action, "nowhere", "--url", mail.url)
        assert (done.returncode, done.stdout) == (1, ""), action
        assert "no queue 'nowhere'" in done.stderr
        assert done.stderr.count("\n") == 1
    assert run("queue", "pause", "no/good", "--url", mail.url).returncode == 2
    assert run("queue", "drain", "--url", mail.url).returncode == 2
    assert run("queue", "resume", "mail", "--url", f"ipc://{tmp_path}/no").returncode == 3


def test_options_of_a_group_come_from_everywhere(run: Any, mail: Any, tmp_path: Any) -> None:
    file = tmp_path / "zqueue.toml"
    file.write_text(f'[queue.ls]\nurl = "{mail.url}"\n')
    assert "mail" in run("queue", "ls").stdout
    file.unlink()
    assert "mail" in run("queue", "ls", env={"ZQUEUE_URL": mail.url}).stdout
    data = run("queue", "ls", "--url", mail.url, env={"ZQUEUE_QUEUE_LS_AS_JSON": "1"}).stdout
    assert json.loads(data)[0]["queue"] == "mail"
    for text, words in [
        (
            "[queue]\nurl = 'x'\n",
            "[url] is not a verb (there are: ls, pause, drain, resume, peek, purge)",
        ),
        ("[queue.ls]\nnonsense = 1\n", "'ls' has no option 'nonsense'"),
        ("[queue.list]\n", "[list] is not a verb"),
        ("queue = 1\n", "[queue] is not a verb"),
    ]:
        file.write_text(text)
        done = run("queue", "ls", "--url", mail.url)
        assert done.returncode == 2
        assert words in done.stderr


class TestInfoAgain:
    def test_a_line_of_json_each_time(self, processes: Any, mail: Any) -> None:
        process = processes.zqueue("info", "-i", "0.1", "--json", "--url", mail.url)
        wait_until(lambda: process.out.count("\n") >= 3, what="three lines")
        process.send(signal.SIGINT)
        assert process.wait() == 0
        assert process.err == ""
        reported: list[Json] = [json.loads(line) for line in process.out.splitlines()]
        assert all(one["queues"]["mail"]["ready"] == 3 for one in reported)

    def test_the_broker_goes_and_comes(self, processes: Any, broker: Any, produce: Any) -> None:
        mail, producer = broker, produce(broker)
        producer.send("mail", [1])
        producer.flush()
        process = processes.zqueue("info", "-i", "0.1", "--url", mail.url)
        wait_until(lambda: "mail" in process.out, what="a broker with a queue")
        mail.process.kill()
        wait_until(lambda: "no broker answers at" in process.err, what="its absence")
        mail.start()
        wait_until(lambda: f"pid {mail.pid} " in process.out, what="the new one")
        assert process.err.count("\n") == 1
        process.send(signal.SIGINT)
        assert process.wait() == 0
        assert "\x1b" not in process.out, "there is no terminal"

    def test_an_interval_that_makes_no_sense(self, run: Any, mail: Any) -> None:
        for interval in ("0", "-1", "soon"):
            done = CliRunner().invoke(cli, ["info", "-i", interval, "--url", mail.url])
            assert done.exit_code == 2, interval
