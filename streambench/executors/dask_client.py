"""What the executor `dask` works with: a client, the workers that a scheduler has, a cluster of ours.

A scheduler of ours is a process of its own with its workers, on a leash: inside this process it would
share the loop's interpreter, and what is measured would be its neighbour.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench import leash
from streambench.errors import ExecutorError
from streambench.executors.base import Say
from streambench.threads import whole
from streambench.versions import VERSIONS, other_version

if TYPE_CHECKING:
    from distributed import Client

WORKERS_S = 120.0
START_S = 60.0
STOP_S = 8.0
POLL_S = 0.05


def connect(place: str, *, within_s: float) -> Client:
    """Return a client of a scheduler.

    Args:
        place: Address of the scheduler.
        within_s: Time in which it must answer.

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
        return Client(place, timeout=within_s, set_as_default=False, name='streambench')
    except (OSError, TimeoutError) as error:
        raise ExecutorError(
            f'no Dask scheduler answers at {place} within {within_s:g} s: start one by `dask '
            'scheduler`, or leave --dask-scheduler out.'
        ) from error


class Workers:
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
                await whole(self._prove)
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

    def _prove(self) -> None:
        """Raise ExecutorError if a worker has another streambench, or none."""
        # A task that a worker can't unpack would end that worker, and the next one: this one holds no
        # name of ours.
        for worker, found in self._client.run(eval, VERSIONS, on_error='return').items():
            if other := other_version(found):
                raise ExecutorError(f'the worker {worker} of {self._title} {other}')

    def check(self) -> None:
        """Raise ExecutorError if the scheduler is gone."""
        if self._client.status != 'running':
            raise ExecutorError(
                f'the scheduler of {self._title} is gone (client {self._client.status}): look into its '
                'log.'
            )


class Cluster:
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
