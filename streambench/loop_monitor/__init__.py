"""Event-loop latency profiling: lag, utilization, and every stall with its cause and its stack.

    async with LoopMonitor() as monitor:
        ...
    report = monitor.report()

It works for any asyncio program, on asyncio's loop and on uvloop's, and needs the standard library
only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Loaded when used: a help text that names the command must not wait for the profiler.
_HOMES = {
    'CAUSES': 'report',
    'Cause': 'report',
    'Distribution': 'report',
    'Frame': 'report',
    'LEVELS': 'levels',
    'LoopMonitor': 'monitor',
    'LoopMonitorError': 'refusals',
    'LoopReport': 'report',
    'Second': 'report',
    'StallEvent': 'report',
    'ThreadStack': 'report',
    'WeightedStack': 'report',
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
