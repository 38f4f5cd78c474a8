"""Room for what is held."""

from zqueue.gateway.room import Room


def test_room() -> None:
    room = Room(10)
    assert room.take(6)
    assert not room.take(5)
    assert room.held == 6
    assert room.take(4)
    room.give(10)
    assert repr(room) == "<Room: 0 of 10 bytes>"
