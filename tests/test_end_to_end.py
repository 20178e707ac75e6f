"""The whole way of an item: brokers, methods, executors and places of the generator, all of them real.

A session is measured once and looked at by many tests.
"""

from __future__ import annotations

import asyncio
import csv
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import redis
import uvloop
from blockbuster import blockbuster_ctx

from streambench.config import Config
from streambench.errors import ConfigError
from streambench.recorder import make_run_directory
from streambench.run_spec import RunSpec
from streambench.session import RunResult, Session, open_session
from streambench.settings import configure

DEADLINE_S = 120.0
ITEMS = 8
SIZE_BYTES = 20_000
WORKERS = 3
TASK_SLEEP_S = 0.02

EXECUTORS: dict[str, dict[str, Any]] = {
    'thread': {'executor': 'thread'},
    'process': {'executor': 'process'},
    'parsl-thread': {'executor': 'parsl', 'parsl_executor': 'thread'},
    'parsl-htex-local': {'executor': 'parsl', 'parsl_executor': 'htex-local'},
}
BROKERS = ('memory', 'redis')
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    'asyncio': asyncio.SelectorEventLoop,
    'uvloop': uvloop.new_event_loop,
}
PSBENCH = [
    'executor',
    'connector',
    'stream',
    'data_size_bytes',
    'task_count',
    'task_sleep',
    'method',
    'workers',
    'completed_tasks',
    'start_submit_tasks_timestamp',
    'end_tasks_done_timestamp',
]
INSTANTS = [
    'intended_ns',
    'put_start_ns',
    'put_done_ns',
    'send_ns',
    'receive_ns',
    'submit_ns',
    'start_ns',
    'resolved_ns',
    'verified_ns',
    'end_ns',
    'complete_ns',
]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a session left.

    Attributes:
        in_process: Whether its tasks ran in this process.
        results: Its runs.
        keys: Keys of the embedded store after each run.
        directory: Run directory.
        items: Rows of items, in all parts.
        rows: Rows of results.csv.
        columns: Columns of results.csv.
    """

    in_process: bool
    results: list[RunResult]
    keys: list[int]
    directory: Path
    items: list[dict[str, Any]]
    rows: list[dict[str, str]]
    columns: list[str]

    def of(self, result: RunResult, phase: str = 'measure') -> list[dict[str, Any]]:
        """Return the items of a run, in their order."""
        found = [
            item for item in self.items if item['run'] == result.spec.run and item['phase'] == phase
        ]
        return sorted(found, key=lambda item: int(item['sequence']))


def values(executor: str, broker: str) -> dict[str, Any]:
    """Return the options of a session."""
    return EXECUTORS[executor] | {
        'stream': broker,
        'task_count': ITEMS,
        'data_size_bytes': SIZE_BYTES,
        'task_sleep': TASK_SLEEP_S,
        'workers': WORKERS,
        'stream_method': 'proxy',
        # Given once so that both places of the generator have the same schedule.
        'rate': 50,
    }


def points(executor: str, broker: str) -> list[Config]:
    """Return every method with every place of the generator that is allowed."""
    given = values(executor, broker)
    found = []
    for method, place in itertools.product(('default', 'proxy'), ('loop', 'worker')):
        try:
            point = configure(**given, **{'generator': place})
        except ConfigError:
            assert (place, broker) == ('worker', 'memory')
            continue
        found.append(replace(point, stream_method=method))
    return found


def stored(session: Session) -> int:
    """Return the number of keys in the embedded store, asked with its password."""
    plugin: Any = session.connector
    with redis.Redis(host=plugin.ps_host, port=plugin.ps_port, password=plugin.ps_password) as client:
        return len(list(client.scan_iter()))


async def measure(executor: str, broker: str, directory: Path) -> tuple[list[RunResult], list[int]]:
    """Make all runs of an executor and a broker in one session."""
    results, keys = [], []
    runs = points(executor, broker)
    async with asyncio.timeout(DEADLINE_S):
        async with open_session(runs[0], slots=WORKERS, directory=directory) as session:
            for number, config in enumerate(runs):
                spec = RunSpec(
                    run=number, point=number, repeat=0, seed=1, config=config, opened_slots=WORKERS
                )
                results.append(await session.run(spec))
                keys.append(await asyncio.to_thread(stored, session))
    return results, keys


# Starting htex takes seconds: it meets each loop and each broker once, not each pair of them.
CASES = [
    case
    for case in itertools.product(LOOPS, EXECUTORS, BROKERS)
    if case[1] != 'parsl-htex-local' or (case[0] == 'uvloop') == (case[2] == 'redis')
]


@pytest.fixture(scope='module', params=CASES, ids='-'.join)
def measured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Measured]:
    """Return what each executor with each broker made of all its runs, on each loop."""
    loop, executor, broker = request.param
    directory = make_run_directory(str(tmp_path_factory.mktemp('runs')))
    with blockbuster_ctx(), asyncio.Runner(loop_factory=LOOPS[loop], debug=loop == 'asyncio') as runner:
        results, keys = runner.run(measure(executor, broker, directory))
    with (directory / 'results.csv').open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    yield Measured(
        in_process=results[0].spec.config.executor_plugin.in_process,
        results=results,
        keys=keys,
        directory=directory,
        items=pyarrow.parquet.read_table(directory / 'items').to_pylist(),
        rows=rows,
        columns=list(reader.fieldnames or ()),
    )


def test_every_item_is_completed_once(measured: Measured) -> None:
    """Each run completes all of its items, and nothing is lost, doubled, reordered or damaged."""
    for result in measured.results:
        row = result.row
        assert (row.ended, row.reason, result.error) == ('complete', '', None)
        assert (row.sent, row.received, row.completed_tasks) == (ITEMS, ITEMS, ITEMS)
        wrong = (row.failed, row.lost, row.duplicated, row.reordered, row.corrupt, row.publish_failed)
        assert wrong == (0, 0, 0, 0, 0, 0)
        assert (row.foreign, row.reconnects, row.resolved_in_dispatcher) == (0, 0, 0)


def test_there_is_one_row_for_each_item(measured: Measured) -> None:
    """Parquet holds each sequence number of each run once, completed and without a fault."""
    for result in measured.results:
        items = measured.of(result)
        assert [item['sequence'] for item in items] == list(range(ITEMS))
        assert {item['status'] for item in items} == {'completed'}
        assert {(item['fault'], item['error']) for item in items} == {('', '')}
        assert {item['size_bytes'] for item in items} == {SIZE_BYTES}
        warmup = measured.of(result, 'warmup')
        assert len(warmup) >= result.spec.config.slots
        assert {(item['status'], item['error']) for item in warmup} == {('completed', '')}


def test_all_workers_are_proven(measured: Measured) -> None:
    """The warm-up of the last run, which asks for all workers, met each of them."""
    result = measured.results[-1]
    assert (result.row.workers_proven or 0) >= result.spec.config.slots


def test_results_begin_with_the_columns_of_psbench(measured: Measured) -> None:
    """results.csv has a row for each run, and psbench's eleven columns stand first."""
    assert measured.columns[:11] == PSBENCH
    assert len(measured.rows) == len(measured.results)
    for row, result in zip(measured.rows, measured.results, strict=True):
        config = result.spec.config
        assert row['executor'] == config.executor_plugin.class_name
        assert row['connector'] == ('RedisConnector' if config.stream_method == 'proxy' else '')
        assert (row['stream'], row['method']) == (config.stream, config.stream_method)
        assert (row['workers'], row['completed_tasks']) == (str(WORKERS), str(ITEMS))
        assert float(row['start_submit_tasks_timestamp']) < float(row['end_tasks_done_timestamp'])
        assert row['generator'] == config.generator


