"""``zqueue gateway`` and ``zqueue tokens``, as processes and by their entry."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import zqueue
from tests.gateway.conftest import served
from tests.system.conftest import StartBroker, StartWorkers
from tests.system.harness import Process, Processes, free_port, rss_bytes, wait_until
from zqueue.cli import cli
from zqueue.client.everywhere import peek_at
from zqueue.gateway import Gateway, posting
from zqueue.report import peek_as_data

pytestmark = pytest.mark.system


def run(*arguments: str, exit_code: int = 0) -> str:
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == exit_code, done.output
    return done.output


def start(
    processes: Processes, url: str, *options: str, host: str = "127.0.0.1"
) -> tuple[Process, str]:
    listen = f"{host}:{free_port()}"
    process = processes.zqueue("gateway", "--listen", listen, "--url", url, *options)

    def listens() -> bool:
        assert process.is_running(), process.err
        return "gateway at" in process.err

    wait_until(listens, what="a gateway that listens")
    scheme = "https" if "--certificate" in options else "http"
    return process, f"{scheme}://127.0.0.1:{listen.rpartition(':')[2]}"


def post(url: str, value: object, context: ssl.SSLContext | None = None, **headers: str) -> int:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    body = json.dumps(value).encode()
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json", **named})
    try:
        with urllib.request.urlopen(asked, timeout=30, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_gateway_whose_broker_is_killed_and_back(
    processes: Processes, start_broker: StartBroker, workers: StartWorkers
) -> None:
    broker = start_broker()
    workers(broker, "jobs.py", 1)
    process, url = start(processes, broker.url)
    wait_until(lambda: post(f"{url}/v1/tasks/add", [1, 2], Prefer="wait=20") == 200)
    broker.process.kill()
    wait_until(lambda: post(f"{url}/v1/queues/default", [1]) == 503)
    broker.start()
    wait_until(lambda: post(f"{url}/v1/tasks/add", [1, 2], Prefer="wait=20") == 200)
    assert post(f"{url}/v1/queues/default/pause", None) == 200
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 10) as waiting:
        waiting.sendall(
            b"POST /v1/tasks/add HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Prefer: wait=60\r\nContent-Length: 5\r\n\r\n[1,2]"
        )
        wait_until(lambda: broker.info()["queues"]["default"]["ready"] == 1)
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        assert waiting.recv(65536).startswith(b"HTTP/1.1 202 ")
    assert "Traceback" not in process.err


def test_who_posts_while_the_broker_is_lost_is_told_at_once(
    start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("LOOK_S", 0.05), ("LATE_S", 0.2), ("CONFIRM_S", 0.4)):
        monkeypatch.setattr(posting, name, seconds)
    broker = start_broker()
    app = zqueue.App(broker.url, connect_timeout=600)
    with served(Gateway(app), broker.url) as client:
        assert client.post("/v1/queues/q", 1).status == 202
        broker.process.send(signal.SIGSTOP)
        got = client.post("/v1/queues/q", 2)
        assert got.status == 503
        assert "it may have been taken" in got.data["detail"]
        got = client.post("/v1/queues/q", 3)
        assert got.status == 503
        assert "nothing of this was taken" in got.data["detail"]
        broker.process.send(signal.SIGCONT)
        wait_until(lambda: client.post("/v1/queues/q", 4).status == 202)
        ((_, waiting),) = peek_at(broker.url, "q", limit=100)
        bodies = {task["body"] for task in peek_as_data(waiting)["tasks"]}
        assert bodies == {1, 2, 4}
        broker.process.kill()
        wait_until(lambda: app.producer.is_alone, what="the loss of the broker")
        got = client.post("/v1/queues/q", 2)
        assert (got.status, got.headers["Retry-After"]) == (503, "1")
        assert client.lines("/v1/queues/q", b"3\n").data["accepted"] == 0
        broker.start()
        wait_until(lambda: client.post("/v1/queues/q", 4).status == 202)
        assert broker.info()["queues"]["q"]["ready"] == 1, "what was refused was not sent later"
    app.close()


def test_ten_thousand_connections(processes: Processes, start_broker: StartBroker) -> None:
    """Those that ask are answered, whatever waits; memory is bounded, and no broker notices."""
    broker = start_broker()
    process, url = start(processes, broker.url, "--connections", "1000")
    assert post(f"{url}/v1/queues/q", 1) == 202
    before = broker.info()
    rss = rss_bytes(process.pid)
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with contextlib.ExitStack() as opened, more_descriptors(10_200) as limit:
        silent, asking = 500, min(10_000, limit - 200) - 500
        for _ in range(silent):
            opened.enter_context(socket.create_connection(address, 30))
        for _ in range(asking):
            one = opened.enter_context(socket.create_connection(address, 30))
            one.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert post(f"{url}/v1/queues/q", 2) == 202
        assert rss_bytes(process.pid) < rss + (64 << 20)
    after = broker.info()
    assert after["counters"]["garbage"] == before["counters"]["garbage"]
    assert after["queues"]["q"]["ready"] == 2
    assert "Traceback" not in process.err


@contextlib.contextmanager
def more_descriptors(count: int) -> Iterator[int]:
    """So many descriptors, or as many as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_tokens_are_read_again(
    processes: Processes, start_broker: StartBroker, tmp_path: Path
) -> None:
    file = str(tmp_path / "tokens.toml")
    token = run("tokens", "add", "shop", "--role", "produce", "--queues", "mail*", "--file", file)
    token = token.strip()
    assert token.partition(".")[2] not in Path(file).read_text()
    assert run("tokens", "ls", "--file", file) == "shop: produce on mail*\n"
    assert json.loads(run("tokens", "ls", "--file", file, "--json"))[0]["name"] == "shop"
    process, url = start(
        processes, start_broker().url, "--tokens", file, host="0.0.0.0"
    )  # fmt: skip
    shown = {"Authorization": f"Bearer {token}"}
    assert post(f"{url}/v1/queues/mail", 1) == 401
    assert post(f"{url}/v1/queues/mail", 1, **shown) == 202
    assert post(f"{url}/v1/queues/other", 1, **shown) == 403
    text = Path(file).read_text()
    Path(file).write_text(text + "half of a line")
    wait_until(lambda: "stays as it was" in process.err)
    assert post(f"{url}/v1/queues/mail", 1, **shown) == 202
    Path(file).write_text(text)
    run("tokens", "revoke", "shop", "--file", file)
    wait_until(lambda: post(f"{url}/v1/queues/mail", 1, **shown) == 401)
    assert token.partition(".")[2] not in process.err


