"""When a monitor declines to start, or to go on, and says why in one sentence."""

from __future__ import annotations

import asyncio
import sys
import threading


class LoopMonitorError(RuntimeError):
    """A monitor can't do what was asked; the message says what, and the remedy."""


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
