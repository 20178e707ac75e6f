"""The executors `thread` and `process`: the pools of the standard library."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from streambench import worker
from streambench.executors.base import ExecutorPlugin, OpenExecutor

GRACE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class ThreadExecutor(ExecutorPlugin):
    """Threads of this process."""

    name: ClassVar[str] = 'thread'
    summary: ClassVar[str] = 'threads of this process (concurrent.futures)'
    class_name = 'ThreadPoolExecutor'
    in_process = True

    def ahead(self, workers: int) -> int:
        """Return one more task per worker, up to a few dozen."""
        return min(workers, 64)

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Open the pool; closing it interrupts tasks that still sleep."""
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        interrupt = worker.interrupts.setdefault(session, threading.Event())
        pool = ThreadPoolExecutor(max_workers=slots, thread_name_prefix='compute')
        try:
            yield OpenExecutor(executor=pool, slots=slots)
        finally:
            interrupt.set()
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)
            worker.interrupts.pop(session, None)


def _end_with_parent() -> None:
    """Prepare a worker process: a terminal's Ctrl-C is its parent's business, and so is its life."""
    import multiprocessing.connection

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name='parent-watch', daemon=True).start()


@dataclass(frozen=True, kw_only=True)
class ProcessExecutor(ExecutorPlugin):
    """Processes of this machine, spawned."""

    name: ClassVar[str] = 'process'
    summary: ClassVar[str] = 'spawned processes of this machine (concurrent.futures)'
    class_name = 'ProcessPoolExecutor'
    in_process = False

    def ahead(self, workers: int) -> int:
        """Return one more task per worker, up to a few dozen."""
        return min(workers, 64)

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Open the pool; workers that don't end in time are killed."""
        import asyncio
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        pool = ProcessPoolExecutor(
            max_workers=slots,
            mp_context=multiprocessing.get_context('spawn'),
            initializer=_end_with_parent,
        )

        def close() -> None:
            # The pool forgets its processes in shutdown, so they are noted before.
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                with contextlib.suppress(ValueError):
                    process.join(GRACE_S)
                    if process.is_alive():
                        process.kill()
            pool.shutdown(wait=True)

        try:
            yield OpenExecutor(executor=pool, slots=slots)
        finally:
            await asyncio.to_thread(close)
