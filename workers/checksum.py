r"""Computes checksums of files: to find duplicates, or to see what has changed.

Start a broker and two workers, each in a terminal of its own::

    $ zqueue broker
    $ zqueue worker workers/checksum.py -p 2

Send from the shell; whole paths, as the workers' working directory is their own::

    $ zqueue send checksum "\"$PWD/photos/a.jpg\"" --wait
    {"digest": "ba7816bf...", "size": 3, "path": "...photos/a.jpg"}
    $ zqueue send checksum "\"$PWD/photos/a.jpg\"" '"md5"' --wait
    {"digest": "900150983cd24fb0d6963f7d28e17f72", "size": 3, "path": "...photos/a.jpg"}

Find duplicates: the digest comes first (76 characters of the line, with what is before it), so
sorting brings equal files together. (Names with quotes or backslashes in them need a tool that
writes JSON, such as ``jq -R``, in place of ``-printf``.) ::

    $ find "$PWD/photos" -type f -printf '"%p"\n' | zqueue pipe checksum > sums.ndjson
    $ sort sums.ndjson | uniq -w 76 --all-repeated=separate
    {"digest": "ba7816bf...", "size": 3, "path": "...photos/a.jpg"}
    {"digest": "ba7816bf...", "size": 3, "path": "...photos/copy of a.jpg"}

Send from Python (``PYTHONPATH=workers python``)::

    >>> from pathlib import Path
    >>> from checksum import app, checksum
    >>> paths = sorted(str(path.absolute()) for path in Path("photos").iterdir())
    >>> for found in checksum.map(paths):
    ...     print(found["digest"][:8], Path(found["path"]).name)
    ba7816bf a.jpg
    1f9f40be b.jpg
    ba7816bf copy of a.jpg
    >>> app.close()

Safe to run twice: files are only read, and the same bytes have the same digest.
"""

from __future__ import annotations

import hashlib
from typing import Any

import zqueue

ALGORITHMS = frozenset(
    name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")
)
"""All but those whose digest has no length of its own."""

app = zqueue.App()


@app.task(queue="checksum")
def checksum(path: str, algorithm: str = "sha256") -> dict[str, Any]:
    """A file's digest in hexadecimal, its size in bytes as it was read, and its path.

    Raises `ValueError` for an algorithm that there is not, `OSError` for a file that cannot be
    read.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"no algorithm {algorithm!r}: use one of {', '.join(sorted(ALGORITHMS))}")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, algorithm).hexdigest()
        return {"digest": digest, "size": file.tell(), "path": path}
