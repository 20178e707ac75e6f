"""What makes the loop call back every interval: the kernel's timer, or the loop's own.

Both call `tick`, which asks them with `due` how many ticks were due since the last call. It does so
when it has looked at what it must see first: reading a descriptor gives the GIL away.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
import time
from collections.abc import Callable

from streambench.loop_monitor.timerfd import open_timer

NS_PER_MS = 1_000_000

Tick = Callable[[], None]


class KernelTicks:
    """A timerfd among the loop's descriptors: as late as any I/O is, and it counts what was missed.

    Raises:
        OSError: If the system has no timerfd.
        NotImplementedError: If the loop can't watch descriptors.
    """

    name = 'timerfd'
    floor_ns = 0

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tick: Tick, *, first_ns: int, interval_ns: int
    ) -> None:
        self._loop = loop
        self._fd = open_timer(first_ns=first_ns, interval_ns=interval_ns)
        try:
            loop.add_reader(self._fd, tick)
        except BaseException:
            os.close(self._fd)
            raise

    def due(self) -> int:
        """Return how many ticks have become due that were not told yet."""
        try:
            return int.from_bytes(os.read(self._fd, 8), sys.byteorder)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Stop ticking; the loop may be closed already. Closing again does nothing."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        with contextlib.suppress(RuntimeError):
            self._loop.remove_reader(fd)
        os.close(fd)


class LoopTicks:
    """The loop's own timer, where there is no timerfd: rounded to 1 ms, missed ticks are computed."""

    name = 'call_at'
    floor_ns = NS_PER_MS

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tick: Tick, *, first_ns: int, interval_ns: int
    ) -> None:
        self._loop = loop
        self._tick = tick
        self._next_ns = first_ns
        self._interval_ns = interval_ns
        self._handle = self._armed()

    def _armed(self) -> asyncio.TimerHandle:
        # uvloop makes a call_soon of less than 0.5 ms, which would spin: at least 1 ms, rounded up.
        left_ms = math.ceil((self._next_ns - time.perf_counter_ns()) / NS_PER_MS)
        return self._loop.call_later(max(1, left_ms) / 1000, self._ready)

    def _ready(self) -> None:
        self._tick()
        self._handle = self._armed()

    def due(self) -> int:
        """Return how many ticks have become due that were not told yet."""
        now_ns = time.perf_counter_ns()
        if now_ns < self._next_ns:
            return 0
        count = (now_ns - self._next_ns) // self._interval_ns + 1
        self._next_ns += count * self._interval_ns
        return count

    def close(self) -> None:
        """Stop ticking."""
        self._handle.cancel()
