"""Event-loop latency profiling: lag, utilization, and every stall with its cause and its stack.

    async with LoopMonitor() as monitor:
        ...
    report = monitor.report()

It works for any asyncio program, on asyncio's loop and on uvloop's, and needs the standard library
only.
"""

from __future__ import annotations

from streambench.loop_monitor.levels import LEVELS
from streambench.loop_monitor.monitor import LoopMonitor
from streambench.loop_monitor.refusals import LoopMonitorError
from streambench.loop_monitor.report import (
    CAUSES,
    Cause,
    Distribution,
    Frame,
    LoopReport,
    Second,
    StallEvent,
    ThreadStack,
    WeightedStack,
)

__all__ = [
    'CAUSES',
    'LEVELS',
    'Cause',
    'Distribution',
    'Frame',
    'LoopMonitor',
    'LoopMonitorError',
    'LoopReport',
    'Second',
    'StallEvent',
    'ThreadStack',
    'WeightedStack',
]
