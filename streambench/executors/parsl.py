"""The executor `parsl`: Parsl's threads or its HighThroughputExecutor on this machine.

A `DataFlowKernel` of our own serves it, because `parsl.load` is global to the process. The helpers that
Parsl starts are put on a leash: they would outlive a killed client by minutes.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from streambench import leash, worker
from streambench.errors import ExecutorError
from streambench.executors.base import ExecutorPlugin, OpenExecutor
from streambench.kinds import choice, count, switch
from streambench.options import option
from streambench.threads import whole

if TYPE_CHECKING:
    from parsl import DataFlowKernel
    from parsl.executors.base import ParslExecutor as AnyParslExecutor

THREAD = 'thread'
HTEX_LOCAL = 'htex-local'
HEARTBEAT_PERIOD_S = 10
HEARTBEAT_THRESHOLD_S = 60


class _Once(logging.Filter):
    """Let a warning pass the first time: Parsl repeats it for every task above 1 MB."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this text is new."""
        new = str(record.msg) not in self._seen
        self._seen.add(str(record.msg))
        return new


@dataclass(frozen=True, kw_only=True)
class ParslExecutor(ExecutorPlugin):
    """Parsl, on this machine."""

    name: ClassVar[str] = 'parsl'
    summary: ClassVar[str] = 'Parsl: threads, or HighThroughputExecutor on this machine'
    tested: ClassVar[str] = 'yes, on one node'
    packages: ClassVar[tuple[str, ...]] = ('parsl',)
    install: ClassVar[str] = 'pip install parsl'
    class_name = 'ParslPoolExecutor'

    parsl_executor: str = option(
        "Parsl's executor.", choice(THREAD, HTEX_LOCAL), default=HTEX_LOCAL, group='executor'
    )
    parsl_encrypted: bool = option(
        'Whether htex encrypts its connections.', switch(), default=True, group='executor'
    )
    parsl_prefetch: int = option(
        'Tasks that htex sends to its workers ahead of time.',
        count(minimum=0),
        default=0,
        group='executor',
    )

    @property
    def in_process(self) -> bool:
        """Whether its tasks run in this process."""
        return self.parsl_executor == THREAD

    def ahead(self, workers: int) -> int:
        """Return a task per worker for threads; for htex what fills its three hops."""
        return max(40, min(workers, 64)) if self.in_process else 2 * workers + 1000

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Start Parsl; closing it ends its processes."""
        interrupt = worker.interrupts.setdefault(session, threading.Event())
        once = _Once()
        serializing = logging.getLogger('parsl.serialize.facade')
        serializing.addFilter(once)
        kernel: DataFlowKernel | None = None

        def start() -> None:
            nonlocal kernel
            kernel = self._start(slots, directory)

        try:
            await whole(start)
            assert kernel is not None
            from parsl.concurrent import ParslPoolExecutor

            yield OpenExecutor(executor=ParslPoolExecutor(dfk=kernel), slots=slots)
        finally:
            interrupt.set()
            if kernel is not None:
                await whole(kernel.cleanup)
            serializing.removeFilter(once)
            worker.interrupts.pop(session, None)

    def _start(self, slots: int, directory: Path) -> DataFlowKernel:
        from parsl import Config, DataFlowKernel
        from parsl.errors import ParslError

        executor = self._threads(slots) if self.in_process else self._htex(slots, directory)
        try:
            return DataFlowKernel(
                Config(
                    executors=[executor],
                    run_dir=str(directory / 'runinfo'),
                    strategy='none',
                    initialize_logging=False,
                )
            )
        except (ParslError, OSError) as error:
            raise ExecutorError(
                f'Parsl {self.parsl_executor} with {slots} workers did not start: {error}'
            ) from error

    def _threads(self, slots: int) -> AnyParslExecutor:
        from parsl.executors import ThreadPoolExecutor

        return ThreadPoolExecutor(max_threads=slots)

    def _htex(self, slots: int, directory: Path) -> AnyParslExecutor:
        import sysconfig

        from parsl.executors import HighThroughputExecutor
        from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
        from parsl.providers import LocalProvider

        class Provider(LocalProvider):  # type: ignore[misc]
            """Ends jobs itself: Parsl's asks the program `ps`, which small machines lack."""

            def cancel(self, job_ids: list[Any]) -> list[bool]:
                for job in job_ids:
                    self.resources[job]['cancelled'] = True
                    with suppress(ProcessLookupError):
                        os.killpg(os.getpgid(self.resources[job]['remote_pid']), signal.SIGTERM)
                return [True] * len(job_ids)

        scripts = Path(sysconfig.get_path('scripts'))
        pool = shlex.join(leash.command(sys.executable, str(scripts), same_group=True))
        # Parsl formats the command, and its first word must be the script.
        return HighThroughputExecutor(
            label=HTEX_LOCAL,
            address='127.0.0.1',
            max_workers_per_node=slots,
            # Parsl starts no more workers than cores / cores_per_worker, without a word.
            cores_per_worker=len(os.sched_getaffinity(0)) / (slots + 0.5),
            prefetch_capacity=self.parsl_prefetch,
            encrypted=self.parsl_encrypted,
            heartbeat_period=HEARTBEAT_PERIOD_S,
            heartbeat_threshold=HEARTBEAT_THRESHOLD_S,
            launch_cmd=f'{pool.replace("{", "{{").replace("}", "}}")}/{DEFAULT_LAUNCH_CMD}',
            interchange_launch_cmd=leash.command(
                sys.executable,
                str(scripts / 'interchange.py'),
                output=str(directory / 'interchange.out'),
            ),
            provider=Provider(init_blocks=1, min_blocks=1, max_blocks=1),
        )
