"""A broker with keys, as people use it: key files, roles, revocation, and mistakes."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import zmq
from click.testing import CliRunner

import zqueue
from tests.system.harness import APPS, QUICK, Broker, Pool, bare, free_port, wait_until
from tests.system.test_cli import mistake
from zqueue.auth.files import read_broker_pair, read_client_key
from zqueue.cli import cli

pytestmark = pytest.mark.system

USAGE, UNREACHABLE, NOT_READY = 2, 3, 6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Keys of a broker, with a client for each role."""
    folder = tmp_path_factory.mktemp("keys")
    keys(folder, "init")
    keys(folder, "add", "web", "--role", "produce", "--queues", "default,mail*")
    keys(folder, "add", "w1", "--role", "work")
    keys(folder, "add", "w2", "--role", "work")
    keys(folder, "add", "eye", "--role", "observe")
    keys(folder, "add", "boss", "--role", "admin")
    keys(folder, "init", "--dir", "others")
    keys(folder, "add", "other", "--role", "admin", "--dir", "others")
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of them, to be changed."""
    shutil.copytree(made, tmp_path / "all")
    return tmp_path / "all"


@pytest.fixture
def start(processes, place):
    """Starts the broker of these keys."""

    def start(*options):
        url = f"tcp://127.0.0.1:{free_port()}?key={place / 'boss.key'}"
        return Broker(processes, url, (*QUICK, "--keys", str(place / "keys"), *options))

    return start


@pytest.fixture
def keyed(start):
    return start()


@pytest.fixture
def workers_of(processes, record):
    def start(broker, key, count=1):
        url = broker.url.partition("?")[0]
        before = len(broker.worker_pids())
        process = processes.zqueue(
            "worker", str(APPS / "jobs.py"), "-p", str(count), "--url", url, "--key-file", str(key)
        )
        wait_until(lambda: len(broker.worker_pids()) == before + count, what="the workers")
        return Pool(process)

    return start


def keys(place, *arguments):
    """What ``zqueue keys …`` says there; in this process."""
    with contextlib.chdir(place):
        done = CliRunner().invoke(cli, ["keys", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_task_is_sent_run_and_looked_at(keyed, place, run, workers_of):
    workers_of(keyed, place / "w1.key")
    url = keyed.url.partition("?")[0]
    sent = run(
        "send", "run", '{"id": 1}', "--wait", "--url", url, "--key-file", str(place / "web.key")
    )
    assert sent.returncode == 0, sent.stderr
    told = run("info", "--json", "--url", url, env={"ZQUEUE_KEY_FILE": str(place / "eye.key")})
    state = json.loads(told.stdout)
    assert state["counters"]["done"] == 1
    assert state["keys"] == {"clients": 5, "refused": 0, "trouble": ""}
    assert "knows 5 clients" in run("info", "--url", keyed.url).stdout


def test_who_may_not_is_told_so(keyed, place, run):
    url = keyed.url.partition("?")[0]

    def refused(key, *arguments, code=1):
        done = run(*arguments, "--url", url, "--key-file", str(place / key))
        assert done.returncode == code
        return done.stderr

    assert "queue 'secrets'" in refused("web.key", "send", "--queue", "secrets", "1")
    assert "is for the role admin" in refused("eye.key", "queue", "pause", "default")
    assert "is for the role admin or observe" in refused("web.key", "dlq", "ls")
    said = refused("eye.key", "send", "--queue", "mail", "1", code=UNREACHABLE)
    assert "'eye' may not be a producer" in said
    assert "default" not in keyed.info()["queues"]


@pytest.mark.parametrize("key", ["", "others.key"])
def test_who_is_not_known_is_not_heard(keyed, place, run, key):
    url = keyed.url.partition("?")[0]
    if key:
        # A key that its owner let in somewhere else, with this broker's key.
        text = (place / "other.key").read_text()
        theirs = read_broker_pair(str(place / "others")).public
        ours = read_broker_pair(str(place / "keys")).public
        (place / key).write_text(text.replace(theirs, ours))
        (place / key).chmod(0o600)
    options = ["--key-file", str(place / key)] if key else []
    done = run("health", "--timeout", "1", "--url", url, *options)
    assert done.returncode == UNREACHABLE
    assert "key" in done.stderr
    if key:
        assert keyed.info()["keys"]["refused"] > 0


def test_mistakes_with_files_are_named(place):
    (place / "w1.key").chmod(0o644)
    (place / "w2.key").write_text("secret\n")
    for key, says in (("w1.key", "chmod 600"), ("w2.key", "zqueue keys"), ("w3.key", "No such")):
        for verb in (("info",), ("worker", str(APPS / "jobs.py")), ("top",)):
            said = mistake(*verb, "--key-file", str(place / key))
            assert says in said
            assert key in said
    (place / "keys" / "broker.key").chmod(0o640)
    assert "chmod 600" in mistake("broker", "--keys", str(place / "keys"))
    assert "zqueue keys init --dir" in mistake("broker", "--keys", str(place / "nowhere"))
    (place / "keys" / "broker.key").chmod(0o600)
    (place / "keys" / "clients.toml").write_text("[clients]\nweb = 3\n")
    assert "client 'web'" in mistake("broker", "--keys", str(place / "keys"))


def test_other_machines_need_keys():
    for options in (("--bind", "tcp://0.0.0.0:5999"), ("--ingest", "tcp://0.0.0.0:5999"),
                    ("--egress", "q=tcp://0.0.0.0:5999")):  # fmt: skip
        assert "--keys" in mistake("broker", *options)


def test_a_revoked_worker_is_out_at_once(keyed, place, run, workers_of, record, produce):
    producer = produce(f"{keyed.url.partition('?')[0]}?key={place / 'web.key'}")
    first = workers_of(keyed, place / "w1.key")
    producer.send("default", {"id": 1, "seconds": 60}, task="run_slowly")
    producer.flush()
    wait_until(lambda: record.entries(), what="it runs")
    workers_of(keyed, place / "w2.key")
    keys(place, "revoke", "w1")
    wait_until(lambda: "w1" in first.process.err and "revoked" in first.process.err)
    wait_until(lambda: len(record.entries()) == 2, what="another worker runs it")
    refused = keyed.info()["keys"]["refused"]
    first.process.kill()
    url = keyed.url.partition("?")[0]
    done = run("health", "--timeout", "1", "--url", url, "--key-file", str(place / "w1.key"))
    assert done.returncode == UNREACHABLE
    assert keyed.info()["keys"]["refused"] > refused


def test_a_list_that_cannot_be_read_changes_nothing(keyed, place, run):
    path = place / "keys" / "clients.toml"
    whole = path.read_text()
    path.write_text(whole + "[broken")
    wait_until(lambda: keyed.info()["keys"]["trouble"])
    done = run("health", "--url", keyed.url, "--ready")
    assert done.returncode == NOT_READY
    assert "clients.toml" in done.stdout + done.stderr
    path.write_text(whole)
    wait_until(lambda: not keyed.info()["keys"]["trouble"])


def test_keys_change_in_two_steps(start, place, run):
    keyed = start()
    url = keyed.url.partition("?")[0]

    def health(key):
        done = run("health", "--timeout", "2", "--url", url, "--key-file", str(place / key))
        return done.returncode

    keys(place, "rotate", "web", "-o", "new.key")
    wait_until(lambda: health("new.key") == 0, timeout=60)
    assert health("web.key") == 0
    keys(place, "rotate", "web", "--finish")
    wait_until(lambda: health("web.key") == UNREACHABLE, timeout=60)
    assert health("new.key") == 0

    said = keys(place, "rotate", "--broker")
    (place / "both.key").write_text((place / "new.key").read_text().replace(
        '"]\npublic', f'", "{said.split()[6]}"]\npublic'))  # fmt: skip
    (place / "both.key").chmod(0o600)
    assert len(read_client_key(str(place / "both.key")).broker_keys) == 2
    assert health("both.key") == 0
    keys(place, "rotate", "--broker", "--finish")
    keys(place, "add", "boss2", "--role", "admin", "-o", "boss2.key")
    keyed.url = f"{url}?key={place / 'boss2.key'}"
    keyed.restart()
    assert health("both.key") == 0
    assert health("new.key") == UNREACHABLE


def test_two_brokers_with_keys_of_their_own(place, run, processes, tmp_path):
    """A client has one pair, and knows each of them by its key."""
    second = tmp_path / "second"
    second.mkdir()
    keys(second, "init")
    urls = [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    named = []
    for url, folder in zip(urls, (place, second), strict=True):
        named += ["--url", url, f"--broker-key={read_broker_pair(str(folder / 'keys')).public}"]
    public = keys(second, "make", "both", *named).strip()
    both, swapped = second / "both.key", second / "swapped.key"
    swapped.write_text(both.read_text().replace(urls[0], "there")
                       .replace(urls[1], urls[0]).replace("there", urls[1]))  # fmt: skip
    swapped.chmod(0o600)
    for url, folder in zip(urls, (place, second), strict=True):
        keys(folder, "add", "both", "--role", "admin", f"--public={public}")
        Broker(processes, f"{url}?key={both}", (*QUICK, "--keys", str(folder / "keys")))

    def health(url, key):
        return run("health", "--timeout", "2", "--url", url, "--key-file", str(key)).returncode

    for url in urls:
        wait_until(lambda url=url: health(url, both) == 0, timeout=60)
        assert health(url, swapped) == UNREACHABLE
    unknown = run("health", "--url", "tcp://127.0.0.1:1", "--key-file", str(both))
    assert "no key of the broker at tcp://127.0.0.1:1, only of" in unknown.stderr


def test_the_plain_lane_has_keys_too(start, place):
    ins, out = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    keyed = start("--ingest", ins, "--egress", f"out={out}")

    def curve(key):
        found = read_client_key(str(place / key))
        return {"CURVE_PUBLICKEY": found.pair.public.encode(),
                "CURVE_SECRETKEY": found.pair.secret.encode(),
                "CURVE_SERVERKEY": found.broker_keys[0].encode()}  # fmt: skip

    with bare(zmq.PULL, out) as nobody, bare(zmq.PULL, out, **curve("web.key")) as wrong:
        with bare(zmq.PUSH, ins, **curve("web.key")) as pusher:
            pusher.send_multipart([b"mail", b"\x91\x01"])
            pusher.send_multipart([b"out", b"\x91\x01"])
            wait_until(lambda: keyed.queue("mail")["ready"] == 1)
            assert keyed.count("forbidden") == 1, "that queue is not for it"
        producer = zqueue.Producer(keyed.url)
        with producer, bare(zmq.PULL, out, **curve("w1.key")) as puller:
            producer.send("out", 7)
            assert puller.poll(10_000)
            assert puller.recv_multipart() == [b"out", b"\x91\x07"]
        assert not nobody.poll(0)
        assert not wrong.poll(0)


def test_secrets_are_in_files_only(keyed, place, workers_of):
    pool = workers_of(keyed, place / "w1.key")
    secrets = [read_client_key(str(place / f"{n}.key")).pair.secret for n in ("w1", "boss")]
    secrets.append(read_broker_pair(str(place / "keys")).secret)
    told = json.dumps(keyed.info(), default=repr) + keyed.process.err + pool.process.err
    for pid in (keyed.pid, pool.process.pid, *pool.pids):
        told += Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
        limits = Path(f"/proc/{pid}/limits").read_text()
        (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core.split()[4] in ("0", "1"), "no core dump has them"
    for secret in secrets:
        assert secret not in told
