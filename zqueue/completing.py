"""Completion of names: a shell offers the queues and tasks that the broker knows.

Whatever goes wrong, nothing is offered: no shell shows what a completion has to say.
"""

from __future__ import annotations

from collections.abc import Callable

import click

from .client.ask import ask
from .config import DEFAULT_URL, url_with_key
from .errors import ZQueueError

ANSWER_S = 0.5
"""How long a broker may take to answer, seconds. Somebody has pressed a key."""

NAMES_MAX = 1000
"""That are offered: a shell asks whether it is to show more than a hundred."""

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def queues(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of queues that begin so."""
    return _names(ctx, "queues", incomplete)


def tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of tasks that begin so."""
    return _names(ctx, "tasks", incomplete)


def targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of tasks, or of queues where ``--queue`` is given."""
    return _names(ctx, "queues" if ctx.params.get("queue") else "tasks", incomplete)


def _names(ctx: click.Context, kind: str, incomplete: str) -> list[str]:
    url, key_file = ctx.params.get("url") or DEFAULT_URL, ctx.params.get("key_file")
    try:
        if key_file is not None:
            given = ctx.get_parameter_source("url") is not click.core.ParameterSource.DEFAULT
            url = url_with_key(url if given else None, key_file)
        names = ask(url, timeout=ANSWER_S)[kind]
    except ZQueueError:
        return []
    return sorted(name for name in names if name.startswith(incomplete))[:NAMES_MAX]
