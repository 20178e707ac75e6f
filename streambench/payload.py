"""The bytes of an item: how they are made cheaply and how a worker tells that they arrived whole.

Random bytes are dear to make, so a small pool of random bodies with known CRC-32 is made once and
every item is one of them with its sequence number stamped into head and tail. Imported by compute
tasks: standard library only.
"""

from __future__ import annotations

import os
import struct
import zlib

STAMP = struct.Struct('>Q')
STAMPS_BYTES = 2 * STAMP.size
POOL_BYTES = 32 * 1024 * 1024
POOL_BODIES = 16


class PayloadPool:
    """Random bodies of one size, stamped per item.

    Args:
        size_bytes: Length of every payload.
        bodies: Random bytes to choose from; made by `os.urandom` when absent.
    """

    def __init__(self, size_bytes: int, *, bodies: list[bytes] | None = None) -> None:
        self.size_bytes = size_bytes
        self.stamped = size_bytes >= STAMPS_BYTES
        length = size_bytes - STAMPS_BYTES if self.stamped else size_bytes
        if bodies is None:
            count = max(2, min(POOL_BODIES, POOL_BYTES // max(1, length)))
            bodies = [os.urandom(length) for _ in range(count)]
        self._bodies = bodies
        self._checksums = [zlib.crc32(body) for body in bodies]

    def checksum(self, sequence: int) -> int:
        """Return the CRC-32 of the body of item `sequence`, stamps not included."""
        return self._checksums[sequence % len(self._bodies)]

    def parts(self, sequence: int) -> tuple[bytes, ...]:
        """Return the payload of item `sequence` in pieces, none of them copied."""
        body = self._bodies[sequence % len(self._bodies)]
        if not self.stamped:
            return (body,)
        stamp = STAMP.pack(sequence)
        return (stamp, body, stamp)

    def whole(self, sequence: int) -> bytes:
        """Return the payload of item `sequence` as one piece."""
        return b''.join(self.parts(sequence))


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
