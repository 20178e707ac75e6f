"""Pauses of the garbage collector, which holds the GIL while it runs, whichever thread began it."""

from __future__ import annotations

import gc
import time
from collections import deque
from typing import Any

from streambench.loop_monitor.histogram import Histogram

RECENT = 1024


class GarbageWatch:
    """Times every collection between start and close.

    Attributes:
        total_ns: Sum of all pauses.
        pauses: Histogram of each generation.
        recent: Begin and end of the last pauses, oldest first.
    """

    def __init__(self) -> None:
        self.total_ns = 0
        self.pauses = {generation: Histogram() for generation in range(len(gc.get_threshold()))}
        self.recent: deque[tuple[int, int]] = deque(maxlen=RECENT)
        self._begin_ns = 0

    def start(self) -> None:
        """Begin to listen."""
        gc.callbacks.append(self.heard)

    def close(self) -> None:
        """Listen no more."""
        if self.heard in gc.callbacks:
            gc.callbacks.remove(self.heard)

    def heard(self, phase: str, info: dict[str, Any]) -> None:
        """Take note of the begin or end of a collection; called by the interpreter."""
        now_ns = time.perf_counter_ns()
        if phase == 'start':
            self._begin_ns = now_ns
        elif self._begin_ns:
            pause_ns = now_ns - self._begin_ns
            self.total_ns += pause_ns
            self.pauses[info['generation']].add(pause_ns)
            self.recent.append((self._begin_ns, now_ns))
            self._begin_ns = 0

    @property
    def count(self) -> int:
        """How many collections there were."""
        return sum(pauses.count for pauses in self.pauses.values())

    def overlapping(self, begin_ns: int, end_ns: int) -> tuple[tuple[int, int], ...]:
        """Return the recent pauses that touch an interval, latest first."""
        found = []
        # A copy: a collection may begin while this looks, and it appends. Not by tuple(): making the
        # tuple itself may begin one, between the first look at what is to be copied and the copying.
        for pause in reversed(list(self.recent)):
            if pause[1] <= begin_ns:
                break
            if pause[0] < end_ns:
                found.append(pause)
        return tuple(found)


def call_cost_ns(calls: int = 50) -> int:
    """Return what listening costs per collection, measured on a watch that nobody reads."""
    watch = GarbageWatch()
    begin_ns = time.perf_counter_ns()
    for _ in range(calls):
        watch.heard('start', {'generation': 0})
        watch.heard('stop', {'generation': 0})
    return (time.perf_counter_ns() - begin_ns) // calls
