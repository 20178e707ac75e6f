"""The executor `simulated`: an exact queue, cheap at ten thousand in flight, that refuses the rest."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import statistics
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet
import pytest

from streambench import worker
from streambench.bridge import Bridge
from streambench.clock import NS_PER_S, now_ns
from streambench.errors import ConfigError, ExecutorError
from streambench.executors.simulated import SimulatedExecutorPlugin
from streambench.executors.simulated_servers import SimulatedExecutor
from streambench.message import HEADER_BYTES
from streambench.pacer import Pacer
from streambench.payload import PayloadPool
from streambench.records import ItemRow
from streambench.session import open_session
from streambench.settings import configure

PAYLOADS = PayloadPool(1000)
START: Final = 0
RESOLVED: Final = 1
VERIFIED: Final = 2
END: Final = 3
SERVER: Final = 7
FAULT: Final = 8


def task(sequence: int = 0, *, sleep_s: float = 0.0, damaged: bool = False) -> worker.Task:
    """Return a task with its payload in a frame."""
    frame = bytearray(HEADER_BYTES) + PAYLOADS.whole(sequence)
    frame[HEADER_BYTES + 500] ^= damaged
    checksum = PAYLOADS.checksum(sequence)
    return ('', sequence, sleep_s, True, bytes(frame), (), 1000, checksum, '')


@asynccontextmanager
async def opened(slots: int) -> AsyncIterator[SimulatedExecutor]:
    """Open servers."""
    async with SimulatedExecutorPlugin().open(slots=slots, directory=Path(), session='') as executor:
        assert isinstance(executor.executor, SimulatedExecutor)
        yield executor.executor


async def ends_of(futures: list[concurrent.futures.Future[worker.Outcome]]) -> list[worker.Outcome]:
    """Return the outcomes in the order of submission."""
    async with asyncio.timeout(30):
        return await asyncio.gather(*map(asyncio.wrap_future, futures))


async def timer_noise_s() -> float:
    """Return the median lateness of this machine's idle timer, now."""
    late = []
    async with Pacer() as pacer:
        for _ in range(30):
            instant = now_ns() + 2_000_000
            await pacer.until(instant)
            late.append(now_ns() - instant)
    return statistics.median(late) / NS_PER_S


@pytest.mark.parametrize('slots', [1, 4])
async def test_the_queue_is_exact(slots: int) -> None:
    """Starts and ends are the Kiefer-Wolfowitz recursion's to the nanosecond, in any mix of sleeps.

    The arrival of a task is between the instants around its submission; only where a server was idle
    does its start depend on it.
    """
    draw = random.Random(slots)
    around, sleeps, futures = [], [], []
    async with opened(slots) as executor:
        for number in range(60):
            sleep_s = draw.choice([0.0, 0.001, 0.003, 0.01])
            before = now_ns()
            futures.append(executor.submit(worker.run_task, task(number, sleep_s=sleep_s)))
            around.append((before, now_ns()))
            sleeps.append(round(sleep_s * NS_PER_S))
            if number % 20 == 19:
                await asyncio.sleep(0.08)
        outcomes = await ends_of(futures)
    free = [0] * slots
    for outcome, (before, after), sleep in zip(outcomes, around, sleeps, strict=True):
        earliest = min(free)
        if earliest > after:
            assert outcome[START] == earliest
        elif earliest < before:
            assert before <= outcome[START] <= after
        else:
            assert earliest <= outcome[START] <= after
        assert outcome[END] == outcome[START] + sleep
        free[free.index(earliest)] = outcome[END]


async def test_waiting_tasks_start_without_drift() -> None:
    """The n-th of 200 tasks of 1 ms that come at once ends n ms after the first start, exactly."""
    async with opened(1) as executor:
        begin = now_ns()
        futures = [executor.submit(worker.run_task, task(n, sleep_s=0.001)) for n in range(200)]
        outcomes = await ends_of(futures)
    first = outcomes[0][START]
    # The submissions must not have taken longer than the first task.
    assert first - begin < 1_000_000_000
    waited = [n for n in range(1, 200) if outcomes[n][START] == outcomes[n - 1][END]]
    assert len(waited) >= 190
    assert outcomes[-1][END] - first >= 200_000_000


