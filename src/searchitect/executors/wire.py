"""Small plain messages over a socket: a length, then MessagePack.

MessagePack holds what JSON holds, and NaN and the infinities besides, bit for bit. Nothing that arrives
is ever more than data: this is how results come back from processes that ran a user's code.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

LONGEST = 64 << 20
_encode = msgspec.msgpack.Encoder(enc_hook=lambda value: _plain(value)).encode
_decode = msgspec.msgpack.Decoder().decode
_length = struct.Struct("!I")


def _plain(value: Any) -> Any:
    """A number of numpy or torch as Python's own; anything else is refused."""
    size = value.numel() if hasattr(value, "numel") else getattr(value, "size", None)
    if size == 1 and hasattr(value, "item"):
        return value.item()
    kind = type(value)
    raise TypeError(f"{kind.__module__}.{kind.__qualname__} is not plain data (numbers, text, lists, mappings)")


def pack(message: Any) -> bytes:
    """One message as bytes with its length in front. TypeError or ValueError when it is not small plain data."""
    body = _encode(message)
    if len(body) > LONGEST:
        raise ValueError(f"{len(body) >> 20} MB are too much: at most {LONGEST >> 20} MB of plain data")
    return _length.pack(len(body)) + body


def copied(value: Any) -> Any:
    """The value as it would arrive on the other side."""
    return _decode(_encode(value))


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """Add what was received; the messages that are complete now."""
        self._buffer += data
        while len(self._buffer) >= 4:
            (length,) = _length.unpack_from(self._buffer)
            if length > LONGEST:
                raise ValueError(f"a message of {length} bytes")
            if len(self._buffer) < 4 + length:
                return
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            yield _decode(body)


def receive(sock: socket.socket) -> bytes | None:
    """What has arrived, b"" when nothing has, None when the other side is gone. The socket does not block."""
    try:
        data = sock.recv(1 << 16)
    except (BlockingIOError, InterruptedError):
        return b""
    except OSError:
        return None
    return data or None
