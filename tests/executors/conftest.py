"""Every executor of the registry, each of Parsl's kinds by itself."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from streambench import registry
from streambench.executors.base import ExecutorPlugin, OpenExecutor

WORKERS = 4
CONFIGS = Path(__file__).parent / 'parsl_configs'

# Values of `configure` by the name of the case.
CASES: dict[str, dict[str, Any]] = {
    'thread': {'executor': 'thread'},
    'process': {'executor': 'process'},
    'parsl-thread': {'executor': 'parsl', 'parsl_executor': 'thread'},
    'parsl-htex-local': {'executor': 'parsl', 'parsl_executor': 'htex-local'},
    'parsl-config-threads': {'executor': 'parsl', 'parsl_config': str(CONFIGS / 'threads.py')},
    'parsl-config-htex': {'executor': 'parsl', 'parsl_config': str(CONFIGS / 'htex.py')},
    'dask': {'executor': 'dask'},
    'dask-threads': {'executor': 'dask', 'dask_use_threads': True},
}
# Each test of these starts processes anew, and both loops meet the executors end to end.
NOT_TWICE = ('parsl-htex-local', 'parsl-config-htex', 'dask', 'dask-threads')
# A configuration brings more workers than this test asks for, so that the killed one may be idle; with
# threads the scheduler is in the killed process. How htex closes is that of htex-local.
NOT_AT_ALL = {
    'test_a_killed_worker_fails_its_item': ('parsl-config-htex', 'dask-threads'),
    'test_closing_does_not_wait_for_tasks': ('parsl-config-htex',),
    'test_cancelled_opening_leaves_nothing': ('parsl-config-htex',),
}
# Executors that need a service or a cluster, or that run no code, have tests of their own.
MISSING = set(registry.names('executor', others=False)) - {'globus', 'simulated'}
MISSING -= {values['executor'] for values in CASES.values()}


def plugin_of(case: str) -> ExecutorPlugin:
    """Return the settings of a case."""
    values = dict(CASES[case])
    plugin: ExecutorPlugin = registry.load('executor', values.pop('executor'))(**values)
    return plugin


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a text that is in the environment of every process started by this test."""
    value = secrets.token_hex(12)
    monkeypatch.setenv('STREAMBENCH_TEST_MARK', value)
    return value


@pytest.fixture(scope='module', params=CASES)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ExecutorPlugin, OpenExecutor]]:
    """Return each executor with four workers, open for all tests of a module."""
    plugin = plugin_of(request.param)
    directory: Path = tmp_path_factory.mktemp(request.param)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        opening = plugin.open(slots=WORKERS, directory=directory, session=secrets.token_hex(6))
        yield plugin, runner.run(stack.enter_async_context(opening))
        runner.run(stack.aclose())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what says nothing new and takes long."""
    out = []
    for item in items:
        name, _, case = item.name.rstrip(']').partition('[')
        loop, _, case = case.partition('-')
        again = loop == 'asyncio' and (case in NOT_TWICE or item.path.name in ('test_slurm.py',))
        if again or case in NOT_AT_ALL.get(name, ()):
            out.append(item)
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]
