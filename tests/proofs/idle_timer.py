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
    """A thread that sleeps again and again, and notes how late it wakes, as long as its block."""

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
        while not self._over.is_set():
            due_ns = now_ns() + period_ns
            time.sleep(PERIOD_S)
            self._late_ns.append(now_ns() - due_ns)

    def late_s(self, quantile: float = 0.5) -> float:
        """Return how late it woke, so far.

        Args:
            quantile: Which of the latenesses; the same as of the figure that is judged.
        """
        ordered = sorted(self._late_ns)
        if not ordered:
            return 0.0
        return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)] / NS_PER_S
