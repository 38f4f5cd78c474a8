"""The token that a sidecar wants to see: a secret that its readers share."""

from __future__ import annotations

import hashlib
import hmac
import re

from ..auth.files import read_private
from ..errors import ConfigError
from ..http.asgi import Scope
from ..http.credentials import shown_in

TOKEN = re.compile(rb"[!-~]{16,512}")
"""Nobody guesses so much from a good source. (`openssl rand -hex 32` gives 64.)"""


class Token:
    """Tells who has the token: as a bearer, or as the password of any name."""

    def __init__(self, secret: bytes) -> None:
        self._digest = hashlib.sha256(secret).digest()

    def __repr__(self) -> str:
        return "<Token>"

    @classmethod
    def read(cls, path: str) -> Token:
        """The token in a file that only its owner may read. Raises `ConfigError`."""
        secret = read_private(path, "token file").strip()
        if not TOKEN.fullmatch(secret):
            raise ConfigError(
                f"the token file {path} must have one line of 16 to 512 visible characters: "
                f"openssl rand -hex 32 > {path}"
            )
        return cls(secret)

    def is_in(self, scope: Scope) -> bool:
        """Whether a request has it. How long that takes tells nothing of it."""
        given = shown_in(scope)
        if given is None:
            return False
        return hmac.compare_digest(hashlib.sha256(given).digest(), self._digest)
