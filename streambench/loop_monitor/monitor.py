"""The monitor of one event loop: starts the parts, stops them, and puts together what they found."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from types import TracebackType
from typing import Self

from streambench.loop_monitor import claims
from streambench.loop_monitor.account import Reading, TickAccount
from streambench.loop_monitor.attribution import LateTick, Sample, stall
from streambench.loop_monitor.garbage import GarbageWatch
from streambench.loop_monitor.idle_clock import IdleClock
from streambench.loop_monitor.levels import level_of
from streambench.loop_monitor.libuv import LibuvClock, LibuvUnavailableError, is_uvloop, kind_of
from streambench.loop_monitor.refusals import LoopMonitorError, running_loop
from streambench.loop_monitor.report import LoopReport, StallEvent
from streambench.loop_monitor.seconds import NONE
from streambench.loop_monitor.selector import SelectorClock, SelectorUnavailableError
from streambench.loop_monitor.summing import StallTotals, put_together
from streambench.loop_monitor.ticks import KernelTicks, LoopTicks
from streambench.loop_monitor.watchdog import Watchdog

MAX_STALLS = 2048


class LoopMonitor:
    """Measures the lag, the utilization and the stalls of the running event loop.

    Use it as an async context manager, or call `start` and `stop` on the loop's thread. A monitor is
    used once.

    Args:
        level: `off`, `lite` (tick every 20 ms), `default` (10 ms) or `fine` (5 ms).
        exact: On asyncio, replace the selector's select() until stopped, so that utilization and the
            begin of stalls are known exactly; uvloop tells them in any case.
        max_stalls: How many stalls are kept; of more the oldest are dropped, and counted.

    Raises:
        LoopMonitorError: If the level does not exist or max_stalls is below 1.
    """

    def __init__(
        self, level: str = 'default', *, exact: bool = False, max_stalls: int = MAX_STALLS
    ) -> None:
        if max_stalls < 1:
            raise LoopMonitorError(f'max_stalls is {max_stalls}: at least 1 stall must be kept')
        self._level = level_of(level)
        self._exact = exact
        self._stalls: deque[StallEvent] = deque(maxlen=max_stalls)
        self._totals = StallTotals()
        self._settling = threading.Lock()
        self._unavailable: list[str] = []
        self._garbage = GarbageWatch()
        self._state = 'new'
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: IdleClock | None = None
        self._account: TickAccount | None = None
        self._watchdog: Watchdog | None = None
        self._ticks: KernelTicks | LoopTicks | None = None
        self._report: LoopReport | None = None
        self._thread = 0
        self._at_stop: Reading | None = None

    @property
    def level(self) -> str:
        """The name of the level."""
        return self._level.name

    @property
    def running(self) -> bool:
        """Whether the loop is being watched."""
        return self._state == 'running'

    def start(self) -> None:
        """Begin to watch the loop that runs in this thread.

        Raises:
            LoopMonitorError: If no loop runs here, it has a monitor already, this one was started
                before, or Python runs without GIL.
        """
        if self._state != 'new':
            raise LoopMonitorError(f'this monitor is {self._state}: make a new one for each use')
        loop = running_loop()
        if self._level.name != 'off':
            claims.claim(loop, level=self._level.name, disown=self.disown)
        self._loop = loop
        self._thread = threading.get_ident()
        self._state = 'running'
        try:
            self._open(loop)
        except BaseException:
            self._close()
            self._state = 'stopped'
            raise

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._level.name == 'off':
            self._unavailable.append('everything: the level is off')
            self._account = TickAccount(level=self._level, idle=None, garbage=self._garbage)
            return
        self._idle = self._idle_clock(loop)
        account = self._account = TickAccount(level=self._level, idle=self._idle, garbage=self._garbage)
        account.know_thread(loop)
        self._garbage.start()
        waiting = frozenset([self._idle.code]) if isinstance(self._idle, SelectorClock) else frozenset()
        self._watchdog = Watchdog(loop, account, waiting=waiting, settle=self._settle)
        # The ticks last: were their first due while the rest is made ready, it would seem late.
        self._watchdog.start()
        account.begin(time.perf_counter_ns())
        first_ns, interval_ns = account.next_ns, self._level.interval_ns
        try:
            self._ticks = KernelTicks(loop, account.tick, first_ns=first_ns, interval_ns=interval_ns)
        except (OSError, NotImplementedError) as error:
            self._unavailable.append(
                f"ticks of the kernel ({error}): the loop's own timer is used, rounded to 1 ms"
            )
            self._ticks = LoopTicks(loop, account.tick, first_ns=first_ns, interval_ns=interval_ns)
        account.due = self._ticks.due

    def _idle_clock(self, loop: asyncio.AbstractEventLoop) -> IdleClock | None:
        if is_uvloop(loop):
            try:
                return LibuvClock(loop)
            except LibuvUnavailableError as error:
                self._unavailable.append(f'utilization and begin of stalls: {error}')
                return None
        if not self._exact:
            self._unavailable.append(
                'utilization and begin of stalls: on asyncio they need exact=True (--exact), which '
                "replaces the selector's select()"
            )
            return None
        try:
            return SelectorClock(loop)
        except SelectorUnavailableError as error:
            self._unavailable.append(f'utilization and begin of stalls: {error}')
            return None

    def _settle(self, *, on_time: bool = False) -> None:
        """Make stalls of the late ticks that there are; if the loop is on time, drop other samples."""
        account, watchdog = self._account, self._watchdog
        assert account is not None and watchdog is not None
        # Whoever comes second leaves it to the first: the loop must not wait for its watchdog.
        if not self._settling.acquire(blocking=False):
            return
        try:
            if on_time and not account.late:
                account.samples.clear()
            while account.late:
                self._settle_one(account, account.late.popleft(), watchdog.oversleeps)
        finally:
            self._settling.release()

    def _settle_one(
        self, account: TickAccount, late: LateTick, oversleeps: list[tuple[int, int]]
    ) -> None:
        seen: list[Sample] = []
        while account.samples and account.samples[0].at_ns <= late.now_ns:
            sample = account.samples.popleft()
            if sample.at_ns > late.prev_ns:
                seen.append(sample)
        found = stall(late, seen, oversleeps)
        self._stalls.append(found)
        self._totals.add(found)
        account.series.stall(found.start_ns, found.end_ns)

    def stop(self) -> None:
        """Cease to watch; waits some ms for the watchdog. The loop may be closed right after.

        A stall that lasts at this moment is counted up to now. Stopping again does nothing.

        Raises:
            LoopMonitorError: If called in a forked child, or before start.
        """
        if not self._stopping():
            return
        if self._watchdog is not None:
            self._watchdog.halt()
            self._watchdog.join()
        self._finish()

    def _stopping(self) -> bool:
        if self._state == 'forked':
            raise LoopMonitorError(
                'this process was forked while its loop was monitored, and the watchdog stayed in the '
                'parent: start a new monitor here'
            )
        if self._state == 'new':
            raise LoopMonitorError('this monitor was never started: call start() first')
        loop, account = self._loop, self._account
        if self._at_stop is not None or loop is None or account is None:
            return False
        stands = not loop.is_running()
        if not stands and threading.get_ident() != self._thread:
            raise LoopMonitorError(
                "stop() was called in another thread than the loop's, where it is not safe: use "
                'loop.call_soon_threadsafe(monitor.stop)'
            )
        if loop.is_closed():
            self._unavailable.append('iterations: the loop was closed before the monitor was stopped')
        now_ns = time.perf_counter_ns()
        if self._ticks is not None:
            account.stood_still |= stands
            count = self._ticks.due()
            if count:
                account.served(count, max(now_ns, account.next_ns), unfinished=True)
            self._ticks.close()
        self._at_stop = account.reading(now_ns)
        return True

    def _finish(self) -> None:
        """Take down everything and write the report; the watchdog has ended."""
        if self._watchdog is not None:
            self._settle()
        assert self._at_stop is not None
        self._report = self._read(self._at_stop, ())
        self._close()
        self._state = 'stopped'

    def _close(self) -> None:
        if self._ticks is not None:
            self._ticks.close()
        if self._watchdog is not None:
            if self._watchdog.alive:
                self._watchdog.halt()
                self._watchdog.join()
            self._watchdog.close()
        self._garbage.close()
        if self._idle is not None:
            self._idle.close()
        if self._account is not None:
            self._account.close()
        if self._loop is not None:
            claims.release(self._loop)
        self._ticks = None
        self._idle = None
        self._loop = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loop, watchdog = self._loop, self._watchdog
        if not self._stopping():
            return
        if loop is not None and watchdog is not None:
            ended = asyncio.Event()
            watchdog.halt(lambda: loop.call_soon_threadsafe(ended.set))
            try:
                await ended.wait()
                # All that it does now is to end: soon enough not to wait for it.
                while watchdog.alive:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            finally:
                if watchdog.alive:
                    watchdog.join()
                self._finish()
        else:
            self._finish()

    def disown(self) -> None:
        """Give the monitor up in a forked child; called by the interpreter."""
        self._garbage.close()
        if self._idle is not None:
            self._idle.close()
        self._state = 'forked'

    def idle_ns(self) -> int | None:
        """Return the time since the start in which the loop waited with nothing to do.

        Two readings at the ends of an interval tell how much of it the loop was idle. Takes less than
        1 µs. Call it on the loop's thread.

        Returns:
            Nanoseconds; None where it is not available. After stop, the time at stop.
        """
        if self._at_stop is not None:
            return None if self._at_stop.counters[0] == NONE else self._at_stop.counters[0]
        if self._idle is None or self._account is None:
            return None
        return self._idle.idle_ns() - self._account.start_idle_ns

    def busy_ns(self) -> int | None:
        """Return the time since the start in which the loop did not wait; else as `idle_ns`."""
        idle_ns = self.idle_ns()
        if idle_ns is None or self._account is None:
            return None
        until_ns = self._at_stop.now_ns if self._at_stop else time.perf_counter_ns()
        return until_ns - self._account.start_ns - idle_ns

    def report(self) -> LoopReport:
        """Return what was found, from start to stop.

        Raises:
            LoopMonitorError: If the monitor has not been stopped: take a snapshot then.
        """
        if self._report is None:
            raise LoopMonitorError(
                f'this monitor is {self._state}: report() needs it stopped, snapshot() reads it before'
            )
        return self._report

    def snapshot(self) -> LoopReport:
        """Return what was found until now, a stall that still lasts included; on the loop's thread.

        Raises:
            LoopMonitorError: If it was not started, or was forked.
        """
        if self._report is not None:
            return self._report
        if self._state != 'running' or self._account is None:
            raise LoopMonitorError(f'this monitor is {self._state}: snapshot() needs it running')
        now_ns = time.perf_counter_ns()
        reading = self._account.reading(now_ns)
        if self._watchdog is None:
            return self._read(reading, ())
        self._settle()
        late = self._account.unfinished(now_ns)
        return self._read(reading, () if late is None else (self._lasting(late),))

    def _lasting(self, late: LateTick) -> StallEvent:
        assert self._account is not None and self._watchdog is not None
        samples = list(self._account.samples)
        seen = [each for each in samples if late.prev_ns < each.at_ns <= late.now_ns]
        return stall(late, seen, self._watchdog.oversleeps)

    def _read(self, reading: Reading, lasting: tuple[StallEvent, ...]) -> LoopReport:
        assert self._account is not None
        return put_together(
            self._account,
            self._watchdog,
            exact=self._exact and isinstance(self._idle, SelectorClock),
            loop=kind_of(self._loop),
            ticks=self._ticks,
            reading=reading,
            stalls=(*self._stalls, *lasting),
            totals=self._totals,
            lasting=lasting,
            unavailable=self._unavailable,
        )
