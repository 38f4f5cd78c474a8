"""One word for each figure, told once."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from zqueue.core.counters import DEAD, NAMES
from zqueue.metrics.glossary import COUNTERS, GLOSSARY, GROUPS, as_markdown

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "metrics.md"


def test_no_key_and_no_word_is_there_twice() -> None:
    assert len(GLOSSARY) == sum(len(terms) for terms in GROUPS.values())
    words = Counter(term.word for term in GLOSSARY.values())
    assert [word for word, times in words.items() if times > 1] == ["workers"], "of a queue, in all"
    assert all(re.fullmatch(r"[A-Z1].*[.)]", term.means) for term in GLOSSARY.values())


def test_every_counter_of_a_broker_is_there_under_its_name() -> None:
    assert set(NAMES) - {*DEAD, *GLOSSARY} == set()
    assert all(term.word.replace(" ", "_") == key for key, term in COUNTERS.items())


def test_the_document_says_the_same() -> None:
    assert as_markdown() in DOCUMENT.read_text()
