"""What the loop monitor found in a run, joined to the run's items: is a slow item the loop's fault?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.loop_monitor import LoopReport, StallEvent
from streambench.records import COMPLETED, MEASURE, LagRow, LoopSecondRow, StallRow
from streambench.stages import CHAIN
from streambench.tally import rows_of

LAG_PERCENTS = {'p50': 50.0, 'p99': 99.0, 'p99_9': 99.9}
# So many slow items in stalls, over the share of all items that stalls touch, are the loop's.
BLAMED_SHARE = 0.5
BLAMED_TIMES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Items laid beside stalls.

    Attributes:
        slow: Items whose sojourn is above the p99.
        slow_in_stalls: Those of them that were under way during a stall.
        share: Share of all items that were.
        under_way: Items under way during each stall, in the order of the stalls.
    """

    slow: int
    slow_in_stalls: int
    share: float
    under_way: tuple[int, ...]


def culprit(stall: StallEvent) -> str:
    """Return where the loop was held, `file:line function`; empty if that wasn't seen."""
    if not stall.stacks or not stall.stacks[0].frames:
        return ''
    return str(stall.stacks[0].frames[-1])


def columns(report: LoopReport) -> dict[str, Any]:
    """Return the columns of results.csv that a report fills."""
    found: dict[str, Any] = {
        'loop_profile': report.level,
        'loop_lag_n': report.lag.count,
        'loop_lag_max_s': report.lag.max_s,
        'loop_wakeups': report.wakeups,
        'loop_stalls': report.stall_count,
        'loop_stall_s': report.stall_s,
        'loop_stall_share': report.stall_time_fraction,
        'loop_utilization': report.utilization,
        'loop_utilization_source': report.utilization_source,
        'loop_cpu': report.cpu_utilization,
        'loop_noncpu': report.noncpu_active,
        'loop_iterations': report.iterations,
        'gil_wakeup_p99_s': report.gil_wakeup_delay.percentile(99),
        'gc_s': report.gc_s,
        'loop_profiler_cost': report.profiler_cost,
    }
    for name, percent in LAG_PERCENTS.items():
        found[f'loop_lag_{name}_s'] = report.lag.percentile(percent)
    for generation, pauses in report.gc_pauses.items():
        found[f'gc_{generation}_max_s'] = pauses.max_s
    if report.stalls:
        longest = max(report.stalls, key=lambda stall: stall.duration_s)
        place = culprit(longest)
        found['loop_culprit'] = f'{longest.cause}: {place}' if place else longest.cause
    return found


def seconds(report: LoopReport, run: int) -> list[LoopSecondRow]:
    """Return the rows of the loop's seconds."""
    return [
        LoopSecondRow(
            run=run,
            start_ns=second.start_ns,
            duration_s=second.duration_s,
            ticks=second.ticks,
            wakeups=second.wakeups,
            lag_p50_s=second.lag_p50_s,
            lag_p99_s=second.lag_p99_s,
            lag_max_s=second.lag_max_s,
            stalls=second.stalls,
            stall_s=second.stall_s,
            utilization=second.utilization,
            cpu_utilization=second.cpu_utilization,
            gc_s=second.gc_s,
            iterations=second.iterations,
        )
        for second in report.seconds
    ]


def lag_rows(report: LoopReport, run: int) -> list[LagRow]:
    """Return the histogram of the lag."""
    return [
        LagRow(run=run, low_ns=low, high_ns=high, ticks=count)
        for low, high, count in report.lag.buckets
    ]


def stall_rows(report: LoopReport, run: int, joined: Joined | None) -> list[StallRow]:
    """Return the rows of the stalls."""
    return [
        StallRow(
            run=run,
            start_ns=stall.start_ns,
            duration_s=stall.duration_s,
            low_s=stall.low_s,
            high_s=stall.high_s,
            missed_ticks=stall.missed_ticks,
            cause=stall.cause,
            confidence=stall.confidence,
            task=stall.task or '',
            coroutine=stall.coroutine or '',
            culprit=culprit(stall),
            items=joined.under_way[number] if joined is not None else None,
        )
        for number, stall in enumerate(report.stalls)
    ]


def join(
    parts: Sequence[Path],
    run: int,
    stalls: Sequence[tuple[int, int]],
    *,
    p99_s: float | None,
    since_ns: int | None = None,
) -> Joined | None:
    """Lay the items of a run beside its stalls.

    All of them were under way during the stalls; only those that count can be slow, as they made the
    p99.

    Args:
        parts: Sealed parts of items.
        run: Number of the run.
        stalls: Begin and end of each.
        p99_s: The run's p99 of the sojourn; None if n couldn't carry it.
        since_ns: Items due from this instant on count; all if absent.
    """
    import pyarrow.compute as compute

    table = rows_of(parts, run, ('run', 'phase', 'status', 'intended_ns', 'complete_ns'))
    if not table.num_rows:
        return None
    table = table.filter(
        compute.and_(compute.equal(table['phase'], MEASURE), compute.equal(table['status'], COMPLETED))
    )
    if not table.num_rows:
        return None
    begins, ends = table['intended_ns'], table['complete_ns']
    # An item that only a hair's breadth of a stall touches is touched all the same.
    touched = compute.less(begins, 0)
    under_way = []
    for start_ns, end_ns in stalls:
        during = compute.and_(compute.less(begins, end_ns), compute.greater(ends, start_ns))
        under_way.append(compute.sum(during).as_py() or 0)
        touched = compute.or_(touched, during)
    counts = compute.greater_equal(begins, begins if since_ns is None else since_ns)
    touched = compute.and_(touched, counts)
    number = compute.sum(counts).as_py()
    slow = slow_in_stalls = 0
    if p99_s is not None:
        above = compute.greater(compute.subtract(ends, begins), round(p99_s * 1e9))
        above = compute.and_(above, counts)
        slow = compute.sum(above).as_py() or 0
        slow_in_stalls = compute.sum(compute.and_(above, touched)).as_py() or 0
    return Joined(
        slow=slow,
        slow_in_stalls=slow_in_stalls,
        share=compute.sum(touched).as_py() / number if number else 0.0,
        under_way=tuple(under_way),
    )


def answer(row: Mapping[str, Any], joined: Joined | None) -> str:
    """Return in one line whether the slow items are the loop's or not.

    Args:
        row: Figures of the stages around the median and the p99.
        joined: The items beside the stalls.
    """
    if joined is None or not joined.slow:
        return ''
    share = joined.slow_in_stalls / joined.slow
    said = f'{joined.slow_in_stalls} of {joined.slow} items above p99 were under way during a stall'
    usual = f'stalls touch {joined.share:.0%} of all items'
    if share >= BLAMED_SHARE and share >= BLAMED_TIMES * joined.share:
        return f'the loop: {said}, {usual}'
    where = slowest_stage(row)
    stage = f'; most of it in {where.replace("_", " ")}' if where else ''
    if share >= BLAMED_SHARE:
        return f'undecided: {said}, but {usual}{stage}'
    return f'not the loop: {said}{stage}'


def slowest_stage(row: Mapping[str, Any]) -> str:
    """Return the stage in which items around the p99 lose most against those around the median."""
    lost: dict[str, float] = {}
    for stage in CHAIN:
        tail, middle = row.get(f'{stage.name}_at_p99_s'), row.get(f'{stage.name}_at_p50_s')
        if tail is not None and middle is not None:
            lost[stage.name] = tail - middle
    return max(lost, key=lost.__getitem__, default='')
