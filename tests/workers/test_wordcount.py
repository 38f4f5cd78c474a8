"""workers/wordcount.py"""

from __future__ import annotations

from pathlib import Path

import pytest

import zqueue
from zqueue.testing.waiting import DEADLINE_S


@pytest.fixture
def wordcount(load):
    return load("wordcount")


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("", {}),
        ("to be or not to be", {"to": 2, "be": 2, "or": 1, "not": 1}),
        ("Be, BE; be!", {"be": 3}),
        ("snake_case x2", {"snake": 1, "case": 1, "x": 1}),
        ("Müßig, naïve Ωmega", {"müßig": 1, "naïve": 1, "ωmega": 1}),
    ],
)
def test_counts_words(wordcount, text, counts):
    assert wordcount.count_words(text) == counts


def test_counts_the_words_of_a_file_as_of_its_text(wordcount, tmp_path: Path):
    text = "To be,\nor not\nto be.\n"
    (tmp_path / "hamlet.txt").write_text(text)
    assert wordcount.count_file(str(tmp_path / "hamlet.txt")) == wordcount.count_words(text)


@pytest.mark.system
def test_does_what_its_docstring_shows(wordcount, shell):
    assert shell.follow(wordcount.__doc__) == 4


@pytest.mark.system
def test_counts_files_in_a_pool(shell):
    (shell.folder / "a.txt").write_text("to be")
    shell.start_broker()
    shell.start_worker("workers/wordcount.py")
    with zqueue.Producer(shell.url) as producer:
        path = str(shell.folder / "a.txt")
        counted = producer.submit("words", [path], task="count_file")
        assert counted.result(DEADLINE_S) == {"to": 1, "be": 1}
        missing = producer.submit("words", [path + "x"], task="count_file")
        with pytest.raises(zqueue.RemoteError, match=r"FileNotFoundError.*a\.txtx"):
            missing.result(DEADLINE_S)
