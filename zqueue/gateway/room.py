"""Room: how much of what clients send is held at a time."""

from __future__ import annotations


class Room:
    """Counts bytes that are held, for all clients together and for each of them."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.held = 0

    def __repr__(self) -> str:
        return f"<Room: {self.held} of {self.bytes_max} bytes>"

    def take(self, nbytes: int) -> bool:
        """Hold so many more. False, and nothing is held, if there is no room."""
        if self.held + nbytes > self.bytes_max:
            return False
        self.held += nbytes
        return True

    def give(self, nbytes: int) -> None:
        """They are held no more."""
        self.held -= nbytes
