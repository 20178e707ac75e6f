"""When a monitor declines to start, or to go on, and says why in one sentence."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streambench.loop_monitor.monitor import LoopMonitor


class LoopMonitorError(RuntimeError):
    """A monitor can't do what was asked; the message says what, and the remedy."""


_active: dict[int, LoopMonitor] = {}
_hooked = False


def free_threaded() -> bool:
    """Return whether this interpreter was built to run without the GIL."""
    # sysconfig knows it too, but reads files for it, and this may run in a loop.
    enabled = getattr(sys, '_is_gil_enabled', None)
    return 't' in getattr(sys, 'abiflags', '') or (enabled is not None and not enabled())


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that runs in this thread.

    Raises:
        LoopMonitorError: If there is none, or if stacks of other threads can't be read here.
    """
    if free_threaded():
        raise LoopMonitorError(
            'this is a free-threaded build of Python, where the stack of a running thread cannot be '
            'read safely: use a build with the GIL'
        )
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise LoopMonitorError(
            f'no event loop runs in thread {threading.current_thread().name!r}: start the monitor in a '
            'coroutine or a callback of the loop'
        ) from None


def claim(loop: asyncio.AbstractEventLoop, monitor: LoopMonitor) -> None:
    """Note that a monitor observes a loop.

    Raises:
        LoopMonitorError: If another one does.
    """
    global _hooked
    other = _active.setdefault(id(loop), monitor)
    if other is not monitor:
        raise LoopMonitorError(
            f'this loop has a monitor already (level {other.level!r}): stop that one first, or read it '
            'with snapshot()'
        )
    if not _hooked and hasattr(os, 'register_at_fork'):
        os.register_at_fork(after_in_child=_forked)
        _hooked = True


def release(loop: asyncio.AbstractEventLoop) -> None:
    """Note that a loop isn't observed any more."""
    _active.pop(id(loop), None)


def _forked() -> None:
    """Disown in a forked child the monitors of its parent: their watchdogs stayed there."""
    monitors = list(_active.values())
    _active.clear()
    for monitor in monitors:
        monitor.disown()
