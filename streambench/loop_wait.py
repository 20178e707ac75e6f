"""What our own loop costs an item: the time in which the loop was busy while the item waited for it.

An item waits for the loop at three places: from its intended instant until the generator takes it, from
its sending until the dispatcher has it, and from the end of its task until the dispatcher knows. Their
overlap with the time in which the loop was busy is the item's loop wait. That time is read from libuv's
own account of idle time, so it exists under uvloop only.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from typing import Protocol

from streambench.clock import now_ns
from streambench.records import ItemRow

# Nothing shorter is told apart: a reading per stamp would cost more than what it finds.
APART_NS = 50_000
# Rows are completed up to a few seconds after their items have ended.
KEPT = 200_000


class IdleClock(Protocol):
    """What knows how long a loop had nothing to do."""

    def idle_ns(self) -> int | None:
        """Return that time since some begin."""


def idle_clock() -> IdleClock | None:
    """Return the idle clock of the running loop, or None if it has none."""
    from streambench.loop_monitor.libuv import LibuvClock, LibuvUnavailableError, is_uvloop

    loop = asyncio.get_running_loop()
    if not is_uvloop(loop):
        return None
    try:
        return LibuvClock(loop)
    except LibuvUnavailableError:
        return None


class LoopTime:
    """Where a loop's time went, by readings at the stamps of items.

    Args:
        clock: Knows the loop's idle time.
    """

    def __init__(self, clock: IdleClock) -> None:
        self._idle_ns = clock.idle_ns
        # Appended to by the loop's thread, at last the idle time, and read by another.
        self._readings = (array('q'), array('q'))
        self._last_ns = 0

    def sample(self, at_ns: int) -> None:
        """Take a reading, unless the last one is so near that the loop can't have rested.

        Args:
            at_ns: The present instant.
        """
        if at_ns - self._last_ns < APART_NS:
            return
        self._last_ns = now = now_ns()
        at, idle = self._readings
        at.append(now)
        idle.append(self._idle_ns() or 0)
        if len(at) > KEPT:
            self._readings = at[KEPT // 2 :], idle[KEPT // 2 :]

    def busy_total_ns(self) -> int:
        """Return an ever-growing count of the time in which the loop was busy."""
        return now_ns() - (self._idle_ns() or 0)

    def busy_ns(self, begin_ns: int | None, end_ns: int | None) -> int:
        """Return for how long the loop was busy between two instants; 0 if one of them is missing."""
        return self._busy_ns(((begin_ns, end_ns),))

    def charge(self, item: ItemRow) -> None:
        """Set the loop wait of an item that has come back."""
        if item.complete_ns is not None:
            item.loop_wait_ns = self.wait_ns(item)

    def wait_ns(self, item: ItemRow) -> int:
        """Return an item's loop wait."""
        return self._busy_ns(
            (
                (item.intended_ns, item.put_start_ns),
                (item.send_ns, item.receive_ns),
                (item.end_ns, item.complete_ns),
            )
        )

    def _busy_ns(self, intervals: Iterable[tuple[int | None, int | None]]) -> int:
        """Return for how long the loop was busy in all intervals together.

        Between two readings the loop finishes its work first and rests then, since it is the end of a
        rest that makes the next stamp. It is done for every item, so nothing is called but a search.
        """
        at, idle = self._readings
        count = len(idle)
        busy = low = 0
        for begin, end in intervals:
            if begin is None or end is None or end <= begin:
                continue
            # The intervals follow each other, unless another host's clock says something else.
            if low and at[low] > begin:
                low = 0
            first = bisect_right(at, begin, low, count) - 1
            if first < 0:
                # Before the first reading that is kept.
                continue
            low = first
            after = first + 1
            if after == count:
                busy += end - begin
                continue
            rested = idle[first]
            late = idle[after] - rested - at[after] + begin
            if late > 0:
                rested += late
            if at[after] <= end:
                after = bisect_right(at, end, after, count)
            rested = idle[after - 1] - rested
            if after < count:
                late = idle[after] - idle[after - 1] - at[after] + end
                if late > 0:
                    rested += late
            took = end - begin - rested
            if took > 0:
                busy += took
        return busy
