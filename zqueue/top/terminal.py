"""``zqueue top`` in the terminal of this process."""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec

from ..errors import ConfigError
from ..metrics.poller import Poller
from ..net.lookup import urls_now

NEEDS_TEXTUAL = (
    "zqueue top needs textual: it comes with the extra 'top' (pip install 'zqueue-pool[top]'; in a "
    "checkout: pip install '.[top]')"
)


def run_top(urls: tuple[str, ...], every_s: float) -> int:
    """Show these brokers, every ``every_s`` seconds, until the user quits. Returns the exit code.

    Raises `ConfigError` if there is no terminal or no textual, or no broker is named.
    """
    if find_spec("textual") is None:
        raise ConfigError(NEEDS_TEXTUAL)
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        raise ConfigError("zqueue top needs a terminal: without one, there is 'zqueue info -i 1'")
    from .viewer import TopApp

    pollers = [Poller(url) for url in urls_now(urls)]
    logging.disable(
        logging.CRITICAL
    )  # The screen shows what pollers log; a line across it would spoil it.
    for poller in pollers:
        poller.start()
    try:
        app = TopApp(pollers, every_s)
        app.run()
        return app.return_code or 0
    finally:
        logging.disable(logging.NOTSET)
        for poller in pollers:
            poller.stop(0.1)
