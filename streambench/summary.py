"""From rows to figures: what a run's items say, how sure that is, and whether to believe it.

Figures are computed from the sealed rows, one column at a time, so that a million items need no more
memory than one column. Sources of the formulas stand at the functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench.arrivals import CONSTANT
from streambench.bounds import BOUNDS, Bounds
from streambench.clock import NS_PER_S
from streambench.clocks import Clock
from streambench.ideal import ideal_makespan_s, ideal_working_off_s
from streambench.other_clocks import ahead_ns, bound_s, other_clocks
from streambench.records import COMPLETED, MEASURE
from streambench.stages import AROUND, CHAIN, LOOP_WAIT, QUANTILES, STAGES, Stage, ranks_around
from streambench.tally import Tally, rows_of
from streambench.waiting import waiting_figures

if TYPE_CHECKING:
    import pyarrow

Z_95 = 1.959964
CONFIDENCE = 0.95
GROWTH_ITEMS = 40
# Each of the three steps from quarter to quarter is a third of a growth that is even.
LEAST_STEP = 0.1
SOJOURN, DELIVERY = (
    next(stage for stage in STAGES if stage.name == name) for name in ('sojourn', 'delivery')
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A percentile with its 95 % interval and the items behind it."""

    value: float
    low: float
    high: float
    n: int


def samples_needed(quantile: float) -> int:
    """Return how many items a percentile needs for a one-sided 95 % bound.

    The largest of n values lies above the quantile with probability 1 - q^n; so n is the least for
    which that is 95 % (distribution-free bound, Hahn & Meeker, Statistical Intervals, 1991, ch. 5).
    """
    tail = max(quantile, 1 - quantile)
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(tail) - 1e-9)


def estimate(values: pyarrow.ChunkedArray | Sequence[float], quantile: float) -> Estimate | None:
    """Return a percentile and its interval from order statistics, or None if n can't carry it.

    The interval's ends are the order statistics at n q -+ 1.96 sqrt(n q (1 - q)), the normal
    approximation of the binomial (Conover, Practical Nonparametric Statistics, 1999, section 3.2).

    Args:
        values: The sample.
        quantile: Between 0 and 1.
    """
    import pyarrow
    import pyarrow.compute

    sample = values if isinstance(values, pyarrow.ChunkedArray) else pyarrow.array(values)
    n = len(sample)
    if n < samples_needed(quantile):
        return None
    half = Z_95 * math.sqrt(n * quantile * (1 - quantile))
    low = max(0.0, (n * quantile - half) / n)
    high = min(1.0, (n * quantile + half) / n)
    found = pyarrow.compute.quantile(sample, q=[low, quantile, high]).to_pylist()
    return Estimate(value=found[1], low=found[0], high=found[2], n=n)


def growth_per_item_s(
    sojourns: pyarrow.ChunkedArray, interval_s: float, *, even: bool = True, bounds: Bounds = BOUNDS
) -> float | None:
    """Return how much the sojourn grows from item to item, or None if it doesn't.

    A load above what the run can carry shows as a sojourn that grows with the length of the run; a
    percentile of it would describe that length. Compared are the medians of the last and the first
    quarter; those between must take part where arrivals are even, else it was a stall near the end and
    no load.

    Args:
        sojourns: In order of the items' ends, seconds.
        interval_s: Time between two items.
        even: Whether that is the time between any two.
        bounds: What growth must exceed.
    """
    import pyarrow.compute

    quarter = len(sojourns) // 4
    if 4 * quarter < GROWTH_ITEMS:
        return None
    begins = (0, quarter, len(sojourns) - 2 * quarter, len(sojourns) - quarter)
    medians: list[float] = [
        pyarrow.compute.quantile(sojourns[begin : begin + quarter]).to_pylist()[0] for begin in begins
    ]
    whole = medians[-1] - medians[0]
    per_item = whole / (len(sojourns) - quarter)
    if per_item <= bounds.growth_interval * interval_s or whole <= bounds.growth_first * medians[0]:
        return None
    steady = (
        not even or min(after - before for before, after in pairwise(medians)) >= LEAST_STEP * whole
    )
    return per_item if steady else None