def test_instants_are_in_their_order(measured: Measured) -> None:
    """No item goes back in time, from its intended send to its completion, on whatever worker."""
    for item in measured.items:
        instants = [item[name] for name in INSTANTS]
        assert None not in instants
        assert instants == sorted(instants), item
        assert item['ack_ns'] is None or item['ack_ns'] >= item['send_ns']


def test_a_task_takes_its_time(measured: Measured) -> None:
    """Each measured task holds its worker for the nominal time."""
    for result in measured.results:
        for item in measured.of(result):
            assert item['end_ns'] - item['resolved_ns'] >= TASK_SLEEP_S * 1e9


def test_items_leave_on_schedule(measured: Measured) -> None:
    """Intended instants are equally spaced, wherever the generator runs."""
    for result in measured.results:
        intended = [item['intended_ns'] for item in measured.of(result)]
        spaces = {later - earlier for earlier, later in itertools.pairwise(intended)}
        assert spaces == {result.spec.interval_ns}


def test_a_payload_is_resolved_on_the_worker(measured: Measured) -> None:
    """A worker resolves its proxy, in a process that isn't the dispatcher's unless it is a thread."""
    for result in measured.results:
        for item in measured.of(result):
            assert (item['worker_pid'] == os.getpid()) == measured.in_process
            assert item['worker_thread'] is not None
            if result.spec.config.stream_method == 'proxy':
                assert item['put_done_ns'] > item['put_start_ns']
                assert item['resolved_ns'] > item['start_ns']
            else:
                assert item['put_done_ns'] == item['put_start_ns']
                assert item['resolved_ns'] == item['start_ns']


def test_the_store_is_empty_after_each_run(measured: Measured) -> None:
    """No run leaves a key in the embedded store."""
    assert measured.keys == [0] * len(measured.results)


def test_the_run_directory_is_private(measured: Measured) -> None:
    """Nobody else can look into the run directory, and no half-written file is in it."""
    assert stat.S_IMODE(measured.directory.stat().st_mode) == 0o700
    assert [path for path in measured.directory.rglob('*') if path.suffix == '.tmp'] == []
