"""Key files on a host, as a deployment wants them: run there by `install.sh`, as root.

Reads what is wanted as JSON at stdin, and prints a line for each pair: ``public FILE KEY``. Secrets
are made here, and do not leave the host.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from ..auth import files
from ..auth.files import BROKER_KEY, BROKER_NEXT_KEY, CLIENTS, ClientKey
from ..errors import ZQueueError


def keep(folder: Path, owner: str, wanted: dict[str, Any]) -> list[str]:
    """Make what is missing. Returns the lines to print. Raises `ConfigError`.

    Parameters:
        folder: ``/etc/zqueue``.
        owner: whom the files are to belong to; empty: who makes them.
        wanted: ``broker``: whether a broker needs its key; ``rotate``: "begin" makes the broker's
            next key, "finish" ends the present one; ``clients``: key files with ``file``, ``name``,
            ``brokers`` (public keys by addresses) and ``renew``; ``list``: the list of clients.
    """
    told = []
    place = folder / "keys"
    if wanted.get("broker") and not (place / BROKER_KEY).exists():
        files.write_secret(place / BROKER_KEY, files.broker_lines(files.make_pair()))
    if wanted.get("rotate") == "begin" and not (place / BROKER_NEXT_KEY).exists():
        files.write_secret(place / BROKER_NEXT_KEY, files.broker_lines(files.make_pair()))
    if wanted.get("rotate") == "finish" and (place / BROKER_NEXT_KEY).exists():
        os.replace(place / BROKER_NEXT_KEY, place / BROKER_KEY)
    for name in (BROKER_KEY, BROKER_NEXT_KEY):
        if (place / name).exists():
            _give(place / name, owner)
            told.append(f"public keys/{name} {files.read_broker_pair(str(place), name).public}")
    for client in wanted.get("clients", []):
        path = folder / client["file"]
        has_pair = path.exists() and not client["renew"]
        pair = files.read_client_key(str(path)).pair if has_pair else files.make_pair()
        brokers = {url: tuple(keys) for url, keys in client["brokers"].items()}
        key = ClientKey.of(client["name"], pair, brokers)
        files.write_secret(path, files.client_lines(key), replace=True)
        _give(path, owner)
        told.append(f"public {client['file']} {pair.public}")
    if "list" in wanted:
        files.write_list(place / CLIENTS, wanted["list"])
        _give(place / CLIENTS, owner)
    return told


def _give(path: Path, owner: str) -> None:
    if owner:
        shutil.chown(path, owner)


def main() -> int:
    """``python -m zqueue.deploy.keyring FOLDER OWNER``."""
    try:
        for line in keep(Path(sys.argv[1]), sys.argv[2], json.load(sys.stdin)):
            print(line)
    except ZQueueError as error:
        print(f"zqueue: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
