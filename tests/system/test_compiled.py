"""That what is tested is what was meant to be: compiled, or interpreted."""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness import wait_until
from zqueue.interpreted import NOTE
from zqueue.wire.codec import COMPILED

pytestmark = pytest.mark.system

EXPECTED = os.environ.get("ZQUEUE_TEST_EXPECTS")


def can_compile(folder: Path) -> bool:
    """Whether there is a C compiler that works, and finds Python's headers."""
    source = folder / "probe.c"
    source.write_text("#include <Python.h>\n")
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC")
    command = [*shlex.split(compiler), f"-I{sysconfig.get_config_var('INCLUDEPY')}"]
    try:
        command += ["-c", str(source), "-o", str(folder / "probe.o")]
        return subprocess.run(command, capture_output=True, timeout=240).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(EXPECTED is None, reason="nobody said what to expect (ZQUEUE_TEST_EXPECTS)")
def test_as_expected(broker, workers, tmp_path):
    if EXPECTED == "compiled" and not COMPILED and not can_compile(tmp_path):
        assert "CI" not in os.environ, "CI has a compiler"
        pytest.skip("nothing can be compiled here: gcc or python3-dev is not installed")
    workers(broker, "jobs.py", 1)

    def reported() -> dict[str, Any] | None:
        state = broker.info()
        return state if state["workers"][0]["report"] else None

    state = wait_until(reported, what="the worker's first report")
    assert state["compiled"] is (EXPECTED == "compiled")
    assert state["workers"][0]["report"]["compiled"] is (EXPECTED == "compiled")
    assert COMPILED is (EXPECTED == "compiled")


def test_broker_and_workers_say_at_their_start_if_they_are_interpreted(broker, workers):
    pool = workers(broker, "jobs.py", 2)
    said = 0 if COMPILED else 1
    assert broker.process.err.count(NOTE) == said
    assert pool.process.err.count(NOTE) == said


def test_the_demo_and_info_say_if_they_are_interpreted(run, broker, tmp_path):
    (tmp_path / "text").write_text("to be or not to be\n")
    for arguments in (("demo", str(tmp_path / "text"), "--no-kill"), ("info", "--url", broker.url)):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(NOTE) == (0 if COMPILED else 1)


def test_a_broker_says_how_often_a_batch_was_made_of_a_dropped_one(broker, produce):
    producer = produce(broker)
    for n in range(20):
        producer.send("nobody", n)
        producer.flush()
    assert sum(broker.info()["batches_made"].values()) == (20 if COMPILED else 0)
