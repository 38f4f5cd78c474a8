"""Routes, and their description."""

from __future__ import annotations

import json
import re

import pytest

from zqueue.gateway.answering import Calls, load_openapi
from zqueue.gateway.problems import Problem
from zqueue.gateway.routes import ROUTES, find_route

DESCRIPTION = json.loads(load_openapi())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.call)
def test_each_is_found_by_its_path(route: object) -> None:
    assert isinstance(route, type(ROUTES[0]))
    value = {"queue": "q.1", "task": "a_b-c", "letter": "12", "id": "0" * 16 + "-" + "f" * 32}
    path = re.sub(r"{(\w+)}", lambda found: value[found[1]], route.path)
    found, name = find_route(route.method, path)
    assert found is route
    assert name == (value[re.findall(r"{(\w+)}", route.path)[0]] if "{" in route.path else "")
    assert callable(getattr(Calls, route.call))


@pytest.mark.parametrize(
    "path",
    ["", "/", "/v1", "/v1/queues/", "/v1/queues/a b", "/v1/queues/a/b", "/v1/queues/" + "a" * 129,
     "/v1/results/1", "/v1/dead-letters/x", "/v1/tasks/../queues", "/livez/", "/v2/queues"],
)  # fmt: skip
def test_what_is_not_there(path: str) -> None:
    with pytest.raises(Problem) as caught:
        find_route("GET", path)
    assert caught.value.status == 404


def test_another_method() -> None:
    with pytest.raises(Problem) as caught:
        find_route("PUT", "/v1/queues/a")
    assert caught.value.status == 405
    assert dict(caught.value.answer().headers)[b"allow"] == b"POST, GET, HEAD"


def test_they_are_described() -> None:
    described = {
        (what["operationId"], method.upper(), path)
        for path, methods in DESCRIPTION["paths"].items()
        for method, what in methods.items()
        if method != "parameters"
    }
    assert described == {(route.call, route.method, route.path) for route in ROUTES}


def test_what_is_open_is_described_so() -> None:
    for route in ROUTES:
        told = DESCRIPTION["paths"][route.path][route.method.lower()]
        assert (told.get("security") == []) is (route.role is None), route.call


def test_the_description_is_openapi() -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(DESCRIPTION)
    assert DESCRIPTION["openapi"].startswith("3.1")
