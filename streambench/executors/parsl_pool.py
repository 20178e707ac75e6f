"""A program that runs on each node of a job: Parsl's worker pool with as many workers as are due there.

One of the workers is the generator, which runs elsewhere, so that one node has one worker less; Parsl
knows one number for all of them. `python parsl_pool.py LAUNCHER MISSING PER_NODE NODES_PER_BLOCK --
COMMAND...` It runs as a file, with the standard library only.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SRUN = 'srun'
# Who numbers the nodes of a step: Slurm itself, else PMI, Open MPI, ALPS.
SLURM_RANK = 'SLURM_PROCID'
RANKS = ('PMI_RANK', 'PMIX_RANK', 'OMPI_COMM_WORLD_RANK', 'ALPS_APP_PE')
BLOCK = '--block_id='
WORKERS = '--max_workers_per_node='


def rank(environment: Mapping[str, str], *, launcher: str) -> int | None:
    """Return the number of this node in its block, or None if nobody says.

    Args:
        environment: Of the pool, which also holds what the launcher itself was started with: under
            mpirun the number that Slurm gave to the batch script, the same on all nodes.
        launcher: What has started the pool, by the name of --parsl-launcher.
    """
    for name in (SLURM_RANK,) if launcher == SRUN else RANKS:
        if environment.get(name, '').isdecimal():
            return int(environment[name])
    return None


def workers_here(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    launcher: str,
    missing: int,
    per_node: int,
    nodes_per_block: int,
) -> int:
    """Return how many workers are due on this node: the first nodes have those that are missing.

    Args:
        words: Parsl's command, which names the block.
        environment: Which node of the block this is.
        launcher: What has started the pool.
        missing: Workers that all nodes together have less than `per_node` each.
        per_node: Workers of a node.
        nodes_per_block: Nodes of a block.
    """
    block = next(int(word.removeprefix(BLOCK)) for word in words if word.startswith(BLOCK))
    place = 0 if nodes_per_block == 1 else rank(environment, launcher=launcher)
    if place is None:
        # One too many is seen when they register; with one too few nothing would begin.
        return per_node
    before = (block * nodes_per_block + place) * per_node
    return per_node - min(per_node, max(0, missing - before))


def main(arguments: Sequence[str]) -> int:
    """Become Parsl's worker pool; return at once where no worker is due."""
    split = list(arguments).index('--')
    launcher = arguments[0]
    missing, per_node, nodes_per_block = map(int, arguments[1:split])
    words = list(arguments[split + 1 :])
    due = workers_here(
        words,
        os.environ,
        launcher=launcher,
        missing=missing,
        per_node=per_node,
        nodes_per_block=nodes_per_block,
    )
    if not due:
        return 0
    node = os.environ.get('SLURMD_NODENAME')
    # Other launchers than Slurm's carry the first node's environment to all of them.
    if node and (launcher == SRUN or nodes_per_block == 1):
        os.environ['STREAMBENCH_NODE'] = node
    words = [f'{WORKERS}{due}' if word.startswith(WORKERS) else word for word in words]
    os.execv(words[0], words)


if __name__ == '__main__':
    raise SystemExit(main(sys.argv[1:]))
