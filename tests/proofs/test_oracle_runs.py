"""The oracle on runs with ideal servers: it explains their waiting, and finds what is hidden."""

from __future__ import annotations

import asyncio
import heapq
import random
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streambench import Config, configure, open_session
from streambench.clock import NS_PER_S
from streambench.oracle import explain
from tests.proofs.experiments import measured_items
from tests.proofs.idle_timer import IdleTimer
from tests.proofs.stations import SecretlyLateServers
from tests.proofs.test_stall import quantile

COUNT = 310
# With four servers a task takes four times as long, so that all runs of a load last the same.
SERVICE_S = {1: 0.0016, 4: 0.0064}
MEDIAN_S, P99_S = 0.001, 0.005
HIDDEN_S = 0.005
# Every loop would do: the clock of these servers is nominal, and the loop's part is the noise.
ON_ONE_LOOP = pytest.mark.asyncio(loop_factories=['uvloop'])


def recording(path: Path, *, interval_s: float, count: int) -> None:
    """Write a trace: bursts of 1 to 12 items, a burst's items 0.2 intervals apart."""
    draw = random.Random(8)
    lines: list[str] = []
    at_s = 0.0
    while len(lines) < count:
        size = min(draw.randint(1, 12), count - len(lines))
        lines += [f'{at_s + 0.2 * interval_s * number:.9f}' for number in range(size)]
        at_s += size * interval_s
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def point(process: str, directory: Path, *, load: float, servers: int, count: int = COUNT) -> Config:
    """Return a point on ideal servers."""
    values: dict[str, Any] = {'arrival': process, 'load': load, 'task_count': count, 'seed': 6}
    if process == 'trace':
        path = directory / 'trace.csv'
        recording(path, interval_s=SERVICE_S[servers] / servers / load, count=count)
        values = {'arrival': f'trace:{path}', 'seed': 6}
    return configure(
        executor='simulated',
        stream='memory',
        workers=servers + 1,
        task_sleep=SERVICE_S[servers],
        data_size_bytes=100,
        **values,
    )


def computed_ns(items: list[dict[str, Any]], servers: int, *, one_step: bool = False) -> list[int]:
    """Return each item's waiting by the recursion of Kiefer and Wolfowitz, from arrivals and services.

    Written out here once more, so that the product's own isn't checked by itself.

    Args:
        items: In the order of service.
        servers: How many there are.
        one_step: Whether a server is free when it was, not when it should have been.
    """
    free = [0] * servers
    waits = []
    for item in items:
        start = max(item['receive_ns'], free[0])
        end = item['end_ns'] if one_step else start + item['end_ns'] - item['start_ns']
        heapq.heapreplace(free, end)
        waits.append(start - item['receive_ns'])
    return waits


@ON_ONE_LOOP
@pytest.mark.parametrize('servers', [1, 4])
@pytest.mark.parametrize('load', [0.5, 0.8, 1.1])
@pytest.mark.parametrize('process', ['constant', 'poisson', 'trace'])
async def test_waiting_is_as_computed(process: str, load: float, servers: int, tmp_path: Path) -> None:
    """Measured minus computed waiting is at most 1 ms at the median and 5 ms at the p99.

    So it is by the recursion one step ahead, and by the product's own account in the row, which
    explains nearly all of the waiting where there is much of it. By the recursion from the arrivals
    alone, the worst hand-over can stay with every item behind it, as long as no server is idle.
    """
    config = await asyncio.to_thread(point, process, tmp_path, load=load, servers=servers)
    over_s = [await over_the_bounds_s(config, tmp_path / 'first', load=load, servers=servers)]
    # A machine that takes the core away for 20 ms holds more than 1 % of so few items up: where the
    # first run misses, the median of three decides.
    if over_s[0] > 0:
        over_s += [
            await over_the_bounds_s(config, tmp_path / name, load=load, servers=servers)
            for name in ('second', 'third')
        ]
    assert statistics.median(over_s) <= 0, over_s


