"""The executor `dask` beside what the contract asks of it: a scheduler of somebody's."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from streambench import leash
from streambench.cli.arguments import parse
from streambench.cli.run import plan_of
from streambench.errors import ConfigError, ExecutorError
from streambench.executors.dask import DaskExecutor
from streambench.session import Progress, open_session
from streambench.settings import configure
from tests.living import until

DEADLINE_S = 60.0


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a scheduler with three workers, as somebody else would have; return address and process."""
    place = tmp_path / 'dask'
    place.mkdir()
    words = [sys.executable, '-m', 'streambench.executors.dask_cluster', str(place), '3', 'processes']
    command = leash.command(*words, output=str(tmp_path / 'dask.out'))
    process = subprocess.Popen(command, start_new_session=True)
    assert until(lambda: (place / 'address').exists(), within_s=DEADLINE_S)
    # As Dask itself prints it.
    yield (place / 'address').read_text(), process
    process.terminate()
    process.wait(DEADLINE_S)


async def test_workers_of_a_scheduler(
    scheduler: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Its workers run the tasks, no more of them than were asked for, and stay when we leave."""
    address, process = scheduler
    config = configure(
        executor='dask',
        dask_scheduler=address,
        workers=3,
        stream='memory',
        task_count=8,
        task_sleep=0.05,
    )
    async with open_session(config, directory=tmp_path) as session:
        result = await session.run()
    assert (result.row.completed_tasks, result.row.executor) == (8, 'DaskExecutor')
    # Two compute workers of three: one task more at a time would make the figures of three.
    assert (result.row.slots, result.row.max_in_flight) == (2, 2)
    assert process.poll() is None


@pytest.fixture
def stranger(
    scheduler: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Add a worker that has no streambench to the scheduler's; return its process."""
    package = tmp_path / 'other' / 'streambench'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text("raise ImportError('nothing of that name')")
    words = [sys.executable, '-m', 'distributed.cli.dask_worker', scheduler[0]]
    words += ['--no-dashboard', '--no-nanny', '--local-directory', str(tmp_path)]
    environment = {**os.environ, 'PYTHONPATH': str(package.parent)}
    command = leash.command(*words, output=str(tmp_path / 'worker.out'))
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    yield process
    process.terminate()
    process.wait(DEADLINE_S)


@pytest.mark.asyncio(loop_factories=['uvloop'])
async def test_a_worker_without_streambench(
    scheduler: tuple[str, subprocess.Popen[bytes]], stranger: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """It is told before a task that it can't unpack would end it."""
    config = configure(executor='dask', dask_scheduler=scheduler[0], workers=5, stream='memory')
    sentence = r'the worker tcp://.* has no streambench \(.*nothing of that name\), and here it is'
    with pytest.raises(ExecutorError, match=sentence):
        async with asyncio.timeout(DEADLINE_S), open_session(config, directory=tmp_path):
            raise AssertionError
    assert stranger.poll() is None


async def test_a_scheduler_that_dies_ends_the_run(
    scheduler: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Without its scheduler a run ends at once, with the reason."""
    address, process = scheduler
    measuring = asyncio.Event()

    def report(progress: Progress) -> None:
        if progress.doing == 'measuring':
            measuring.set()

    config = configure(
        executor='dask', dask_scheduler=address, stream='memory', task_count=500, task_sleep=0.1
    )
    with pytest.raises(ExecutorError, match=r'the scheduler of Dask .* is gone'):
        async with (
            asyncio.timeout(DEADLINE_S),
            open_session(config, directory=tmp_path, report=report) as session,
        ):
            running = asyncio.create_task(session.run())
            await measuring.wait()
            os.killpg(process.pid, signal.SIGKILL)
            await running


@dataclass(frozen=True, kw_only=True)
class ImpatientDask(DaskExecutor):
    """Dask that doesn't wait for a scheduler that may come."""

    connect_s: ClassVar[float] = 1.0


async def test_no_scheduler(tmp_path: Path) -> None:
    """An address where nobody answers is one sentence."""
    config = configure(executor='dask', dask_scheduler='127.0.0.1:9', stream='memory')
    config = replace(config, executor_plugin=ImpatientDask(dask_scheduler='127.0.0.1:9'))
    with pytest.raises(ExecutorError, match=r'no Dask scheduler answers at tcp://127\.0\.0\.1:9'):
        async with open_session(config, directory=tmp_path):
            raise AssertionError


def test_spellings() -> None:
    """--dask-workers is one more spelling of workers; another value beside it is an error."""
    words = ['run', '--executor', 'dask', '--dask-workers', '3']
    assert {run.config.workers for run in plan_of(parse(words), {}).runs} == {3}
    with pytest.raises(ConfigError, match='--dask-workers 3 and --max-workers 4 are spellings of one'):
        plan_of(parse([*words, '--max-workers', '4']), {})
    with pytest.raises(ConfigError, match='with brackets around an IPv6 address'):
        configure(executor='dask', dask_scheduler='::1')
    with pytest.raises(ConfigError, match='--dask-use-threads is for a cluster that is started here'):
        configure(executor='dask', dask_scheduler='a:1', dask_use_threads=True)
