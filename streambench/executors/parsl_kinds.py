"""Parsl's executors by the name of `--parsl-executor`, and which options mean something for which."""

from __future__ import annotations

from typing import Any

THREAD = 'thread'
HTEX_LOCAL = 'htex-local'
HTEX_SLURM = 'htex-slurm'
HTEX_ALLOCATION = 'htex-allocation'
CLUSTER = (HTEX_SLURM, HTEX_ALLOCATION)
# That of --parsl-config.
SITE = 'site'

# Options that mean something for some of them only.
MEANT_FOR = {
    'parsl_encrypted': (THREAD, HTEX_LOCAL, *CLUSTER),
    'parsl_prefetch': (THREAD, HTEX_LOCAL, *CLUSTER),
    'parsl_nodes': CLUSTER,
    'parsl_workers_per_node': CLUSTER,
    'parsl_account': (HTEX_SLURM,),
    'parsl_partition': (HTEX_SLURM,),
    'parsl_walltime': (HTEX_SLURM,),
    'parsl_sbatch_option': (HTEX_SLURM,),
    'parsl_worker_init': CLUSTER,
    'parsl_launcher': CLUSTER,
    'parsl_address': CLUSTER,
    'parsl_start_timeout': (*CLUSTER, SITE),
}


def meant_for(name: str) -> str:
    """Return what an option is for, in flags."""
    kinds = [kind for kind in MEANT_FOR[name] if kind != SITE]
    texts = [f'--parsl-executor {" or ".join(kinds)}'] if kinds else []
    return ' or '.join([*texts, *(['--parsl-config'] if SITE in MEANT_FOR[name] else [])])


def shown(value: Any) -> str:
    """Return an option's value as it is given on a command line."""
    if isinstance(value, tuple):
        return ' '.join(f'{key}={item}' for key, item in value)
    return str(value)
