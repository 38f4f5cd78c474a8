"""Where the values of options come from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from zqueue.cli import cli
from zqueue.options import SECONDS_MAX, Seconds, unknown_variables


def verbs(group: click.Group = cli, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every verb, with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, *path, name)
        else:
            yield (*path, name), command


def options() -> list[tuple[tuple[str, ...], str, click.Option]]:
    """Every option of every verb, with its long name."""
    return [
        (path, next(name[2:] for name in option.opts if name.startswith("--")), option)
        for path, command in verbs()
        for option in command.params
        if isinstance(option, click.Option)
    ]


def group_context(file: Path) -> click.Context:
    return cli.make_context("zqueue", ["--config", str(file), "info"])


def values(file: Path, path: tuple[str, ...]) -> dict[str, object]:
    """What a file gives to a verb."""
    table = group_context(file).default_map
    for verb in path:
        assert table is not None
        table = table[verb]
    return dict(table or {})


@pytest.mark.parametrize("write", [str, lambda name: name.replace("-", "_")])
def test_every_option_is_a_key_of_the_file(tmp_path: Path, write: object) -> None:
    assert callable(write)
    file = tmp_path / "zqueue.toml"
    for path, name, option in options():
        file.write_text(f"[{'.'.join(path)}]\n{write(name)} = 1\n")
        assert values(file, path) == {option.name: 1}, (path, name)


def test_every_option_is_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for path, name, option in options():
        variable = "_".join(["ZQUEUE", *path, name]).upper().replace("-", "_")
        monkeypatch.setenv(variable, "1")
        context = click.Context(click.Command(path[-1]))
        assert option.resolve_envvar_value(context) == "1", variable
        monkeypatch.delenv(variable)


def test_the_variable_of_a_verb_goes_before_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZQUEUE_URL", "ipc:///all")
    monkeypatch.setenv("ZQUEUE_INFO_URL", "ipc:///info")
    info, health = cli.commands["info"], cli.commands["health"]
    assert info.make_context("info", []).params["url"] == "ipc:///info"
    assert health.make_context("health", []).params["url"] == "ipc:///all"


def test_the_older_names_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "zqueue.toml"
    file.write_text("[info]\nas-json = true\n[queue.ls]\nas_json = true\n")
    assert values(file, ("info",)) == values(file, ("queue", "ls")) == {"as_json": True}
    monkeypatch.setenv("ZQUEUE_INFO_AS_JSON", "1")
    context = click.Context(cli, auto_envvar_prefix="ZQUEUE")
    made = cli.commands["info"].make_context("info", [], parent=context)
    assert made.params["as_json"] is True


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_the_file_is_utf_8(tmp_path: Path, start: bytes) -> None:
    file = tmp_path / "zqueue.toml"
    file.write_bytes(start + '# für alle\n[info]\nurl = "ipc:///tmp/bürö"\n'.encode())
    assert values(file, ("info",)) == {"url": "ipc:///tmp/bürö"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[broker]\nqueue-taks = 5\n", "'broker' has no option 'queue-taks': did you mean 'queue-"),
        ("[queue.ls]\njsn = true\n", "'ls' has no option 'jsn': did you mean 'json'?"),
        ("[brokre]\nbind = 5\n", r"\[brokre\] is not a verb \(there are: "),
        ("[info]\nurl = ['a', 'b']\n", "info.url must be one value"),
        ("[info]\n'\xe9' = 1\n", "did you mean"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "zqueue.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(click.BadParameter, match=words):
        group_context(file)


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    file = tmp_path / "zqueue.toml"
    file.write_bytes("# für alle\n".encode("latin-1"))
    with pytest.raises(click.BadParameter, match=r"cannot read .*utf-8"):
        group_context(file)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("ZQUEUE_WORKER_PROCESES", "ZQUEUE_WORKER_PROCESSES"),
        ("ZQUEUE_WORKER_PROCESS", "ZQUEUE_WORKER_PROCESSES"),
        ("ZQUEUE_WORKER_DRAINTIMEOUT", "ZQUEUE_WORKER_DRAIN_TIMEOUT"),
        ("ZQUEUE_QUEUE_LS_JSN", "ZQUEUE_QUEUE_LS_JSON"),
        ("ZQUEUE_PIPE_NO_PROGRESS", "ZQUEUE_PIPE_PROGRESS"),
    ],
)
def test_a_variable_that_is_no_option(variable: str, nearest: str) -> None:
    verb = variable.split("_")[1].lower()
    assert list(unknown_variables(verb, cli.commands[verb], [variable])) == [(variable, nearest)]


def test_variables_that_are_right_or_for_others() -> None:
    """Kubernetes sets the last of them where there is a service ``zqueue-broker``."""
    names = [
        "PATH", "ZQUEUE_URL", "ZQUEUE_BROKER_BIND", "ZQUEUE_BROKER_QUEUE_BYTES", "ZQUEUE_HOME",
        "ZQUEUE_WORKER_PROCESES", "ZQUEUE_BROKER_PORT", "ZQUEUE_BROKER_SERVICE_HOST",
        "ZQUEUE_BROKER_SERVICE_PORT", "ZQUEUE_BROKER_SERVICE_PORT_ZMQ",
        "ZQUEUE_BROKER_PORT_5555_TCP", "ZQUEUE_BROKER_PORT_5555_TCP_ADDR",
    ]  # fmt: skip
    assert list(unknown_variables("broker", cli.commands["broker"], names)) == []
    for verb, command in cli.commands.items():
        assert list(unknown_variables(verb, command, os.environ)) == []


def durations() -> list[tuple[tuple[str, ...], str]]:
    """The options that are a number of seconds, with the verbs they belong to."""
    return [(path, name) for path, name, option in options() if isinstance(option.type, Seconds)]


def test_each_time_is_a_duration() -> None:
    """None of them takes just any number. (What is no time is a rate.)"""
    floats = [
        (path, name)
        for path, name, option in options()
        if isinstance(option.type, click.types.FloatParamType)
    ]
    assert floats == [(("bench",), "rate")]
    assert {name for _, name in durations()} >= {"timeout", "interval", "drain-timeout"}


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e12", "-1", "-0.001", "", "x", "1,5"])
def test_what_is_no_duration(value: str) -> None:
    for path, name in durations():
        command = next(command for words, command in verbs() if words == path)
        with pytest.raises(click.BadParameter, match="is not a duration: give seconds, from"):
            command.make_context(path[-1], [f"--{name}={value}", *["x"] * 2])


@pytest.mark.parametrize("value", [True, None, "", [1.0]])
def test_what_is_no_duration_in_a_file(value: object) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration"):
        Seconds().convert(value, None, None)


@pytest.mark.parametrize("value", ["1", "1.5", " 2 ", "1e3", 1, 2.5, SECONDS_MAX])
def test_durations(value: object) -> None:
    assert Seconds(1).convert(value, None, None) == float(str(value))
