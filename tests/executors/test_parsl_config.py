"""Parsl configurations of a user's: files, loaded kernels, and what is wrong with some."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from parsl import Config, DataFlowKernel
from parsl.concurrent import ParslPoolExecutor
from parsl.executors import ThreadPoolExecutor

from streambench.errors import ConfigError
from streambench.executors.parsl import ParslExecutor
from streambench.executors.parsl_launchers import launcher_of
from streambench.executors.parsl_pool import workers_here
from streambench.executors.parsl_sites import LOOK_S
from streambench.executors.parsl_slurm import provider
from streambench.plan import make_plan
from streambench.report import plan_text
from streambench.session import open_session
from streambench.settings import configure
from tests.living import until

THREADS = """
from parsl import Config
from parsl.executors import ThreadPoolExecutor
{name} = Config(executors=[ThreadPoolExecutor()])
"""


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('x = 1', 'holds no Parsl Config: name the one to use `config`'),
        (
            THREADS.format(name='one') + THREADS.format(name='two'),
            'holds 2 Parsl Configs: name the one to use `config`',
        ),
        (
            'import no_such_module',
            "can not be run: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ('def', 'can not be run: SyntaxError'),
    ],
)
def test_files_that_will_not_do(text: str, sentence: str, tmp_path: Path) -> None:
    """A file without one Config is refused with a sentence, before anything starts."""
    path = tmp_path / 'site.py'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(ConfigError) as refused:
        configure(executor='parsl', parsl_config=str(path))
    assert sentence in str(refused.value)
    with pytest.raises(ConfigError, match='must be a Python file that can be read'):
        configure(executor='parsl', parsl_config=str(tmp_path / 'none.py'))


def test_the_only_config_or_the_named_one(tmp_path: Path) -> None:
    """One Config may have any name; of several, `config` is taken."""
    path = tmp_path / 'site.py'
    for text in (
        THREADS.format(name='anything'),
        THREADS.format(name='config') + THREADS.format(name='two'),
        THREADS.format(name='config') + 'same = config',
    ):
        path.write_text(text, encoding='utf-8')
        config = configure(executor='parsl', parsl_config=str(path))
        assert config.executor_plugin.in_process
        # Its workers find an embedded server.
        assert not config.executor_plugin.elsewhere
        assert config.executor_plugin.detail == 'site.py'


async def test_a_loaded_kernel_is_used_and_left_open(tmp_path: Path) -> None:
    """The library takes a DataFlowKernel; it works on when the session is over."""

    def start() -> DataFlowKernel:
        threads = ThreadPoolExecutor(max_threads=3)
        return DataFlowKernel(
            Config(executors=[threads], run_dir=str(tmp_path / 'parsl'), initialize_logging=False)
        )

    kernel = await asyncio.to_thread(start)
    try:
        config = configure(
            executor='parsl', parsl_config=kernel, stream='memory', task_count=8, task_sleep=0.02
        )
        async with open_session(config, directory=tmp_path) as session:
            result = await session.run()
        assert (result.row.completed_tasks, result.row.slots) == (8, None)
        # A kernel that was cleaned up takes nothing more.
        again = ParslPoolExecutor(dfk=kernel)
        future = await asyncio.to_thread(again.submit, len, 'four')
        assert await asyncio.wrap_future(future) == 4
    finally:
        await asyncio.to_thread(kernel.cleanup)


@pytest.mark.parametrize(
    ('launcher', 'variable', 'missing', 'blocks', 'nodes', 'due'),
    [
        ('srun', 'SLURM_PROCID', 0, 1, 2, [2, 2]),
        ('srun', 'SLURM_PROCID', 1, 1, 2, [1, 2]),
        ('srun', 'SLURM_PROCID', 2, 1, 2, [0, 2]),
        ('srun', 'SLURM_PROCID', 3, 1, 2, [0, 1]),
        ('srun', 'SLURM_PROCID', 1, 2, 1, [1, 2]),
        # Both nodes have the number of the batch script, which mpirun carries to them.
        ('mpirun', 'PMI_RANK', 1, 1, 2, [1, 2]),
        ('mpirun', 'OMPI_COMM_WORLD_RANK', 1, 1, 2, [1, 2]),
    ],
)
def test_workers_of_a_node(
    launcher: str, variable: str, missing: int, blocks: int, nodes: int, due: list[int]
) -> None:
    """The first nodes have the workers less that are not due."""
    found = [
        workers_here(
            ['pool', f'--block_id={block}'],
            {'SLURM_PROCID': '0', variable: str(place)},
            launcher=launcher,
            missing=missing,
            per_node=2,
            nodes_per_block=nodes,
        )
        for block in range(blocks)
        for place in range(nodes)
    ]
    assert found == due


def test_a_dry_run_estimates_node_hours() -> None:
    """Nodes x expected time, and nodes x walltime at most; nothing where no nodes are held."""
    site = {'parsl_executor': 'htex-slurm', 'parsl_workers_per_node': 4, 'parsl_walltime': '1:00:00'}
    values = {'stream': 'memory', 'stream_method': 'default', 'task_count': 701, 'load': 1.0}
    values |= {'data_size_bytes': 1000, 'task_sleep': 7.0}
    plan = make_plan(values | site | {'parsl_nodes': 2})
    # 700 intervals of a second, the last sleep, the warm-up's, the start and half a second.
    assert plan.expected_s == 721.5
    assert 'node-hours: about 0.401, on 2 nodes, at most 2 by --parsl-walltime' in plan_text(plan)
    both = make_plan(values | site, sweep={'parsl_nodes': [1, 2]})
    assert {run.config.workers for run in both.runs} == {4, 8}
    assert 'on 1 or 2 nodes, at most 3 by --parsl-walltime' in plan_text(both)
    assert 'node-hours' not in plan_text(make_plan(values))


def test_what_a_slurm_job_asks_for() -> None:
    """Options of sbatch as they are given, minutes rounded up, and cores as told."""
    further = (('qos', 'debug'), ('exclusive', ''), ('comment', 'a "b'), ('clusters', 'there'))
    made = provider(walltime='0:59:01', further=further, cores_per_node=8, exclusive=False)
    lines = made.scheduler_options.split('\n')
    assert lines[:3] == ['#SBATCH --qos=debug', '#SBATCH --exclusive', """#SBATCH --comment='a "b'"""]
    assert (made.walltime, made.cores_per_node, made.clusters) == ('1:00:00', 8, 'there')
    fewer = provider(walltime='0:01:00', further=(('cpus-per-task', '2'),), cores_per_node=8)
    assert (fewer.walltime, fewer.cores_per_node) == ('0:01:00', None)


