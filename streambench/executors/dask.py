"""The executor `dask`: workers of a Dask scheduler that runs somewhere, or of one on this machine.

A scheduler of ours is a process of its own with its workers, on a leash: inside this process it would
share the loop's interpreter, and what is measured would be its neighbour.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from streambench import leash, worker
from streambench.errors import ConfigError, ExecutorError
from streambench.executors.base import ExecutorPlugin, OpenExecutor, Say
from streambench.kinds import address, switch
from streambench.options import option
from streambench.threads import whole

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from distributed import Client

DEFAULT_PORT = 8786
CONNECT_S = 10
WORKERS_S = 120.0
START_S = 60.0
STOP_S = 8.0
POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class DaskExecutor(ExecutorPlugin):
    """Dask."""

    name: ClassVar[str] = 'dask'
    summary: ClassVar[str] = 'Dask: the workers of a scheduler, or of a cluster on this machine'
    packages: ClassVar[tuple[str, ...]] = ('distributed',)
    install: ClassVar[str] = "pip install 'streambench[dask]'"
    tested: ClassVar[str] = 'yes, on one node'
    class_name = 'DaskExecutor'
    in_process = False

    dask_scheduler: str | None = option(
        'Address of a Dask scheduler; a cluster on this machine is started if absent.',
        address(),
        group='executor',
    )
    dask_use_threads: bool = option(
        'Whether the workers of a cluster on this machine are threads of one process.',
        switch(),
        default=False,
        group='executor',
    )

    def __post_init__(self) -> None:
        """Refuse what can't work together."""
        if self.dask_scheduler is not None and self.dask_use_threads:
            raise ConfigError(
                f'--dask-use-threads is for a cluster that is started here, and --dask-scheduler '
                f'{self.dask_scheduler} has its own workers: leave one of them out.'
            )

    @property
    def detail(self) -> str:
        """Where its scheduler is."""
        return self.dask_scheduler or 'local'

    @property
    def elsewhere(self) -> bool:
        """Whether its workers may run on other hosts: those of somebody's scheduler."""
        return self.dask_scheduler is not None

    def ahead(self, workers: int) -> int:
        """Return what lets the scheduler have the next task of every worker at hand."""
        return max(40, 2 * workers)

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Connect to a scheduler, or start one with its workers; closing it ends what was started."""
        worker.interrupts.setdefault(session, threading.Event())
        cluster: _Cluster | None = None
        client: Client | None = None
        executor: Executor | None = None
        if self.dask_scheduler is None:
            cluster = _Cluster(directory, threads=self.dask_use_threads)

        def start() -> None:
            nonlocal client, executor
            place = cluster.start(slots) if cluster is not None else f'tcp://{self._address}'
            client = _connect(place)
            # Two items of the same bytes are two tasks.
            executor = client.get_executor(pure=False)

        def close() -> None:
            if client is not None:
                client.close(timeout=STOP_S)
            if cluster is not None:
                cluster.stop()

        try:
            await whole(start)
            assert client is not None
            assert executor is not None
            workers = _Workers(client, slots=slots, title=f'Dask {self.detail}')
            yield OpenExecutor(
                executor=executor,
                slots=slots,
                check=workers.check,
                ready=workers.ready,
            )
        finally:
            await whole(close)
            worker.interrupts.pop(session, None)

    @property
    def _address(self) -> str:
        assert self.dask_scheduler is not None
        return (
            self.dask_scheduler
            if ':' in self.dask_scheduler
            else f'{self.dask_scheduler}:{DEFAULT_PORT}'
        )


def _connect(place: str) -> Client:
    """Return a client of a scheduler.

    Raises:
        ExecutorError: If none answers.
    """
    import dask
    from distributed import Client
    from distributed.versions import get_versions

    # What this reads is kept; else Dask would read it in its loop, which blocks it.
    get_versions()
    # Dask advises against large arguments once per task; here they are what is measured.
    dask.config.set({'distributed.admin.large-graph-warning-threshold': '1TB'})
    try:
        # Whatever else this process does with Dask goes on as if it were not there.
        return Client(place, timeout=CONNECT_S, set_as_default=False, name='streambench')
    except (OSError, TimeoutError) as error:
        raise ExecutorError(
            f'no Dask scheduler answers at {place} within {CONNECT_S} s: start one by `dask '
            'scheduler`, or leave --dask-scheduler out.'
        ) from error


class _Workers:
    """Workers that a scheduler has.

    Args:
        client: Connected.
        slots: Workers that were asked for.
        title: Which scheduler, for errors.
    """

    def __init__(self, client: Client, *, slots: int, title: str) -> None:
        self._client = client
        self._slots = slots
        self._title = title

    async def ready(self, say: Say) -> int:
        """Wait until the workers are there; return how many are."""
        deadline = time.monotonic() + WORKERS_S
        while True:
            there = await whole(self._there)
            if there >= self._slots:
                return int(there)
            doing = f'{there} of {self._slots} workers of {self._title} are there'
            say(doing)
            self.check()
            if time.monotonic() > deadline:
                raise ExecutorError(
                    f'{doing} after {WORKERS_S:g} s: start more, or lower --dask-workers.'
                )
            await asyncio.sleep(POLL_S)

    def _there(self) -> int:
        # A worker with several threads runs as many tasks at once.
        return sum(self._client.nthreads().values())

    def check(self) -> None:
        """Raise ExecutorError if the scheduler is gone."""
        if self._client.status != 'running':
            raise ExecutorError(
                f'the scheduler of {self._title} is gone (client {self._client.status}): look into its '
                'log.'
            )


class _Cluster:
    """A scheduler and its workers in processes of this machine.

    Args:
        directory: Where it leaves its files.
        threads: Whether its workers are threads of one process.
    """

    def __init__(self, directory: Path, *, threads: bool) -> None:
        self._threads = threads
        self._log = directory / 'dask.out'
        self._place = directory / 'dask'
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, workers: int) -> str:
        """Start it and return the scheduler's address.

        Args:
            workers: How many.

        Raises:
            ExecutorError: If it doesn't start.
        """
        place = self._place.absolute()
        place.mkdir(exist_ok=True)
        answer = place / 'address'
        answer.unlink(missing_ok=True)
        words = [sys.executable, '-m', 'streambench.executors.dask_cluster']
        words += [str(place), str(workers), 'threads' if self._threads else 'processes']
        self._process = subprocess.Popen(
            leash.command(*words, output=str(self._log.absolute()), remove=str(place)),
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_S
        while not answer.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ExecutorError(
                    f'a Dask cluster of {workers} workers did not start: look into {str(self._log)!r}.'
                )
            time.sleep(POLL_S)
        return answer.read_text(encoding='utf-8')

    def stop(self) -> None:
        """End it."""
        process: Any = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
