"""Tools that not everybody has."""

from __future__ import annotations

import pytest

from zqueue.bench.optional import find, need, need_program
from zqueue.errors import ConfigError


def test_what_is_there_is_found() -> None:
    import json

    assert find("json") is json
    assert need("json", "reading") is json
    assert need_program("sh", "running").endswith("sh")


def test_what_is_missing_is_said_with_how_to_get_it() -> None:
    assert find("no_such_module_of_anybody") is None
    with pytest.raises(ConfigError, match=r"--profile trace needs no_such_module.*extra 'bench'"):
        need("no_such_module", "--profile trace")
    with pytest.raises(ConfigError, match=r"needs no-such-program.*pip install"):
        need_program("no-such-program", "--profile cpu")
