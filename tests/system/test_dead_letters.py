"""Dead letters from outside: seen, replayed once the app is mended, carried elsewhere, dropped."""

from __future__ import annotations

import datetime
import json
import signal
import time

import pytest

import zqueue
from tests.system.harness import wait_until
from tests.system.test_cli import mistake
from zqueue.dead_letters import NoRoom
from zqueue.letter import BadLetter

pytestmark = pytest.mark.system


@pytest.fixture
def mend(monkeypatch, tmp_path):
    """Mends the app."""
    monkeypatch.setenv("MENDED", str(tmp_path / "mended"))
    return (tmp_path / "mended").touch


@pytest.fixture
def fail(broker, workers, produce, mend):
    """Fails tasks for good: ``fail({"send_mail": 3, "add": 2})``."""
    workers(broker, "mended.py", 1)
    producer = produce(broker)

    def failed(tasks):
        before = broker.count("dead")
        for number in range(tasks.get("send_mail", 0)):
            producer.send("default", [f"m{number}"], task="send_mail")
        for number in range(tasks.get("add", 0)):
            producer.send("sums", [number, b"\xff"], task="add")
        producer.flush()
        dead = before + sum(tasks.values())
        wait_until(lambda: broker.count("dead") == dead, what="dead letters")

    return failed


@pytest.fixture
def dlq(run, broker):
    """Runs ``zqueue dlq``; what it printed."""

    def ran(*arguments, code=0, url=broker.url, **more):
        done = run("dlq", *arguments, "--url", url, **more)
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    return ran


def test_seen_replayed_once_mended_and_gone(fail, dlq, mend, record, broker):
    fail({"send_mail": 3, "add": 2})
    listed = dlq("ls")
    assert "ConnectionError" in listed
    assert "5 kept" in listed
    groups = {group["task"]: group for group in json.loads(dlq("ls", "--json"))}
    assert {task: group["letters"] for task, group in groups.items()} == {"send_mail": 3, "add": 2}
    assert groups["add"]["error"] == "ValueError"
    number = groups["send_mail"]["newest"]
    shown = dlq("show", str(number))
    assert "no way to m2" in shown
    assert 'File "' in shown, "the traceback"
    assert dlq("replay", str(number)) == "1 dead letter replayed\n"
    wait_until(lambda: broker.count("dead") == 6, what="it fails again")
    mend()
    assert dlq("replay", "--error", "ConnectionError", "--rate", "20/s") == (
        "3 dead letters replayed\n"
    )  # fmt: skip
    record.wait_for(["m0", "m1", "m2"])
    assert {json.loads(line)["attempt"] for line in record.lines()} == {1}
    assert json.loads(dlq("replay", "--task", "add", "--json")) == {"replayed": 2}
    wait_until(lambda: not broker.info()["dead"]["kept"], what="nothing")
    assert broker.count("replayed") == 6
    assert "6 replayed" in dlq("ls")


def test_carried_to_another_broker(fail, dlq, mend, start_broker, workers, record, tmp_path):
    fail({"send_mail": 2, "add": 1})
    file = tmp_path / "letters.ndjson"
    dlq("export", str(file))
    assert "is there already" in dlq("export", str(file), code=2)
    lines = file.read_text().splitlines(keepends=True)
    mails = [line for line in lines if json.loads(line)["task"] == "send_mail"]
    assert [json.loads(line)["body"] for line in mails] == [["m0"], ["m1"]]
    (other_line,) = set(lines) - set(mails)
    assert "body_msgpack" in json.loads(other_line), "bytes are nothing that JSON has"
    other = start_broker("--dead-max", "4")
    assert json.loads(dlq("import", str(file), "--json", url=other.url)) == {"imported": 3}
    assert dlq("export", "--task", "send_mail", url=other.url) == "".join(mails)
    told = dlq("import", url=other.url, code=1, input=file.read_text())
    assert "no room" in told
    assert "1 were imported" in told, "as many as there is room for"
    mend()
    workers(other, "mended.py", 1)
    assert dlq("replay", "--all", url=other.url) == "4 dead letters replayed\n"
    wait_until(lambda: len(record.lines()) == 4, what="they ran")


def test_dropped(fail, dlq, broker):
    fail({"send_mail": 2, "add": 1})
    assert dlq("drop", "--queue", "sums") == "1 dead letter dropped\n"
    assert dlq("drop", "--since", "2099-01-01") == "no dead letter was dropped\n"
    assert dlq("drop", "--since", "1h", "--reason", "failed") == "2 dead letters dropped\n"
    assert dlq("ls") == "0 kept, of at most 10,000; 3 dropped\n"
    assert broker.info()["dead"]["dropped"] == 3


def test_what_finds_no_room_is_a_letter_still(start_broker, workers, produce, mend, dlq):
    broker = start_broker("--queue-tasks", "2")
    pool = workers(broker, "mended.py", 1)
    producer = produce(broker)
    for number in range(5):
        producer.send("default", [f"m{number}"], task="send_mail")
    producer.flush()
    wait_until(lambda: broker.count("dead") == 5, what="dead letters")
    pool.process.send(signal.SIGTERM)
    assert pool.process.wait() == 0
    told = dlq("replay", "--all", "--timeout", "0", url=broker.url, code=1)
    assert "queue 'default' is full: 2 were replayed" in told
    state = broker.info()
    assert state["queues"]["default"]["ready"] == 2
    assert state["dead"]["kept"] == 3
    assert dlq("replay", "--all", "--to", "elsewhere", "--timeout", "0", url=broker.url, code=1)
    assert broker.queue("elsewhere")["ready"] == 2


