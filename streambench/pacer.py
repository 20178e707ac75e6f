"""Waiting on an event loop for an absolute instant, finer than the loop's own timers.

asyncio and uvloop round timers to 1 ms, so a schedule above 500 items/s would leave in clumps. Where
the kernel has `timerfd`, an absolute timer is armed and read by the loop; elsewhere the loop's timer
is used and the coarser floor is stated.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
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


class Pacer:
    """Wait for absolute instants of `clock.now_ns`.

    Attributes:
        floor_ns: The smallest interval that the waiting can keep.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.floor_ns = TIMER_FLOOR_NS

    async def __aenter__(self) -> Self:
        """Open the timer on the running loop."""
        self._fd = _open_timerfd()
        if self._fd is not None:
            try:
                asyncio.get_running_loop().add_reader(self._fd, self._expired)
            except NotImplementedError:
                os.close(self._fd)
                self._fd = None
            else:
                self._settime = ctypes.CDLL(None, use_errno=True).timerfd_settime
                self.floor_ns = TIMERFD_FLOOR_NS
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the timer."""
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    def _expired(self) -> None:
        assert self._fd is not None
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def until(self, instant_ns: int) -> None:
        """Return at `instant_ns`, at once if it is past."""
        remaining = instant_ns - now_ns()
        if remaining <= 0:
            return
        if self._fd is None:
            await asyncio.sleep(remaining / NS_PER_S)
            return
        # Seconds and nanoseconds must not both be zero: that would disarm the timer.
        value = _Timespec(instant_ns // NS_PER_S, max(1, instant_ns % NS_PER_S))
        spec = _Itimerspec(_Timespec(0, 0), value)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            self._settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None)
            await self._waiter
        finally:
            self._waiter = None