def test_https(processes: Processes, start_broker: StartBroker, tmp_path: Path) -> None:
    chain, key = tmp_path / "c.pem", tmp_path / "k.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", chain],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("openssl is not installed")
    given = ("--certificate", str(chain), "--private-key", str(key))
    _, url = start(processes, start_broker().url, *given)
    context = ssl.create_default_context(cafile=str(chain))
    assert post(f"{url}/v1/queues/q", 1, context) == 202


def test_mistakes(tmp_path: Path) -> None:
    (tmp_path / "wrong.pem").write_text("no")
    (tmp_path / "tokens.toml").write_text("[tokens]\na = 3\n")
    wrong = str(tmp_path / "wrong.pem")
    for options, words in (
        (("--listen", "0.0.0.0:8080"), "--tokens FILE"),
        (("--listen", "8080"), "HOST:PORT"),
        (("--url", "http://127.0.0.1"), "not an address"),
        (("--certificate", wrong), "--private-key"),
        (("--certificate", wrong, "--private-key", wrong, "--listen", "127.0.0.1:0"), "wrong.pem"),
        (("--tokens", str(tmp_path / "none")), "cannot be read"),
        (("--tokens", str(tmp_path / "tokens.toml")), "token 'a'"),
    ):
        assert words in run("gateway", *options, exit_code=2), options
    file = str(tmp_path / "t.toml")
    assert "is no name" in run(
        "tokens", "add", "a b", "--role", "admin", "--file", file, exit_code=2
    )
    assert "patterns" in run(
        "tokens", "add", "a", "--role", "admin", "--queues", "a b", "--file", file, exit_code=2
    )
    assert "cannot be read" in run("tokens", "revoke", "a", "--file", file, exit_code=2)
