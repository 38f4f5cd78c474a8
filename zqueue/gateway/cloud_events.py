"""CloudEvents 1.0.2, as far as they are accepted: each becomes one body, an object.

`HTTP binding <https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents/bindings>`_:
attributes are headers ``ce-…`` and the body is the data, in structured mode the event is one JSON
object, in batched mode there is an array of them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from ..http.asgi import Scope, header
from .problems import Problem

REQUIRED = ("specversion", "id", "source", "type")


def is_binary_event(given: Mapping[bytes, bytes]) -> bool:
    """Whether a request is an event in binary mode, by its headers."""
    return b"ce-specversion" in given


def binary_event(scope: Scope, data: bytes, value: Any) -> dict[str, Any]:
    """The event of a request in binary mode. ``value`` is its data if that is JSON, else None.

    Raises `Problem`: 400.
    """
    event: dict[str, Any] = {
        key[3:].decode("latin-1"): unquote(text.decode("latin-1"))
        for key, text in scope["headers"] if key.startswith(b"ce-")
    }  # fmt: skip
    if kind := header(scope, b"content-type"):
        event["datacontenttype"] = kind
    if value is not None:
        event["data"] = value
    elif data:
        event["data_base64"] = base64.b64encode(data).decode()
    return check_event(event)


def check_event(event: Any, where: str = "The event") -> dict[str, Any]:
    """An event that has what each must have. Raises `Problem`: 400."""
    if type(event) is not dict:
        raise Problem(400, f"{where} is not an object.")
    for name in REQUIRED:
        if type(event.get(name)) is not str or not event[name]:
            raise Problem(400, f"{where} has no {name!r}, which is a text that is not empty.")
    if event["specversion"] != "1.0":
        raise Problem(400, f"{where} is of another version than 1.0.")
    return event


def check_events(events: Any) -> list[dict[str, Any]]:
    """A batch of events. Raises `Problem`: 400."""
    if type(events) is not list:
        raise Problem(400, "A batch of events is an array.")
    return [check_event(event, f"Event {i} of the batch") for i, event in enumerate(events)]
