"""What a request shows of a secret: as a bearer, or as the password of any name."""

from __future__ import annotations

import base64
import binascii

from .asgi import Header, Scope, header

ASKS: Header = (
    b"www-authenticate",
    b'Basic realm="zqueue: any name, and the token", charset="UTF-8"',
)
"""Browsers then ask for it once, and send it with all that the page asks for."""


def shown_in(scope: Scope) -> bytes | None:
    """The secret that a request shows; None if it shows none, or something else."""
    scheme, _, shown = header(scope, b"authorization").partition(" ")
    given = shown.strip().encode(errors="replace")
    if scheme.lower() == "bearer":
        return given
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(given, validate=True).partition(b":")[2]
    except binascii.Error:
        return None
