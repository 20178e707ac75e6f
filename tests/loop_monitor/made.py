"""Reports made by hand, for tests of what is done with them."""

from __future__ import annotations

from dataclasses import replace

from streambench.loop_monitor import CAUSES, Distribution, Frame, LoopReport, Second, StallEvent
from streambench.loop_monitor.report import ThreadStack, WeightedStack

HOME = '/home/somebody/program.py'
OWN = Frame(function='handle', file=HOME, line=10)
INNER = Frame(function='parse', file=HOME, line=20)
START_NS = 5_000_000_000


def stall(**changes: object) -> StallEvent:
    """Return a stall of 50 ms, wholly by `handle`, 100 ms after the start."""
    plain = StallEvent(
        start_ns=START_NS + 100_000_000,
        end_ns=START_NS + 150_000_000,
        duration_s=0.05,
        low_s=0.042,
        high_s=0.052,
        method='busy_start',
        missed_ticks=4,
        cause='callback',
        cpu_s=0.01,
        gc_s=0.0,
        starved_s=0.0,
        task='Task-7',
        coroutine='handle',
        stacks=(WeightedStack(frames=(OWN,), weight_s=0.05, task='Task-7', coroutine='handle'),),
        other_threads=(),
        confidence='in_flight',
        unfinished=False,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def thread(name: str, cpu_s: float | None) -> ThreadStack:
    """Return another thread that was at `parse`."""
    return ThreadStack(thread=name, frames=(OWN, INNER), cpu_s=cpu_s)


def report(*stalls: StallEvent, **changes: object) -> LoopReport:
    """Return the report of a loop that was watched for 2 s."""
    lag = Distribution(
        count=200, total_s=0.2, min_s=0.0001, max_s=0.05, buckets=((100_000, 100_700, 200),)
    )
    stall_s = sum(each.duration_s for each in stalls)
    plain = LoopReport(
        level='default',
        exact=False,
        loop='asyncio',
        python='3.11.7',
        interval_s=0.01,
        threshold_s=0.005,
        detection_s=0.015,
        gil_detection_s=0.02,
        tick_source='timerfd',
        tick_floor_s=0.0,
        start_ns=START_NS,
        end_ns=START_NS + 2_000_000_000,
        wall_s=2.0,
        lag=lag,
        wakeup_lag=lag,
        wakeups=200,
        stalls=stalls,
        stall_count=len(stalls),
        dropped_stalls=0,
        stall_s=stall_s,
        stall_s_by_cause=dict.fromkeys(CAUSES, 0.0),
        stall_time_fraction=stall_s / 2,
        utilization=None,
        utilization_source='unavailable',
        busy_s=None,
        idle_s=None,
        cpu_utilization=0.2,
        noncpu_active=None,
        iterations=None,
        events=None,
        events_waiting=None,
        gil_wakeup_delay=Distribution(),
        gc_pauses={},
        gc_s=0.0,
        profiler_cost=0.01,
        profiler_cost_s=0.02,
        seconds=tuple(
            Second(
                start_ns=START_NS + number * 1_000_000_000,
                duration_s=1.0,
                ticks=100,
                wakeups=100,
                lag_p50_s=0.0001,
                lag_p99_s=0.001,
                lag_max_s=0.05,
                stalls=1,
                stall_s=0.05,
                utilization=None,
                cpu_utilization=0.2,
                gc_s=0.0,
                iterations=None,
            )
            for number in range(2)
        ),
        unavailable=(),
        cautions=(),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]
