"""deploy/install.sh, as far as it shows without a host to change; tests/hosts does the rest."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from time import time

import pytest

from zqueue.deploy.facts import parse_facts

SCRIPT = Path(__file__).parents[2] / "deploy" / "install.sh"
TEXT = SCRIPT.read_text()


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A copy of it, beside whatever is in a folder."""
    script = folder / "install.sh"
    script.write_text(TEXT)
    return subprocess.run(["sh", str(script), *arguments], capture_output=True, text=True,
                          timeout=60)  # fmt: skip


def test_a_plain_shell_reads_it():
    done = subprocess.run(["sh", "-n", str(SCRIPT)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_finds_no_error():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", "--severity=error", str(SCRIPT)], capture_output=True,
                          text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_every_command_that_it_tells_is_one_that_it_performs():
    (head,) = re.findall(r"^#   facts .*?(?=^set -eu)", TEXT, re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"^#   ([a-z]+)|\| ([a-z]+) ", head, re.MULTILINE))
    named = {word for pair in told for word in pair if word} - {"end"}
    (performed,) = re.findall(r"^    (facts \|.*?)\) \"\$verb\"", TEXT, re.MULTILINE)
    assert named == set(performed.split(" | "))


@pytest.mark.skipif(os.geteuid() != 0, reason="it needs root")
@pytest.mark.system
class TestAsRoot:
    def test_facts_of_this_machine(self, tmp_path: Path):
        (tmp_path / "settings").write_text(f"python {sys.executable}\nreach 127.0.0.1:1\n")
        (tmp_path / "commands").write_text("facts\n")
        asked = time()
        done = run(tmp_path)
        assert done.returncode == 0, done.stderr
        facts = parse_facts(done.stdout, asked, time())
        assert facts.hostname == platform.node()
        assert facts.architecture == platform.machine()
        assert facts.python == sys.version_info[:3]
        assert facts.clock == 0
        assert facts.disk_kb > 0
        assert facts.reach == {"127.0.0.1:1": "refused"}

    def test_a_python_that_is_not_there_is_told_by_its_absence(self, tmp_path: Path):
        (tmp_path / "settings").write_text("python /nowhere/python3\n")
        done = run(tmp_path, "facts")
        assert done.returncode == 0, done.stderr
        assert parse_facts(done.stdout, 0, 1).python == ()

    def test_no_line_of_its_data_is_run(self, tmp_path: Path):
        trap = tmp_path / "trap"
        (tmp_path / "settings").write_text(f"python $(touch {trap})\nservice `touch {trap}`\n")
        (tmp_path / "commands").write_text(f"facts; touch {trap}\n$(touch {trap})\n")
        run(tmp_path)
        assert not trap.exists()

    def test_a_command_that_it_does_not_know(self, tmp_path: Path):
        done = run(tmp_path, "logs-of", "x")
        assert done.returncode == 1
        assert done.stderr == "zqueue: install.sh knows no command logs-of\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_who_is_not_root_is_told(tmp_path: Path):
    done = run(tmp_path, "facts")
    assert done.returncode == 1
    assert "install.sh needs root: sudo sh" in done.stderr
