"""Parsl on a real Slurm of two nodes, all of them this machine: what is scheduled is real."""

from __future__ import annotations

import asyncio
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streambench.errors import ConfigError, ExecutorError
from streambench.executors import parsl_sites, parsl_slurm
from streambench.session import Progress, open_session
from streambench.settings import configure
from tests.living import processes, until
from tests.required import without

SCRIPT = Path(__file__).parent.parent.parent / 'scripts' / 'cluster'
INSTALL = 'apt-get install --no-install-recommends slurmctld slurmd slurm-client munge'
DEADLINE_S = 120.0
GONE_S = 15.0


def cluster(action: str, directory: Path, *words: str) -> str:
    """Run scripts/cluster; return what it says."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), action, '--directory', str(directory), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def slurm() -> Iterator[Path]:
    """Start a Slurm of two nodes; return its directory."""
    if shutil.which('slurmctld') is None or shutil.which('munged') is None:
        without(f'there is no Slurm here: `{INSTALL}`')
    if os.geteuid() != 0:
        without('a Slurm on one machine runs as root')
    # A socket's path must be short, shorter than that of a test may be.
    directory = Path(tempfile.mkdtemp(prefix='slurm-')) / 'box'
    cluster('start', directory, '--nodes', '2')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('SLURM_CONF', str(directory / 'slurm.conf'))
        yield directory
        cluster('stop', directory)
    directory.parent.rmdir()


def jobs(*words: str) -> list[str]:
    """Return what squeue says of the jobs."""
    done = subprocess.run(
        ['squeue', '--noheader', *words], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.split()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask this Slurm for its jobs more often than a site's should be."""
    monkeypatch.setattr(parsl_slurm, 'POLL_S', 1)
    monkeypatch.setattr(parsl_sites, 'LOOK_S', 0.5)


@pytest.fixture(autouse=True)
def no_job_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let no test leave a job or a process of one behind."""
    yield
    if 'slurm' in request.fixturenames:
        assert until(lambda: not jobs(), within_s=GONE_S), jobs()


SITE: dict[str, Any] = {
    'executor': 'parsl',
    'parsl_executor': 'htex-slurm',
    'parsl_nodes': 2,
    'parsl_workers_per_node': 2,
    'parsl_address': '127.0.0.1',
    'stream': 'memory',
    'data_size_bytes': 1000,
    'task_count': 12,
    'task_sleep': 0.1,
}


class Said(list[str]):
    """What a session says that it does."""

    def __call__(self, progress: Progress) -> None:
        """Take where the session stands."""
        self.append(progress.doing)


@pytest.fixture
def lagging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an accounting before Slurm that has not heard of any job so far."""
    program = tmp_path / 'bin' / 'sacct'
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{program.parent}:{os.environ["PATH"]}')


@pytest.mark.parametrize(
    ('launcher', 'number', 'place'), [('srun', 1, 'n1:1 n2:2'), ('single', 2, 'n1:1 n2:2')]
)
@pytest.mark.usefixtures('slurm', 'lagging')
async def test_workers_are_on_both_nodes(
    launcher: str, number: int, place: str, tmp_path: Path
) -> None:
    """Three compute workers of four on two nodes: one job of two nodes, or a job per node.

    Whatever the accounting knows: to Parsl, a job that it does not name has completed.
    """
    said = Said()
    config = await asyncio.to_thread(configure, **SITE, parsl_launcher=launcher)
    assert (config.workers, config.slots) == (4, 3)
    async with open_session(config, directory=tmp_path, report=said) as session:
        running = await asyncio.to_thread(jobs, '--format=%D')
        result = await session.run()
    assert len(running) == number
    assert sum(map(int, running)) == 2
    assert result.error is None
    assert (result.row.completed_tasks, result.row.failed) == (12, 0)
    assert (result.row.worker_hosts, result.row.workers_proven, result.row.slots) == (place, 3, None)
    assert any('of 3 workers of Parsl htex-slurm have registered' in text for text in said)


@pytest.mark.usefixtures('slurm')
async def test_a_cancelled_job_ends_the_run(tmp_path: Path) -> None:
    """After scancel the open items are failed rows, the run ends, and the verdict says why."""
    measuring = asyncio.Event()

    def report(progress: Progress) -> None:
        if progress.doing == 'measuring':
            measuring.set()

    config = await asyncio.to_thread(configure, **SITE | {'task_count': 600, 'parsl_nodes': 1})
    with pytest.raises(ExecutorError, match=r'has ended \(cancelled\) while its workers'):
        async with (
            asyncio.timeout(DEADLINE_S),
            open_session(config, directory=tmp_path, report=report) as session,
        ):
            running = asyncio.create_task(session.run())
            await measuring.wait()
            await asyncio.to_thread(
                lambda: subprocess.run(['scancel', *jobs('--format=%i')], check=True, timeout=30)
            )
            cancelled = time.monotonic()
            try:
                await running
            finally:
                took_s = time.monotonic() - cancelled
    assert took_s < 15
    (row,) = await asyncio.to_thread(rows_of, tmp_path)
    assert (row['ended'], row['verdict']) == ('failed', 'invalid')
    assert int(row['failed']) > 0
    assert 'has ended (cancelled)' in row['reasons']


