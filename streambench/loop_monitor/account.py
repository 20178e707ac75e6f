"""What a tick does: count its lateness, and take note if it was late."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from streambench.loop_monitor.attribution import LateTick, Sample
from streambench.loop_monitor.garbage import GarbageWatch
from streambench.loop_monitor.histogram import Histogram
from streambench.loop_monitor.idle_clock import IdleClock
from streambench.loop_monitor.levels import Level
from streambench.loop_monitor.run_queue import RunQueue
from streambench.loop_monitor.seconds import NONE, Counters, SecondSeries
from streambench.loop_monitor.stacks import (
    OtherThread,
    ThreadClocks,
    current_frames,
    runner_of,
    runner_of_task,
)

_USUAL_MOST_NS = 1_000_000
# So many lags are counted at once: on an idle machine the code of it is not in the caches for just one.
_BATCH = 16
# An idle loop's way from epoll to a callback and back, in CPU time, if it is never seen idle: the upper
# end of what was measured on asyncio and uvloop.
_DISPATCH_MOST_NS = 60_000
# Ticks that took no more than so many times the least are taken for those of an idle loop.
_IDLE_TIMES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What counts up all the time, at one instant."""

    now_ns: int
    counters: Counters
    events: int | None
    events_waiting: int | None


class TickAccount:
    """Figures of one monitored loop; `tick` runs on the loop's thread.

    Attributes:
        next_ns: When the next tick is due.
        prev_ns: When the last one ran.
        backfilled: Lateness of ticks without a wake-up of their own.
        runner: The frame that runs the loop.
        due: Tells how many ticks have become due.
        late: Late ticks that nobody has made stalls of.
        samples: What the watchdog saw, in order.
        stood_still: Set by the watchdog when it finds that the loop doesn't run at all.
        paused_ns: Time in which it didn't.
        queue: Tells how long the loop's thread has waited for a core, None where nobody does.
        put_off: Lets the watchdog sleep until a later instant, given now; None without one.
        wake_ns: From when on that isn't done once, so that it wakes now and then.
    """

    def __init__(self, *, level: Level, idle: IdleClock | None, garbage: GarbageWatch) -> None:
        self.level = level
        self.idle = idle
        self.garbage = garbage
        self._ticked = idle.ticked if idle else None
        self._interval_ns = level.interval_ns
        self._threshold_ns = level.threshold_ns
        self._alert_ns = level.alert_ns
        self.threads: ThreadClocks | None = None
        self.due: Callable[[], int] = lambda: 0
        self.runner: FrameType | None = None
        self.backfilled = Histogram()
        self._wakeup_lag = Histogram()
        self._lags: list[int] = []
        self.late: deque[LateTick] = deque()
        self.samples: deque[Sample] = deque()
        self.stood_still = False
        self.paused_ns = 0
        self.queue: RunQueue | None = None
        self._waited_ns = 0
        self.put_off: Callable[[int, int], None] | None = None
        self.wake_ns = 0
        self.start_counts: tuple[int, int, int] | None = None
        self._prev_pauses_ns = 0
        self._usual_ns = 0
        self._body_ns = 0
        self._least_cpu_ns = 1 << 62
        self._idle_cpu_ns = self._idle_ticks = 0
        self.prev_cpu_ns = self._cpu_thread = self._cpu_offset_ns = 0
        self.begin(time.perf_counter_ns())

    def know_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        """Find what is to be known of this thread, the loop's, before there is a tick."""
        self.runner = runner_of_task(loop)
        with contextlib.suppress(OSError):
            self.queue = RunQueue(threading.get_native_id())

    def close(self) -> None:
        """Let go of the thread; closing again does nothing."""
        # Its locals would live on.
        self.runner = None
        if self.queue is not None:
            self.queue.close()

    def begin(self, now_ns: int) -> None:
        """Set the begin to now: all is ready for the ticks."""
        self.start_ns = self.prev_ns = now_ns
        self.next_ns = now_ns + self.level.interval_ns
        self.start_idle_ns = self._prev_idle_ns = self.idle.idle_ns() if self.idle else 0
        self.start_cpu_ns = self.prev_cpu_ns = self._cpu_ns()
        self.start_counts = self.idle.counts() if self.idle else None
        self._waited_ns = self.queue.waited_ns() if self.queue else 0
        self.series = SecondSeries(
            start_ns=now_ns,
            interval_ns=self.level.interval_ns,
            counters=self.counters(self.start_idle_ns, self.start_cpu_ns),
        )

    def _cpu_ns(self) -> int:
        """Return the CPU time of the loop's thread, and of others that went on with it."""
        thread = threading.get_ident()
        if thread != self._cpu_thread:
            # From here on: what it has used before, for other things, doesn't count.
            self._cpu_thread = thread
            self._cpu_offset_ns = self.prev_cpu_ns - time.thread_time_ns()
        return time.thread_time_ns() + self._cpu_offset_ns

    def _counters(self, idle_ns: int, cpu_ns: int, pauses_ns: int, iterations: int = NONE) -> Counters:
        return (
            idle_ns - self.start_idle_ns if self.idle else NONE,
            cpu_ns - self.start_cpu_ns,
            pauses_ns,
            iterations,
        )

    def counters(self, idle_ns: int, cpu_ns: int) -> Counters:
        """Return what has counted up since the start, the loop's iterations as of now."""
        counts = self.idle.counts() if self.idle else None
        iterations = counts[0] - self.start_counts[0] if counts and self.start_counts else NONE
        return self._counters(idle_ns, cpu_ns, self.garbage.total_ns, iterations)

    def tick(self) -> None:
        """Account for the ticks that are due now; called by the loop.

        What happens a hundred times a second, one tick that is on time, is written out here: the
        monitor's cost is made of it.
        """
        now_ns = time.perf_counter_ns()
        lag_ns = now_ns - self.next_ns
        late = lag_ns > self._threshold_ns
        waited_ns = None
        if self.queue is not None and (lag_ns >= _USUAL_MOST_NS or now_ns >= self.wake_ns):
            # Where cores are scarce, and now and then. Whatever it waits after this is the next tick's.
            waited_ns = self.queue.waited_ns()
        others: tuple[OtherThread, ...] = ()
        if late and self.threads is not None:
            # Before anything gives the GIL away: the thread that held it stands where it did.
            others = self.threads.evidence(current_frames())
        count = self.due()
        if not count:
            return
        if self.put_off is not None and now_ns < self.wake_ns:
            self.put_off(self.next_ns + count * self._interval_ns + self._alert_ns, now_ns)
        if late or count > 1 or now_ns >= self.series.end_ns or self.stood_still or not self.runner:
            self.runner = runner_of(sys._getframe(1))
            # A tick that became due while the count was read is early by as much.
            self.served(count, now_ns, others=others, waited_ns=waited_ns)
        else:
            self.next_ns += self._interval_ns
            self.prev_ns = now_ns
            if self._ticked is not None:
                self._prev_idle_ns = self._ticked()
            self.series.tick_within(lag_ns, 1)
            self._on_time(lag_ns, self._cpu_ns())
            if self.threads is not None and now_ns >= self.threads.next_ns:
                self.threads.refresh(now_ns)
        if waited_ns is not None:
            self._waited_ns = waited_ns
        self._body_ns += time.perf_counter_ns() - now_ns

    def _on_time(self, lag_ns: int, cpu_ns: int) -> None:
        self._lags.append(lag_ns)
        if len(self._lags) >= _BATCH:
            self._count()
        used_ns = cpu_ns - self.prev_cpu_ns
        if 0 < used_ns < self._least_cpu_ns:
            self._least_cpu_ns = used_ns
        if used_ns <= _IDLE_TIMES * self._least_cpu_ns:
            self._idle_cpu_ns += used_ns
            self._idle_ticks += 1
        self._usual_ns += (min(max(lag_ns, 0), _USUAL_MOST_NS) - self._usual_ns) >> 4
        self.prev_cpu_ns = cpu_ns
        self._prev_pauses_ns = self.garbage.total_ns

    def _count(self) -> None:
        for lag_ns in self._lags:
            self._wakeup_lag.add(lag_ns)
        self._lags.clear()

    def served(
        self,
        count: int,
        now_ns: int,
        *,
        others: tuple[OtherThread, ...] = (),
        waited_ns: int | None = None,
        unfinished: bool = False,
    ) -> None:
        """Account for ticks that are served at `now_ns`, by a wake-up or by the end of monitoring.

        Args:
            count: How many.
            now_ns: When.
            others: Other threads that had used CPU time.
            waited_ns: What the account of the run queue said then, None if it wasn't read.
            unfinished: Whether it is the end.
        """
        due_ns, prev_ns = self.next_ns, self.prev_ns
        interval_ns = self._interval_ns
        next_ns = due_ns + count * interval_ns
        lag_ns = now_ns - due_ns
        idle_ns = self._ticked() if self._ticked is not None else 0
        cpu_ns = self._cpu_ns()
        if self.stood_still:
            # Ticks of a loop that nobody ran are no lag.
            self.stood_still = False
            self.paused_ns += max(0, now_ns - prev_ns - interval_ns)
            count, lag_ns, due_ns = 1, 0, now_ns
        if lag_ns > self._threshold_ns:
            used_ns = cpu_ns - self.prev_cpu_ns
            starved_ns = self._starved_ns(waited_ns)
            self.late.append(
                self._late(
                    due_ns,
                    prev_ns,
                    now_ns,
                    count,
                    idle_ns,
                    used_ns,
                    starved_ns,
                    others,
                    unfinished=unfinished,
                )
            )
        # After the late tick is noted: the watchdog drops its samples when it finds none.
        self.next_ns, self.prev_ns = next_ns, now_ns
        if count > 1:
            self.backfilled.add_falling(lag_ns - interval_ns, interval_ns, count - 1)
        if now_ns < self.series.end_ns:
            self.series.tick_within(now_ns - due_ns, count)
        else:
            before = self._counters(self._prev_idle_ns, self.prev_cpu_ns, self._prev_pauses_ns)
            after = self.counters(idle_ns, cpu_ns)
            self.series.tick(due_ns, now_ns, count, after, prev_ns, before)
        self._prev_idle_ns = idle_ns
        self._on_time(lag_ns, cpu_ns)

    @property
    def wakeup_lag(self) -> Histogram:
        """Lateness of the ticks with a wake-up of their own."""
        self._count()
        return self._wakeup_lag

    @property
    def lag(self) -> Histogram:
        """Lateness of every tick: of those with a wake-up, and of those that were missed."""
        return self.wakeup_lag.plus(self.backfilled)

    def _late(
        self,
        due_ns: int,
        prev_ns: int,
        now_ns: int,
        count: int,
        idle_ns: int,
        cpu_ns: int,
        starved_ns: int | None,
        others: tuple[OtherThread, ...],
        *,
        unfinished: bool,
    ) -> LateTick:
        return LateTick(
            prev_ns=prev_ns,
            due_ns=due_ns,
            now_ns=now_ns,
            count=count,
            idle_ns=idle_ns - self._prev_idle_ns if self.idle else None,
            cpu_ns=cpu_ns,
            starved_ns=starved_ns,
            usual_ns=self._usual_ns,
            pauses=self.garbage.overlapping(prev_ns, now_ns),
            others=others,
            unfinished=unfinished,
        )

    def _starved_ns(self, waited_ns: int | None) -> int | None:
        """Return how long the loop's thread has waited for a core since a tick that was on time."""
        if self.queue is None:
            return None
        return (self.queue.waited_ns() if waited_ns is None else waited_ns) - self._waited_ns

    def unfinished(self, now_ns: int) -> LateTick | None:
        """Return the stall that lasts at this moment, None if the loop is not late."""
        if now_ns - self.next_ns <= self.level.threshold_ns or self.stood_still:
            return None
        count = (now_ns - self.next_ns) // self.level.interval_ns + 1
        cpu_ns = self._cpu_ns() - self.prev_cpu_ns
        idle_ns = self.idle.idle_ns() if self.idle else 0
        return self._late(
            self.next_ns,
            self.prev_ns,
            now_ns,
            count,
            idle_ns,
            cpu_ns,
            self._starved_ns(None),
            (),
            unfinished=True,
        )

    def reading(self, now_ns: int) -> Reading:
        """Return all that counts up, as of this moment."""
        counts = self.idle.counts() if self.idle else None
        idle_ns = self.idle.idle_ns() if self.idle else 0
        return Reading(
            now_ns=now_ns,
            counters=self.counters(idle_ns, self._cpu_ns()),
            events=counts[1] - self.start_counts[1] if counts and self.start_counts else None,
            events_waiting=counts[2] - self.start_counts[2] if counts and self.start_counts else None,
        )

    def cost_ns(self) -> int:
        """Return the CPU time that the ticks have cost the loop, as far as it can be told.

        The body of each tick is timed. What the loop spends to get there is seen when it is idle: then
        the CPU time from one tick to the next is all due to the tick.
        """
        wakeups = self.wakeup_lag.count
        if not wakeups:
            return 0
        idle_ns = self._idle_cpu_ns // max(1, self._idle_ticks)
        way_ns = min(idle_ns - self._body_ns // wakeups, _DISPATCH_MOST_NS)
        return self._body_ns + wakeups * max(0, way_ns)
