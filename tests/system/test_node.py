"""A producer in another language: the example, with a real Node.js."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.system

STORY = """
import { createInterface } from "node:readline";
import { Producer } from "./producer.mjs";

const producer = new Producer(process.argv[2]);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
for (let id = 0; id < 100; id++) {
  await producer.send("default", "run", [[id]]);
  if (id === 49) { console.log("half"); await lines.next(); }
}
await producer.close();
console.log("all");
process.exit(0);
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        reason = "there is no Node.js with npm here"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("node")
    for path in (ROOT / "examples/node").iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund"],
        cwd=folder, check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    return folder


def test_it_calls_tasks_and_hears_of_their_errors(folder, broker, workers):
    workers(broker, "jobs.py")
    code = (
        'import { Producer } from "./producer.mjs"; const p = new Producer(process.argv[1]);'
        'const sums = await Promise.all([1, 2, 3].map((n) => p.call("default", "add", [n, 10])));'
        'console.log(JSON.stringify(sums), await p.call("default", "fail", ["no"]).catch(String));'
        "await p.close();"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", code, broker.url],
        cwd=folder, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "[11,12,13] Error: ValueError: no\n", done.stderr
    send = ["node", "send.mjs", broker.url, "default", "add", "100"]
    done = subprocess.run(send, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "5050\n", done.stderr


def test_it_sends_again_what_a_killed_broker_had_not_confirmed(
    folder, start_broker, workers, record
):
    broker = start_broker(url="tcp")
    workers(broker, "jobs.py")
    (folder / "story.mjs").write_text(STORY)
    with subprocess.Popen(
        ["node", "story.mjs", broker.url],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as story:  # fmt: skip
        assert story.stdin is not None
        assert story.stdout is not None
        assert story.stdout.readline() == "half\n"
        record.wait_for(range(50))
        broker.kill()
        story.stdin.write("go on\n")
        story.stdin.flush()
        broker.start()
        assert story.stdout.readline() == "all\n"
    record.wait_for(range(100))


def test_it_is_short():
    lines = (ROOT / "examples/node/producer.mjs").read_text().splitlines()
    assert len(lines) <= 120, "short enough to be read before it is copied"
