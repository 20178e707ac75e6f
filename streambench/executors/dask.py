"""The executor `dask`: workers of a Dask scheduler that runs somewhere, or of one on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from streambench.errors import ConfigError
from streambench.executors.base import ExecutorPlugin, OpenExecutor
from streambench.kinds import Kind, address, switch
from streambench.options import option
from streambench.threads import whole

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from distributed import Client

DEFAULT_PORT = 8786
TCP = 'tcp://'


def _scheduler() -> Kind:
    """Return the kind of a scheduler's address, with or without the protocol that Dask prints."""
    plain = address()

    def parse(value: Any) -> str:
        found = str(plain.parse(value.removeprefix(TCP) if isinstance(value, str) else value))
        if found.count(':') > 1 and not found.startswith('['):
            raise ValueError('must have the form HOST:PORT, with brackets around an IPv6 address')
        return found

    return Kind(metavar='HOST:PORT', parse=parse)


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
    connect_s: ClassVar[float] = 10.0

    dask_scheduler: str | None = option(
        'Address of a Dask scheduler; a cluster on this machine is started if absent.',
        _scheduler(),
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
        from streambench.executors.dask_client import STOP_S, Cluster, Workers, connect

        cluster: Cluster | None = None
        client: Client | None = None
        executor: Executor | None = None
        if self.dask_scheduler is None:
            cluster = Cluster(directory, threads=self.dask_use_threads)

        def start() -> None:
            nonlocal client, executor
            place = cluster.start(slots) if cluster is not None else f'{TCP}{self._address}'
            client = connect(place, within_s=self.connect_s)
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
            workers = Workers(client, slots=slots, title=f'Dask {self.detail}')
            yield OpenExecutor(
                executor=executor,
                slots=slots,
                check=workers.check,
                ready=workers.ready,
            )
        finally:
            await whole(close)

    @property
    def _address(self) -> str:
        assert self.dask_scheduler is not None
        return (
            self.dask_scheduler
            if ':' in self.dask_scheduler
            else f'{self.dask_scheduler}:{DEFAULT_PORT}'
        )
