"""What this machine does to a timer that nothing hinders, measured while something else is measured.

Other processes take the processor away from a run as they do from an idle thread, so what a bound
allows beyond its own value is what that thread saw in the same seconds.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from types import TracebackType
from typing import Self

from streambench.clock import NS_PER_S, now_ns

PERIOD_S = 0.005


class IdleTimer:
    """A thread that ticks, and notes how late each tick is, as long as its block lasts.

    Ticks keep their schedule, as items do: a pause makes all those late that were due in it.
    """

    def __init__(self) -> None:
        self._late_ns: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name='idle-timer', daemon=True)

    async def __aenter__(self) -> Self:
        """Start it."""
        await asyncio.to_thread(self._thread.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it; takes a period at most."""
        self._over.set()
        await asyncio.to_thread(self._thread.join)

    def _watch(self) -> None:
        period_ns = round(PERIOD_S * NS_PER_S)
        due_ns = now_ns() + period_ns
        while not self._over.is_set():
            time.sleep(max(0, due_ns - now_ns()) / NS_PER_S)
            now = now_ns()
            # A sleep may end a little too early.
            self._late_ns += [
                max(0, now - tick) for tick in range(due_ns, max(now, due_ns + 1), period_ns)
            ]
            due_ns += period_ns * (1 + max(0, now - due_ns) // period_ns)

    def late_s(self, quantile: float = 0.5) -> float:
        """Return how late its ticks were, so far.

        Args:
            quantile: Which of the latenesses; the same as of the figure that is judged.
        """
        ordered = sorted(self._late_ns)
        if not ordered:
            return 0.0
        return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)] / NS_PER_S
