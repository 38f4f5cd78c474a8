"""CloudEvents: what is one."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from zqueue.gateway.cloud_events import binary_event, check_event, check_events, is_binary_event
from zqueue.gateway.problems import Problem

EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "sold"}


def scope(**headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"headers": [(name.encode(), value.encode()) for name, value in named.items()]}


ATTRIBUTES = {f"ce_{name}": value for name, value in EVENT.items()}


def test_binary_mode() -> None:
    asked = scope(content_type="application/json", ce_subject="Z%C3%BCrich%20%22x%22", **ATTRIBUTES)
    assert is_binary_event(dict(asked["headers"]))
    assert binary_event(asked, b'{"a":1}', {"a": 1}) == {
        **EVENT, "subject": 'Zürich "x"', "datacontenttype": "application/json", "data": {"a": 1},
    }  # fmt: skip
    assert not is_binary_event(dict(scope(content_type="application/json")["headers"]))


def test_data_that_is_not_json() -> None:
    event = binary_event(scope(content_type="image/png", **ATTRIBUTES), b"\x89PNG", None)
    assert base64.b64decode(event["data_base64"]) == b"\x89PNG"
    assert "data" not in event
    assert "data_base64" not in binary_event(scope(**ATTRIBUTES), b"", None)


@pytest.mark.parametrize("name", EVENT)
def test_each_has_what_it_must_have(name: str) -> None:
    for wrong in ("", 3, None):
        with pytest.raises(Problem, match=f"Event 1 of the batch has no '{name}'"):
            check_events([EVENT, {**EVENT, name: wrong}])
    with pytest.raises(Problem, match="another version"):
        check_event({**EVENT, "specversion": "0.3"})
    assert check_events([EVENT, EVENT]) == [EVENT, EVENT]


@pytest.mark.parametrize("wrong", [[3], {}, 3, None, [[]]])
def test_what_is_no_batch(wrong: Any) -> None:
    with pytest.raises(Problem):
        check_events(wrong)
