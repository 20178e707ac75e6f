"""Parsl's executors as they are set up here: threads, htex on this machine, on Slurm, in an allocation.

The helpers that Parsl starts on this machine are put on a leash: they would outlive a killed client by
minutes. None of them needs this environment on PATH.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench import leash
from streambench.executors import parsl_pool
from streambench.executors.parsl_launchers import SINGLE, launcher_of
from streambench.executors.parsl_place import Place

if TYPE_CHECKING:
    from parsl import Config
    from parsl.executors.base import ParslExecutor as AnyParslExecutor
    from parsl.providers import LocalProvider

HEARTBEAT_PERIOD_S = 10
HEARTBEAT_THRESHOLD_S = 60
# Parsl starts its workers when it looks at its jobs, first a whole period after it was made.
FIRST_LOOK_S = 0.05
LOOK_S = 2
CLUSTER_LOOK_S = 2
COMMAND_S = 60
# Parsl starts no more workers than cores / this, without a word.
CORES_PER_WORKER = 0.001


@dataclass(frozen=True, kw_only=True)
class Htex:
    """What every HighThroughputExecutor of ours has.

    Attributes:
        directory: Where it leaves its files; absolute.
        remove: Directory to remove when it has ended, or None.
        slots: Workers in all.
        prefetch: Tasks ahead of time.
        encrypted: Whether connections are.
    """

    directory: Path
    remove: str | None
    slots: int
    prefetch: int
    encrypted: bool

    def settings(self) -> dict[str, Any]:
        """Return the arguments that don't depend on where the workers are."""
        return {
            'prefetch_capacity': self.prefetch,
            'encrypted': self.encrypted,
            'heartbeat_period': HEARTBEAT_PERIOD_S,
            'heartbeat_threshold': HEARTBEAT_THRESHOLD_S,
            'interchange_launch_cmd': interchange(self.directory, remove=self.remove),
        }


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """Nodes of a batch system.

    Attributes:
        nodes: How many.
        per_node: Workers on each, the generator's included.
        launcher: What starts something on all of them.
        address: Where they reach this host, or None to try all its addresses.
        worker_init: Shell commands before the workers start.
    """

    nodes: int
    per_node: int
    launcher: str
    address: str | None
    worker_init: str

    def settings(self, *, nodes_per_block: int, missing: int) -> dict[str, Any]:
        """Return the arguments of htex that place workers on these nodes, but for `missing` ones."""
        from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

        words = [sys.executable, '-I', '-S', parsl_pool.__file__, self.launcher]
        words += map(str, (missing, self.per_node, nodes_per_block))
        words += ['--', sys.executable, _scripts()]
        return {
            'address': self.address or '127.0.0.1',
            'max_workers_per_node': self.per_node,
            'cores_per_worker': CORES_PER_WORKER,
            'launch_cmd': f'{_formatted(words)}/{DEFAULT_LAUNCH_CMD}',
        }


def _scripts() -> str:
    import sysconfig

    return sysconfig.get_path('scripts')


def _formatted(words: list[str]) -> str:
    """Return words for a command that Parsl formats."""
    return shlex.join(words).replace('{', '{{').replace('}', '}}')


def interchange(directory: Path, *, remove: str | None) -> list[str]:
    """Return the command that runs Parsl's interchange on a leash.

    Args:
        directory: Where it leaves what it prints.
        remove: Directory to remove when it has ended, or None.
    """
    return leash.command(
        sys.executable,
        str(Path(_scripts()) / 'interchange.py'),
        output=str(directory / 'interchange.out'),
        remove=remove,
    )


def _local_provider(**settings: Any) -> LocalProvider:
    from parsl.providers import LocalProvider

    class Provider(LocalProvider):  # type: ignore[misc]
        """Ends jobs itself: Parsl's asks the program `ps`, which small machines lack.

        A job is its process group, whose workers may outlive the process that Parsl knows.
        """

        @property
        def status_polling_interval(self) -> int:
            return 1

        def submit(self, *arguments: Any, **settings: Any) -> Any:
            job = super().submit(*arguments, **settings)
            with suppress(ProcessLookupError):
                self.resources[job]['group'] = os.getpgid(self.resources[job]['remote_pid'])
            return job

        def cancel(self, job_ids: list[Any]) -> list[bool]:
            for job in job_ids:
                self.resources[job]['cancelled'] = True
                with suppress(ProcessLookupError, KeyError):
                    os.killpg(self.resources[job]['group'], signal.SIGTERM)
            return [True] * len(job_ids)

    return Provider(init_blocks=1, min_blocks=1, max_blocks=1, **settings)


def threads(slots: int) -> AnyParslExecutor:
    """Return Parsl's threads."""
    from parsl.executors import ThreadPoolExecutor

    return ThreadPoolExecutor(max_threads=slots)


def _pool_here() -> str:
    """Return the command before Parsl's that runs a worker pool of this machine on a leash.

    A pool ends by a signal, and would leave the directory of its sockets behind.
    """
    return _formatted(leash.command(sys.executable, _scripts(), same_group=True, scratch=True))


