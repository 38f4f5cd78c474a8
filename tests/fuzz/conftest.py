"""Real processes, as in `tests.system`."""

from tests.system.conftest import (  # noqa: F401 - fixtures
    _clean_environment,
    load,
    processes,
    produce,
    pytest_runtest_makereport,
    record,
    run,
    start_broker,
    workers,
)
