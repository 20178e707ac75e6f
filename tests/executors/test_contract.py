"""What every executor of the registry promises to the bridge and to the session."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from streambench import worker
from streambench.clock import now_ns
from streambench.errors import EXIT_RUN, ExecutorError, first_exit_code
from streambench.executors.base import ExecutorPlugin, OpenExecutor
from streambench.message import HEADER_BYTES
from streambench.payload import PayloadPool
from streambench.session import Progress, open_session
from streambench.settings import configure
from streambench.verdict import exit_codes
from tests.executors.conftest import CASES, MISSING, WORKERS, plugin_of
from tests.living import none_left, processes, threads

Opened = tuple[ExecutorPlugin, OpenExecutor]

DEADLINE_S = 120.0
GONE_S = 10.0
SIZE_BYTES = 1000


def task(
    *, session: str = '', sequence: int = 0, sleep_s: float = 0.0, key: tuple[Any, ...] = ()
) -> worker.Task:
    """Return a task of a payload in its frame, or one of a payload in a store that isn't there."""
    payloads = PayloadPool(SIZE_BYTES)
    frame = None if key else bytes(HEADER_BYTES) + payloads.whole(sequence)
    checksum = payloads.checksum(sequence)
    return (session, sequence, sleep_s, True, frame, key, SIZE_BYTES, checksum, '{}' if key else '')


def test_every_executor_is_here() -> None:
    """No executor of the registry is left out of this contract."""
    assert set() == MISSING


def test_all_workers_run(opened: Opened) -> None:
    """Four workers run tasks at the same time, however many cores there are."""
    _, executor = opened
    assert executor.slots == WORKERS
    deadline = time.monotonic() + DEADLINE_S
    running: set[tuple[str, int, int]] = set()
    while len(running) < WORKERS and time.monotonic() < deadline:
        futures: list[Future[worker.Outcome]] = [
            executor.executor.submit(worker.run_task, task(sequence=number, sleep_s=1.0))
            for number in range(WORKERS)
        ]
        outcomes = [future.result(DEADLINE_S) for future in futures]
        if max(outcome[0] for outcome in outcomes) < min(outcome[3] for outcome in outcomes):
            running = {(outcome[4], outcome[6], outcome[7]) for outcome in outcomes}
    assert len(running) == WORKERS


def test_the_outcome_is_plain_data(opened: Opened) -> None:
    """An outcome is four instants in order on our clock, four words on the worker, and no fault."""
    plugin, executor = opened
    before = now_ns()
    long = task(sequence=3, sleep_s=0.05)
    outcome = executor.executor.submit(worker.run_task, long).result(DEADLINE_S)
    after = now_ns()
    kinds = [int, int, int, int, str, str, int, int, str, str]
    assert [type(value) for value in outcome] == kinds
    start, resolved, verified, end, host, _, pid, thread, fault, error = outcome
    assert before <= start <= resolved <= verified <= end <= after
    assert end - resolved >= 50_000_000
    assert host == os.uname().nodename
    assert (pid == os.getpid()) == plugin.in_process
    assert thread != threading.get_native_id()
    assert (fault, error) == ('', '')


def test_a_task_that_raises_is_the_future_s_error(opened: Opened) -> None:
    """An exception comes back as it was raised, and the worker lives on."""
    _, executor = opened
    for _ in range(2 * WORKERS):
        with pytest.raises(ValueError, match='Expecting value'):
            executor.executor.submit(json.loads, 'x').result(DEADLINE_S)
    assert executor.executor.submit(json.loads, '7').result(DEADLINE_S) == 7


def test_a_payload_that_is_not_there_is_an_outcome(opened: Opened) -> None:
    """A task that can't resolve returns its instants and the error, and raises nothing."""
    _, executor = opened
    outcome = executor.executor.submit(worker.run_task, task(key=('nothing',))).result(DEADLINE_S)
    assert outcome[9].startswith('KeyError')
    assert outcome[0] <= outcome[1] <= outcome[2] <= outcome[3]


def test_a_key_stays_plain_data(opened: Opened) -> None:
    """A ProxyStore key and a frame reach the task as the tuple of plain data that was submitted."""
    _, executor = opened
    plain = task(key=('streambench-0:some-key', 3, None))
    # Its text would tell of a proxy, of a key's class, or of a resolved payload.
    assert executor.executor.submit(repr, plain).result(DEADLINE_S) == repr(plain)
    assert executor.executor.submit(repr, task(sequence=1)).result(DEADLINE_S).startswith("('', 1, 0.0")


