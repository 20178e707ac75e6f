"""The bytes of an item: how they are made cheaply and how a worker tells that they arrived whole.

Random bytes are dear to make, so a small pool of random bodies with known CRC-32 is made once and
every item is one of them with its sequence number stamped into head and tail. Imported by compute
tasks: standard library only.
"""

from __future__ import annotations

import os
import struct
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STAMP = struct.Struct('>Q')
STAMPS_BYTES = 2 * STAMP.size
POOL_BYTES = 32 * 1024 * 1024
POOL_BODIES = 16
CHUNK_BYTES = 4096


class PayloadPool:
    """Random bodies of one size, stamped per item; an item may have the head of one.

    The CRC-32 of each body's first 4 KiB, 8 KiB, … is noted, so that of a head costs at most 4 KiB of
    reading, whatever its length.

    Args:
        size_bytes: Length of every payload, or of the longest.
        bodies: Random bytes to choose from; made by `os.urandom` when absent.
        heads: Whether shorter payloads will be asked for.
    """

    def __init__(
        self, size_bytes: int, *, bodies: list[bytes] | None = None, heads: bool = False
    ) -> None:
        self.size_bytes = size_bytes
        self.stamped = size_bytes >= STAMPS_BYTES
        length = _body_bytes(size_bytes)
        if heads:
            # The longest payload without stamps may have more body than the longest of all.
            length = max(length, min(size_bytes, STAMPS_BYTES - 1))
        if bodies is None:
            count = max(2, min(POOL_BODIES, POOL_BYTES // max(1, length)))
            bodies = [os.urandom(length) for _ in range(count)]
        self._bodies = bodies
        self._checksums = [zlib.crc32(body) for body in bodies]
        self._noted = [_noted(body) for body in bodies] if heads else []

    def checksum(self, sequence: int, size_bytes: int | None = None) -> int:
        """Return the CRC-32 of the body of item `sequence`, stamps not included.

        Args:
            sequence: Number of the item.
            size_bytes: Length of its payload, if the pool was made for `heads`.
        """
        number = sequence % len(self._bodies)
        if not self._noted:
            return self._checksums[number]
        size_bytes = self.size_bytes if size_bytes is None else size_bytes
        chunks, _ = divmod(_body_bytes(size_bytes), CHUNK_BYTES)
        rest = self._head(number, size_bytes)[chunks * CHUNK_BYTES :]
        return zlib.crc32(rest, self._noted[number][chunks])

    def _head(self, number: int, size_bytes: int) -> memoryview:
        return memoryview(self._bodies[number])[: _body_bytes(size_bytes)]

    def parts(self, sequence: int, size_bytes: int | None = None) -> tuple[bytes, ...]:
        """Return the payload of item `sequence` in pieces, none of them copied.

        Args:
            sequence: Number of the item.
            size_bytes: Length of its payload, if the pool was made for `heads`.
        """
        number = sequence % len(self._bodies)
        body: Any = self._bodies[number]
        stamped = self.stamped
        if self._noted:
            size_bytes = self.size_bytes if size_bytes is None else size_bytes
            # Whoever sends pieces takes any buffer.
            body = self._head(number, size_bytes)
            stamped = size_bytes >= STAMPS_BYTES
        if not stamped:
            return (body,)
        stamp = STAMP.pack(sequence)
        return (stamp, body, stamp)

    def whole(self, sequence: int, size_bytes: int | None = None) -> bytes:
        """Return the payload of item `sequence` as one piece."""
        return b''.join(self.parts(sequence, size_bytes))


def _body_bytes(size_bytes: int) -> int:
    """Return how much of a payload is its body."""
    return size_bytes - STAMPS_BYTES if size_bytes >= STAMPS_BYTES else size_bytes


def _noted(body: bytes) -> list[int]:
    """Return the CRC-32 of no chunk of a body, of its first, of its first two, and so on."""
    view = memoryview(body)
    found = [0]
    for begin in range(0, len(body) - CHUNK_BYTES + 1, CHUNK_BYTES):
        found.append(zlib.crc32(view[begin : begin + CHUNK_BYTES], found[-1]))
    return found


def faults(
    data: bytes | memoryview, *, sequence: int, size_bytes: int, checksum: int, full: bool
) -> str:
    """Return what is wrong with a payload that arrived, or an empty text.

    Args:
        data: The payload.
        sequence: Number of the item that it should belong to.
        size_bytes: Length that it should have.
        checksum: CRC-32 that its body should have.
        full: Whether the body is read too, or only length and stamps.
    """
    if len(data) != size_bytes:
        return f'length {len(data)} instead of {size_bytes}'
    body = data
    found = []
    if size_bytes >= STAMPS_BYTES:
        for place, offset in (('head', 0), ('tail', size_bytes - STAMP.size)):
            (stamp,) = STAMP.unpack_from(data, offset)
            if stamp != sequence:
                found.append(f'{place} stamp {stamp} instead of {sequence}')
        if full:
            body = memoryview(data)[STAMP.size : -STAMP.size]
    if full and zlib.crc32(body) != checksum:
        found.append(f'CRC-32 differs from {checksum:08x}')
    return '; '.join(found)
