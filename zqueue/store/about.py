"""The file that tells what a data dir is, and what it means that one cannot be used."""

from __future__ import annotations

import errno
import json

from . import format as f
from .files import MADE, Disk
from .store import StoreError, StoreFailed, StoreForeign, StoreNewer, StoreReadOnly

ABOUT = "zqueue-store"
"""Its name."""


def pack_about(identity: bytes, segment_bytes: int) -> bytes:
    """What the file says."""
    what = {"format": f.VERSION, "id": identity.hex(), "segment_bytes": segment_bytes}
    return json.dumps(what).encode() + b"\n"


def about(disk: Disk, path: str) -> tuple[bytes, int] | None:
    """The id and segment bytes of a data dir; None if it is empty.

    Raises `StoreForeign` and `StoreNewer`.
    """
    names = [name for name in disk.names() if name != MADE]
    if not names:
        return None
    foreign = f"{path} is no data dir of zqueue: name an empty directory, or one that is not there"
    if ABOUT not in names:
        raise StoreForeign(foreign)
    try:
        what = json.loads(disk.read(ABOUT, 0, 4096))
        version, identity = int(what["format"]), bytes.fromhex(what["id"])
        segment_bytes = int(what["segment_bytes"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreForeign(foreign) from error
    if version > f.VERSION:
        raise StoreNewer(
            f"{path} has format {version}, and this zqueue knows {f.VERSION}: use a newer one"
        )
    return identity, segment_bytes


def unusable(error: OSError) -> type[StoreError]:
    """What an error at start means."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreReadOnly
    return StoreForeign if error.errno in (errno.ENOTDIR, errno.EEXIST) else StoreFailed
