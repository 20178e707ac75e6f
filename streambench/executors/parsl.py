"""The executor `parsl`: Parsl's threads, its HighThroughputExecutor here or on a cluster, any site.

A `DataFlowKernel` of our own serves it, because `parsl.load` is global to the process; one that the
library is given is used and left open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from streambench import worker
from streambench.errors import ConfigError, ExecutorError
from streambench.executors.base import ExecutorPlugin, OpenExecutor, interruptible
from streambench.executors.parsl_allocation import SLURM_NODES, allocation
from streambench.executors.parsl_config import config_kind, is_kernel, load, runs_in_threads
from streambench.executors.parsl_kinds import (
    CLUSTER,
    HTEX_ALLOCATION,
    HTEX_LOCAL,
    HTEX_SLURM,
    MEANT_FOR,
    SITE,
    THREAD,
    meant_for,
    shown,
)
from streambench.executors.parsl_launchers import LAUNCHERS, MPIEXEC, SINGLE, SRUN
from streambench.executors.parsl_place import Place
from streambench.kinds import assignments, choice, count, host, seconds, switch, text, walltime
from streambench.options import option, options_of
from streambench.threads import whole

if TYPE_CHECKING:
    from parsl import Config, DataFlowKernel

MOST_NODES = 10_000
# What Parsl gets to close itself; elsewhere the commands of a batch system are slow.
CLOSE_S = 30.0
CLOSE_ELSEWHERE_S = 120.0


@dataclass(frozen=True, kw_only=True)
class ParslExecutor(ExecutorPlugin):
    """Parsl, on this machine or on the nodes of a cluster."""

    name: ClassVar[str] = 'parsl'
    summary: ClassVar[str] = 'Parsl: threads, HighThroughputExecutor here or on a cluster, any site'
    tested: ClassVar[str] = 'yes, also on a Slurm of two nodes in one machine'
    packages: ClassVar[tuple[str, ...]] = ('parsl',)
    install: ClassVar[str] = 'pip install parsl'
    class_name = 'ParslPoolExecutor'

    parsl_executor: str | None = option(
        'Where Parsl runs tasks: in threads, or by htex on this machine (the default), in a job it '
        'submits to Slurm, or on the nodes of the batch job around it.',
        choice(THREAD, HTEX_LOCAL, *CLUSTER),
        group='executor',
    )
    # It declares a field, which ruff doesn't see for this type.
    parsl_config: str | DataFlowKernel | None = option(  # noqa: RUF009
        'Python file with a Parsl Config, named config or the only one in it, for any other site; in '
        'the library a loaded DataFlowKernel too.',
        config_kind(),
        group='executor',
    )
    parsl_nodes: int | None = option(
        'Nodes: needed by htex-slurm; all of the allocation for htex-allocation.',
        count(maximum=MOST_NODES),
        group='executor',
    )
    parsl_workers_per_node: int | None = option(
        'Workers on each node; nodes x workers per node are the workers.',
        count(maximum=MOST_NODES),
        group='executor',
    )
    parsl_account: str | None = option(
        'Account that pays for the Slurm job.', text('NAME'), group='executor'
    )
    parsl_partition: str | None = option('Partition of the Slurm job.', text('NAME'), group='executor')
    parsl_walltime: str = option(
        'Time after which Slurm ends the job.', walltime(), default='0:30:00', group='executor'
    )
    parsl_sbatch_option: tuple[tuple[str, str], ...] = option(
        'Further options of sbatch for the Slurm job, as qos=debug constraint=cpu.',
        assignments(),
        default=(),
        group='executor',
    )
    parsl_worker_init: str | None = option(
        'Shell commands before the workers of a job start, as `module load python`.',
        text('COMMANDS'),
        group='executor',
    )
    parsl_launcher: str | None = option(
        'What starts workers on every node; single makes a job per node; srun, or mpiexec under PBS.',
        choice(*LAUNCHERS),
        group='executor',
    )
    parsl_address: str | None = option(
        'Address at which the nodes reach this host; they try all of its addresses if absent.',
        host(),
        group='executor',
    )
    parsl_start_timeout: float = option(
        'Time within which all workers of a cluster must have registered, its queue included.',
        seconds(above=True),
        default=1800.0,
        group='executor',
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

    def __post_init__(self) -> None:
        """Refuse what can't work together."""
        if self.parsl_config is not None and self.parsl_executor is not None:
            raise ConfigError(
                f'--parsl-executor {self.parsl_executor} and --parsl-config {self.detail} both say '
                'where the workers are: give one of them.'
            )
        if self.parsl_config is None and self.parsl_executor is None:
            # Recorded as what it is, not as absent.
            object.__setattr__(self, 'parsl_executor', HTEX_LOCAL)
        kind = self._kind
        own = options_of(type(self))
        for entry in fields(self):
            value = getattr(self, entry.name)
            if kind not in MEANT_FOR.get(entry.name, (kind,)) and value != own[entry.name].default:
                raise ConfigError(
                    f'{own[entry.name].flag} {shown(value)} is for {meant_for(entry.name)}, and here '
                    f'it is {self.detail}: leave it out.'
                )
        if kind not in CLUSTER:
            return
        needed = ['parsl_workers_per_node', *(['parsl_nodes'] if kind == HTEX_SLURM else [])]
        for name in needed:
            if getattr(self, name) is None:
                raise ConfigError(f'--parsl-executor {kind} needs {own[name].flag} INT.')
        slurm = kind == HTEX_SLURM or allocation().variable == SLURM_NODES
        if slurm and self.parsl_launcher == MPIEXEC:
            raise ConfigError(
                f'--parsl-launcher {MPIEXEC} takes its nodes from $PBS_NODEFILE, and this is Slurm: '
                'leave it out for srun.'
            )
        if kind == HTEX_ALLOCATION:
            there = allocation()
            if self.nodes > there.nodes:
                raise ConfigError(
                    f'--parsl-nodes {self.nodes} are more than the {there.nodes} of the allocation in '
                    f'${there.variable}: take at most as many.'
                )
            if self._launcher == SINGLE and self.nodes > 1:
                raise ConfigError(
                    f'--parsl-launcher single starts workers on this node only, and there are '
                    f'{self.nodes}: take {there.launcher}, or --parsl-nodes 1.'
                )

    @property
    def _kind(self) -> str:
        return self.parsl_executor or SITE

    @property
    def _launcher(self) -> str:
        if self.parsl_launcher is not None:
            return self.parsl_launcher
        return allocation().launcher if self._kind == HTEX_ALLOCATION else SRUN

    @property
    def detail(self) -> str:
        """Which of Parsl's executors, or whose configuration."""
        if self.parsl_config is None:
            return self._kind
        return 'a loaded kernel' if is_kernel(self.parsl_config) else Path(self.parsl_config).name

    @property
    def elsewhere(self) -> bool:
        """Whether its workers may run on other hosts: on a cluster, or wherever a file says."""
        return self._kind in CLUSTER or (self._kind == SITE and not self.in_process)

    @property
    def nodes(self) -> int:
        """Nodes of the batch system."""
        if self._kind not in CLUSTER:
            return 0
        return self.parsl_nodes or allocation().nodes

    @property
    def walltime_s(self) -> float | None:
        """Time after which Slurm ends the job."""
        if self._kind != HTEX_SLURM:
            return None
        hours, minutes, rest = map(int, self.parsl_walltime.split(':'))
        return 3600 * hours + 60 * minutes + rest

    @cached_property
    def in_process(self) -> bool:
        """Whether its tasks run in this process; a file is read for that when it is first asked."""
        if self.parsl_config is not None:
            return runs_in_threads(self.parsl_config)
        return self._kind == THREAD

    def asked_workers(self) -> tuple[int, str] | None:
        """Return nodes x workers per node."""
        if self._kind not in CLUSTER:
            return None
        assert self.parsl_workers_per_node is not None
        nodes = f'--parsl-nodes {self.nodes}'
        if self.parsl_nodes is None:
            nodes = f'${allocation().variable} of {self.nodes} nodes'
        return (
            self.nodes * self.parsl_workers_per_node,
            f'{nodes} with --parsl-workers-per-node {self.parsl_workers_per_node}',
        )

    def ahead(self, workers: int) -> int:
        """Return a task per worker for threads; for htex what fills its three hops."""
        return max(40, min(workers, 64)) if self.in_process else 2 * workers + 1000

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Start Parsl; closing it ends its processes and cancels its jobs."""
        # What they need, a help text doesn't.
        from streambench.executors.parsl_interchange import Interchanges
        from streambench.executors.parsl_registration import Registration
        from streambench.executors.parsl_warnings import said_once

        kernel: DataFlowKernel | None = None
        interchanges: Interchanges | None = None
        given = is_kernel(self.parsl_config)
        title = f'Parsl {self.detail}'
        place = Place(directory)

        def start() -> None:
            nonlocal kernel, interchanges
            kernel = self.parsl_config if given else self._start(slots, directory.absolute(), place)
            interchanges = Interchanges(kernel, ours=not given, title=title, directory=directory)

        with interruptible(session) as interrupt:
            try:
                with said_once():
                    await whole(start)
                    assert kernel is not None and interchanges is not None
                    from parsl.concurrent import ParslPoolExecutor

                    executor = ParslPoolExecutor(dfk=kernel)
                    registration = Registration(
                        kernel,
                        slots=slots,
                        within_s=self.parsl_start_timeout,
                        title=title,
                        # Whoever wrote a configuration may want jobs to end and others to come.
                        steady=self._kind != SITE,
                        directory=directory,
                    )

                    def check() -> None:
                        interchanges.check()
                        registration.check()

                    yield OpenExecutor(
                        executor=executor,
                        slots=slots,
                        check=check,
                        # Here the warm-up waits for them.
                        ready=None if self._kind in (THREAD, HTEX_LOCAL) else registration.ready,
                    )
            finally:
                interrupt.set()
                if interchanges is not None and not given:
                    within_s = CLOSE_S if self._kind in (THREAD, HTEX_LOCAL) else CLOSE_ELSEWHERE_S
                    unblock = partial(worker.break_off, session)
                    await whole(partial(interchanges.close, within_s=within_s, unblock=unblock))
                await whole(place.close)

    def _start(self, slots: int, directory: Path, place: Place) -> DataFlowKernel:
        from parsl import DataFlowKernel
        from parsl.errors import ParslError

        from streambench.executors.parsl_sites import CLUSTER_LOOK_S, LOOK_S

        try:
            kernel = DataFlowKernel(self._config(slots, directory, place))
        except (ParslError, OSError) as error:
            raise ExecutorError(
                f'Parsl {self.detail} with {slots} workers did not start: {error}'
            ) from error
        if self.parsl_config is None:
            # It looks once more at once, and then seldom enough not to show in what is measured.
            kernel.job_status_poller.interval = CLUSTER_LOOK_S if self._kind in CLUSTER else LOOK_S
        return kernel

    def _config(self, slots: int, directory: Path, place: Place) -> Config:
        from parsl import Config

        from streambench.executors import parsl_sites

        if self.parsl_config is not None:
            return parsl_sites.prepared(load(self.parsl_config), place=place, directory=directory)
        run_dir = place.path(here=not self.elsewhere)
        plain = parsl_sites.Htex(
            directory=directory,
            remove=place.link,
            slots=slots,
            prefetch=self.parsl_prefetch,
            encrypted=self.parsl_encrypted,
        )
        match self._kind:
            case 'thread':
                executor = parsl_sites.threads(slots)
            case 'htex-local':
                executor = parsl_sites.local(plain)
            case kind:
                assert self.parsl_workers_per_node is not None
                nodes = parsl_sites.Nodes(
                    nodes=self.nodes,
                    per_node=self.parsl_workers_per_node,
                    launcher=self._launcher,
                    address=self.parsl_address,
                    worker_init=self.parsl_worker_init or '',
                )
                if kind == HTEX_ALLOCATION:
                    executor = parsl_sites.in_allocation(plain, nodes)
                else:
                    executor = parsl_sites.slurm(
                        plain,
                        nodes,
                        account=self.parsl_account,
                        partition=self.parsl_partition,
                        further=self.parsl_sbatch_option,
                        walltime=self.parsl_walltime,
                    )
        return Config(
            executors=[executor],
            run_dir=run_dir,
            strategy='none',
            strategy_period=parsl_sites.FIRST_LOOK_S,
            initialize_logging=False,
        )
