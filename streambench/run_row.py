"""The row of results.csv: what was asked, what was counted live, and what the sealed rows determine.

What the rows determine is computed by `determined`, from nothing but the rows and what was asked, so
the same figures can be computed again from a run directory, for another window or as a check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streambench.bookkeeping import LiveIntegral
from streambench.bounds import BOUNDS, Bounds
from streambench.loop_findings import Joined, answer, join
from streambench.loop_monitor import LoopReport
from streambench.outcomes import outcomes, outcomes_text
from streambench.records import RunRow, column_names
from streambench.stations import demands, limiting
from streambench.summary import figures
from streambench.tally import Tally, tally
from streambench.thresholds import Threshold
from streambench.verdict import judge

# Where the books don't balance and no share can say by how much.
UNBALANCED = 1.0
BLANK = {name: getattr(RunRow(), name) for name in column_names(RunRow)}


def determined(
    parts: Sequence[Path],
    asked: Mapping[str, Any],
    *,
    own_clock: str | None = None,
    bounds: Bounds = BOUNDS,
) -> tuple[dict[str, Any], Tally]:
    """Return the columns that a run's rows determine, and what the rows add up to.

    Args:
        parts: Sealed parts of items.
        asked: Columns that say what was asked.
        own_clock: Clock domain of the dispatcher; this machine's if absent.
        bounds: What some figures must exceed.
    """
    found = tally(parts, run=asked['run'], warmup_s=asked['warmup_s'])
    row = found.counts | figures(parts, asked, found, own_clock=own_clock, bounds=bounds)
    row |= demands(BLANK | dict(asked) | row)
    row |= {'workers_proven': found.workers_proven or None, 'worker_hosts': found.worker_hosts}
    return row, found


def judged(
    row: Mapping[str, Any],
    *,
    bounds: Bounds = BOUNDS,
    thresholds: Sequence[Threshold] | None = None,
) -> dict[str, Any]:
    """Return a row with what follows from its other columns: bottleneck, thresholds and verdict.

    Args:
        row: All other columns; absent ones have their default.
        bounds: Where a caution or an invalid verdict begins.
        thresholds: What the figures must meet; what the row says of them stays if that isn't known.
    """
    known = BLANK | dict(row)
    known['bottleneck'] = limiting(known, bounds=bounds)
    if thresholds is not None:
        known['thresholds'] = outcomes_text(outcomes(thresholds, known))
    grade, reasons = judge(known, bounds=bounds)
    return known | {'verdict': grade, 'reasons': '; '.join(reasons)}


def bookkeeping(books: LiveIntegral, found: Tally) -> float | None:
    """Return by how much live counters and rows differ; `UNBALANCED` where that can't be a share."""
    checked = books.check(found.sojourns_ns)
    # Who is still there, or left without having come, need not take a measurable time.
    if checked.difference is None or checked.level or books.lowest < 0:
        return UNBALANCED
    return checked.difference


def run_row(
    *,
    asked: Mapping[str, Any],
    live: Mapping[str, Any],
    parts: Sequence[Path] | None,
    books: LiveIntegral,
    bounds: Bounds,
    report: LoopReport | None = None,
    thresholds: Sequence[Threshold] = (),
) -> tuple[RunRow, Joined | None]:
    """Return the row of a run, and its items beside the loop's stalls; reads them, which takes a while.

    Args:
        asked: Columns that say what was asked.
        live: Columns that were counted while it ran, which go before what the items say.
        parts: Sealed parts of items, or None if they weren't kept.
        books: Live integral of the items in the system.
        bounds: Where a caution or an invalid verdict begins.
        report: What the loop monitor found, if it watched.
        thresholds: What the figures must meet.
    """
    row: dict[str, Any] = {}
    joined: Joined | None = None
    if parts is not None:
        known_clocks = {'clock_shift_bound_s': live['clock_shift_bound_s']}
        row, found = determined(parts, {**asked, **known_clocks}, bounds=bounds)
        row['bookkeeping_difference'] = bookkeeping(books, found)
        if report is not None and report.level != 'off':
            spans = [(stall.start_ns, stall.end_ns) for stall in report.stalls]
            joined = join(
                parts,
                asked['run'],
                spans,
                p99_s=row.get('sojourn_p99_s'),
                since_ns=found.window_from_ns,
            )
            row['loop_answer'] = answer(row, joined)
            if joined is not None and joined.slow:
                row['slow_in_stalls'] = joined.slow_in_stalls / joined.slow
    elif live['makespan_s']:
        row['throughput_per_s'] = live['completed_tasks'] / live['makespan_s']
        row['bytes_per_s'] = live['completed_bytes'] / live['makespan_s']
    known = {name: value for name, value in live.items() if name in BLANK}
    if parts is not None:
        known.pop('makespan_s', None)
    full = judged(dict(asked) | row | known, bounds=bounds, thresholds=thresholds)
    return RunRow(**full), joined
