"""Payloads: cheap to make, and every kind of damage is seen."""

from __future__ import annotations

import pytest

from streambench.payload import STAMPS_BYTES, PayloadPool, faults


def found(data: bytes, pool: PayloadPool, sequence: int, *, full: bool = True) -> list[str]:
    """Return the faults of a payload that should be item `sequence`."""
    text = faults(
        data,
        sequence=sequence,
        size_bytes=pool.size_bytes,
        checksum=pool.checksum(sequence),
        full=full,
    )
    return text.split('; ') if text else []


@pytest.mark.parametrize('size', [0, 1, STAMPS_BYTES - 1, STAMPS_BYTES, 17, 1000, 100_000])
def test_whole_payloads_have_no_fault(size: int) -> None:
    """A payload of any length has that length and passes its own check."""
    pool = PayloadPool(size)
    for sequence in range(40):
        data = pool.whole(sequence)
        assert len(data) == size
        assert found(data, pool, sequence) == []


def test_damage_is_seen() -> None:
    """A flipped bit, a cut, and another item's payload are each told apart."""
    pool = PayloadPool(1000)
    data = bytearray(pool.whole(5))
    data[500] ^= 1
    assert found(bytes(data), pool, 5) == [f'CRC-32 differs from {pool.checksum(5):08x}']
    assert found(bytes(data), pool, 5, full=False) == []
    assert found(pool.whole(5)[:-1], pool, 5) == ['length 999 instead of 1000']
    assert found(pool.whole(6), pool, 5)[:2] == [
        'head stamp 6 instead of 5',
        'tail stamp 6 instead of 5',
    ]


def test_pieces_are_not_copied() -> None:
    """The body of an item is the pool's own object, not a copy."""
    pool = PayloadPool(100_000)
    assert pool.parts(0)[1] is pool.parts(len(pool._bodies))[1]
