"""The codec: the only place that knows msgpack.

Bodies are packed here by producers and unpacked here by workers. The broker uses only
`array_length`, `array_header` and `index_bodies`, none of which decodes a body.

``msgpack`` is the reference. Whole batches go through ``ormsgpack`` where it is installed, which
writes the same bytes and reads them to the same values in half the time. Whatever it refuses, the
reference gets to judge, so it decides what can be sent, and how errors read.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgpack

from ..errors import BodyError, BodyTooLarge, ProtocolError

fast: Any
try:
    import ormsgpack as fast
except ImportError:  # No wheel for this machine: slower, and otherwise the same.
    fast = None

BATCH_TASKS_MAX = 4096
"""Tasks in one batch. Past ~512 the cost of a message no longer shows in the cost of a task;
the rest is room for tiny bodies."""

FRAME_BYTES_MAX = 16 << 20
"""Bytes in one frame, ours and ZeroMQ's ``MAXMSGSIZE``. Kafka's default is 1 MiB, NATS' 1 MiB
(64 MiB at most), RabbitMQ's 16 MiB since 4.0."""

HEADER_BYTES_MAX = 16 << 10
"""Bytes in a message's first frame: numbers and names. The largest is a delivery of 64 batches,
each with a task name of up to 128 bytes."""

MAP_BYTES_MAX = 64 << 10
"""Bytes in the maps that describe a peer (`Hello`, `Report`)."""

MAP_DEPTH_MAX = 8
"""How deep such a map may nest: it is packed again when somebody asks."""


_pack_reference: Callable[[object], bytes] = msgpack.packb
_unpack_fast: Callable[[bytes], Any] = partial(msgpack.unpackb, strict_map_key=False)
_unpack_reference = _unpack_fast

PLAIN: int | None = None
pack_plain: Callable[[object, None, int | None], bytes]
"""``pack_plain(body, None, PLAIN)``: the shortest way from a body to bytes, for the loop that runs
for every task. Raises anything for whatever is not plain: then `pack` has the answer."""

if fast is not None:
    # What the reference would not carry, or would carry otherwise, is passed over to it.
    PLAIN = (
        fast.OPT_PASSTHROUGH_DATACLASS
        | fast.OPT_PASSTHROUGH_DATETIME
        | fast.OPT_PASSTHROUGH_ENUM
        | fast.OPT_PASSTHROUGH_SUBCLASS
        | fast.OPT_PASSTHROUGH_UUID
    )
    pack_plain = fast.packb
    _unpack_fast = fast.unpackb
else:

    def pack_plain(body: object, default: None, option: int | None) -> bytes:
        """The same, by the reference."""
        return _pack_reference(body)


def pack_body(body: object) -> bytes:
    """One body as bytes. Raises `BodyError`, or `BodyTooLarge`."""
    data = pack(body)
    if len(data) > FRAME_BYTES_MAX - 8:
        raise too_large(len(data))
    return data


def pack(value: object) -> bytes:
    """Any value as bytes. Raises `BodyError`."""
    try:
        return pack_plain(value, None, PLAIN)
    except Exception:
        try:
            return _pack_reference(value)
        except Exception as error:
            raise _why_not(value, error) from None


def _why_not(body: object, error: Exception) -> BodyError:
    if isinstance(error, ValueError) and "recursion" in str(error):
        return BodyError("the body nests too deep, or contains itself")
    if isinstance(error, OverflowError):
        return BodyError("the body holds an integer beyond 64 bits: send it as a string")
    text = str(error).removeprefix("can not serialize ").removesuffix(" object").strip("'")
    return BodyError(
        f"a {type(body).__name__} cannot be sent: {text} is not something msgpack carries "
        "(None, bool, int, float, str, bytes, list, tuple, dict)"
    )


def too_large(nbytes: int) -> BodyTooLarge:
    """The error for a body of so many bytes."""
    return BodyTooLarge(
        f"the body is {nbytes:,} bytes packed, over the limit of {FRAME_BYTES_MAX:,}: "
        "send a reference to the data instead"
    )


