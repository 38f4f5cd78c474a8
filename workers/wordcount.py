r"""Counts words: of a text that is sent along, or of a file that the worker can read.

Start a broker and two workers, each in a terminal of its own::

    $ zqueue broker
    $ zqueue worker workers/wordcount.py -p 2

Send from the shell, one text or a line of JSON each::

    $ zqueue send count_words '"to be or not to be"' --wait
    {"to": 2, "be": 2, "or": 1, "not": 1}
    $ printf '"to be"\n"or not to be"\n' | zqueue pipe count_words
    {"to": 1, "be": 1}
    {"or": 1, "not": 1, "to": 1, "be": 1}

Send from Python (``PYTHONPATH=workers python``)::

    >>> from collections import Counter
    >>> from wordcount import app, count_words
    >>> count_words.submit("to be or not to be").result(timeout=60)
    {'to': 2, 'be': 2, 'or': 1, 'not': 1}
    >>> total = Counter()
    >>> for counted in count_words.map(["to be", "or not to be"]):
    ...     total.update(counted)
    >>> total["be"]
    2
    >>> app.close()

Safe to run twice: a count changes nothing, and the same text gives the same counts. Whoever adds
results up gets each one once, even if a task had to run again.
"""

from __future__ import annotations

import re
from collections import Counter

import zqueue

WORD = re.compile(r"[^\W\d_]+")
"""Letters of any alphabet; digits and underscores stand between words."""

app = zqueue.App()


@app.task(queue="words")
def count_words(text: str) -> dict[str, int]:
    """How often each word occurs in a text, in lower case and in the order of appearance."""
    return dict(Counter(WORD.findall(text.lower())))


@app.task(queue="words")
def count_file(path: str) -> dict[str, int]:
    """How often each word occurs in a text file, read line by line.

    The path is the worker's: on several machines it must mean the same file on each.
    """
    counts: Counter[str] = Counter()
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            counts.update(WORD.findall(line.lower()))
    return dict(counts)
