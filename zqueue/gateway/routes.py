"""Routes: which call a method and a path are. They are told to people by ``openapi.json``."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from ..auth.users import ADMIN, OBSERVE, PRODUCE
from .problems import Problem

NAME = r"[A-Za-z0-9_.-]{1,128}"


class Route(NamedTuple):
    """One call."""

    call: str
    method: str
    path: str
    """As OpenAPI has it, with parameters in braces."""
    role: str | None
    """Which role it needs; None: it is open to all."""


ROUTES = (
    Route("post_bodies", "POST", "/v1/queues/{queue}", PRODUCE),
    Route("post_call", "POST", "/v1/tasks/{task}", PRODUCE),
    Route("get_result", "GET", "/v1/results/{id}", PRODUCE),
    Route("list_queues", "GET", "/v1/queues", OBSERVE),
    Route("get_queue", "GET", "/v1/queues/{queue}", OBSERVE),
    Route("pause", "POST", "/v1/queues/{queue}/pause", ADMIN),
    Route("drain", "POST", "/v1/queues/{queue}/drain", ADMIN),
    Route("resume", "POST", "/v1/queues/{queue}/resume", ADMIN),
    Route("list_dead", "GET", "/v1/dead-letters", OBSERVE),
    Route("get_dead", "GET", "/v1/dead-letters/{letter}", OBSERVE),
    Route("replay_dead", "POST", "/v1/dead-letters/{letter}/replay", ADMIN),
    Route("drop_dead", "DELETE", "/v1/dead-letters/{letter}", ADMIN),
    Route("openapi", "GET", "/openapi.json", None),
    Route("livez", "GET", "/livez", None),
    Route("readyz", "GET", "/readyz", None),
    Route("metrics", "GET", "/metrics", OBSERVE),
)

_PARAMETERS = {"queue": NAME, "task": NAME, "id": r"[0-9a-f]{16}-[0-9a-f]{32}",
               "letter": r"(?:[0-9a-f]{8}-)?[1-9][0-9]{0,17}"}  # fmt: skip


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"{(\w+)}", lambda found: f"({_PARAMETERS[found[1]]})", path))


_BY_PATH: dict[str, tuple[re.Pattern[str], dict[str, Route]]] = {}
for _route in ROUTES:
    _BY_PATH.setdefault(_route.path, (_pattern(_route.path), {}))[1][_route.method] = _route
    if _route.method == "GET":
        _BY_PATH[_route.path][1]["HEAD"] = _route


@functools.lru_cache(maxsize=4096)
def find_route(method: str, path: str) -> tuple[Route, str]:
    """The call, and its parameter; empty if it has none. Raises `Problem`: 404 or 405."""
    for pattern, methods in _BY_PATH.values():
        match = pattern.fullmatch(path)
        if match is None:
            continue
        if method not in methods:
            allowed = ", ".join(methods)
            raise Problem(
                405, f"{path} takes {allowed}, not {method}.", (b"allow", allowed.encode())
            )
        return methods[method], match[1] if pattern.groups else ""
    raise Problem(404, "There is no such path: see /openapi.json.")
