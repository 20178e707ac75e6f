"""A program: a Dask scheduler and its workers, until SIGTERM. `DIRECTORY WORKERS processes|threads`.

The scheduler's address is left in a file of the directory when all workers are there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

CLOSE_S = 2.0


async def serve(directory: Path, workers: int, *, processes: bool) -> None:
    """Run a cluster until SIGTERM.

    Args:
        directory: Where it leaves its files.
        workers: How many.
        processes: Whether each is a process.
    """
    import dask
    from distributed import LocalCluster

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    dask.config.set(
        {
            # A task whose worker died fails; run again elsewhere, its item would count twice.
            'distributed.scheduler.allowed-failures': 0,
            # A task waits at the scheduler until a worker is free, not at one that is busy.
            'distributed.scheduler.worker-saturation': 1.0,
            # The scheduler and nannies leave a directory wherever that is.
            'temporary-directory': str(directory),
        }
    )
    cluster: Any = await LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=processes,
        protocol='tcp',
        # Payloads in memory are no reason to pause a worker.
        memory_limit=0,
        host='127.0.0.1',
        dashboard_address=None,
        local_directory=str(directory),
        asynchronous=True,
    )
    new = directory / 'address.new'
    new.write_text(cluster.scheduler_address, encoding='utf-8')
    new.rename(directory / 'address')
    await ended.wait()
    for nanny in cluster.workers.values():
        # Nobody waits for the outcome of a task that still runs.
        nanny.auto_restart = False
        if processes and nanny.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await cluster.close()
    # Threads may still sleep, and the interpreter would wait for them.
    os._exit(0)


def main() -> None:
    """Run the command line."""
    directory, workers, kind = sys.argv[1:]
    asyncio.run(serve(Path(directory), int(workers), processes=kind == 'processes'))


if __name__ == '__main__':
    main()
