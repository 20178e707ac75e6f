"""Pacing: absolute instants, kept within the noise of an idle timer."""

from __future__ import annotations

import statistics

from streambench.clock import now_ns
from streambench.pacer import Pacer


async def test_instants_are_absolute_and_fine() -> None:
    """At 1,000 per second the median lateness stays below a timer's millisecond, and nothing drifts."""
    async with Pacer() as pacer:
        start = now_ns() + 5_000_000
        late = []
        for number in range(300):
            intended = start + number * 1_000_000
            await pacer.until(intended)
            late.append(now_ns() - intended)
    assert min(late) >= 0
    assert statistics.median(late) < 1_000_000
    # A chain of sleeps would be 300 times late at the end; the last items are as late as the first.
    assert statistics.median(late[-100:]) < statistics.median(late[:100]) + 1_000_000


async def test_the_past_returns_at_once() -> None:
    """An instant that is over is not waited for."""
    async with Pacer() as pacer:
        begin = now_ns()
        for _ in range(100):
            await pacer.until(begin - 1)
        assert now_ns() - begin < 50_000_000