def test_mistakes_say_what_to_do(broker):
    for arguments, says in (
        (["replay"], "--all"),
        (["drop"], "--all"),
        (["drop", "1", "--all"], "only one of these"),
        (["replay", "--all", "--task", "x"], "only one of these"),
        (["replay", "--all", "--rate", "fast"], "write 5/s"),
        (["ls", "--since", "yesterday"], "10m, 2h, 3d"),
        (["ls", "--reason", "boredom"], "expired"),
        (["replay", "1", "--to", "no such name"], "A-Z a-z 0-9"),
        (["show", "5"], "zqueue dlq ls"),
        (["export", "/nowhere/at/all"], "cannot write"),
    ):
        assert says in mistake("dlq", *arguments, "--url", broker.url), arguments


def test_lines_that_are_no_letters(dlq):
    good = {"queue": "q", "reason": "failed", "body": [1]}
    for line, says in (
        ("{", "line 2 is not a dead letter"), ("[]", "not an object"), ('{"queue": "q"}', "body"),
        (json.dumps({**good, "reason": "x"}), "reason"),
        (json.dumps({**good, "body_msgpack": "?"}), "line 2"),
    ):  # fmt: skip
        told = dlq("import", code=2, input=json.dumps(good) + "\n" + line + "\n")
        assert says in told, line
        assert len(told.splitlines()) == 1
    assert dlq("ls") == "no dead letters\n", "a packet with a bad line is not sent"


def test_from_python(fail, broker, mend, record):
    fail({"send_mail": 250, "add": 3})
    with zqueue.DeadLetters(broker.url) as dead:
        assert len(dead) == 253
        letters = list(dead)
        assert [letter.number for letter in letters] == sorted({x.number for x in letters})
        assert sum(letter.task == "send_mail" for letter in letters) == 250
        newest = next(dead.select(newest=True, task="add"))
        assert newest.body[1] == b"\xff"
        assert newest.id.endswith(f"-{newest.packed['sequence']}-{newest.packed['position']}")
        assert dead.get(newest.number) == newest
        assert zqueue.DeadLetter.from_json(newest.to_json())._replace(
            number=newest.number, packed=newest.packed
        ) == newest  # fmt: skip
        assert {group.error: group.letters for group in dead.groups()} == {
            "ConnectionError": 250, "ValueError": 3,
        }  # fmt: skip
        assert dead.count(since=datetime.datetime.now() + datetime.timedelta(1)) == 0
        assert dead.drop(task="add", error="ValueError") == 3
        counts = []
        mend()
        assert dead.replay(task="send_mail", rate=1e6, done=counts.append) == 250
        assert counts[-1] == 250
        record.wait_for([f"m{number}" for number in range(250)])
        for wrong in (
            {},
            {"since": "x"},
            {"colour": "red"},
            {"queue": 5},
            {"rate": 0, "all": True},
        ):
            with pytest.raises(zqueue.ConfigError):
                dead.replay(**wrong)
        with pytest.raises(BadLetter):
            zqueue.DeadLetter.from_json("[]")
        assert issubclass(NoRoom, zqueue.ZQueueError)


def test_a_rate_is_kept(fail, broker):
    fail({"send_mail": 8})
    with zqueue.DeadLetters(broker.url) as dead:
        began = time.monotonic()
        assert dead.replay(all=True, rate=10.0) == 8
        assert time.monotonic() - began > 0.5


def test_they_survive_a_broker_that_is_killed(
    start_broker, workers, produce, dlq, mend, record, tmp_path
):
    """As letters, and once they were replayed as tasks; never as both, and never as neither."""
    broker = start_broker("--data-dir", str(tmp_path / "data"))
    pool = workers(broker, "mended.py", 1)
    producer = produce(broker)
    for number in range(4):
        producer.send("default", [f"m{number}"], task="send_mail")
    wait_until(lambda: broker.count("dead") == 4, what="dead letters")
    pool.process.send(signal.SIGTERM)
    assert pool.process.wait() == 0
    producer.close()
    before = dlq("export", url=broker.url)
    _store_all(broker)
    broker.restart()
    assert dlq("export", url=broker.url) == before
    first, *others = [json.loads(line)["number"] for line in before.splitlines()]
    assert dlq("drop", str(first), url=broker.url) == "1 dead letter dropped\n"
    assert dlq("replay", str(others[0]), url=broker.url) == "1 dead letter replayed\n"
    _store_all(broker)
    broker.restart()
    kept = [json.loads(line)["number"] for line in dlq("export", url=broker.url).splitlines()]
    assert kept == others[1:]
    assert broker.queue("default")["ready"] == 1
    mend()
    workers(broker, "mended.py", 1)
    dlq("replay", "--all", url=broker.url)
    wait_until(lambda: len(record.lines()) == 3, what="all that were replayed")


def _store_all(broker):
    """A confirm is for all that was noted before it."""
    with zqueue.Producer(broker.url) as producer:
        producer.send("beside", [1])
        producer.flush()
