"""A broker's machine to publish to."""

from tests.broker.conftest import confirmed_, deliveries_, talk  # noqa: F401 - fixtures
