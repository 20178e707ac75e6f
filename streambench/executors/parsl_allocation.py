"""The batch job that this process runs in: how many nodes it has and what starts programs on them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from streambench.errors import ConfigError
from streambench.executors.parsl_launchers import MPIEXEC, SINGLE, SRUN

SLURM_NODES = 'SLURM_JOB_NODELIST'
PBS_NODES = 'PBS_NODEFILE'


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """Nodes that a batch system has given to this job.

    Attributes:
        nodes: How many.
        launcher: What starts programs on all of them, by the name of --parsl-launcher.
        variable: Variable of the environment that says so.
    """

    nodes: int
    launcher: str
    variable: str


def allocation() -> Allocation:
    """Return the nodes of the batch job around this process.

    Raises:
        ConfigError: If there is none.
    """
    if os.environ.get(SLURM_NODES):
        nodes = os.environ.get('SLURM_JOB_NUM_NODES') or os.environ.get('SLURM_NNODES') or ''
        if not nodes.isdecimal():
            raise ConfigError(
                f'${SLURM_NODES} is {os.environ[SLURM_NODES]!r} and $SLURM_JOB_NUM_NODES is {nodes!r}: '
                'start streambench in an allocation as Slurm made it.'
            )
        return Allocation(nodes=int(nodes), launcher=SRUN, variable=SLURM_NODES)
    path = os.environ.get(PBS_NODES)
    if not path:
        raise ConfigError(
            '--parsl-executor htex-allocation is for the inside of a batch job, and neither '
            f'${SLURM_NODES} nor ${PBS_NODES} is set: start it by sbatch or qsub, or take htex-slurm.'
        )
    try:
        names = {line.strip() for line in Path(path).read_text(encoding='utf-8').splitlines()} - {''}
    except OSError as error:
        raise ConfigError(
            f'${PBS_NODES} names {path!r}, which can not be read ({error.strerror}): start streambench '
            'in an allocation as PBS made it.'
        ) from None
    if not names:
        raise ConfigError(f'${PBS_NODES} names {path!r}, which holds no node.')
    # PBS runs a job's script on the first of its nodes.
    launcher = SINGLE if len(names) == 1 else MPIEXEC
    return Allocation(nodes=len(names), launcher=launcher, variable=PBS_NODES)
