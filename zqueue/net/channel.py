"""A channel: whole messages into and out of one socket, without ever waiting.

pyzmq makes, configures and closes sockets. What runs for every message calls the libzmq that pyzmq
has loaded directly, where this module is compiled (`DIRECT`): receiving a message of three frames
took 3.1 µs by pyzmq and takes 0.4, and far more where it is not in the caches. Interpreted, or
should that library's functions not be found, pyzmq's calls do the same.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

import zmq
from zmq.backend import Socket

if TYPE_CHECKING:
    from .. import _cython as cython
else:
    try:
        import cython
    except ImportError:
        from .. import _cython as cython


class Channel:
    """The messages of one socket. It owns the socket: `close` it here.

    A message of more than ``frames_max`` frames is received cut to that many and one more, so that
    whoever checks the number refuses it; the rest is thrown away as it is read.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], frames_max: int, *, asks_user: bool = False
    ) -> None:
        self.socket = socket
        self.user = ""
        """Whom ZAP named at the connection of the last message; only if ``asks_user``."""
        self._asks_user = asks_user
        self._frames_max = frames_max
        if cython.compiled:
            self._handle = cython.cast(cython.p_void, cython.cast(cython.size_t, socket.underlying))

    def send(self, frames: list[bytes]) -> bool:
        """Send a message. False if there is no room for it now.

        Raises `zmq.ZMQError` (EHOSTUNREACH) if a ROUTER's peer is gone.
        """
        if cython.compiled and _is_direct:
            return _send_direct(self, frames)
        return _send(self.socket, frames)

    def receive(self) -> list[bytes] | None:
        """The next message, or None if there is none now."""
        if cython.compiled and _is_direct:
            return _receive_direct(self)
        return _receive(self)

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket. What was not sent after so many milliseconds is dropped."""
        if cython.compiled:
            self._handle = cython.NULL
        self.socket.close(linger_ms)


# --- with pyzmq ---

# Its wrappers of wrappers cost as much as the calls (2.5 µs instead of 0.35 for a message of two
# frames), and an enum for a flag is converted anew each time.
_socket_send = Socket.send
_socket_recv = Socket.recv
_socket_get = Socket.get
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


def _send(socket: zmq.Socket[bytes], frames: list[bytes]) -> bool:
    try:
        for frame in frames[:-1]:
            _socket_send(socket, frame, _MORE)
        _socket_send(socket, frames[-1], _NOBLOCK)
    except zmq.Again:
        return False
    return True


def _receive(channel: Channel) -> list[bytes] | None:
    socket, frames_max = channel.socket, channel._frames_max
    # Asking first is cheap; an exception costs as much as all else that a lone message causes,
    # and takes the processor from whoever waits for that message.
    if not int(_socket_get(socket, _EVENTS)) & _POLLIN:
        return None
    frame: zmq.Frame = _socket_recv(socket, _NOBLOCK, False)
    frames = [frame.bytes]
    if channel._asks_user:
        channel.user = _user_of(frame)
    while frame.more:
        frame = _socket_recv(socket, _NOBLOCK, False)
        if len(frames) <= frames_max:
            frames.append(frame.bytes)
    return frames


def _user_of(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""  # The connection was not authenticated.


# --- with libzmq itself ---

_FUNCTIONS = (
    "zmq_msg_init", "zmq_msg_init_size", "zmq_msg_data", "zmq_msg_size", "zmq_msg_more",
    "zmq_msg_close", "zmq_msg_send", "zmq_msg_recv", "zmq_errno", "zmq_msg_gets",
)  # fmt: skip


def _addresses() -> list[int]:
    """Where the functions are, in the library that pyzmq's own module is linked to."""
    library = ctypes.CDLL(sys.modules[Socket.__module__].__file__)
    found = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in _FUNCTIONS]
    return [address or 0 for address in found]


if cython.compiled:

    def _send_direct(channel, frames):
        if channel._handle == cython.NULL:
            raise zmq.ZMQError(zmq.ENOTSOCK)
        part = cython.address(message)
        last = len(frames) - 1
        for i in range(last + 1):
            frame = frames[i]
            size = len(frame)
            if zmq_msg_init_size(part, size):
                raise MemoryError
            memcpy(zmq_msg_data(part), PyBytes_AS_STRING(frame), size)
            while zmq_msg_send(part, channel._handle, _NOBLOCK if i == last else _MORE) < 0:
                code = zmq_errno()
                if code == EINTR:
                    continue
                zmq_msg_close(part)
                if code == EAGAIN:
                    return False
                raise zmq.ZMQError(code)
        return True

    def _receive_direct(channel):
        if channel._handle == cython.NULL:
            raise zmq.ZMQError(zmq.ENOTSOCK)
        part = cython.address(message)
        zmq_msg_init(part)
        if not _next_part(channel, part):
            return None
        frames = [_taken(part)]
        if channel._asks_user:
            user = zmq_msg_gets(part, b"User-Id")
            channel.user = "" if user == cython.NULL else PyUnicode_FromString(user)
        while zmq_msg_more(part):
            if not _next_part(channel, part):
                raise zmq.ZMQError(zmq.EAGAIN)  # It never is: all parts come, or none.
            if len(frames) <= channel._frames_max:
                frames.append(_taken(part))
        zmq_msg_close(part)
        return frames

    def _next_part(channel, part):
        """Receive into a part. False, and the part is closed, if there is nothing."""
        while zmq_msg_recv(part, channel._handle, _NOBLOCK) < 0:
            code = zmq_errno()
            if code == EINTR:
                continue
            zmq_msg_close(part)
            if code == EAGAIN:
                return False
            raise zmq.ZMQError(code)
        return True

    def _taken(part):
        """A copy of a part."""
        data = cython.cast(cython.p_char, zmq_msg_data(part))
        return PyBytes_FromStringAndSize(data, zmq_msg_size(part))

    try:
        for i, address in enumerate(_addresses()):
            functions[i] = cython.cast(cython.p_void, cython.cast(cython.size_t, address))
        _is_direct = True
    except (AttributeError, KeyError, OSError, TypeError):
        _is_direct = False

else:
    _is_direct = False

DIRECT: bool = _is_direct
"""Whether libzmq is called directly."""