@pytest.mark.parametrize('case', CASES)
async def test_closing_leaves_nothing(
    case: str, mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After closing there is no process, no thread and no temporary file of the executor."""
    # A short path: sockets are made in it.
    temporary = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix='t-'))
    monkeypatch.setenv('TMPDIR', str(temporary))
    before = threading.enumerate()
    async with plugin_of(case).open(slots=2, directory=tmp_path, session=mark) as executor:
        future = await asyncio.to_thread(executor.executor.submit, worker.run_task, task())
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wrap_future(future)
    assert await asyncio.to_thread(none_left, lambda: processes(mark), within_s=GONE_S) == {}
    assert await asyncio.to_thread(none_left, lambda: threads(before), within_s=GONE_S) == []
    assert mark not in worker.interrupts
    assert await asyncio.to_thread(lambda: list(temporary.iterdir())) == []
    await asyncio.to_thread(temporary.rmdir)


@pytest.mark.parametrize('case', CASES)
async def test_closing_does_not_wait_for_tasks(case: str, mark: str, tmp_path: Path) -> None:
    """Closing with tasks that run for minutes, and others queued, ends quickly and leaves nothing."""
    before = threading.enumerate()
    async with plugin_of(case).open(slots=2, directory=tmp_path, session=mark) as executor:
        async with asyncio.timeout(DEADLINE_S):
            # Proves a worker, so that the long tasks are running when the executor closes.
            first = await asyncio.to_thread(executor.executor.submit, worker.run_task, task())
            await asyncio.wrap_future(first)
        long = task(session=mark, sleep_s=600.0)
        futures = [
            await asyncio.to_thread(executor.executor.submit, worker.run_task, long) for _ in range(8)
        ]
        await asyncio.sleep(0.5)
        assert not any(future.done() for future in futures)
        closing = time.monotonic()
    assert time.monotonic() - closing < GONE_S
    assert await asyncio.to_thread(none_left, lambda: processes(mark), within_s=GONE_S) == {}
    assert await asyncio.to_thread(none_left, lambda: threads(before), within_s=GONE_S) == []


@pytest.mark.parametrize('case', CASES)
async def test_cancelled_opening_leaves_nothing(case: str, mark: str, tmp_path: Path) -> None:
    """An executor whose opening is cancelled on its way is closed all the same."""
    before = threading.enumerate()
    plugin = plugin_of(case)

    async def open_it() -> None:
        async with plugin.open(slots=2, directory=tmp_path, session=mark):
            await asyncio.sleep(DEADLINE_S)

    opening = asyncio.create_task(open_it())
    await asyncio.sleep(0.05)
    opening.cancel()
    with suppress(asyncio.CancelledError):
        async with asyncio.timeout(DEADLINE_S):
            await opening
    assert await asyncio.to_thread(none_left, lambda: processes(mark), within_s=GONE_S) == {}
    assert await asyncio.to_thread(none_left, lambda: threads(before), within_s=GONE_S) == []
    assert mark not in worker.interrupts


@pytest.mark.parametrize('case', [case for case in CASES if not plugin_of(case).in_process])
async def test_a_killed_worker_fails_its_item(case: str, tmp_path: Path) -> None:
    """A worker that is killed in a task makes a failed row; the run ends with the meaning of exit 3."""
    measuring = asyncio.Event()

    def report(progress: Progress) -> None:
        if progress.doing == 'measuring':
            measuring.set()

    config = await asyncio.to_thread(
        configure,
        **CASES[case],
        stream='memory',
        workers=3,
        task_count=12,
        task_sleep=0.5,
        load=4.0,
        data_size_bytes=SIZE_BYTES,
    )
    async with open_session(config, directory=tmp_path, report=report) as session:
        submit = session.executor.executor.submit
        async with asyncio.timeout(DEADLINE_S):
            first = await asyncio.to_thread(submit, worker.run_task, task())
            victim = (await asyncio.wrap_future(first))[6]
            running = asyncio.create_task(session.run())
            await measuring.wait()
            await asyncio.sleep(0.3)
            os.kill(victim, signal.SIGKILL)
            if case == 'process':
                # Python's pool is broken then, and no other run would do better.
                with pytest.raises(ExecutorError, match=f'process {victim} .* SIGKILL.*start again'):
                    await running
            else:
                result = await running
                assert (result.row.ended, result.error) == ('complete', None)
            (row,) = session.recorder.rows
        items = await asyncio.to_thread(
            lambda: pyarrow.parquet.read_table(tmp_path / 'items').to_pylist()
        )
    assert row.failed >= 1
    assert row.failed + row.completed_tasks + row.unfinished == row.sent
    assert row.sent == 12 or row.ended == 'failed'
    assert first_exit_code(exit_codes(asdict(row))) == EXIT_RUN
    failed = [item for item in items if item['status'] == 'failed' and item['phase'] == 'measure']
    assert len(failed) == row.failed
    assert all(item['error'] and item['complete_ns'] for item in failed)
    assert row.verdict == 'invalid'
