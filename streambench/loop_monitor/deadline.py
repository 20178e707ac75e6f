"""What wakes the watchdog: a time that the loop puts off at each tick, and that comes if it doesn't.

To put the timer of the kernel off is one system call. A thread that wakes for every tick only to sleep
again takes the GIL from the loop each time, which cost a saturated loop more than all the rest.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque

from streambench.loop_monitor.timerfd import open_timer

NS_PER_S = 1_000_000_000
NEVER = 1 << 62
OVERSLEPT_NS = 1_000_000
_KEPT = 1024
_ABSOLUTE = 1


class Deadline(ABC):
    """A time that one thread waits for and others put off.

    Attributes:
        at_ns: When it is, `NEVER` once the one who waits has come.
        oversleeps: Intervals of 1 ms and more in which it was over and nobody had come yet.
    """

    def __init__(self) -> None:
        self.at_ns = NEVER
        self.oversleeps: deque[tuple[int, int]] = deque(maxlen=_KEPT)

    def put_off(self, at_ns: int, now_ns: int) -> None:
        """Set the time anew; in the past is at once."""
        if now_ns - self.at_ns >= OVERSLEPT_NS:
            self.oversleeps.append((self.at_ns, now_ns))
        self.at_ns = at_ns
        self._set(at_ns)

    def come(self, now_ns: int) -> int | None:
        """Return by how much the one who has waited is late; None if it was put off meanwhile."""
        late_ns = now_ns - self.at_ns
        if late_ns < 0:
            # Two may have put it off at once, the sooner time last.
            self._set(self.at_ns)
            return None
        if late_ns >= OVERSLEPT_NS:
            self.oversleeps.append((self.at_ns, now_ns))
        self.at_ns = NEVER
        return late_ns

    @abstractmethod
    def _set(self, at_ns: int) -> None:
        """Let the one who waits wake at a time."""

    @abstractmethod
    def wait(self) -> None:
        """Wait until it is over; it may have been put off since."""

    def close(self) -> None:  # noqa: B027 - a sleep leaves nothing to let go of
        """Let go of it, when nobody waits any more."""


class KernelDeadline(Deadline):
    """A timerfd, from which a thread reads.

    Raises:
        OSError: If the system has no timerfd.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fd = open_timer(first_ns=NEVER, interval_ns=0, blocking=True)
        # PyDLL keeps the GIL: the call takes less time than handing it over would.
        self._settime = ctypes.PyDLL(None).timerfd_settime
        self._settime.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        # struct itimerspec: interval and first expiration, seconds and nanoseconds each.
        self._times = (ctypes.c_long * 4)()
        self._address = ctypes.addressof(self._times)

    def _set(self, at_ns: int) -> None:
        times = self._times
        times[2], times[3] = divmod(at_ns, NS_PER_S)
        self._settime(self._fd, _ABSOLUTE, self._address, None)

    def wait(self) -> None:
        """Wait until it is over; it may have been put off since."""
        os.read(self._fd, 8)

    def close(self) -> None:
        """Close the descriptor; closing again does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class SleptDeadline(Deadline):
    """Where there is no timerfd: a sleep, repeated if it was put off meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        # Held, so that waiting for it is a sleep that can be cut short.
        self._sooner = threading.Lock()
        self._sooner.acquire()
        self._until_ns = 0

    def _set(self, at_ns: int) -> None:
        if at_ns < self._until_ns and self._sooner.locked():
            self._until_ns = at_ns
            self._sooner.release()

    def wait(self) -> None:
        """Wait until it is over; it may have been put off since."""
        while (left_ns := self.at_ns - time.perf_counter_ns()) > 0:
            self._until_ns = self.at_ns
            self._sooner.acquire(timeout=min(left_ns / NS_PER_S, threading.TIMEOUT_MAX))


def deadline() -> Deadline:
    """Return the best that there is here."""
    try:
        return KernelDeadline()
    except OSError:
        return SleptDeadline()