def durations(
    parts: Iterable[Path],
    run: int,
    ends: Sequence[tuple[str, str]],
    *,
    since_ns: int | None = None,
    clocks: Mapping[str, Clock] | None = None,
) -> list[pyarrow.ChunkedArray]:
    """Return differences of instants, in seconds, for the completed items of a run's window.

    Parts are read one by one and only the differences are kept; their order is that of the items'
    ends, which is the order of the parts.

    Args:
        parts: Sealed parts of items.
        run: Number of the run.
        ends: Later and earlier instant of each difference; no earlier one for what is a duration.
        since_ns: Items due from this instant on count; all if absent.
        clocks: Those of other hosts, whose drift is taken off.
    """
    import pyarrow
    import pyarrow.compute as compute

    chunks: list[list[pyarrow.Array]] = [[] for _ in ends]
    columns = {name for pair in ends for name in pair if name} | {'phase', 'status', 'intended_ns'}
    if clocks:
        columns.add('worker_clock')
    for part in parts:
        table = rows_of([part], run, sorted(columns))
        chosen = compute.and_(
            compute.equal(table['phase'], MEASURE), compute.equal(table['status'], COMPLETED)
        )
        if since_ns is not None:
            due = compute.greater_equal(table['intended_ns'], since_ns)
            chosen = compute.and_(chosen, due)
        table = table.filter(chosen)
        for found, (later, earlier) in zip(chunks, ends, strict=True):
            # What is a duration already has no earlier instant.
            lasting = compute.subtract(table[later], table[earlier]) if earlier else table[later]
            lasting = lasting.cast(pyarrow.float64())
            if clocks:
                off = ahead_ns(table, later, clocks), ahead_ns(table, earlier, clocks)
                lasting = compute.subtract(lasting, compute.subtract(*off))
            found += compute.divide(lasting, float(NS_PER_S)).drop_null().chunks
    return [pyarrow.chunked_array(found, pyarrow.float64()) for found in chunks]


def figures(
    parts: Sequence[Path],
    asked: Mapping[str, Any],
    found: Tally,
    *,
    own_clock: str | None = None,
    bounds: Bounds = BOUNDS,
) -> dict[str, Any]:
    """Return the figures that a run's rows determine, under the names of results.csv.

    Args:
        parts: Sealed parts of items.
        asked: Columns of results.csv that say what was asked.
        found: What the rows add up to.
        own_clock: Clock domain of the dispatcher; this machine's if absent.
        bounds: What growth and unexplained waiting must exceed.
    """
    import pyarrow.compute as compute

    run, since_ns = asked['run'], found.window_from_ns
    makespan_s = found.makespan_s
    result: dict[str, Any] = {'window_n': found.window_n, 'makespan_s': makespan_s}
    ideal = _ideal(parts, asked, found)
    result['ideal_makespan_s'] = ideal
    if makespan_s:
        result['throughput_per_s'] = found.window_completed / makespan_s
        result['bytes_per_s'] = found.window_bytes / makespan_s
        if ideal is not None and found.counts['completed_tasks'] == asked['task_count']:
            result['efficiency'] = ideal / makespan_s
    sojourns = _stage(parts, run, SOJOURN, since_ns)
    # In a window that begins with a queue nothing is alone any more.
    alone = _stage(parts, run, SOJOURN, None) if asked['warmup_s'] else sojourns
    result['sojourn_min_s'] = compute.min(alone).as_py()
    rate = asked['offered_rate_per_s']
    # Where arrivals vary, so do sojourns, at any load that can be carried.
    even = asked['arrival'] in ('', CONSTANT)
    told = even or (asked['load'] or 0.0) >= 1
    if rate and told and not asked['closed_loop'] and len(sojourns):
        deliveries = _stage(parts, run, DELIVERY, since_ns)
        for name, lasting in (('sojourn', sojourns), ('delivery', deliveries)):
            growth = growth_per_item_s(lasting, 1 / rate, even=even, bounds=bounds)
            result[f'{name}_growth_s'] = growth
    clocks = other_clocks(
        parts, run, own_clock=own_clock, shift_bound_s=asked.get('clock_shift_bound_s')
    )
    return (
        result
        | {'clock_bound_s': bound_s(clocks)}
        | stage_figures(parts, run, sojourns, since_ns=since_ns, clocks=clocks)
        | waiting_figures(
            parts,
            run,
            asked['compute_workers'],
            since_ns=since_ns,
            own_clock=own_clock,
            bounds=bounds,
        )
    )


