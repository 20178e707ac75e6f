"""The executors `thread` and `process`: the pools of the standard library."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from streambench import worker
from streambench.errors import ExecutorError
from streambench.executors.base import ExecutorPlugin, OpenExecutor, interruptible
from streambench.threads import whole

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

GRACE_S = 1.0
LOOK_S = 0.1
# What a terminal sends to all processes of its group.
TERMINAL = {getattr(signal, name) for name in ('SIGINT', 'SIGHUP') if hasattr(signal, name)}
# How Python's pool ends the other processes once one of them has died.
ENDED_WITH_IT = -signal.SIGTERM


def _close_threads(pool: ThreadPoolExecutor, session: str) -> None:
    pool.shutdown(wait=False, cancel_futures=True)
    patience_s = GRACE_S
    for thread in pool._threads:
        thread.join(patience_s)
        while thread.is_alive():
            # It resolves from a store whose server is silent.
            worker.break_off(session)
            patience_s = LOOK_S
            thread.join(patience_s)


@dataclass(frozen=True, kw_only=True)
class ThreadExecutor(ExecutorPlugin):
    """Threads of this process."""

    name: ClassVar[str] = 'thread'
    summary: ClassVar[str] = 'threads of this process (concurrent.futures)'
    tested: ClassVar[str] = 'yes'
    class_name = 'ThreadPoolExecutor'
    in_process = True

    def ahead(self, workers: int) -> int:
        """Return what lets submissions and completions travel in batches."""
        return max(40, min(workers, 64))

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Open the pool; closing it interrupts tasks that still sleep."""
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(max_workers=slots, thread_name_prefix='compute')
        with interruptible(session) as interrupt:
            try:
                yield OpenExecutor(executor=pool, slots=slots)
            finally:
                interrupt.set()
                await whole(_close_threads, pool, session)


def _end_with_parent() -> None:
    """Prepare a worker process: a terminal's signals are its parent's business, and so is its life."""
    import multiprocessing.connection

    for number in TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name='parent-watch', daemon=True).start()


def _spawning_pool(slots: int) -> ProcessPoolExecutor:
    import multiprocessing
    from concurrent.futures import Future, ProcessPoolExecutor

    class Pool(ProcessPoolExecutor):
        """A pool whose processes, which `submit` starts, never hear the terminal."""

        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            """Submit as any pool does."""
            if not hasattr(signal, 'pthread_sigmask'):
                return super().submit(fn, *args, **kwargs)
            before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL)
            try:
                return super().submit(fn, *args, **kwargs)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    context = multiprocessing.get_context('spawn')
    return Pool(max_workers=slots, mp_context=context, initializer=_end_with_parent)


def _check_processes(pool: ProcessPoolExecutor) -> None:
    """Raise ExecutorError if a process has died: then Python ends the others and takes no task."""
    if not getattr(pool, '_broken', False):
        return
    dead = [process for process in list((pool._processes or {}).values()) if process.exitcode]
    dead.sort(key=lambda process: process.exitcode == ENDED_WITH_IT)
    if dead:
        code = dead[0].exitcode or 0
        how = f'died, exit code {code}' if code > 0 else f'was ended by {signal.Signals(-code).name}'
        what = f'worker process {dead[0].pid} of --executor process {how}'
    else:
        what = 'a worker process of --executor process died'
    raise ExecutorError(
        f'{what}, and its pool takes no task any more: start again; if nobody ended it, look in the '
        'log of the kernel for one that ran out of memory and take fewer --max-workers.'
    )


@dataclass(frozen=True, kw_only=True)
class ProcessExecutor(ExecutorPlugin):
    """Processes of this machine, spawned."""

    name: ClassVar[str] = 'process'
    summary: ClassVar[str] = 'spawned processes of this machine (concurrent.futures)'
    tested: ClassVar[str] = 'yes'
    class_name = 'ProcessPoolExecutor'
    in_process = False

    def ahead(self, workers: int) -> int:
        """Return what lets submissions and completions travel in batches."""
        return max(40, min(workers, 64))

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Open the pool; workers that don't end in time are killed."""
        # Making the pool starts a helper process of Python's.
        pool: ProcessPoolExecutor = await whole(_spawning_pool, slots)

        def close() -> None:
            # The pool forgets its processes and its thread in shutdown, so they are noted before.
            processes = list((pool._processes or {}).values())
            manager = getattr(pool, '_executor_manager_thread', None)
            pool.shutdown(wait=False, cancel_futures=True)
            deadline = time.monotonic() + GRACE_S
            for process in processes:
                with contextlib.suppress(ValueError):
                    process.join(max(0.0, deadline - time.monotonic()))
            # Nobody waits for the outcome of a task that still runs.
            for process in processes:
                with contextlib.suppress(ValueError):
                    if process.is_alive():
                        process.kill()
            if manager is not None:
                manager.join()
            # The pool's semaphores lie in a cycle, and tell a helper process when they go: in this
            # thread, not whenever the loop's happens to collect.
            del manager, processes
            gc.collect()

        try:
            yield OpenExecutor(executor=pool, slots=slots, check=partial(_check_processes, pool))
        finally:
            await whole(close)
