"""What `--pid` lets a live process do: watch its own loop, and leave the report in a directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import threading
from pathlib import Path

from streambench.loop_monitor.attach import REFUSAL, REPORT
from streambench.loop_monitor.monitor import LoopMonitor
from streambench.loop_monitor.refusals import LoopMonitorError

STILL_THERE_S = 5.0

_halts: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}
_tasks: set[asyncio.Task[None]] = set()


def begin(place: str, *, level: str, exact: bool, duration_s: float | None, watcher: int) -> None:
    """Begin to watch the running loop; called by it.

    Args:
        place: Directory for the report.
        level: Level of the monitor.
        exact: Whether an asyncio loop's selector is replaced meanwhile.
        duration_s: For how long, None until `end`.
        watcher: The process that waits for the report.
    """
    monitor = LoopMonitor(level, exact=exact)
    loop, halt = asyncio.get_running_loop(), asyncio.Event()
    _halts[place] = loop, halt
    task = loop.create_task(
        _watched(place, monitor, halt, duration_s, watcher), name='streambench-loop-monitor'
    )
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def end(place: str) -> None:
    """Watch no longer; the report is written then. May be called at any moment."""
    if place in _halts:
        loop, halt = _halts[place]
        loop.call_soon_threadsafe(halt.set)


async def _watched(
    place: str, monitor: LoopMonitor, halt: asyncio.Event, duration_s: float | None, watcher: int
) -> None:
    try:
        # A program that ends cancels its tasks: what was seen until then is left.
        async with monitor:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(duration_s):
                    await _halted(halt, watcher)
    except LoopMonitorError as error:
        _leave(Path(place), REFUSAL, str(error).encode())
    finally:
        del _halts[place]
        with contextlib.suppress(LoopMonitorError):
            report = monitor.report()
            # A large report would hold the loop up.
            leaving = threading.Thread(
                target=lambda: _leave(Path(place), REPORT, pickle.dumps(report)),
                name='loop-monitor-report',
            )
            leaving.start()


async def _halted(halt: asyncio.Event, watcher: int) -> None:
    """Wait until told to end, or until nobody is there who could tell."""
    while not halt.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(halt.wait(), STILL_THERE_S)
        try:
            os.kill(watcher, 0)
        except ProcessLookupError:
            return
        except PermissionError:
            continue


def _leave(place: Path, name: str, content: bytes) -> None:
    # Nobody waits for it any more if its directory is gone.
    with contextlib.suppress(OSError):
        unfinished = place / f'{name}.tmp'
        unfinished.write_bytes(content)
        unfinished.rename(place / name)
