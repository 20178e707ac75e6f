"""Waiting on an event loop for an absolute instant, finer than the loop's own timers.

asyncio and uvloop round timers to 1 ms, so a schedule above 500 items/s would leave in clumps. Where
the kernel has `timerfd`, an absolute timer is armed and read by the loop; elsewhere the loop's timer
is used and the coarser floor is stated. `Alarm` is the timer itself, `Pacer` awaits it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from streambench.clock import NS_PER_S, now_ns

TIMERFD_FLOOR_NS = 100_000
TIMER_FLOOR_NS = 1_000_000

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_TFD_FLAGS = os.O_NONBLOCK | getattr(os, 'O_CLOEXEC', 0)


class _Timespec(ctypes.Structure):
    _fields_ = (('seconds', ctypes.c_long), ('nanoseconds', ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (('interval', _Timespec), ('value', _Timespec))


def _open_timerfd() -> int | None:
    """Return a timerfd of CLOCK_MONOTONIC, or None where there is none."""
    if sys.platform != 'linux':
        return None
    create = getattr(ctypes.CDLL(None, use_errno=True), 'timerfd_create', None)
    if create is None:
        return None
    fd = int(create(_CLOCK_MONOTONIC, _TFD_FLAGS))
    return fd if fd >= 0 else None


class Alarm:
    """Call a function on the running loop at an absolute instant of `clock.now_ns`.

    Attributes:
        floor_ns: The smallest interval that it can keep.

    Args:
        ring: Called on the loop, never before the instant where the kernel has `timerfd`.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self.floor_ns = TIMER_FLOOR_NS
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._fd = _open_timerfd()
        if self._fd is None:
            return
        try:
            self._loop.add_reader(self._fd, self._expired)
        except NotImplementedError:
            os.close(self._fd)
            self._fd = None
        else:
            self._settime = ctypes.CDLL(None, use_errno=True).timerfd_settime
            self.floor_ns = TIMERFD_FLOOR_NS

    def set(self, instant_ns: int) -> None:
        """Ring at `instant_ns`, at once if it is past, and no more at what was set before.

        With `timerfd` any thread may call it, since the kernel wakes the loop; elsewhere
        another thread's call travels to the loop first.
        """
        if self._fd is None:
            self._loop.call_soon_threadsafe(self._set_timer, instant_ns)
            return
        # Seconds and nanoseconds must not both be zero: that would disarm the timer.
        value = _Timespec(instant_ns // NS_PER_S, max(1, instant_ns % NS_PER_S))
        spec = _Itimerspec(_Timespec(0, 0), value)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None)

    def _set_timer(self, instant_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0, instant_ns - now_ns()) / NS_PER_S
        self._timer = self._loop.call_later(delay_s, self._ring)

    def _expired(self) -> None:
        if self._fd is None:
            return
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._ring()

    def close(self) -> None:
        """Ring no more; called on the loop."""
        if self._timer is not None:
            self._timer.cancel()
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None


class Pacer:
    """Wait for absolute instants of `clock.now_ns`.

    Attributes:
        floor_ns: The smallest interval that the waiting can keep.
    """

    def __init__(self) -> None:
        self._alarm: Alarm | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.floor_ns = TIMER_FLOOR_NS

    async def __aenter__(self) -> Self:
        """Open the timer on the running loop."""
        self._alarm = Alarm(self._expired)
        self.floor_ns = self._alarm.floor_ns
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the timer."""
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None

    def _expired(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def until(self, instant_ns: int) -> None:
        """Return at `instant_ns`, at once if it is past."""
        if instant_ns <= now_ns():
            return
        assert self._alarm is not None
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            self._alarm.set(instant_ns)
            await self._waiter
        finally:
            self._waiter = None