def unpack_bodies(frame: bytes) -> list[Any]:
    """The bodies of a frame. Raises `ProtocolError` (code ``malformed``)."""
    try:
        bodies = _unpack_fast(frame)
    except Exception:
        try:
            bodies = _unpack_reference(frame)
        except Exception as error:
            raise ProtocolError("malformed", f"the batch cannot be unpacked: {error}") from None
    if type(bodies) is not list:
        raise ProtocolError("malformed", "the batch is not an array")
    return bodies


def unpack_map(
    frame: bytes, *, nbytes_max: int = MAP_BYTES_MAX, depth_max: int = MAP_DEPTH_MAX
) -> dict[str, Any]:
    """The map in a frame that describes a peer. Raises `ProtocolError`."""
    if len(frame) > nbytes_max:
        raise ProtocolError("malformed", f"the map is over {nbytes_max} bytes")
    try:
        value = msgpack.unpackb(frame, max_array_len=4096, max_map_len=4096)
    except Exception as error:
        raise ProtocolError("malformed", f"the map cannot be unpacked: {error}") from None
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise ProtocolError("malformed", "not a map with text keys")
    if not _is_flat(value, depth_max):
        raise ProtocolError("malformed", f"the map nests deeper than {depth_max}")
    return value


def _is_flat(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return depth > 0 and all(_is_flat(item, depth - 1) for item in value)


def unpack_header(frame: bytes) -> list[Any]:
    """The array in a message's first frame. Raises `ProtocolError`."""
    if len(frame) > HEADER_BYTES_MAX:
        raise ProtocolError("malformed", f"the header is over {HEADER_BYTES_MAX} bytes")
    try:
        header = msgpack.unpackb(frame, max_array_len=2048, max_map_len=0, max_ext_len=0)
    except Exception as error:
        raise ProtocolError("malformed", f"the header cannot be unpacked: {error}") from None
    if type(header) is not list:
        raise ProtocolError("malformed", "the header is not an array")
    return header


def array_length(frame: bytes) -> int:
    """How many bodies a frame says it holds, read from its first bytes.

    Raises `ProtocolError`: not an array, empty, over `BATCH_TASKS_MAX`, or more bodies than
    bytes.
    """
    first = frame[0] if frame else 0
    if first & 0xF0 == 0x90:
        count, start = first & 0x0F, 1
    elif first == 0xDC:
        count, start = int.from_bytes(frame[1:3], "big"), 3
    elif first == 0xDD:
        count, start = int.from_bytes(frame[1:5], "big"), 5
    else:
        raise ProtocolError("malformed", "the batch is not a msgpack array")
    if count < 1:
        raise ProtocolError("malformed", "the batch is empty")
    if count > BATCH_TASKS_MAX:
        raise ProtocolError(
            "too-large", f"the batch has {count:,} tasks, over the limit of {BATCH_TASKS_MAX:,}"
        )
    if count > len(frame) - start:
        raise ProtocolError("malformed", "the batch has fewer bytes than bodies")
    return count


def array_header(count: int) -> bytes:
    """The first bytes of an array of so many, at most `BATCH_TASKS_MAX`."""
    if count < 16:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big")


def index_bodies(frame: bytes) -> Sequence[int]:
    """Where each body begins, and where the last one ends. Decodes nothing.

    Raises `ProtocolError` (code ``malformed``) if the frame is not one whole array.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(frame), 1))
    unpacker.feed(frame)
    skip, tell = unpacker.skip, unpacker.tell
    try:
        count = unpacker.read_array_header()
        offsets = array("L", [tell()])
        for _ in range(count):
            skip()
            offsets.append(tell())
    except Exception as error:
        raise ProtocolError("malformed", f"the batch cannot be split: {error}") from None
    if offsets[-1] != len(frame):
        raise ProtocolError("malformed", "the batch has bytes after its last body")
    return offsets
