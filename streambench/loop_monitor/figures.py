"""The figures of all loops of a program together, by the names that thresholds use.

A program may run one loop after the other, or several in threads: lags are put into one histogram,
times are added up, shares are weighted by how long each loop was watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from streambench.loop_monitor.report import NS_PER_S, Distribution, LoopReport

SECONDS, SHARE, COUNT = 's', '', 'count'

METRICS: Mapping[str, str] = {
    'loop_lag_p50': SECONDS,
    'loop_lag_p90': SECONDS,
    'loop_lag_p95': SECONDS,
    'loop_lag_p99': SECONDS,
    'loop_lag_p999': SECONDS,
    'loop_lag_max': SECONDS,
    'loop_lag_mean': SECONDS,
    'loop_lag_ticks': COUNT,
    'loop_lag_wakeups': COUNT,
    'loop_stalls': COUNT,
    'loop_stall_time': SECONDS,
    'loop_stall_max': SECONDS,
    'loop_stall_time_fraction': SHARE,
    'loop_utilization': SHARE,
    'loop_cpu_utilization': SHARE,
    'loop_noncpu_active': SHARE,
    'loop_iterations': COUNT,
    'loop_wall': SECONDS,
    'gil_wakeup_delay_p50': SECONDS,
    'gil_wakeup_delay_p99': SECONDS,
    'gil_wakeup_delay_max': SECONDS,
    'gc_time': SECONDS,
    'gc_pause_max': SECONDS,
    'profiler_cost': SHARE,
}

Value = float | int | None


def column(metric: str) -> str:
    """Return a metric's name with its unit, as files have it."""
    return f'{metric}_s' if METRICS[metric] == SECONDS else metric


def together(distributions: Iterable[Distribution]) -> Distribution:
    """Return one distribution of the durations of several."""
    counts: dict[tuple[int, int], int] = {}
    parts = [each for each in distributions if each.count]
    for each in parts:
        for low, high, count in each.buckets:
            counts[low, high] = counts.get((low, high), 0) + count
    return Distribution(
        count=sum(each.count for each in parts),
        total_s=sum(each.total_s for each in parts),
        min_s=min((each.min_s for each in parts if each.min_s is not None), default=None),
        max_s=max((each.max_s for each in parts if each.max_s is not None), default=None),
        buckets=tuple((low, high, counts[low, high]) for low, high in sorted(counts)),
    )


def longest_stall_s(report: LoopReport) -> float:
    """Return the duration of the longest stall that is kept, 0 without any."""
    return max((stall.duration_s for stall in report.stalls), default=0.0)


def figures(reports: Sequence[LoopReport]) -> dict[str, Value]:
    """Return every metric of `METRICS`, in s, shares and counts; None where it can't be had."""
    watched = [report for report in reports if report.level != 'off']
    if not watched:
        return dict.fromkeys(METRICS)
    wall_s = sum(report.wall_s for report in watched)

    def weighted(read: Callable[[LoopReport], float | None]) -> float | None:
        values = [(read(report), report.wall_s) for report in watched]
        if any(value is None for value, _ in values):
            return None
        return sum((value or 0.0) * weight for value, weight in values) / wall_s

    lag = together(report.lag for report in watched)
    delay = together(report.gil_wakeup_delay for report in watched)
    pauses = together(pause for report in watched for pause in report.gc_pauses.values())
    iterations = [report.iterations for report in watched]
    stall_s = sum(report.stall_s for report in watched)
    return {
        'loop_lag_p50': lag.percentile(50),
        'loop_lag_p90': lag.percentile(90),
        'loop_lag_p95': lag.percentile(95),
        'loop_lag_p99': lag.percentile(99),
        'loop_lag_p999': lag.percentile(99.9),
        'loop_lag_max': lag.max_s,
        'loop_lag_mean': lag.mean_s,
        'loop_lag_ticks': lag.count,
        'loop_lag_wakeups': sum(report.wakeups for report in watched),
        'loop_stalls': sum(report.stall_count for report in watched),
        'loop_stall_time': stall_s,
        'loop_stall_max': max(map(longest_stall_s, watched)),
        'loop_stall_time_fraction': stall_s / wall_s,
        'loop_utilization': weighted(lambda report: report.utilization),
        'loop_cpu_utilization': weighted(lambda report: report.cpu_utilization),
        'loop_noncpu_active': weighted(lambda report: report.noncpu_active),
        'loop_iterations': None if None in iterations else sum(each or 0 for each in iterations),
        'loop_wall': wall_s,
        'gil_wakeup_delay_p50': delay.percentile(50),
        'gil_wakeup_delay_p99': delay.percentile(99),
        'gil_wakeup_delay_max': delay.max_s,
        'gc_time': sum(report.gc_s for report in watched),
        'gc_pause_max': pauses.max_s if pauses.count else 0.0,
        'profiler_cost': weighted(lambda report: report.profiler_cost),
    }


def span_s(reports: Sequence[LoopReport]) -> float:
    """Return the time from the begin of the first loop to the end of the last."""
    if not reports:
        return 0.0
    begin = min(report.start_ns for report in reports)
    return (max(report.end_ns for report in reports) - begin) / NS_PER_S
