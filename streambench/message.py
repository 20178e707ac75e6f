"""The frame that a broker carries for an item: a versioned header of plain data, then bytes.

Nothing is ever pickled or unpickled here. A frame whose magic, version or run differs is foreign: it
is counted and ignored. Imported by compute tasks: standard library only.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b'SBN\x00'
VERSION = 1
KIND_PAYLOAD = 0
KIND_KEY = 1
FLAG_WARMUP = 1

# magic, version, kind, flags, run, sequence, size, checksum, intended, put_start, put_done, send
_HEADER = struct.Struct('>4sBBHQQQIqqqq')
HEADER_BYTES = _HEADER.size


class Message:
    """One item as the broker carries it.

    Attributes:
        run: Number drawn for the run; tells its messages from others on the topic.
        sequence: Number of the item, from 0; warm-up items count on their own.
        warmup: Whether the item belongs to the warm-up.
        kind: `KIND_PAYLOAD` or `KIND_KEY`.
        size_bytes: Length of the item's payload, wherever that travels.
        checksum: CRC-32 of the payload's body.
        intended_ns: When the schedule wanted the item to leave.
        put_start_ns: When the payload began to go into the store, or to be sent.
        put_done_ns: When the store had it; the same instant as `send_ns`.
        send_ns: When the message was handed to the broker's client.
        frame: The whole frame as received; empty on the sending side.
    """

    __slots__ = (
        'checksum',
        'frame',
        'intended_ns',
        'kind',
        'put_done_ns',
        'put_start_ns',
        'run',
        'send_ns',
        'sequence',
        'size_bytes',
        'warmup',
    )

    def __init__(
        self,
        *,
        run: int,
        sequence: int,
        warmup: bool,
        kind: int,
        size_bytes: int,
        checksum: int,
        intended_ns: int,
        put_start_ns: int,
        put_done_ns: int,
        send_ns: int,
        frame: bytes = b'',
    ) -> None:
        self.run = run
        self.sequence = sequence
        self.warmup = warmup
        self.kind = kind
        self.size_bytes = size_bytes
        self.checksum = checksum
        self.intended_ns = intended_ns
        self.put_start_ns = put_start_ns
        self.put_done_ns = put_done_ns
        self.send_ns = send_ns
        self.frame = frame

    def header(self) -> bytes:
        """Return the encoded header."""
        return _HEADER.pack(
            MAGIC,
            VERSION,
            self.kind,
            FLAG_WARMUP if self.warmup else 0,
            self.run,
            self.sequence,
            self.size_bytes,
            self.checksum,
            self.intended_ns,
            self.put_start_ns,
            self.put_done_ns,
            self.send_ns,
        )

    def body(self) -> memoryview:
        """Return what follows the header in a received frame."""
        return memoryview(self.frame)[HEADER_BYTES:]


def decode(frame: bytes, *, run: int) -> Message | None:
    """Read a frame, or return None if it is foreign.

    Args:
        frame: What the broker delivered.
        run: Number of the run whose messages are wanted.
    """
    if len(frame) < HEADER_BYTES:
        return None
    (
        magic,
        version,
        kind,
        flags,
        of_run,
        sequence,
        size_bytes,
        checksum,
        intended_ns,
        put_start_ns,
        put_done_ns,
        send_ns,
    ) = _HEADER.unpack_from(frame)
    if magic != MAGIC or version != VERSION or of_run != run or kind not in (0, 1):
        return None
    return Message(
        run=of_run,
        sequence=sequence,
        warmup=bool(flags & FLAG_WARMUP),
        kind=kind,
        size_bytes=size_bytes,
        checksum=checksum,
        intended_ns=intended_ns,
        put_start_ns=put_start_ns,
        put_done_ns=put_done_ns,
        send_ns=send_ns,
        frame=frame,
    )


def frame_bytes(parts: Sequence[bytes]) -> int:
    """Return the length of a frame given in pieces."""
    return sum(map(len, parts))
