"""What a monitor found: plain frozen data, durations in seconds, instants in ns of one clock.

The clock is `time.perf_counter_ns`, on Linux CLOCK_MONOTONIC, so that a stall can be laid beside
anything else that was stamped with it. Nothing here is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

NS_PER_S = 1_000_000_000

Cause = Literal['callback', 'gc', 'gil', 'cpu-starved', 'unattributed']
Confidence = Literal['in_flight', 'after_c_call', 'late_tick', 'none']
Method = Literal['busy_start', 'bounds']
Source = Literal['uv_metrics', 'selector', 'unavailable']

CAUSES: tuple[Cause, ...] = ('callback', 'gc', 'gil', 'cpu-starved', 'unattributed')


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A histogram of durations.

    Attributes:
        count: How many durations.
        total_s: Their sum.
        min_s: The smallest, or None if there is none.
        max_s: The largest, or None if there is none.
        buckets: Lower end (included), upper end (not), both in ns, and count of every bucket that
            isn't empty, in rising order; less than 1 % wide.
    """

    count: int = 0
    total_s: float = 0.0
    min_s: float | None = None
    max_s: float | None = None
    buckets: tuple[tuple[int, int, int], ...] = ()

    @property
    def mean_s(self) -> float | None:
        """The mean, or None if there is nothing."""
        return self.total_s / self.count if self.count else None

    def percentile(self, percent: float) -> float | None:
        """Return a percentile by nearest rank, in seconds and within 0.4 %.

        Args:
            percent: 0 < percent <= 100.
        """
        if not self.count or self.max_s is None:
            return None
        rank = max(1, math.ceil(percent / 100 * self.count))
        if rank >= self.count:
            return self.max_s
        seen = 0
        for low, high, count in self.buckets:
            seen += count
            if seen >= rank:
                return min((low + high) / 2 / NS_PER_S, self.max_s)
        return self.max_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One level of a stack."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f'{self.file}:{self.line} {self.function}'


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedStack:
    """Where the loop's thread stood, and for how much of the stall.

    Attributes:
        frames: Outermost first, the leaf last; without those of the loop itself. Samples that differ
            in lines only are one stack, which shows the lines of the heaviest.
        weight_s: Time of the stall that this stack stands for: samples are weighted by the time since
            the one before, never counted.
        task: Name of the asyncio task that ran, or None (a plain callback, or not seen).
        coroutine: Qualified name of its coroutine.
    """

    frames: tuple[Frame, ...]
    weight_s: float
    task: str | None = None
    coroutine: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadStack:
    """Where another thread stood while the loop was late.

    Attributes:
        thread: Its name.
        frames: Outermost first, the leaf last.
        cpu_s: CPU time that it used around the stall, or None if that can't be read.
    """

    thread: str
    frames: tuple[Frame, ...]
    cpu_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StallEvent:
    """One stretch in which the loop did not come back.

    Attributes:
        start_ns: When it began, at best known.
        end_ns: When the loop got to its tick again, or when the monitor stopped.
        duration_s: end − start.
        low_s: It lasted at least so long: the lateness of the tick, less that of an idle loop's.
        high_s: It lasted at most so long: time since the tick before, less the loop's idle time.
        method: `busy_start` if the begin was seen, `bounds` if it is the middle of what is possible.
        missed_ticks: Ticks that had no wake-up of their own.
        cause: Why; `unattributed` where the evidence doesn't say.
        cpu_s: CPU time that the loop's thread used since the tick before.
        gc_s: Time in which the garbage collector ran, in whatever thread.
        starved_s: Time in which the loop's thread was ready to run and no core was free, at most; None
            where the kernel doesn't tell.
        task: Name of the asyncio task of the heaviest stack, or None (a plain callback, or not seen).
        coroutine: Qualified name of its coroutine.
        stacks: The loop's thread, heaviest first; at most a handful.
        other_threads: Other threads that used CPU time, most first, but last those that were seen to
            run without the GIL. If the cause is `gil`, the first had it.
        confidence: `in_flight` (stack seen while it lasted), `after_c_call` (seen once, at the end of a
            call that held the GIL), `late_tick` (other threads seen when the loop woke), `none`.
        unfinished: Whether it still lasted when the monitor stopped or the snapshot was taken.
    """

    start_ns: int
    end_ns: int
    duration_s: float
    low_s: float
    high_s: float
    method: Method
    missed_ticks: int
    cause: Cause
    cpu_s: float
    gc_s: float
    starved_s: float | None
    task: str | None
    coroutine: str | None
    stacks: tuple[WeightedStack, ...]
    other_threads: tuple[ThreadStack, ...]
    confidence: Confidence
    unfinished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """The main figures of one second of the run.

    A tick belongs to the second in which it was due, so the lag of a long stall shows where it was.

    Attributes:
        start_ns: Begin of the second.
        duration_s: 1, or less for the last.
        ticks: Ticks that were due.
        wakeups: Wake-ups that served them.
        lag_p50_s: Median lag of the ticks, None without any.
        lag_p99_s: 99th percentile, nearest rank.
        lag_max_s: Largest lag.
        stalls: Stalls that began in it.
        stall_s: Time of stalls that lies in it.
        utilization: Busy share, None where the idle time can't be read.
        cpu_utilization: CPU share of the loop's thread.
        gc_s: Time of garbage collection.
        iterations: Iterations of the loop, None where they aren't counted.
    """

    start_ns: int
    duration_s: float
    ticks: int
    wakeups: int
    lag_p50_s: float | None
    lag_p99_s: float | None
    lag_max_s: float | None
    stalls: int
    stall_s: float
    utilization: float | None
    cpu_utilization: float
    gc_s: float
    iterations: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopReport:
    """All that a monitor found.

    Attributes:
        level: `off`, `lite`, `default` or `fine`.
        exact: Whether the selector of an asyncio loop was patched.
        loop: `asyncio`, `uvloop`, or the module of another loop.
        python: Version of the interpreter.
        interval_s: Time between ticks.
        threshold_s: Lateness from which a tick belongs to a stall.
        detection_s: Size from which every stall is found: interval + threshold.
        gil_detection_s: The same for a C call that holds the GIL: + the interpreter's switch interval.
        tick_source: `timerfd` or `call_at`.
        tick_floor_s: Granularity of the ticks; 0 with timerfd.
        start_ns: Begin of monitoring.
        end_ns: End of it, or the instant of the snapshot.
        wall_s: end − start, less time in which the loop did not run at all.
        lag: Actual − intended time of every tick, missed ones too: free of coordinated omission.
        wakeup_lag: Of those ticks only that had a wake-up of their own: what a naive probe would see.
        wakeups: How many real wake-ups.
        stalls: In order of time; the oldest are dropped first when there are too many.
        stall_count: How many there were, dropped ones included.
        dropped_stalls: How many of them are not in `stalls`.
        stall_s: Sum of their durations, dropped ones included.
        stall_s_by_cause: The same by cause; every cause is a key.
        stall_time_fraction: stall_s / wall_s.
        utilization: 1 − idle / wall, None where it is not available.
        utilization_source: Where it comes from.
        busy_s: Wall − idle, None where not available.
        idle_s: Time in which the loop waited with nothing to do.
        cpu_utilization: CPU time of the loop's thread / wall.
        noncpu_active: utilization − cpu_utilization: busy, but in a system call, waiting for the GIL or
            for a core.
        iterations: Iterations of the loop, None where they aren't counted.
        events: I/O events that it processed.
        events_waiting: Those of them that were waiting already when it looked (uvloop).
        gil_wakeup_delay: How much too late the watchdog woke: what any thread waits for GIL and core.
        gc_pauses: Garbage collections by generation, of all threads.
        gc_s: Their sum.
        profiler_cost: Share of one core that the monitor used itself, measured.
        profiler_cost_s: The same in seconds.
        seconds: The run second by second.
        unavailable: What could not be had here, one sentence each.
        cautions: What makes a figure doubtful, one sentence each.
    """

    level: str
    exact: bool
    loop: str
    python: str
    interval_s: float
    threshold_s: float
    detection_s: float
    gil_detection_s: float
    tick_source: str
    tick_floor_s: float
    start_ns: int
    end_ns: int
    wall_s: float
    lag: Distribution
    wakeup_lag: Distribution
    wakeups: int
    stalls: tuple[StallEvent, ...]
    stall_count: int
    dropped_stalls: int
    stall_s: float
    stall_s_by_cause: Mapping[Cause, float]
    stall_time_fraction: float
    utilization: float | None
    utilization_source: Source
    busy_s: float | None
    idle_s: float | None
    cpu_utilization: float
    noncpu_active: float | None
    iterations: int | None
    events: int | None
    events_waiting: int | None
    gil_wakeup_delay: Distribution
    gc_pauses: Mapping[int, Distribution]
    gc_s: float
    profiler_cost: float
    profiler_cost_s: float
    seconds: tuple[Second, ...]
    unavailable: tuple[str, ...]
    cautions: tuple[str, ...]
