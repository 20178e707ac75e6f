"""From the parts of a monitor to its report."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence

from streambench.loop_monitor.account import Reading, TickAccount
from streambench.loop_monitor.garbage import call_cost_ns
from streambench.loop_monitor.report import (
    CAUSES,
    NS_PER_S,
    Cause,
    Distribution,
    LoopReport,
    Source,
    StallEvent,
)
from streambench.loop_monitor.seconds import NONE
from streambench.loop_monitor.ticks import KernelTicks, LoopTicks
from streambench.loop_monitor.watchdog import Watchdog

# A thread that waits so long for the GIL at the median has a rival that doesn't let go.
_GIL_WAIT_S = 0.002


class StallTotals:
    """Number and time of all stalls, those included that were dropped."""

    def __init__(self) -> None:
        self.count = 0
        self.time_s: dict[Cause, float] = dict.fromkeys(CAUSES, 0.0)

    def add(self, stall: StallEvent) -> None:
        """Count one."""
        self.count += 1
        self.time_s[stall.cause] += stall.duration_s


def put_together(
    account: TickAccount,
    watchdog: Watchdog | None,
    *,
    exact: bool,
    loop: str,
    ticks: KernelTicks | LoopTicks | None,
    reading: Reading,
    stalls: tuple[StallEvent, ...],
    totals: StallTotals,
    lasting: Sequence[StallEvent],
    unavailable: Sequence[str],
) -> LoopReport:
    """Return the report of one monitor.

    Args:
        account: The ticks.
        watchdog: The watchdog, None at level off.
        exact: Whether the selector is replaced.
        loop: What kind of loop.
        ticks: The timer.
        reading: What had counted up at the end of the report.
        stalls: Those that are kept, those that last included.
        totals: Of all that are over.
        lasting: Those that are not.
        unavailable: What can't be had.
    """
    level = account.level
    now_ns, counters = reading.now_ns, reading.counters
    wall_ns = max(1, now_ns - account.start_ns - account.paused_ns)
    cpu_ns = counters[1]
    # A loop that nobody ran was not idle, its thread did something else.
    idle_ns = None if counters[0] == NONE else min(max(0, counters[0]), wall_ns)
    utilization = None if idle_ns is None else 1 - idle_ns / wall_ns
    cpu_utilization = cpu_ns / wall_ns
    by_cause = dict(totals.time_s)
    for stall in lasting:
        by_cause[stall.cause] += stall.duration_s
    stall_s = sum(by_cause.values())
    count = totals.count + len(lasting)
    garbage = account.garbage
    cost_ns = account.cost_ns()
    if watchdog is not None:
        cost_ns += watchdog.cpu_ns
    if garbage.count:
        cost_ns += garbage.count * call_cost_ns()
    delay = watchdog.delay.frozen() if watchdog is not None else Distribution()
    source: Source = 'unavailable'
    if account.idle is not None:
        source = 'selector' if account.idle.source == 'selector' else 'uv_metrics'
    switch_ns = round(sys.getswitchinterval() * NS_PER_S)
    return LoopReport(
        level=level.name,
        exact=exact,
        loop=loop,
        python=platform.python_version(),
        interval_s=level.interval_ns / NS_PER_S,
        threshold_s=level.threshold_ns / NS_PER_S,
        detection_s=(level.interval_ns + level.threshold_ns) / NS_PER_S,
        gil_detection_s=(level.interval_ns + level.threshold_ns + switch_ns) / NS_PER_S,
        tick_source=ticks.name if ticks is not None else 'none',
        tick_floor_s=ticks.floor_ns / NS_PER_S if ticks is not None else 0.0,
        start_ns=account.start_ns,
        end_ns=now_ns,
        wall_s=wall_ns / NS_PER_S,
        lag=account.lag.frozen(),
        wakeup_lag=account.wakeup_lag.frozen(),
        wakeups=account.wakeup_lag.count,
        stalls=stalls,
        stall_count=count,
        dropped_stalls=count - len(stalls),
        stall_s=stall_s,
        stall_s_by_cause=by_cause,
        stall_time_fraction=stall_s * NS_PER_S / wall_ns,
        utilization=utilization,
        utilization_source=source,
        busy_s=None if idle_ns is None else (wall_ns - idle_ns) / NS_PER_S,
        idle_s=None if idle_ns is None else idle_ns / NS_PER_S,
        cpu_utilization=cpu_utilization,
        noncpu_active=None if utilization is None else max(0.0, utilization - cpu_utilization),
        iterations=None if counters[3] == NONE else counters[3],
        events=reading.events,
        events_waiting=reading.events_waiting if source == 'uv_metrics' else None,
        gil_wakeup_delay=delay,
        gc_pauses={
            generation: pauses.frozen() for generation, pauses in sorted(garbage.pauses.items())
        },
        gc_s=garbage.total_ns / NS_PER_S,
        profiler_cost=cost_ns / wall_ns,
        profiler_cost_s=cost_ns / NS_PER_S,
        seconds=account.series.seconds(now_ns, counters) if watchdog is not None else (),
        unavailable=tuple(unavailable),
        cautions=tuple(_cautions(source, delay, account)),
    )


def _cautions(source: Source, delay: Distribution, account: TickAccount) -> list[str]:
    found = []
    waits_s = delay.percentile(50)
    if source == 'selector' and waits_s is not None and waits_s > _GIL_WAIT_S:
        found.append(
            'utilization is too low: another thread holds the GIL (a thread waits '
            f'{waits_s * 1000:.1f} ms for it at the median), and on asyncio that wait lies inside '
            'select() and counts as idle'
        )
    if account.paused_ns:
        found.append(
            f'the loop was not run at all for {account.paused_ns / NS_PER_S:.3f} s, which is left out'
        )
    return found
