"""What the loop's seconds and stalls say again of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from streambench.clock import NS_PER_S
from streambench.loop_recount import (
    joined_again,
    lag_differences,
    lags_again,
    loop_again,
    loop_differences,
)
from streambench.packing import table_of
from streambench.records import COMPLETED, ItemRow

MS = 1_000_000
SECOND: dict[str, Any] = {
    'start_ns': 5 * NS_PER_S,
    'duration_s': 1.0,
    'ticks': 100,
    'wakeups': 70,
    'lag_p50_s': 0.001,
    'lag_p99_s': 0.002,
    'lag_max_s': 0.25,
    'stalls': 2,
    'stall_s': 0.3,
    'utilization': 0.5,
    'cpu_utilization': 0.2,
    'iterations': 1000,
}
LAST = SECOND | {
    'start_ns': 6 * NS_PER_S,
    'duration_s': 0.5,
    'ticks': 50,
    'wakeups': 50,
    'lag_max_s': 0.1,
    'stalls': 0,
    'stall_s': 0.0,
    'utilization': 0.8,
}


def stall(at_ms: int, *, length_s: float, items: int, culprit: str = '') -> dict[str, Any]:
    """Return the row of a stall that begins so long after the first second."""
    return {
        'start_ns': SECOND['start_ns'] + at_ms * MS,
        'duration_s': length_s,
        'low_s': length_s,
        'high_s': length_s,
        'cause': 'callback',
        'culprit': culprit,
        'items': items,
    }


STALLS = [stall(100, length_s=0.1, items=1), stall(500, length_s=0.2, items=2, culprit='a.py:1 f')]


def test_columns_by_hand() -> None:
    """Sums, maxima and means weighted by the length of each second."""
    assert loop_again([SECOND, LAST], STALLS) == {
        'loop_lag_n': 150,
        'loop_wakeups': 120,
        'loop_lag_max_s': 0.25,
        'loop_stalls': 2,
        'loop_cpu': pytest.approx(0.2),
        'loop_iterations': 2000,
        'loop_utilization': pytest.approx(0.6),
        'loop_noncpu': pytest.approx(0.4),
        'loop_stall_s': pytest.approx(0.3),
        'loop_stall_share': pytest.approx(0.2),
        'loop_culprit': 'callback: a.py:1 f',
    }
    assert loop_again([], []) == {}


def test_percentiles_of_the_lag_follow_from_its_histogram() -> None:
    """Nearest rank, the middle of its bucket, never above the largest lag."""
    lags = [
        {'low_ns': 256_000, 'high_ns': 258_000, 'ticks': 75},
        {'low_ns': 258_000, 'high_ns': 260_000, 'ticks': 74},
        {'low_ns': 250_000_000, 'high_ns': 251_000_000, 'ticks': 1},
    ]
    assert lags_again(lags, max_s=0.2502) == {
        'loop_lag_p50_s': pytest.approx(0.000257),
        'loop_lag_p99_s': pytest.approx(0.000259),
        'loop_lag_p99_9_s': 0.2502,
    }
    assert lags_again([], max_s=None) == {}
    assert list(lag_differences(0, [SECOND, LAST], lags)) == []
    found = lag_differences(0, [SECOND], [lags[1], lags[0], lags[2]])
    assert [(entry.column, entry.stored, entry.recomputed) for entry in found] == [
        ('ticks', 150, 100),
        ('low_ns', 256_000, 260_000),
    ]


def test_what_the_rows_do_not_determine_is_absent() -> None:
    """Idle time that nobody reads, a share at its end, stalls of which not all were kept."""
    unread = SECOND | {'utilization': None, 'iterations': None}
    found = loop_again([unread], STALLS)
    assert (found['loop_utilization'], found['loop_noncpu'], found['loop_iterations']) == (None,) * 3
    assert 'loop_utilization' not in loop_again([SECOND | {'utilization': 1.0}], STALLS)
    assert not {'loop_stall_s', 'loop_stall_share', 'loop_culprit'} & {
        *loop_again([SECOND], STALLS[:1])
    }


def test_items_are_laid_beside_the_stalls(tmp_path: Path) -> None:
    """How many were under way during each, and what that says of the slow ones."""
    part = tmp_path / 'part-0000.parquet'
    begin = SECOND['start_ns']
    items = [
        ItemRow(
            run=0,
            sequence=number,
            status=COMPLETED,
            intended_ns=begin + at_ms * MS,
            complete_ns=begin + (at_ms + length_ms) * MS,
        )
        for number, (at_ms, length_ms) in enumerate(
            [(0, 50), (90, 20), (480, 230), (690, 20), (800, 9)]
        )
    ]
    pyarrow.parquet.write_table(table_of(items, ItemRow), part)
    columns, joined = joined_again([part], {'run': 0, 'sojourn_p99_s': 0.1}, STALLS)
    assert joined is not None
    assert joined.under_way == (1, 2)
    assert columns['slow_in_stalls'] == 1.0
    assert columns['loop_answer'].startswith('undecided: 1 of 1 items above p99')
    # What was due before the window made no p99, and was under way all the same.
    row, since_ns = {'run': 0, 'sojourn_p99_s': 0.1}, begin + 500 * MS
    columns, late = joined_again([part], row, STALLS, since_ns=since_ns)
    assert late is not None
    assert (late.under_way, late.slow, late.share) == ((1, 2), 0, 0.5)
    assert columns == {'loop_answer': '', 'slow_in_stalls': None}
    assert list(loop_differences(0, [SECOND, LAST], STALLS, joined)) == []
    wrong = [STALLS[0] | {'items': 3, 'low_s': 1.0}, STALLS[1]]
    found = loop_differences(0, [LAST, SECOND], wrong, joined)
    assert [(entry.file, entry.column) for entry in found] == [
        ('loop', 'start_ns'),
        ('loop', 'duration_s'),
        ('stalls', 'low_s'),
        ('stalls', 'items'),
    ]
