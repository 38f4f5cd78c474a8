"""Shards: where each is, and when one that ended is started again."""

from __future__ import annotations

import pytest

from zqueue.core.backoff import Backoff
from zqueue.errors import ConfigError
from zqueue.shards import LIVED_S, RESTART_HIGH_S, RESTART_LOW_S, Keeper, plan


def keeper(count: int = 2) -> Keeper:
    made = Keeper(
        count,
        [Backoff(lambda: 0.5, low_s=RESTART_LOW_S, high_s=RESTART_HIGH_S) for _ in range(count)],
    )
    assert made.to_start(0.0) == list(range(count))
    return made


class TestPlan:
    def test_ports_follow_one_another(self) -> None:
        shards = plan("tcp://127.0.0.1:5555", 3)
        assert [shard.number for shard in shards] == [1, 2, 3]
        assert [shard.url for shard in shards] == [f"tcp://127.0.0.1:{5555 + n}" for n in range(3)]
        assert shards[1].options == ("--bind", "tcp://127.0.0.1:5556", "--shards", "1")

    def test_so_do_paths_and_data_dirs(self) -> None:
        first, second = plan("ipc:///run/zqueue", 2, "/var/lib/zqueue")
        assert (first.url, second.url) == ("ipc:///run/zqueue-1", "ipc:///run/zqueue-2")
        assert second.options[-2:] == ("--data-dir", "/var/lib/zqueue/shard-2")

    def test_an_ipv6_address_keeps_its_brackets(self) -> None:
        assert plan("tcp://[::1]:5555", 2)[1].url == "tcp://[::1]:5556"

    @pytest.mark.parametrize("port", ["*", "65535"])
    def test_there_must_be_such_ports(self, port: str) -> None:
        with pytest.raises(ConfigError, match="--shards 2"):
            plan(f"tcp://127.0.0.1:{port}", 2)


class TestKeeper:
    def test_all_are_started_and_nothing_is_to_be_done(self) -> None:
        assert keeper().wait_s(1.0) is None

    @pytest.mark.parametrize("code", [-9, 0, 1])
    def test_one_that_ended_is_started_again_after_a_pause(self, code: int) -> None:
        two = keeper()
        two.ended(1, code, 5.0)
        assert two.to_start(5.0) == []
        wait_s = two.wait_s(5.0)
        assert wait_s is not None
        assert 0 < wait_s <= RESTART_HIGH_S
        assert two.to_start(5.0 + wait_s) == [1]
        assert two.code is None

    def test_the_pause_grows_unless_it_lived_for_a_while(self) -> None:
        two = keeper()
        pauses, now = [], 0.0
        for lived_s in (1.0, 1.0, LIVED_S):
            now += lived_s
            two.ended(0, 1, now)
            pauses.append(two.wait_s(now) or 0.0)
            now += pauses[-1]
            assert two.to_start(now) == [0]
        assert pauses[0] < pauses[1] > pauses[2]

    def test_one_that_cannot_run_ends_all(self) -> None:
        two = keeper()
        two.ended(1, 4, 5.0)
        assert two.code == 4
        assert two.to_start(9.0) == []