async def test_an_outcome_comes_when_the_task_ends() -> None:
    """An outcome never comes before its end, and at the median as late as an idle timer and 1 ms."""
    # What takes the core away from one of three groups decides nothing.
    over_s = [await lateness_beyond_the_noise_s() for _ in range(3)]
    assert statistics.median(over_s) < 0.001, over_s


async def lateness_beyond_the_noise_s() -> float:
    """Return how late the median outcome of a hundred comes, less the lateness of an idle timer."""
    noise_s = await timer_noise_s()
    late: list[int] = []

    def done(future: concurrent.futures.Future[worker.Outcome]) -> None:
        late.append(now_ns() - future.result()[END])

    async with opened(100) as executor:
        futures = []
        for number in range(100):
            # Ends lie 1 ms apart, in an order that isn't that of the submissions.
            sleep_s = 0.05 + 0.001 * (number * 37 % 100)
            future = executor.submit(worker.run_task, task(number, sleep_s=sleep_s))
            future.add_done_callback(done)
            futures.append(future)
        await ends_of(futures)
    # A machine that is busy for a moment is so before, after, or both.
    noise_s = max(noise_s, await timer_noise_s())
    assert min(late) >= 0
    return statistics.median(late) / NS_PER_S - noise_s


async def test_an_outcome_is_a_worker_s() -> None:
    """An outcome has the shape of `worker.run_task`, its check within the sleep, and names damage."""
    async with opened(2) as executor:
        futures = [
            executor.submit(worker.run_task, task(5, sleep_s=0.02)),
            executor.submit(worker.run_task, task(6, sleep_s=0.02, damaged=True)),
            executor.submit(worker.run_task, task(7)),
        ]
        real = worker.run_task(task(5))
        outcomes = await ends_of(futures)
    for outcome in outcomes:
        assert [type(value) for value in outcome] == [type(value) for value in real]
        assert outcome[4:7] == real[4:7]
        assert outcome[START] == outcome[RESOLVED] <= outcome[VERIFIED] <= outcome[END]
    assert [outcome[END] - outcome[START] for outcome in outcomes] == [20_000_000, 20_000_000, 0]
    assert outcomes[0][VERIFIED] > outcomes[0][START]
    assert outcomes[1][FAULT] == worker.run_task(task(6, damaged=True))[FAULT] != ''
    assert outcomes[0][FAULT] == outcomes[2][FAULT] == ''


async def test_every_server_is_used() -> None:
    """As many tasks as there are servers prove each of them, even when they take no time."""
    async with opened(50) as executor:
        outcomes = await ends_of([executor.submit(worker.run_task, task(n)) for n in range(50)])
    assert len({outcome[SERVER] for outcome in outcomes}) == 50


async def test_ten_thousand_in_flight_are_cheap() -> None:
    """Ten thousand tasks run at once through the bridge, without a thread, and all come back."""
    outcomes: list[worker.Outcome] = []
    everything = asyncio.Event()

    def completed(
        item: ItemRow, outcome: worker.Outcome | None, failure: BaseException | None, at_ns: int
    ) -> None:
        assert outcome is not None
        assert item.submit_ns is not None
        assert item.submit_ns <= outcome[START] <= outcome[END] <= at_ns
        outcomes.append(outcome)
        if len(outcomes) == 10_000:
            everything.set()

    async with opened(10_000) as executor, Bridge(executor, completed) as bridge:
        before = threading.active_count()
        begin, cpu = time.monotonic(), time.process_time()
        plain = task(1, sleep_s=1.2)
        for number in range(10_000):
            bridge.submit(ItemRow(sequence=number), plain)
        # The bridge's thread is the only one that may come.
        assert threading.active_count() <= before + 1
        async with asyncio.timeout(30):
            await everything.wait()
        taken, cpu = time.monotonic() - begin, time.process_time() - cpu
    starts, ends = [o[START] for o in outcomes], [o[END] for o in outcomes]
    # All were running at the same time, unless the machine took 1.2 s to submit them.
    assert max(starts) < min(ends)
    assert len({outcome[SERVER] for outcome in outcomes}) == 10_000
    assert taken < 8
    # Less than 0.3 ms of CPU for an item, in debug mode too.
    assert cpu < 3.0


