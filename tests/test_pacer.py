"""Pacing: absolute instants, kept within the noise of an idle timer."""

from __future__ import annotations

import os
import resource
import statistics
from contextlib import AsyncExitStack

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


async def test_without_a_timer_of_the_kernel_the_floor_is_stated() -> None:
    """Where no timerfd can be had the loop's own timer rings, and a millisecond is the floor."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    # As if there were none: the next descriptor is refused.
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    async with AsyncExitStack() as stack:
        try:
            pacer = await stack.enter_async_context(Pacer())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert pacer.floor_ns == 1_000_000
        start = now_ns() + 5_000_000
        await pacer.until(start)
        # Loops round timers to milliseconds.
        assert now_ns() >= start - 2_000_000
