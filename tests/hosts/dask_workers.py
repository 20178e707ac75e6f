"""A Dask scheduler with its workers on a host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from streambench import leash
from tests.hosts.network import Host

PORT = 8786


class DaskWorkers:
    """A scheduler and workers of one thread each, as long as its `with` block.

    Args:
        host: Where they run.
        workers: How many.
        directory: Where they leave their files.
    """

    def __init__(self, host: Host, *, workers: int, directory: Path) -> None:
        self.address = f'{host.address}:{PORT}'
        self._host = host
        self._workers = workers
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Start them; workers wait for their scheduler by themselves."""
        dask = [sys.executable, '-m', 'dask']
        number = ['--nworkers', str(self._workers), '--nthreads', '1', '--memory-limit', '0']
        self._start(
            *dask, 'scheduler', '--host', self._host.address, '--port', str(PORT), '--no-dashboard'
        )
        self._start(*dask, 'worker', f'tcp://{self.address}', *number, '--no-dashboard')
        return self

    def _start(self, *words: str) -> None:
        self._processes.append(
            subprocess.Popen(
                leash.command(
                    *self._host.command(*words), output=str(self._directory / f'{words[3]}.out')
                ),
                cwd=self._directory,
                env=os.environ | {'DASK_DISTRIBUTED__WORKER__DAEMON': 'True'},
            )
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End them."""
        for process in reversed(self._processes):
            process.terminate()
            process.wait()