def _ideal(parts: Sequence[Path], asked: Mapping[str, Any], found: Tally) -> float | None:
    import pyarrow.compute as compute

    task_sleep, servers = asked['task_sleep'], asked['compute_workers']
    begin_ns = found.window_first_ns
    if not task_sleep or begin_ns is None:
        return None
    rows = rows_of(parts, asked['run'], ('phase', 'intended_ns', 'start_ns', 'end_ns', 'complete_ns'))
    rows = rows.filter(compute.equal(rows['phase'], MEASURE))
    if not asked['closed_loop']:
        return ideal_makespan_s(
            sorted(rows['intended_ns'].drop_null().to_pylist()),
            task_sleep=task_sleep,
            compute_workers=servers,
            since_ns=begin_ns,
        )
    # What was out when the window began is worked off in it.
    before = rows.filter(
        compute.and_(
            compute.less(rows['intended_ns'], begin_ns), compute.greater(rows['complete_ns'], begin_ns)
        )
    )
    begun = before.filter(compute.less(before['start_ns'], begin_ns))
    running = begun.filter(compute.greater(begun['end_ns'], begin_ns))
    return ideal_working_off_s(
        found.window_n + before.num_rows - begun.num_rows,
        left_s=[
            max(0.0, task_sleep - (begin_ns - start_ns) / NS_PER_S)
            for start_ns in running['start_ns'].to_pylist()
        ],
        task_sleep=task_sleep,
        compute_workers=servers,
    )


def _stage(
    parts: Sequence[Path],
    run: int,
    stage: Stage,
    since_ns: int | None,
    clocks: Mapping[str, Clock] | None = None,
) -> pyarrow.ChunkedArray:
    return durations(parts, run, [(stage.end, stage.begin)], since_ns=since_ns, clocks=clocks)[0]


def stage_figures(
    parts: Sequence[Path],
    run: int,
    sojourns: pyarrow.ChunkedArray,
    *,
    since_ns: int | None = None,
    clocks: Mapping[str, Clock] | None = None,
) -> dict[str, Any]:
    """Return the columns of every stage, read one after the other.

    Args:
        parts: Sealed parts of items.
        run: Number of the run.
        sojourns: Of the same items, in the order of the parts.
        since_ns: Items due from this instant on count; all if absent.
        clocks: Those of other hosts, whose drift is taken off.
    """
    import pyarrow.compute as compute

    result: dict[str, Any] = {}
    around: dict[str, Any] = {}
    for name in AROUND:
        result[f'at_{name}_n'] = 0
        if estimate(sojourns, QUANTILES[name]) is not None:
            ranks = list(ranks_around(name, len(sojourns)))
            low, high = compute.quantile(sojourns, q=ranks).to_pylist()
            around[name] = compute.and_(
                compute.greater_equal(sojourns, low), compute.less_equal(sojourns, high)
            )
            result[f'at_{name}_n'] = compute.sum(around[name]).as_py()
    for stage in (*STAGES, LOOP_WAIT):
        values = _stage(parts, run, stage, since_ns, clocks)
        result[f'{stage.name}_n'] = len(values)
        result[f'{stage.name}_mean_s'] = compute.mean(values).as_py()
        result[f'{stage.name}_max_s'] = compute.max(values).as_py()
        for name, quantile in QUANTILES.items():
            found = estimate(values, quantile)
            result[f'{stage.name}_{name}_s'] = found and found.value
            result[f'{stage.name}_{name}_low_s'] = found and found.low
            result[f'{stage.name}_{name}_high_s'] = found and found.high
        for name, chosen in around.items() if stage in CHAIN else ():
            mean = compute.mean(compute.filter(values, chosen)).as_py()
            result[f'{stage.name}_at_{name}_s'] = mean
    return result