def test_runs_that_the_walltime_would_end() -> None:
    """They are refused before anything is submitted, with the time that they need."""
    site = {'parsl_executor': 'htex-slurm', 'parsl_nodes': 2, 'parsl_workers_per_node': 4}
    values = {'stream': 'memory', 'stream_method': 'default', 'task_count': 1000, 'task_sleep': 7.0}
    values |= site | {'data_size_bytes': 1000, 'load': 1.0, 'repeat': 6}
    sentence = r'leaves a job 30 min, and its 6 runs take about 102 min: give --parsl-walltime 1:42:00'
    with pytest.raises(ConfigError, match=sentence):
        make_plan(values)
    assert make_plan(values | {'parsl_walltime': '1:42:00'}).expected_s
    # Repeating ends when the figures are narrow enough.
    assert make_plan(values | {'until_narrow': '5%'}).expected_s


def left_links() -> set[Path]:
    """Return the other names of directories that are there."""
    return set(Path(tempfile.gettempdir()).glob('streambench-parsl-*'))


@pytest.fixture
def awkward(tmp_path: Path) -> Iterator[Path]:
    """Return a directory whose name a shell would take for a command; nothing is left beside it."""
    directory, before = tmp_path / 'my "runs" $(date); é', left_links()
    directory.mkdir()
    yield directory
    assert list((directory / 'runinfo').glob('*/submit_scripts/*.sh'))
    assert list(tmp_path.iterdir()) == [directory]
    assert left_links() <= before


async def test_the_first_workers_start_at_once(awkward: Path) -> None:
    """Parsl by itself starts them when it looks for the second time; later looks are its usual ones.

    Whatever the directory is called: Parsl writes its name into shell commands as it is.
    """
    plugin = ParslExecutor(parsl_executor='htex-local')
    async with plugin.open(slots=1, directory=awkward, session='first') as opened:
        kernel = opened.executor._dfk  # type: ignore[attr-defined]
        executor = kernel.executors['htex-local']
        assert await asyncio.to_thread(until, lambda: executor.status_facade, within_s=LOOK_S - 1)
        assert kernel.job_status_poller.interval == LOOK_S
        future = await asyncio.to_thread(opened.executor.submit, len, 'four')
        async with asyncio.timeout(30):
            assert await asyncio.wrap_future(future) == 4


async def test_a_directory_that_nodes_can_not_name(tmp_path: Path) -> None:
    """Nodes don't see another name of it on this machine: it is refused before a job is submitted."""
    plugin = ParslExecutor(parsl_executor='htex-slurm', parsl_nodes=1, parsl_workers_per_node=2)
    with pytest.raises(ConfigError, match=r'--run-dir: the nodes can not use .* without blanks'):
        async with plugin.open(slots=1, directory=tmp_path / 'my runs', session='none'):
            raise AssertionError


def test_mpiexec_gets_each_node_once_and_leaves_nothing(tmp_path: Path) -> None:
    """A node file names a node once per core; the list of them is left beside the script."""
    (tmp_path / 'nodes').write_text('b\nb\na\na\n', encoding='utf-8')
    program = tmp_path / 'bin' / 'mpiexec'
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho $4 && cat $6\n', encoding='utf-8')
    program.chmod(0o755)
    for name in ('scripts', 'here'):
        (tmp_path / name).mkdir()
    text = launcher_of('mpiexec', nodes=2)('true', 1, 2, str(tmp_path / 'scripts'))
    done = subprocess.run(
        ['bash', '-c', text],
        cwd=tmp_path / 'here',
        env={
            'PATH': f'{program.parent}:/usr/bin:/bin',
            'PBS_NODEFILE': str(tmp_path / 'nodes'),
            'JOBNAME': 'job',
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert '\n2\na\nb\n' in done.stdout
    assert list((tmp_path / 'here').iterdir()) == []
