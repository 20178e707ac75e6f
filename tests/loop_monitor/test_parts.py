"""Histogram, series and bounds of memory: what needs no loop, or more time than a test has."""

from __future__ import annotations

import asyncio
import math
import os
import random
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest

from streambench.loop_monitor.account import TickAccount
from streambench.loop_monitor.garbage import GarbageWatch
from streambench.loop_monitor.histogram import Histogram, bucket, lower_ns
from streambench.loop_monitor.levels import LEVELS
from streambench.loop_monitor.monitor import LoopMonitor
from streambench.loop_monitor.run_queue import RunQueue
from streambench.loop_monitor.seconds import SecondSeries

MS = 1_000_000
SECOND = 1_000_000_000


def test_buckets_are_narrow_and_leave_no_gap() -> None:
    draw = random.Random(5)
    for value in [*range(3000), *(draw.randrange(1 << 43) for _ in range(3000))]:
        low, high = lower_ns(bucket(value)), lower_ns(bucket(value) + 1)
        assert low <= value < high
        assert high - low == 1 or (high - low) / low <= 1 / 128


def test_percentiles_are_those_of_the_values() -> None:
    draw = random.Random(6)
    values = sorted(round(draw.lognormvariate(12, 2)) for _ in range(5000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    found = histogram.frozen()
    for percent in (1, 50, 90, 99, 99.9, 100):
        exact = values[math.ceil(percent / 100 * 5000) - 1] / 1e9
        assert found.percentile(percent) == pytest.approx(exact, rel=0.005)
    assert found.mean_s == pytest.approx(sum(values) / 5000 / 1e9)
    assert (found.count, found.min_s, found.max_s) == (5000, values[0] / 1e9, values[-1] / 1e9)
    assert sum(count for _, _, count in found.buckets) == 5000
    empty = Histogram().frozen()
    assert (empty.percentile(50), empty.mean_s, empty.min_s) == (None, None, None)


def test_a_falling_series_is_counted_as_one_by_one() -> None:
    draw = random.Random(7)
    for _ in range(60):
        first, step = draw.randrange(1, 20 * SECOND), draw.choice([5, 10, 20]) * MS
        count = draw.randrange(0, first // step + 40)
        at_once, singly = Histogram(), Histogram()
        at_once.add_falling(first, step, count)
        for number in range(count):
            singly.add(first - number * step)
        assert at_once.frozen() == singly.frozen()


def test_waiting_for_a_core_is_told_from_sleeping() -> None:
    """One core, one busy neighbour: half of the time belongs to that one; asleep nobody waits."""
    try:
        queue = RunQueue(threading.get_native_id())
    except OSError:
        pytest.skip('this kernel keeps no such account')
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    busy = subprocess.Popen([sys.executable, '-Sc', 'while True: pass'])
    try:
        before, wall, cpu = queue.waited_ns(), time.perf_counter_ns(), time.thread_time_ns()
        while time.thread_time_ns() - cpu < 100 * MS:
            pass
        wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
        waited = queue.waited_ns() - before
    finally:
        busy.kill()
        busy.wait()
        os.sched_setaffinity(0, allowed)
    assert waited == pytest.approx(wall - cpu, abs=10 * MS)
    assert waited > 10 * MS
    before, wall = queue.waited_ns(), time.perf_counter_ns()
    time.sleep(0.05)
    assert queue.waited_ns() - before < (time.perf_counter_ns() - wall) / 2
    queue.close()
    queue.close()
    assert queue.waited_ns() >= waited


def account(level: str = 'fine') -> TickAccount:
    return TickAccount(level=LEVELS[level], idle=None, garbage=GarbageWatch())


def test_a_long_stall_is_filled_in_without_a_loop_over_its_ticks() -> None:
    """An hour takes hardly longer than ten seconds, though it has 360 times as many ticks."""
    took = {}
    for length_s in (10, 3600):
        times = []
        for _ in range(5):
            ticks = account()
            count = length_s * 200
            begin = time.perf_counter_ns()
            ticks.served(count, ticks.next_ns + (count - 1) * 5 * MS)
            times.append(time.perf_counter_ns() - begin)
            assert ticks.lag.count == count
            assert ticks.lag.frozen().percentile(50) == pytest.approx(length_s / 2, rel=0.01)
        took[length_s] = min(times)
    assert took[10] < 20 * MS
    # The rows of 3600 seconds are written, at a few µs each; 720,000 ticks would take 0.7 s.
    assert took[3600] < 100 * MS


def test_seconds_have_the_lag_where_the_ticks_were_due() -> None:
    series = SecondSeries(start_ns=0, interval_ns=10 * MS, counters=(0, 0, 0, 0))
    due = 10 * MS
    for _ in range(49):
        series.tick_within(MS // 10, 1)
        due += 10 * MS
    # A stall from 0.49 to 2.995 s: due at 0.5 is served then, and everything in between.
    now = 2995 * MS
    count = (now - due) // (10 * MS) + 1
    before = (490 * MS, 0, 0, 0)
    series.tick(due, now, count, (490 * MS, 2505 * MS, 0, 7), 490 * MS, before)
    rows = series.seconds(3000 * MS, (495 * MS, 2505 * MS, 0, 8))
    assert [row.ticks for row in rows] == [99, 100, 100]
    assert sum(row.ticks for row in rows) == 49 + count
    assert rows[0].lag_p50_s == pytest.approx(2.005, abs=0.02)
    assert rows[1].lag_max_s == pytest.approx(1.995)
    assert rows[1].lag_p50_s == pytest.approx(1.505, abs=0.011)
    assert rows[1].lag_p99_s == pytest.approx(1.985)
    assert rows[2].lag_max_s == pytest.approx(0.995)
    assert [row.utilization for row in rows] == pytest.approx([0.51, 1.0, 0.995])
    assert [row.cpu_utilization for row in rows] == pytest.approx([0.51, 1.0, 0.995])
    series.stall(490 * MS, 2995 * MS)
    rows = series.seconds(3000 * MS, (495 * MS, 2505 * MS, 0, 8))
    assert [row.stalls for row in rows] == [1, 0, 0]
    assert [row.stall_s for row in rows] == pytest.approx([0.51, 1.0, 0.995])


def test_an_hour_fits_into_5_mb(may_block: None) -> None:
    """The ticks of an hour, with a stall in every second, are played to a real monitor."""

    async def main() -> None:
        tracemalloc.start()
        try:
            monitor = LoopMonitor('lite')
            monitor.start()
            ticks, watchdog = monitor._account, monitor._watchdog
            assert ticks is not None and watchdog is not None
            before = tracemalloc.get_traced_memory()[0]
            for number in range(3600):
                ticks.served(50, ticks.next_ns + 49 * 20 * MS + 30 * MS)
                if number % 50 == 0:
                    monitor._settle()
            monitor._settle()
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        kept, total = len(monitor._stalls), monitor._totals.count
        assert kept == 2048 and total == 3600
        assert held < 5_000_000, held
        monitor.stop()
        report = monitor.report()
        assert report.dropped_stalls >= total - kept
        assert report.stall_count >= total
        assert report.stall_s > sum(stall.duration_s for stall in report.stalls)
        assert len(report.seconds) >= 3599

    asyncio.run(main())
