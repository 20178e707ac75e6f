"""A timer of the kernel that is a file descriptor and counts its own expirations.

`os.timerfd_create` came with Python 3.13; before, the C library is called. The timer is absolute on
CLOCK_MONOTONIC, which is what `time.perf_counter_ns` reads on Linux: no drift, and `read` returns how
many ticks were due, whether anybody looked or not.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

_ABSOLUTE = 1
_CLOCK_MONOTONIC = 1


class _Span(ctypes.Structure):
    _fields_ = (('seconds', ctypes.c_long), ('nanoseconds', ctypes.c_long))


class _Times(ctypes.Structure):
    _fields_ = (('interval', _Span), ('first', _Span))


def open_timer(*, first_ns: int, interval_ns: int, blocking: bool = False) -> int:
    """Return a descriptor that becomes readable at `first_ns` and then every interval.

    Args:
        first_ns: Instant of `time.perf_counter_ns`.
        interval_ns: Time between expirations, 0 for one only.
        blocking: Whether to read from it is to wait for the next one.

    Raises:
        OSError: If this system has no such timer, or another clock.
    """
    if sys.platform != 'linux':
        raise OSError(f'timerfd exists on Linux only, this is {sys.platform}')
    if abs(time.monotonic_ns() - time.perf_counter_ns()) > 1_000_000_000:
        raise OSError('time.perf_counter is not CLOCK_MONOTONIC here')
    if sys.version_info >= (3, 13):
        flags = os.TFD_CLOEXEC | (0 if blocking else os.TFD_NONBLOCK)
        fd = os.timerfd_create(_CLOCK_MONOTONIC, flags=flags)
        try:
            os.timerfd_settime_ns(
                fd, flags=os.TFD_TIMER_ABSTIME, initial=first_ns, interval=interval_ns
            )
        except BaseException:
            os.close(fd)
            raise
        return fd
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, 'timerfd_create'):
        raise OSError('this C library has no timerfd_create')
    fd = library.timerfd_create(_CLOCK_MONOTONIC, os.O_CLOEXEC | (0 if blocking else os.O_NONBLOCK))
    if fd < 0:
        raise OSError(ctypes.get_errno(), 'timerfd_create failed')
    times = _Times(
        _Span(*divmod(interval_ns, 1_000_000_000)),
        _Span(*divmod(first_ns, 1_000_000_000)),
    )
    if library.timerfd_settime(fd, _ABSOLUTE, ctypes.byref(times), None):
        os.close(fd)
        raise OSError(ctypes.get_errno(), 'timerfd_settime failed')
    return int(fd)
