"""What lives: processes found through /proc by a variable of their environment, and threads.

A variable is inherited by everything that is started, however it detaches itself afterwards.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

POLL_S = 0.05

Value = TypeVar('Value')


def processes(mark: str) -> dict[int, str]:
    """Return the processes whose environment holds a text, by id, with their command lines.

    This process doesn't count, nor does a zombie: it has no environment left. Nor does Python's own
    resource tracker of this process, which lives as long as it does.
    """
    found = {}
    for entry in Path('/proc').iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark.encode() not in (entry / 'environ').read_bytes():
                continue
            words = (entry / 'cmdline').read_bytes().replace(b'\0', b' ').decode()
            parent = int((entry / 'stat').read_text().rpartition(')')[2].split()[1])
        except OSError:
            continue
        if 'resource_tracker' in words and parent == os.getpid():
            continue
        found[int(entry.name)] = words
    return found


def threads(before: Collection[threading.Thread]) -> list[str]:
    """Return the names of threads that were not there before, but for those of the event loop."""
    return [
        thread.name
        for thread in threading.enumerate()
        if thread not in before and not thread.name.startswith(('asyncio_', 'uvloop_'))
    ]


def until(get: Callable[[], Value], *, within_s: float) -> Value:
    """Call until the answer is true or the time is up; return the last answer."""
    deadline = time.monotonic() + within_s
    while True:
        value = get()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(POLL_S)


def none_left(get: Callable[[], Collection[Value]], *, within_s: float) -> Collection[Value]:
    """Return what is still there when the time is up: nothing, if it went in time."""
    until(lambda: not get(), within_s=within_s)
    return get()
