"""Permissions: the table, and that the machine keeps to it for every role and kind."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest

from zqueue.broker.permissions import KNOWN, PERMISSIONS, STRANGER, permits
from zqueue.wire.messages import KINDS, UNKNOWN_PEER, WRONG_ROLE, Refuse

FROM_A_BROKER = {"Welcome", "Refuse", "Known", "Confirm", "Result", "Deliver", "Stop", "Tell"}


def sample(kind: type[Any]) -> Any:
    some = {int: 1, str: "x", bytes: b"x"}
    return kind(*(some.get(hint, []) for hint in get_type_hints(kind).values()))


def test_every_kind_is_either_listed_or_a_brokers_own() -> None:
    assert {kind.__name__ for kind in KINDS.values()} == FROM_A_BROKER | {
        kind.__name__ for kind in PERMISSIONS
    }
    assert not FROM_A_BROKER & {kind.__name__ for kind in PERMISSIONS}


def test_strangers_may_greet_ask_control_and_cancel() -> None:
    open_to_all = {kind.__name__ for kind in PERMISSIONS if permits(kind, STRANGER)}
    assert open_to_all == {"Hello", "Ask", "Cancel", "Control"}


@pytest.mark.parametrize("role", sorted(KNOWN | {STRANGER}))
@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)
def test_what_is_not_listed_is_refused(talk: Any, role: str, kind: type[Any]) -> None:
    t = talk()
    if role != STRANGER:
        t.hello(role, b"x", queues=["q"])
        t.hear()
    heard = t.say(b"x", sample(kind), b"\x80")
    codes = {m.code for m in heard if isinstance(m, Refuse)} & {UNKNOWN_PEER, WRONG_ROLE}
    if permits(kind, role):
        assert not codes
    else:
        assert codes == {UNKNOWN_PEER if role == STRANGER else WRONG_ROLE}