@pytest.mark.drill
@pytest.mark.usefixtures('slurm')
async def test_a_job_lost_before_the_warm_up_ends_the_run(tmp_path: Path) -> None:
    """Its tasks would wait for workers that never come; the run ends when Slurm says so, not later."""
    config = await asyncio.to_thread(configure, **SITE | {'parsl_nodes': 1})
    async with open_session(config, directory=tmp_path) as session:
        words = ['scancel', *await asyncio.to_thread(jobs, '--format=%i')]
        await asyncio.to_thread(lambda: subprocess.run(words, check=True, timeout=30))
        cancelled = time.monotonic()
        with pytest.raises(ExecutorError, match=r'has ended \(cancelled\) while its workers'):
            await session.run()
    assert time.monotonic() - cancelled < 15


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'parsl_partition': 'none'}, 'got no job: sbatch: error: .*Invalid partition'),
        (
            {'parsl_sbatch_option': {'constraint': 'gpu', 'exclusive': ''}},
            'got no job: sbatch: error: .*Invalid feature',
        ),
        (
            {'parsl_worker_init': 'echo there is no such module >&2; exit 3'},
            # Slurm may know how it ended before Parsl misses it.
            r'has ended( \(failed\))? before its workers came: there is no such module',
        ),
        ({'parsl_nodes': 3, 'parsl_start_timeout': 5}, r'0 of 5 .* within 5 s \(job .* pending'),
    ],
)
@pytest.mark.usefixtures('slurm')
async def test_workers_that_do_not_come(values: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    """A refused job, one that ends at once and one that waits too long are told apart."""
    config = await asyncio.to_thread(configure, **SITE | values)
    with pytest.raises(ExecutorError, match=sentence):
        async with open_session(config, directory=tmp_path):
            raise AssertionError


def test_the_cluster_of_others_is_left_alone(tmp_path: Path) -> None:
    """A directory with the daemon of a site is none of ours, nor one that slurm.conf can't name."""
    site = subprocess.Popen(['munged', '60'], executable=shutil.which('sleep'))
    try:
        (tmp_path / 'munged.pid').write_text(str(site.pid))
        assert cluster('stop', tmp_path) == 'No cluster ran.\n'
        assert site.poll() is None
    finally:
        site.kill()
        site.wait()


@pytest.mark.usefixtures('slurm')
def test_a_cluster_without_controller() -> None:
    """What is left of it does not count as one that runs, and can be ended."""
    with tempfile.TemporaryDirectory(prefix='slurm-') as name:
        directory = Path(name) / 'box'
        with pytest.raises(AssertionError, match='has blanks, which'):
            cluster('start', Path(name) / 'of two words')
        cluster('start', directory, '--nodes', '1')
        os.kill(int((directory / 'slurmctld.pid').read_text()), signal.SIGKILL)
        with pytest.raises(AssertionError, match=r'Only munged, slurmd\.n1 run .* and no controller'):
            cluster('status', directory)
        assert 'has ended' in cluster('stop', directory)


JOB = """\
#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --time=0:05:00
#SBATCH --job-name="of two words/paths"
#SBATCH --output={directory}/job.out
exec {python} -m streambench run --parsl-executor htex-allocation --parsl-workers-per-node 2 \\
    --stream memory --stream-method default --data-size-bytes 1000 \\
    --task-count {items} --task-sleep 0.1 --run-dir {directory}/runs
"""


def submit(directory: Path, *, items: int) -> str:
    """Submit a batch job that runs streambench on its nodes; return its number."""
    script = directory / 'job.sh'
    text = JOB.format(directory=directory, python=sys.executable, items=items)
    script.write_text(text, encoding='utf-8')
    done = subprocess.run(
        ['sbatch', '--parsable', str(script)], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def rows_of(directory: Path) -> list[dict[str, str]]:
    """Return the rows of all results under a directory."""
    found = []
    for path in directory.rglob('results.csv'):
        with path.open(encoding='utf-8', newline='') as file:
            found += list(csv.DictReader(file))
    return found


@pytest.mark.usefixtures('slurm')
def test_inside_an_allocation(tmp_path: Path) -> None:
    """A batch job runs streambench, whose workers are on all of its nodes."""
    submit(tmp_path, items=12)
    assert until(lambda: not jobs(), within_s=DEADLINE_S)
    said = (tmp_path / 'job.out').read_text(encoding='utf-8')
    (row,) = rows_of(tmp_path)
    assert (row['worker_hosts'], row['completed_tasks']) == ('n1:1 n2:2', '12'), said
    assert 'parsl htex-allocation: 4 workers = 1 generator + 3 compute' in said


@pytest.mark.drill
@pytest.mark.usefixtures('slurm')
def test_a_cancelled_allocation_leaves_its_results(tmp_path: Path) -> None:
    """scancel reaches streambench as SIGTERM: the run ends as interrupted, with its row."""
    number = submit(tmp_path, items=3000)
    out = tmp_path / 'job.out'
    assert until(
        lambda: out.exists() and 'items' in out.read_text(encoding='utf-8').partition('run 1')[2],
        within_s=DEADLINE_S,
    )
    subprocess.run(['scancel', number], check=True, timeout=30)
    assert until(lambda: not jobs(), within_s=GONE_S)
    (row,) = rows_of(tmp_path)
    assert row['ended'] == 'interrupted'


@pytest.mark.drill
@pytest.mark.usefixtures('slurm')
def test_a_killed_client_leaves_no_job(tmp_path: Path) -> None:
    """After SIGKILL of streambench its job ends within Parsl's heartbeat threshold."""
    words = [sys.executable, '-m', 'streambench', 'run', '--run-dir', str(tmp_path)]
    for name, value in (SITE | {'task_count': 3000}).items():
        words += [f'--{name.replace("_", "-")}', str(value)]
    mark = tmp_path.name
    client = subprocess.Popen(
        words, stderr=subprocess.DEVNULL, env={**os.environ, 'STREAMBENCH_TEST_MARK': mark}
    )
    assert until(lambda: list(tmp_path.glob('*/items/*')), within_s=DEADLINE_S)
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert until(lambda: not jobs(), within_s=90)
    assert until(lambda: not processes(mark), within_s=GONE_S)


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        (
            {'parsl_workers_per_node': None},
            '--parsl-executor htex-slurm needs --parsl-workers-per-node',
        ),
        ({'parsl_nodes': None}, '--parsl-executor htex-slurm needs --parsl-nodes'),
        (
            {'workers': 5},
            '--max-workers 5 does not fit --parsl-nodes 2 with --parsl-workers-per-node 2',
        ),
        (
            {'parsl_executor': 'htex-local'},
            '--parsl-nodes 2 is for --parsl-executor htex-slurm or htex-',
        ),
        ({'parsl_walltime': '10'}, 'must have the form HOURS:MINUTES:SECONDS'),
        (
            {'parsl_executor': 'htex-allocation', 'parsl_account': 'me'},
            '--parsl-account me is for --parsl-executor htex-slurm, and here it is htex-allocation',
        ),
        ({'parsl_executor': 'htex-allocation'}, 'is for the inside of a batch job'),
        (
            {'parsl_executor': 'htex-allocation', 'parsl_sbatch_option': ['qos=debug', 'requeue=']},
            '--parsl-sbatch-option qos=debug requeue= is for --parsl-executor htex-slurm, and here it',
        ),
        ({'parsl_launcher': 'mpiexec'}, '--parsl-launcher mpiexec takes its nodes from $PBS_NODEFILE'),
        (
            {'parsl_config': __file__},
            '--parsl-executor htex-slurm and --parsl-config test_slurm.py both',
        ),
    ],
)
def test_options_that_do_not_fit(
    values: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake is one sentence, before anything is submitted."""
    monkeypatch.delenv('SLURM_JOB_NODELIST', raising=False)
    monkeypatch.delenv('PBS_NODEFILE', raising=False)
    with pytest.raises(ConfigError) as refused:
        configure(**SITE | values)
    assert sentence in str(refused.value)


def test_nodes_of_pbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node file names a node once per core; its different names count."""
    file = tmp_path / 'nodes'
    file.write_text('a\na\nb\nb\n', encoding='utf-8')
    monkeypatch.delenv('SLURM_JOB_NODELIST', raising=False)
    monkeypatch.setenv('PBS_NODEFILE', str(file))
    values = {**SITE, 'parsl_executor': 'htex-allocation', 'parsl_nodes': None}
    assert configure(**values).workers == 4
    with pytest.raises(ConfigError, match='--parsl-nodes 3 are more than the 2 of the allocation'):
        configure(**values | {'parsl_nodes': 3})
    with pytest.raises(ConfigError, match='--parsl-launcher single starts workers on this node only'):
        configure(**values, parsl_launcher='single')
