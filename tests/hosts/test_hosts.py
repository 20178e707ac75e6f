"""Broker, dispatcher and workers on hosts of their own: what only addresses and clocks apart show."""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.dask_workers import DaskWorkers
from tests.hosts.network import Network, redis_on, servers

SITE = Path(__file__).parent / 'site.py'
WORKERS = 3
ITEMS = 6
DEADLINE_S = 120.0
# A monotonic clock counts from its host's start; this host started a day earlier.
AHEAD_S = 86_400
MBIT = 300
DELAY_S = 0.02


def run(
    network: Network, directory: Path, *words: str, **variables: str
) -> tuple[int, str, list[dict[str, str]]]:
    """Run streambench on the dispatcher's host with the generator on a worker.

    Returns:
        Exit code, what it says, and the rows of results.csv.
    """
    command = [sys.executable, '-m', 'streambench', 'run', '--run-dir', str(directory)]
    done = subprocess.run(
        network['dispatcher'].command(*command, '--generator', 'worker', *words),
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    rows: list[dict[str, str]] = []
    for path in directory.glob('*/results.csv'):
        with path.open(newline='', encoding='utf-8') as file:
            rows += csv.DictReader(file)
    return done.returncode, done.stdout, rows


def test_proxy_beats_default_where_the_link_of_the_dispatcher_is_narrow(
    network: Network, tmp_path: Path
) -> None:
    """10 MB from a worker to a worker: `default` carries them into the dispatcher and out again.

    The link is long too, and the generator's host has a clock of its own, as every other host has.
    """
    network.narrow('dispatcher', MBIT)
    with servers(network, delay_s=DELAY_S) as (broker, store, variables):
        code, said, rows = run(
            network,
            tmp_path,
            *('--executor', 'parsl', '--parsl-config', str(SITE), '--max-workers', str(WORKERS)),
            *('--stream-servers', broker.address, '--ps-host', store.host, '--ps-port', store.port),
            *(
                '--data-size-bytes',
                '10MB',
                '--task-count',
                str(ITEMS),
                '--task-sleep',
                '0.01',
                '--rate',
                '8',
            ),
            STREAMBENCH_HOST=shlex.join(network['workers'].command(clock_s=AHEAD_S)),
            STREAMBENCH_WORKERS=str(WORKERS),
            **variables,
        )
    assert [row['method'] for row in rows] == ['default', 'proxy'], said
    default, proxy = ({name: row[name] for name in row} for row in rows)
    for row in (default, proxy):
        assert (row['completed_tasks'], row['worker_hosts']) == (str(ITEMS), f'workers:{WORKERS}'), said
        # Without the offset the makespan is a day.
        assert 0 < float(row['clock_shift_bound_s']) < 0.1, said
        assert 0 < float(row['makespan_s']) < DEADLINE_S, said
        # Nor is one in the way out, or back.
        assert max(abs(float(row[f'{s}_mean_s'])) for s in ('dispatch', 'return')) < DEADLINE_S, said
    rates = [float(row['throughput_per_s']) for row in (default, proxy)]
    # More than one way of 10 MB at a time can't go through the link.
    assert rates[0] < MBIT / 80 < rates[1], said
    assert rates[1] > 1.5 * rates[0], said
    # To the dispatcher, to a worker and back: each time over the link.
    ways_s = [float(proxy[f'{s}_mean_s']) for s in ('delivery', 'dispatch', 'return')]
    assert sum(ways_s) > 0.95 * 3 * DELAY_S, said
    across = [
        sum(float(row[f'{s}_mean_s']) for s in ('delivery', 'dispatch')) for row in (default, proxy)
    ]
    assert across[0] > 0.8 * float(default['sojourn_mean_s']), said
    assert across[1] < 0.2 * across[0], said
    # A machine that others keep busy makes a run invalid, and the link as narrow as before.
    assert code in (0, 5), said


@pytest.fixture
def dask(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskWorkers]:
    """Start workers; return their scheduler."""
    directory = tmp_path_factory.mktemp('dask')
    with DaskWorkers(network['workers'], workers=3, directory=directory) as found:
        yield found


def test_what_workers_reach(network: Network, dask: DaskWorkers, tmp_path: Path) -> None:
    """Embedded servers if they are bound to an interface, others unless something is in between."""
    words = ['--executor', 'dask', '--dask-scheduler', dask.address, '--max-workers', '3']
    words += [
        '--data-size-bytes',
        '10kB',
        '--task-count',
        '20',
        '--task-sleep',
        '0.01',
        '--load',
        '0.5',
    ]
    code, said, _ = run(network, tmp_path / 'loopback', *words)
    assert code == 2, said
    assert 'embedded Redis that only this host reaches: give --bind-interface auto' in said

    code, said, rows = run(network, tmp_path / 'bound', *words, '--bind-interface', 'auto')
    assert code == 0, said
    for row in rows:
        # Three names, one clock.
        assert (row['worker_hosts'], row['clock_bound_s']) == ('workers:3', ''), said
        assert row['clock_shift_bound_s'] == '', said

    with redis_on(network['broker']) as broker, redis_on(network['store']) as store:
        words += ['--stream-servers', broker.address, '--ps-host', store.host, '--ps-port', store.port]
        network.refuse('workers', towards='store')
        code, said, _ = run(network, tmp_path / 'store', *words, '--stream-method', 'proxy')
        assert code == 3, said
        lost = f'the worker on workers can not reach the redis store at {store.address} (No route to ho'
        assert f'{lost}st): give --ps-host and --ps-port, or' in said
        assert 'redis broker' not in said
        network.refuse('workers', towards='broker')
        code, said, _ = run(network, tmp_path / 'broker', *words, '--stream-method', 'default')
        assert code == 3, said
        lost = f'the worker on workers can not reach the redis broker at {broker.address} (No route to'
        assert f'{lost} host): give --stream-servers an address' in said