async def over_the_bounds_s(config: Config, directory: Path, *, load: float, servers: int) -> float:
    """Return by how much a run's waiting is off at the most, beyond its bounds and the noise."""
    await asyncio.to_thread(directory.mkdir)
    async with open_session(config, directory=directory) as session, IdleTimer() as timer:
        row = (await session.run()).row
    assert row.completed_tasks == COUNT
    assert row.load == pytest.approx(load, rel=0.05)
    items = await asyncio.to_thread(measured_items, directory)
    waits = [item['start_ns'] - item['receive_ns'] for item in items]
    one_step, alone = (
        [
            abs(measured - computed) / NS_PER_S
            for measured, computed in zip(waits, by_theory, strict=True)
        ]
        for by_theory in (computed_ns(items, servers, one_step=True), computed_ns(items, servers))
    )
    median_s, p99_s = MEDIAN_S + timer.late_s(), P99_S + timer.late_s(0.99)
    worst_s: float = max(item['submit_ns'] - item['receive_ns'] for item in items) / NS_PER_S
    assert row.waiting_unexplained_p50_s is not None
    assert row.waiting_unexplained_p99_s is not None
    mean_wait_s = sum(waits) / len(waits) / NS_PER_S
    assert row.waiting_explained_percent is not None
    assert row.bookkeeping_difference == pytest.approx(0, abs=0.001)
    if load > 1:
        # What isn't explained is some tenths of a millisecond, and the queue grows by many times that.
        assert mean_wait_s > 0.01
        # Percentiles would describe how long the run was.
        assert row.sojourn_growth_s is not None
        assert row.waiting_explained_percent > 100 * (1 - 2 * median_s / mean_wait_s)
    return max(
        quantile(one_step, 0.5) - median_s,
        quantile(one_step, 0.99) - p99_s,
        quantile(alone, 0.5) - median_s - worst_s,
        quantile(alone, 0.99) - p99_s - worst_s,
        abs(row.waiting_unexplained_p50_s) - median_s,
        abs(row.waiting_unexplained_p99_s) - p99_s,
    )


@ON_ONE_LOOP
@pytest.mark.parametrize('servers', [1, 4])
async def test_hidden_delays_are_found(servers: int, tmp_path: Path) -> None:
    """Servers that sit on 5 % of the items for 5 ms are found out with precision and recall of 0.95.

    An item that this machine handed over as late as that was held too, and its stamps say so. What it
    held up between two stamps for as long is found as well: where the first run misses, the median of
    three decides.
    """
    found = [await found_hidden(servers, tmp_path / 'first')]
    if min(found[0]) < 0.95:
        found += [await found_hidden(servers, tmp_path / name) for name in ('second', 'third')]
    precision, recall = (statistics.median(shares) for shares in zip(*found, strict=True))
    assert precision >= 0.95, found
    assert recall >= 0.95, found


async def found_hidden(servers: int, directory: Path) -> tuple[float, float]:
    """Return the precision and recall of what sticks out in a run with hidden delays."""
    await asyncio.to_thread(directory.mkdir)
    count = 500
    hidden = set(random.Random(servers).sample(range(count), count // 20))

    def held_s(sequence: int) -> float:
        return HIDDEN_S if sequence in hidden else 0.0

    config = point('poisson', directory, load=0.7, servers=servers, count=count)
    config = replace(config, executor_plugin=SecretlyLateServers(held_s=held_s))
    async with open_session(config, directory=directory) as session:
        row = (await session.run()).row
    items = await asyncio.to_thread(measured_items, directory)
    found = explain(
        [(item['sequence'], item['receive_ns'], item['start_ns'], item['end_ns']) for item in items],
        servers,
    )
    assert found.limit_s is not None
    late = {
        item['sequence']
        for item in items
        if (item['submit_ns'] - item['receive_ns']) / NS_PER_S > found.limit_s
    }
    named = set(found.sticking_out)
    # The row shows the first of them.
    assert row.waiting_sticks_out == ' '.join(map(str, found.sticking_out[:20]))
    assert named <= set(range(count))
    return len(named & (hidden | late)) / len(named), len(named & hidden) / len(hidden)