async def test_closing_cancels_what_waits() -> None:
    """Closing ends running and waiting tasks at once, refuses new ones, and can be done twice."""
    async with opened(2) as executor:
        futures = [executor.submit(worker.run_task, task(n, sleep_s=60)) for n in range(10)]
        waiting = [asyncio.ensure_future(asyncio.wrap_future(future)) for future in futures]
        await asyncio.sleep(0.02)
        begin = time.monotonic()
    assert time.monotonic() - begin < 1
    assert all(future.cancelled() for future in futures)
    async with asyncio.timeout(5):
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(error) for error in found} == {asyncio.CancelledError}
    with pytest.raises(RuntimeError, match='closed'):
        executor.submit(worker.run_task, task())
    executor.shutdown()


async def test_a_cancelled_future_is_left_alone() -> None:
    """A task that its owner cancelled is not given an outcome, and those behind it come back."""
    async with opened(1) as executor:
        first, second = (executor.submit(worker.run_task, task(n, sleep_s=0.02)) for n in range(2))
        assert first.cancel()
        (outcome,) = await ends_of([second])
    assert first.cancelled()
    assert outcome[FAULT] == ''


async def test_other_functions_are_refused() -> None:
    """What is no task of an item, or has its payload in a store, is refused with the remedy."""
    proxied: Any = ('', 0, 0.0, True, None, ('key',), 10, 0, '{}')
    async with opened(1) as executor:
        with pytest.raises(ExecutorError, match='take another executor'):
            executor.submit(print, 'x')
        with pytest.raises(ExecutorError, match='take method default'):
            executor.submit(worker.run_task, proxied)


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'stream_method': 'proxy'}, 'give --stream-method default'),
        ({'generator': 'worker'}, 'give --generator loop'),
    ],
)
def test_configure_refuses_what_needs_code(values: dict[str, Any], sentence: str) -> None:
    """A proxy to resolve and a generator on a worker are refused before anything starts."""
    with pytest.raises(ConfigError, match=f'--executor simulated runs no code.*{sentence}'):
        configure(executor='simulated', stream='memory', **values)


@pytest.mark.parametrize('workers', [2, 5])
async def test_a_run_waits_as_queueing_theory_says(workers: int, tmp_path: Path) -> None:
    """At load 1.1 each item's measured start is the recursion's, fed the recorded submissions.

    The arrival at the server lies between an item's `submit` and the start of an idle server, so the
    median error is that of handing a task over, and no error grows from item to item.
    """
    config = configure(
        executor='simulated',
        stream='memory',
        workers=workers,
        task_count=200,
        task_sleep=0.005,
        load=1.1,
        data_size_bytes=1000,
        stream_method='default',
    )
    async with open_session(config, directory=tmp_path) as session:
        row = (await session.run()).row
    assert (row.completed_tasks, row.corrupt, row.workers_proven) == (200, 0, workers - 1)
    table = await asyncio.to_thread(pyarrow.parquet.read_table, tmp_path / 'items')
    items = [item for item in table.to_pylist() if item['phase'] == 'measure']
    free = [0] * (workers - 1)
    errors = []
    for item in sorted(items, key=lambda item: int(item['sequence'])):
        server = free.index(min(free))
        start = max(item['submit_ns'], free[server])
        free[server] = start + 5_000_000
        errors.append((item['start_ns'] - start) / NS_PER_S)
        assert item['end_ns'] - item['start_ns'] == 5_000_000
    assert min(errors) >= 0
    assert statistics.median(errors) < 0.001
    # At this load no server is ever idle for long, so the first delay of all is all there is.
    assert errors[-1] < max(errors[:50]) + 0.005
