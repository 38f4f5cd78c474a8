"""Completion of names, of a broker that is there and of one that is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

import zqueue
from zqueue.cli import cli
from zqueue.testing import InProcess, wait_until

app = zqueue.App()


@app.task(queue="orders")
def book(number: int) -> int:
    return number


@app.task(queue="originals")
def cut(number: int) -> int:
    return number


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with InProcess(app) as pool:
        wait_until(lambda: set(pool.info()["tasks"]) == {"book", "cut"}, what="the worker's tasks")
        yield pool.url


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    shell = ShellComplete(cli, {}, "zqueue", "_ZQUEUE_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_names_that_the_broker_knows(url: str) -> None:
    assert offered("send", "--url", url, "") == ["book", "cut"]
    assert offered("pipe", "--url", url, "b") == ["book"]
    assert offered("send", "--url", url, "--queue", "o") == ["orders", "originals"]
    for verb in ("pause", "drain", "resume", "purge", "peek"):
        assert offered("queue", verb, "--url", url, "ord") == ["orders"]
    assert offered("cancel", "--url", url, "--queue", "ori") == ["originals"]
    assert offered("cancel", "--url", url, "--task", "") == ["book", "cut"]
    assert offered("dlq", "ls", "--url", url, "--queue", "orig") == ["originals"]
    assert offered("dlq", "replay", "--url", url, "--task", "c") == ["cut"]
    assert offered("send", "--url", url, "nothing") == []


def test_the_address_may_be_in_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZQUEUE_URL", url)
    assert offered("queue", "pause", "") == ["orders", "originals"]


def test_nothing_is_offered_where_nobody_answers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nobody = f"ipc://{tmp_path}/nobody"
    assert offered("send", "--url", nobody, "") == []
    assert offered("send", "--url", "no address", "") == []
    assert offered("send", "--key-file", str(tmp_path / "missing.key"), "") == []
    assert capfd.readouterr() == ("", "")
