"""From rows to figures: what a run's items say, how sure that is, and whether to believe it.

Figures are computed from the sealed rows, one column at a time, so that a million items need no more
memory than one column. Sources of the formulas stand at the functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench.clock import NS_PER_S, clock_domain
from streambench.oracle import explain
from streambench.records import COMPLETED, MEASURE
from streambench.stages import AROUND, CHAIN, QUANTILES, STAGES, Stage

if TYPE_CHECKING:
    import pyarrow

    from streambench.arrivals import Arrivals

Z_95 = 1.959964
CONFIDENCE = 0.95
GROWTH_PER_INTERVAL = 0.02
GROWTH_OF_FIRST = 0.2
GROWTH_ITEMS = 40
EXPLAINED_ITEMS = 200_000
SHOWN_ITEMS = 20
SOJOURN = next(stage for stage in STAGES if stage.name == 'sojourn')


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


def ideal_makespan_s(
    *, count: int, arrivals: Arrivals | None, task_sleep: float, compute_workers: int
) -> float | None:
    """Return the makespan of a queue without overhead, fed the same arrivals; None for sleep 0.

    The recursion of Kiefer and Wolfowitz (1955) for c servers: each item starts at its arrival or
    when the first server is free; with equal service times that is the end of the c-th item before
    it. The makespan begins at the first arrival. Without a schedule all items are there at the start.

    Args:
        count: Items.
        arrivals: Their intended instants, or None for a closed loop.
        task_sleep: Nominal time of a task.
        compute_workers: Servers.
    """
    if not task_sleep or not count:
        return None
    if arrivals is None:
        return math.ceil(count / compute_workers) * task_sleep
    service_ns = round(task_sleep * NS_PER_S)
    if arrivals.constant and arrivals.interval_ns * compute_workers >= service_ns:
        return (count - 1) * arrivals.interval_ns / NS_PER_S + task_sleep
    offsets_ns = arrivals.offsets_ns
    ends = [0] * compute_workers
    end = 0
    for number, arrival_ns in enumerate(offsets_ns):
        server = number % compute_workers
        end = ends[server] = max(arrival_ns, ends[server]) + service_ns
    return (end - offsets_ns[0]) / NS_PER_S


def growth_per_item_s(sojourns: pyarrow.ChunkedArray, interval_s: float) -> float | None:
    """Return how much the sojourn grows from item to item, or None if it doesn't.

    A load above what the run can carry shows as a sojourn that grows with the length of the run; a
    percentile of it would describe that length. Compared are the medians of the last and the first
    quarter.

    Args:
        sojourns: In order of the items' ends, seconds.
        interval_s: Time between two items.
    """
    import pyarrow.compute

    quarter = len(sojourns) // 4
    if 4 * quarter < GROWTH_ITEMS:
        return None
    first = pyarrow.compute.quantile(sojourns[:quarter]).to_pylist()[0]
    last = pyarrow.compute.quantile(sojourns[-quarter:]).to_pylist()[0]
    per_item: float = (last - first) / (len(sojourns) - quarter)
    if per_item > GROWTH_PER_INTERVAL * interval_s and last - first > GROWTH_OF_FIRST * first:
        return per_item
    return None


def durations(
    parts: Iterable[Path], run: int, ends: Sequence[tuple[str, str]]
) -> list[pyarrow.ChunkedArray]:
    """Return differences of instants, in seconds, for the completed items of a run's measurement.

    Parts are read one by one and only the differences are kept; their order is that of the items'
    ends, which is the order of the parts.

    Args:
        parts: Sealed parts of items.
        run: Number of the run.
        ends: Later and earlier instant of each difference.
    """
    import pyarrow
    import pyarrow.compute as compute
    import pyarrow.parquet

    chunks: list[list[pyarrow.Array]] = [[] for _ in ends]
    columns = sorted({name for pair in ends for name in pair})
    for part in parts:
        table = pyarrow.parquet.read_table(
            part,
            columns=columns,
            filters=[('run', '=', run), ('phase', '=', MEASURE), ('status', '=', COMPLETED)],
        )
        for found, (later, earlier) in zip(chunks, ends, strict=True):
            difference = compute.subtract(table[later], table[earlier]).cast(pyarrow.float64())
            found += compute.divide(difference, float(NS_PER_S)).drop_null().chunks
    return [pyarrow.chunked_array(found, pyarrow.float64()) for found in chunks]


def figures(
    parts: Sequence[Path],
    *,
    run: int,
    count: int,
    arrivals: Arrivals | None,
    task_sleep: float,
    compute_workers: int,
    makespan_s: float | None,
    completed: int,
    completed_bytes: int,
) -> dict[str, Any]:
    """Return the figures of a run under the names of results.csv.

    Args:
        parts: Sealed parts of items.
        run: Number of the run.
        count: Items asked for.
        arrivals: Intended instants of the items, or None for a closed loop.
        task_sleep: Nominal time of a task.
        compute_workers: Workers that compute.
        makespan_s: First intended send to last completion.
        completed: Items that completed.
        completed_bytes: Length of their payloads together.
    """
    result: dict[str, Any] = {'makespan_s': makespan_s}
    ideal = ideal_makespan_s(
        count=count,
        arrivals=arrivals,
        task_sleep=task_sleep,
        compute_workers=compute_workers,
    )
    result['ideal_makespan_s'] = ideal
    if makespan_s:
        result['throughput_per_s'] = completed / makespan_s
        result['bytes_per_s'] = completed_bytes / makespan_s
        if ideal is not None and completed == count:
            result['efficiency'] = ideal / makespan_s
    sojourns = _stage(parts, run, SOJOURN)
    if arrivals is not None and arrivals.constant and len(sojourns):
        # Where arrivals vary, so do sojourns, at any load.
        result['sojourn_growth_s'] = growth_per_item_s(sojourns, arrivals.interval_ns / NS_PER_S)
    median = estimate(sojourns, 0.5)
    if median is not None:
        result['sojourn_p50_low_s'] = median.low
        result['sojourn_p50_high_s'] = median.high
    return result | stage_figures(parts, run, sojourns) | _waiting(parts, run, compute_workers)


def _stage(parts: Sequence[Path], run: int, stage: Stage) -> pyarrow.ChunkedArray:
    return durations(parts, run, [(stage.end, stage.begin)])[0]


def stage_figures(parts: Sequence[Path], run: int, sojourns: pyarrow.ChunkedArray) -> dict[str, Any]:
    """Return the columns of every stage, read one after the other.

    Args:
        parts: Sealed parts of items.
        run: Number of the run.
        sojourns: Of the same items, in the order of the parts.
    """
    import pyarrow.compute as compute

    result: dict[str, Any] = {}
    around: dict[str, Any] = {}
    for name, ranks in AROUND.items():
        result[f'at_{name}_n'] = 0
        if estimate(sojourns, QUANTILES[name]) is not None:
            low, high = compute.quantile(sojourns, q=list(ranks)).to_pylist()
            around[name] = compute.and_(
                compute.greater_equal(sojourns, low), compute.less_equal(sojourns, high)
            )
            result[f'at_{name}_n'] = compute.sum(around[name]).as_py()
    for stage in STAGES:
        values = _stage(parts, run, stage)
        result[f'{stage.name}_n'] = len(values)
        result[f'{stage.name}_mean_s'] = compute.mean(values).as_py()
        result[f'{stage.name}_max_s'] = compute.max(values).as_py()
        for name, quantile in QUANTILES.items():
            found = estimate(values, quantile)
            result[f'{stage.name}_{name}_s'] = found and found.value
        for name, chosen in around.items() if stage in CHAIN else ():
            mean = compute.mean(compute.filter(values, chosen)).as_py()
            result[f'{stage.name}_at_{name}_s'] = mean
    return result


def _waiting(parts: Sequence[Path], run: int, servers: int) -> dict[str, Any]:
    """Return how much of the waiting for a worker queueing theory explains."""
    import pyarrow.parquet

    visits: list[tuple[int, int | None, int | None, int | None]] = []
    clocks: set[str | None] = set()
    for part in parts:
        table = pyarrow.parquet.read_table(
            part,
            columns=['sequence', 'receive_ns', 'start_ns', 'end_ns', 'worker_clock'],
            filters=[('run', '=', run), ('phase', '=', MEASURE)],
        )
        clocks |= set(table['worker_clock'].unique().to_pylist())
        visits += zip(*(column.to_pylist() for column in table.columns[:4]), strict=True)
        if len(visits) > EXPLAINED_ITEMS:
            return {}
    if clocks - {None, clock_domain()} or not visits:
        # Another host's clock would be mistaken for waiting.
        return {}
    found = explain(visits, servers)
    return {
        'waiting_explained_percent': found.explained_percent,
        'waiting_unexplained_p50_s': found.unexplained_median_s,
        'waiting_unexplained_p99_s': found.unexplained_p99_s,
        'waiting_sticks_out': ' '.join(map(str, found.sticking_out[:SHOWN_ITEMS])),
    }