def local(htex: Htex) -> AnyParslExecutor:
    """Return htex on this machine."""
    from parsl.executors import HighThroughputExecutor
    from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

    return HighThroughputExecutor(
        label='htex-local',
        address='127.0.0.1',
        max_workers_per_node=htex.slots,
        cores_per_worker=len(os.sched_getaffinity(0)) / (htex.slots + 0.5),
        # Parsl formats the command, and its first word must be the script.
        launch_cmd=f'{_pool_here()}/{DEFAULT_LAUNCH_CMD}',
        provider=_local_provider(),
        **htex.settings(),
    )


def _addresses() -> set[str]:
    """Return the addresses of this host; Parsl would ask a server on the internet too."""
    import psutil

    found = {
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family == socket.AF_INET
    }
    return {address for address in found if not address.startswith('127.')} or {'127.0.0.1'}


def _reachable(executor: AnyParslExecutor, address: str | None) -> AnyParslExecutor:
    """Return htex that its nodes reach at an address, or at whichever of this host's answers."""
    if address is None:
        executor.address = None
        executor.all_addresses = _addresses()
    return executor


def in_allocation(htex: Htex, nodes: Nodes) -> AnyParslExecutor:
    """Return htex on the nodes of the batch job around this process."""
    from parsl.executors import HighThroughputExecutor

    missing = nodes.nodes * nodes.per_node - htex.slots
    executor = HighThroughputExecutor(
        label='htex-allocation',
        provider=_local_provider(
            nodes_per_block=nodes.nodes,
            launcher=launcher_of(nodes.launcher, nodes=nodes.nodes),
            # Parsl makes a file name of the job's, which may be of several words.
            worker_init=f'export SLURM_JOB_NAME=streambench\n{nodes.worker_init}',
            cmd_timeout=COMMAND_S,
        ),
        **nodes.settings(nodes_per_block=nodes.nodes, missing=missing),
        **htex.settings(),
    )
    return _reachable(executor, nodes.address)


def slurm(
    htex: Htex,
    nodes: Nodes,
    *,
    account: str | None,
    partition: str | None,
    further: Sequence[tuple[str, str]],
    walltime: str,
) -> AnyParslExecutor:
    """Return htex on nodes of a Slurm job that it submits; of a job per node with launcher `single`.

    Args:
        htex: What every one has.
        nodes: The nodes.
        account: Who pays.
        partition: Where it waits.
        further: Other options of sbatch, without dashes, and their values.
        walltime: When it ends, as H:MM:SS.
    """
    from parsl.executors import HighThroughputExecutor

    from streambench.executors.parsl_slurm import provider

    # A node without a worker would only wait and cost.
    spared, missing = divmod(nodes.nodes * nodes.per_node - htex.slots, nodes.per_node)
    blocks, nodes_per_block = 1, nodes.nodes - spared
    if nodes.launcher == SINGLE:
        blocks, nodes_per_block = nodes_per_block, 1
    executor = HighThroughputExecutor(
        label='htex-slurm',
        provider=provider(
            account=account,
            partition=partition,
            walltime=walltime,
            further=further,
            nodes_per_block=nodes_per_block,
            # A core per worker: what a job has not asked for, Slurm keeps from it.
            cores_per_node=nodes.per_node,
            # Two jobs of a node each may else get the same node.
            exclusive=blocks > 1,
            init_blocks=blocks,
            min_blocks=blocks,
            max_blocks=blocks,
            launcher=launcher_of(nodes.launcher, nodes=nodes_per_block),
            worker_init=nodes.worker_init,
            cmd_timeout=COMMAND_S,
        ),
        **nodes.settings(nodes_per_block=nodes_per_block, missing=missing),
        **htex.settings(),
    )
    return _reachable(executor, nodes.address)


def prepared(config: Config, *, place: Place, directory: Path) -> Config:
    """Return a Config of the user's that finds Parsl's programs and leaves its files with ours.

    Args:
        config: As its file made it.
        place: Where Parsl leaves its files, unless the file says.
        directory: Where ours are; absolute.
    """
    from parsl.executors import HighThroughputExecutor
    from parsl.executors.high_throughput.executor import (
        DEFAULT_INTERCHANGE_LAUNCH_CMD,
        DEFAULT_LAUNCH_CMD,
    )
    from parsl.providers import LocalProvider

    providers = [getattr(executor, 'provider', None) for executor in config.executors]
    if config.run_dir == 'runinfo':
        here = all(provider is None or isinstance(provider, LocalProvider) for provider in providers)
        config.run_dir = place.path(here=here)
    # It writes a line for every step of a task, which would be measured too.
    config.initialize_logging = False
    for executor in config.executors:
        if not isinstance(executor, HighThroughputExecutor):
            continue
        if executor.interchange_launch_cmd == DEFAULT_INTERCHANGE_LAUNCH_CMD:
            executor.interchange_launch_cmd = interchange(directory, remove=place.link)
        if executor.launch_cmd == DEFAULT_LAUNCH_CMD and isinstance(executor.provider, LocalProvider):
            executor.launch_cmd = f'{_pool_here()}/{DEFAULT_LAUNCH_CMD}'
    return config
