"""The broker's store, as its loop drives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zqueue.broker import storing
from zqueue.broker.machine import BrokerProtocol
from zqueue.broker.storing import Storing
from zqueue.config import Limits
from zqueue.core.batch import Published
from zqueue.store.segment_store import SegmentStore
from zqueue.wire.codec import pack


class SlowStore(SegmentStore):
    """While it is told to be slow, no commit ends."""

    is_slow = False
    asked = 0
    """How often it was asked whether a commit has ended."""

    @property
    def busy(self) -> bool:
        return self.is_slow or super().busy

    def end(self) -> int:
        self.asked += 1
        return super().end()


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    """A store, how it is driven, and a broker that has a task to store."""
    store = SlowStore(str(tmp_path / "data"), segment_bytes=1 << 20)
    driver = Storing(store, "disk", store.path)
    broker = BrokerProtocol(driver.id, Limits(), first_lease=1, journal=driver.journal)
    broker.set_wall(0.0, 0.0)
    driver.recover(broker, 0.0)
    _put(driver)
    yield store, driver, broker
    store.is_slow = False
    driver.close()


def _put(driver: Storing) -> None:
    driver.journal.put(Published("work", "work", pack([[1]]), 1), 0)


def test_a_broker_that_ends_waits_once_for_a_disk_that_does_not_answer(
    kept: Any, monkeypatch: Any, caplog: Any
) -> None:
    store, driver, broker = kept
    monkeypatch.setattr(storing, "FINISH_S", 0.05)
    store.is_slow = True
    driver.finish(broker)
    asked = store.asked
    driver.finish(broker)
    assert store.asked == asked, "it waits for it again"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert broker.has_to_store()


def test_what_changes_after_all_was_stored_is_stored_too(kept: Any, caplog: Any) -> None:
    _, driver, broker = kept
    driver.finish(broker)
    _put(driver)
    assert broker.has_to_store()
    driver.finish(broker)
    assert not broker.has_to_store()
    assert not caplog.records
