"""Rows that are packed as they end come back as they were."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streambench.packing import Packer, schema_of, table_of
from streambench.records import COMPLETED, FAILED, WARMUP, ItemRow, SeriesRow

WHOLE = ItemRow(
    run=3,
    sequence=7,
    phase=WARMUP,
    status=COMPLETED,
    size_bytes=1 << 40,
    intended_ns=-5,
    put_start_ns=1,
    put_done_ns=2,
    send_ns=3,
    ack_ns=4,
    receive_ns=5,
    submit_ns=6,
    start_ns=7,
    resolved_ns=8,
    verified_ns=9,
    end_ns=10,
    complete_ns=(1 << 62) + 1,
    in_window=True,
    worker_host='a host',
    worker_clock='boot:1',
    worker_pid=11,
    worker_thread=12,
)


@pytest.mark.parametrize(
    'rows',
    [
        [WHOLE],
        [WHOLE, replace(WHOLE, sequence=8, worker_host='n2', worker_thread=13)],
        [ItemRow(), WHOLE, replace(WHOLE, status=FAILED, error='"é, ', fault='x', reordered=True)],
        [replace(WHOLE, sequence=n, ack_ns=None if n % 3 else n) for n in range(1000)],
    ],
)
def test_rows_come_back_as_they_were(rows: list[ItemRow]) -> None:
    """With and without gaps, and whatever was packed before."""
    packer = Packer(ItemRow)
    for before in ([], [ItemRow(error='of another time')] * 3):
        for row in before:
            packer.add(row)
        if before:
            packer.take()
        for row in rows:
            packer.add(row)
        assert packer.count == len(rows)
        packed = packer.take()
        assert packer.count == 0
        found = packer.table(packed)
        assert found.schema.equals(schema_of(ItemRow), check_metadata=True)
        assert found.to_pylist() == table_of(rows, ItemRow).to_pylist()


def test_what_is_no_number_is_refused() -> None:
    """A value of the wrong kind is an error, no word that means something else."""
    with pytest.raises(Exception, match='integer'):
        Packer(ItemRow).add(replace(WHOLE, ack_ns=0.5))  # type: ignore[arg-type]


def test_a_column_that_can_not_be_packed_is_noticed() -> None:
    """Whoever adds one to the schema learns it at once."""
    with pytest.raises(AssertionError, match='not packed: backpressure_s'):
        Packer(SeriesRow)
