"""Options from everywhere, durations, completion: as real commands see them."""

from __future__ import annotations

import json
import os
import sys

import pytest
from click.testing import CliRunner

from tests.system.test_cli import mistake, sentence
from zqueue.cli import cli

pytestmark = pytest.mark.system


def test_a_variable_that_is_no_option_is_named(broker, run):
    env = {"ZQUEUE_HEALTH_TIMOUT": "3", "ZQUEUE_WORKER_PROCESES": "4"}
    done = run("health", "--url", broker.url, env=env)
    assert done.returncode == 0
    assert sentence(done) == (
        "zqueue: ZQUEUE_HEALTH_TIMOUT is not an option: did you mean ZQUEUE_HEALTH_TIMEOUT?"
    )


def test_json_by_variable_and_by_file(broker, run, tmp_path):
    json.loads(run("info", "--url", broker.url, env={"ZQUEUE_INFO_JSON": "1"}).stdout)
    (tmp_path / "zqueue.toml").write_text("[info]\njson = true\n")
    json.loads(run("info", "--url", broker.url).stdout)


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_locale_without_umlauts(broker, workers, run, tmp_path):
    workers(broker, "jobs.py", 1)
    (tmp_path / "zqueue.toml").write_text(
        f'# für alle\n[send]\nurl = "{broker.url}"\n', encoding="utf-8"
    )
    done = run("send", "echo", '"grün"', "--wait", env=ASCII)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == "grün"
    done = run("send", "echo", "grün", env=ASCII)
    assert done.returncode == 2
    assert "is not JSON" in sentence(done)
    for verb in ("worker", "send", "metrics"):
        assert run(verb, "--help", env=ASCII).returncode == 0


def test_a_very_long_timeout_works(broker, workers, run):
    workers(broker, "jobs.py", 1)
    week = ("--timeout", str(7 * 86_400), "--url", broker.url)
    assert run("send", "add", "1", "2", "--wait", *week).stdout == "3\n"
    assert run("send", "--queue", "q", "1", *week).returncode == 0
    assert run("pipe", "echo", *week, input="7\n").stdout == "7\n"
    assert run("health", *week).returncode == 0


def test_a_timeout_that_is_no_duration():
    for timeout in ("inf", "nan", "1e12", "-1"):
        for arguments in (["send", "add", "1"], ["pipe", "echo"], ["health"]):
            assert "is not a duration" in mistake(*arguments, "--timeout", timeout)


# --- completion ---


def test_completion_by_bash(processes, tmp_path):
    """As a user has it: the script is read, and the shell asks the function that it names."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "zqueue"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zqueue "$@"\n')
    script.chmod(0o755)
    text = (
        'eval "$(zqueue completion bash)" && complete -p zqueue >/dev/null && '
        "COMP_WORDS=(zqueue inf) COMP_CWORD=1 && _zqueue_completion zqueue && "
        'echo "${COMPREPLY[@]}" && '
        "COMPREPLY=() COMP_WORDS=(zqueue send --ti) COMP_CWORD=2 && _zqueue_completion zqueue && "
        'echo "${COMPREPLY[@]}"'
    )
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    process = processes.start("shell", "bash", "-c", text, env=env)
    assert process.wait() == 0, process.err
    assert (process.out, process.err) == ("info\n--timeout\n", "")


def test_completion_of_other_shells():
    for shell in ("zsh", "fish"):
        done = CliRunner().invoke(cli, ["completion", shell])
        assert done.exit_code == 0
        assert f"_ZQUEUE_COMPLETE={shell}_complete" in done.stdout
    assert "tcsh" in mistake("completion", "tcsh")
