"""What starts a worker pool on every node of a job, and how the pool learns which node it is on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.launchers.base import Launcher

SRUN = 'srun'
SINGLE = 'single'
MPIEXEC = 'mpiexec'
MPIRUN = 'mpirun'
APRUN = 'aprun'
JSRUN = 'jsrun'
LAUNCHERS = (SRUN, SINGLE, MPIEXEC, MPIRUN, APRUN, JSRUN)


def launcher_of(name: str, *, nodes: int) -> Launcher:
    """Return Parsl's launcher.

    Args:
        name: Its name here.
        nodes: Nodes on which it starts one pool each.
    """
    from parsl import launchers

    if name == SRUN:
        # One pool per node whatever the shape of the job, beside other steps of it, and not bound to
        # the core that a task gets by default. The pools say more than needed on their output.
        wishes = f'--nodes={nodes} --ntasks-per-node=1 --overlap --cpu-bind=none --input=none'
        return launchers.SrunLauncher(overrides=wishes)
    if name == MPIEXEC:
        return _mpiexec()
    if name == MPIRUN:
        return launchers.MpiRunLauncher()
    if name == APRUN:
        return launchers.AprunLauncher()
    if name == JSRUN:
        return launchers.JsrunLauncher()
    return launchers.SingleNodeLauncher()


def _mpiexec() -> Launcher:
    from parsl.launchers import MpiExecLauncher

    class Mpiexec(MpiExecLauncher):  # type: ignore[misc]
        """Leaves its list of nodes with its other files: Parsl's leaves it in the current directory."""

        def __call__(self, *arguments: Any, **settings: Any) -> str:
            name = '$JOBNAME.nodes'
            text = str(super().__call__(*arguments, **settings))
            return text.replace(f'HOSTFILE="{name}"', f'HOSTFILE="${{SCRIPT_DIR:+$SCRIPT_DIR/}}{name}"')

    return Mpiexec()
