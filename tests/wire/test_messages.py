"""What every peer out there relies on."""

from zqueue.wire.messages import KINDS, TRY_AGAIN


def test_kinds_on_the_wire_never_change() -> None:
    assert {kind: cls.__name__ for kind, cls in KINDS.items()} == {
        1: "Hello", 2: "Welcome", 3: "Refuse", 4: "Heartbeat", 5: "Goodbye",
        10: "Publish", 11: "Confirm", 12: "Result", 13: "Await",
        14: "Cancel", 15: "Known", 16: "Withdraw",
        20: "Credit", 21: "Deliver", 22: "Settle", 23: "Departed",
        24: "Progress", 25: "Stop", 30: "Ask", 31: "Tell", 32: "Report", 33: "Control",
    }  # fmt: skip


def test_only_these_refusals_mean_to_try_again() -> None:
    assert {"full", "draining"} == TRY_AGAIN
