"""Every command and code block of docs/gateway.md is run here."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import urllib.request

import pytest

from tests.docs.commands import commands, file_block
from tests.shell import Shell
from tests.system.harness import free_port, wait_until

pytestmark = pytest.mark.system

DOCUMENT = "docs/gateway.md"


class Served:
    """The document's commands, at a port of their own."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.place = f"127.0.0.1:{free_port()}"

    def here(self, command: str) -> str:
        for written in ("127.0.0.1:8080", "0.0.0.0:8080", "localhost:8080"):
            command = command.replace(written, self.place)
        return command.replace("curl ", "curl -s --max-time 20 ", 1)

    def serve(self, command: str) -> None:
        """Start a gateway, and wait until it answers."""
        process = self.shell.start(self.here(command))
        wait_until(lambda: "gateway at" in process.err, what=lambda: process.err)

    def stop(self) -> None:
        self.shell.processes.all[-1].send(15)
        assert self.shell.processes.all[-1].wait() == 0


@pytest.fixture
def served(shell: Shell) -> Served:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (shell.folder / "shop.py").write_text(file_block(DOCUMENT, "shop.py"))
    lines = "".join(json.dumps({"id": i}) + "\n" for i in range(1000))
    (shell.folder / "events.ndjson").write_text(lines)
    shell.start("zqueue broker")
    shell.start("zqueue worker shop.py")
    shell.wait_for(lambda state: "double" in state["tasks"])
    return Served(shell)


def test_all_commands(served: Served) -> None:
    """In their order, with what they print."""
    for command, printed in commands(DOCUMENT):
        if command.startswith("zqueue gateway"):
            if "tokens" in command:
                served.stop()
            served.serve(command)
            continue
        done = served.shell.run(served.here(command))
        assert done.returncode == 0, (command, done.stderr)
        if printed.strip():
            assert done.stdout.strip() == printed.strip(), command
    assert "shop" not in served.shell.run("zqueue tokens ls").stdout


def test_in_an_application_of_ones_own(served: Served) -> None:
    pytest.importorskip("starlette")
    shell = served.shell
    (shell.folder / "web.py").write_text(file_block(DOCUMENT, "web.py"))
    host, port = served.place.split(":")
    shell.start(f"{shlex.quote(sys.executable)} -m uvicorn web:web --host {host} --port {port}")

    def answers() -> bool:
        try:
            return b"alive" in urllib.request.urlopen(f"http://{served.place}/work/livez").read()
        except OSError:
            return False

    wait_until(answers, what="the application")
    call = f"http://{served.place}/work/v1/tasks/double"
    headers = {"Content-Type": "application/json", "Prefer": "wait=20"}
    asked = urllib.request.Request(call, b"[4]", headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert json.loads(answer.read()) == {"result": 8}
        assert answer.headers["Location"].startswith("/work/v1/results/")
