"""Clocks of other hosts over a run: their drift is taken off, and how sure that is stands beside."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from streambench.clock import NS_PER_S, clock_domain
from streambench.other_clocks import bound_s, other_clocks
from streambench.packing import schema_of
from streambench.records import COMPLETED, MEASURE, ItemRow, column_names
from streambench.run_row import BLANK, determined

MS = 1_000_000
S = 1_000_000_000
OUT_MS, BACK_MS = 3.0, 2.0
ELSEWHERE = 'elsewhere'
# Offset at the first item, and drift.
Clocks = dict[str, tuple[int, float]]


def items(
    directory: Path, clocks: Clocks, *, length_s: float, n: int = 400, growth_ms: float = 0.0
) -> list[Path]:
    """Seal items of workers that take turns, each stamped by its own clock; dispatch may grow."""
    draw = random.Random(3)
    domains = list(clocks)
    rows = []
    for number in range(n):
        domain = domains[number % len(domains)]
        ahead, ppm = clocks[domain]
        submit = S + round(number * length_s / n * NS_PER_S)

        def stamped(instant: float, ahead: int = ahead, ppm: float = ppm) -> int:
            return round(instant + ahead + (instant - S) * ppm * 1e-6)

        start = submit + (OUT_MS + draw.expovariate(1) + growth_ms * number / n) * MS
        end = start + 5 * MS
        item = ItemRow(
            sequence=number,
            phase=MEASURE,
            status=COMPLETED,
            intended_ns=submit,
            put_start_ns=submit,
            put_done_ns=submit,
            send_ns=submit,
            receive_ns=submit,
            submit_ns=submit,
            start_ns=stamped(start),
            resolved_ns=stamped(start),
            verified_ns=stamped(start),
            end_ns=stamped(end),
            complete_ns=round(end + (BACK_MS + draw.expovariate(1)) * MS),
            worker_clock=domain,
        )
        rows.append({name: getattr(item, name) for name in column_names(ItemRow)})
    path = directory / 'part-0000.parquet'
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema_of(ItemRow)), path)
    return [path]


def figures(parts: list[Path], shift_bound_s: float | None) -> dict[str, Any]:
    """Return what the items determine."""
    asked = BLANK | {'compute_workers': 2, 'clock_shift_bound_s': shift_bound_s}
    return determined(parts, asked)[0]


def test_drift_is_taken_off(tmp_path: Path) -> None:
    """20 ppm over ten minutes are 12 ms: dispatch and return are what they were, and their sum is."""
    steady = figures(items(tmp_path, {clock_domain(): (0, 0.0)}, length_s=600), None)
    parts = items(tmp_path, {ELSEWHERE: (0, 20.0), 'third': (0, -35.0)}, length_s=600)
    found = figures(parts, 0.001)
    assert found['clock_bound_s'] < 0.007
    for stage in ('dispatch', 'return'):
        for name in ('mean', 'p50', 'p90', 'at_p50'):
            column = f'{stage}_{name}_s'
            assert found[column] == pytest.approx(steady[column], abs=0.0007), column
    for name in ('mean', 'at_p50'):
        whole, were = (
            sum(each[f'{stage}_{name}_s'] for stage in ('dispatch', 'task_sleep', 'return'))
            for each in (found, steady)
        )
        assert whole == pytest.approx(were, abs=1e-7)
    # Without it they would be off by half of the drift, at the median.
    drifting = other_clocks(parts, 0, own_clock=None, shift_bound_s=0.001)
    first, last = drifting[ELSEWHERE].span_ns
    drifted = drifting[ELSEWHERE].offset_ns(last) - drifting[ELSEWHERE].offset_ns(first)
    assert drifted == pytest.approx(12 * MS, abs=1.5 * MS)


def test_a_short_run_stays_as_it_was_shifted(tmp_path: Path) -> None:
    """Where tasks tell less than what was known before them, they change next to nothing."""
    found = figures(items(tmp_path, {ELSEWHERE: (0, 0.0)}, length_s=2), 0.0004)
    steady = figures(items(tmp_path, {clock_domain(): (0, 0.0)}, length_s=2), None)
    for stage in ('dispatch', 'return'):
        column = f'{stage}_p50_s'
        assert found[column] == pytest.approx(steady[column], abs=0.0007)
    # 500 ppm of 2 s could have come on top of what was known.
    assert 0.0004 <= found['clock_bound_s'] < 0.003


def test_a_queue_that_grows_is_no_drift(tmp_path: Path) -> None:
    """It leaves open how late a start may be, and yet dispatch and return change by 1 ms at most."""
    length_s, growth_ms = 10, 5_000
    parts = items(tmp_path, {ELSEWHERE: (0, 0.0)}, length_s=length_s, growth_ms=growth_ms)
    found = figures(parts, 0.0004)
    (tmp_path / 'steady').mkdir()
    ours = {clock_domain(): (0, 0.0)}
    steady = figures(items(tmp_path / 'steady', ours, length_s=length_s, growth_ms=growth_ms), None)
    for stage in ('dispatch', 'return'):
        for name in ('p50', 'mean', 'max'):
            column = f'{stage}_{name}_s'
            assert found[column] == pytest.approx(steady[column], abs=0.001), column


def test_a_clock_that_was_never_shifted_is_bounded(tmp_path: Path) -> None:
    """Its offset is known to within the dispatch and return that lie on both sides of it."""
    parts = items(tmp_path, {ELSEWHERE: (3_600 * S, 0.0)}, length_s=4)
    found = figures(parts, None)
    assert found['clock_bound_s'] == pytest.approx((OUT_MS + BACK_MS) / 1e3, rel=0.2)
    assert found['dispatch_p50_s'] == pytest.approx((OUT_MS + 0.7) / 1e3, abs=0.003)
    assert found.get('waiting_explained_percent') is None


def test_one_clock_has_no_bound(tmp_path: Path) -> None:
    """Nothing is corrected on the dispatcher's own clock."""
    parts = items(tmp_path, {clock_domain(): (0, 0.0)}, length_s=2)
    assert other_clocks(parts, 0, own_clock=None, shift_bound_s=None) == {}
    assert figures(parts, None)['clock_bound_s'] is None


def test_a_clock_that_was_set_is_left_alone(tmp_path: Path) -> None:
    """No line satisfies tasks before and after, so nothing is taken off and no bound is told."""
    parts = items(tmp_path, {ELSEWHERE: (0, 0.0)}, length_s=2)
    table = pyarrow.parquet.read_table(parts[0])
    rows = table.to_pylist()
    for row in rows[200:]:
        for name in ('start_ns', 'resolved_ns', 'verified_ns', 'end_ns'):
            row[name] += S
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), parts[0])
    assert bound_s(other_clocks(parts, 0, own_clock=None, shift_bound_s=0.001)) is None
    assert figures(parts, 0.001)['clock_bound_s'] is None
