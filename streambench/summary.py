"""From rows to figures: what a run's items say, how sure that is, and whether to believe it.

Figures are computed from the sealed rows, one column at a time, so that a million items need no more
memory than one column. Sources of the formulas stand at the functions.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench.clock import NS_PER_S
from streambench.records import COMPLETED, MEASURE

if TYPE_CHECKING:
    import pyarrow

Z_95 = 1.959964
CONFIDENCE = 0.95
GROWTH_PER_INTERVAL = 0.02
GROWTH_OF_FIRST = 0.2
GROWTH_ITEMS = 40


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
    *, count: int, interval_ns: int | None, task_sleep: float, compute_workers: int
) -> float | None:
    """Return the makespan of a queue without overhead, fed the same arrivals; None for sleep 0.

    The recursion of Kiefer and Wolfowitz (1955) for c servers: each item starts at its arrival or
    when the first server is free. Without a schedule all items are there at the start.
    """
    if not task_sleep or not count:
        return None
    if interval_ns is None:
        return math.ceil(count / compute_workers) * task_sleep
    interval_s = interval_ns / NS_PER_S
    if interval_s * compute_workers >= task_sleep:
        return (count - 1) * interval_s + task_sleep
    free = [0.0] * compute_workers
    end = 0.0
    for number in range(count):
        start = max(number * interval_s, free[0])
        end = max(end, start + task_sleep)
        heapq.heapreplace(free, start + task_sleep)
    return end


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
    size_bytes: int,
    interval_ns: int | None,
    task_sleep: float,
    compute_workers: int,
    makespan_s: float | None,
    completed: int,
) -> dict[str, Any]:
    """Return the figures of a run under the names of results.csv.

    Args:
        parts: Sealed parts of items.
        run: Number of the run.
        count: Items asked for.
        size_bytes: Length of a payload.
        interval_ns: Time between two items, or None for a closed loop.
        task_sleep: Nominal time of a task.
        compute_workers: Workers that compute.
        makespan_s: First intended send to last completion.
        completed: Items that completed.
    """
    import pyarrow.compute as compute

    result: dict[str, Any] = {'makespan_s': makespan_s}
    ideal = ideal_makespan_s(
        count=count,
        interval_ns=interval_ns,
        task_sleep=task_sleep,
        compute_workers=compute_workers,
    )
    result['ideal_makespan_s'] = ideal
    if makespan_s:
        result['throughput_per_s'] = completed / makespan_s
        result['bytes_per_s'] = completed * size_bytes / makespan_s
        if ideal is not None and completed == count:
            result['efficiency'] = ideal / makespan_s
    sojourns, delays = durations(
        parts, run, [('complete_ns', 'intended_ns'), ('put_start_ns', 'intended_ns')]
    )
    result['sojourn_n'] = len(sojourns)
    if interval_ns is not None and len(sojourns):
        result['sojourn_growth_s'] = growth_per_item_s(sojourns, interval_ns / NS_PER_S)
    median = estimate(sojourns, 0.5)
    if median is not None:
        result['sojourn_p50_s'] = median.value
        result['sojourn_p50_low_s'] = median.low
        result['sojourn_p50_high_s'] = median.high
    tail = estimate(sojourns, 0.95)
    result['sojourn_p95_s'] = tail and tail.value
    result['sojourn_max_s'] = compute.max(sojourns).as_py()
    late = estimate(delays, 0.5)
    result['publish_delay_p50_s'] = late and late.value
    result['publish_delay_max_s'] = compute.max(delays).as_py()
    return result
