"""Globus Compute with everything real but the hosted service and login, which are a stand-in."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from streambench import message, worker
from streambench.config import Config
from streambench.errors import EXIT_OK, EXIT_RUN, ExecutorError
from streambench.executors.globus_compute import GlobusComputePlugin
from streambench.executors.globus_compute_requests import REQUEST_BYTES
from streambench.message import HEADER_BYTES
from streambench.payload import PayloadPool
from streambench.records import RunRow
from streambench.run_spec import RunSpec
from streambench.session import Progress, Session, open_session
from streambench.settings import configure
from tests.globus.servers import CoreEndpoint, Endpoint, RabbitMQ, Site
from tests.living import none_left, threads

DEADLINE_S = 120.0
GONE_S = 10.0
SIZE_BYTES = 1000
POLLING = 'looks for results every 0.5 s'

# A connection of the SDK's that is ended while it is made leaves the two sockets that wake its loop;
# they are found by whoever collects, in this test or a later one.
pytestmark = pytest.mark.filterwarnings(
    'ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning'
)
one_loop = pytest.mark.asyncio(loop_factories=['asyncio'])
drill = pytest.mark.drill


def task(*, sequence: int = 0, sleep_s: float = 0.0, size_bytes: int = SIZE_BYTES) -> worker.Task:
    """Return a task that carries a payload."""
    payloads = PayloadPool(size_bytes)
    frame = bytes(HEADER_BYTES) + payloads.whole(sequence)
    return ('', sequence, sleep_s, True, frame, (), size_bytes, payloads.checksum(sequence), '')


def point(endpoint: str, **changed: Any) -> Config:
    """Return the configuration of a short run with two compute workers."""
    values: dict[str, Any] = {
        'executor': 'globus',
        'globus_compute_endpoint': endpoint,
        'globus_burst_limit': 8,
        'globus_burst_window': 1,
        # The endpoint of these tests is on this machine.
        'bind_interface': 'lo',
        'stream': 'memory',
        'workers': 3,
        'task_count': 12,
        'task_sleep': 0.05,
        'data_size_bytes': SIZE_BYTES,
    }
    return configure(**(values | changed))


def plugin(endpoint: str, **changed: Any) -> GlobusComputePlugin:
    """Return settings of the executor alone."""
    values = {'globus_burst_limit': 8, 'globus_burst_window': 1} | changed
    return GlobusComputePlugin(globus_compute_endpoint=endpoint, **values)


def errors_of(directory: Path) -> list[str]:
    """Return the errors of the measured items that failed."""
    table = pyarrow.parquet.read_table(directory / 'items').to_pylist()
    return [row['error'] for row in table if row['status'] == 'failed' and row['phase'] == 'measure']


def tell(text: str) -> None:
    """Show what a drill has measured, with `pytest -s`."""
    sys.stderr.write(f'\n{text}\n')


class Watch:
    """Say when a session measures."""

    def __init__(self) -> None:
        self.measuring = asyncio.Event()

    def __call__(self, progress: Progress) -> None:
        if progress.doing == 'measuring':
            self.measuring.set()


async def run_with(session: Session, watch: Watch, act: Any) -> tuple[RunRow, float]:
    """Do something half a second into a run; return its row and how long it went on."""
    watch.measuring.clear()
    running = asyncio.create_task(session.run())
    await watch.measuring.wait()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(act)
    acted = time.monotonic()
    async with asyncio.timeout(DEADLINE_S):
        result = await running
    return result.row, time.monotonic() - acted


@one_loop
@pytest.mark.parametrize('generator', ['loop', 'worker'])
async def test_both_methods_and_both_generators(htex: str, generator: str, tmp_path: Path) -> None:
    """Every item completes on a worker of the endpoint, and the figures say what they can't show.

    With the engine of real sites, whose workers are processes.
    """
    config = point(
        htex,
        stream='redis',
        generator=generator,
        workers=3 if generator == 'loop' else 2,
        stream_method='proxy',
        data_size_bytes=10_000,
    )
    async with asyncio.timeout(DEADLINE_S), open_session(config, directory=tmp_path) as session:
        for number, method in enumerate(('default', 'proxy')):
            spec = RunSpec(
                run=number,
                point=number,
                repeat=0,
                seed=number,
                config=replace(session.config, stream_method=method),
                opened_slots=session.executor.slots,
            )
            row = (await session.run(spec)).row
            assert (row.ended, row.method) == ('complete', method), row.reason
            assert (row.completed_tasks, row.workers_proven) == (12, 2)
            assert row.resolved_in_dispatcher == 0
            assert row.verdict == 'caution'
            assert POLLING in row.reasons
    items = pyarrow.parquet.read_table(tmp_path / 'items').to_pylist()
    assert os.getpid() not in {item['worker_pid'] for item in items}


@one_loop
async def test_more_workers_than_asked_for_are_seen(pool: str) -> None:
    """The endpoint decides how many there are; figures for fewer are doubtful, and say so."""
    config = point(pool, workers=2, load=2.0, task_sleep=0.2)
    async with asyncio.timeout(DEADLINE_S), open_session(config) as session:
        row = (await session.run()).row
    assert (row.completed_tasks, row.verdict) == (12, 'caution')
    assert 'more workers ran tasks than the 1 asked for' in row.reasons


@pytest.mark.asyncio(loop_factories=['uvloop'])
async def test_a_task_that_raises_says_what(pool: str, tmp_path: Path) -> None:
    """The error of the worker comes back in a line, and the next task is well."""
    async with plugin(pool).open(slots=2, directory=tmp_path, session='') as opened:
        for _ in range(2):
            began = time.monotonic()
            future = await asyncio.to_thread(opened.executor.submit, json.loads, 'x')
            with pytest.raises(
                ExecutorError, match=r'on the endpoint: .*JSONDecodeError: Expecting value'
            ):
                await asyncio.wrap_future(future)
            tell(f'task raises: told after {time.monotonic() - began:.1f} s')
        future = await asyncio.to_thread(opened.executor.submit, json.loads, '7')
        assert await asyncio.wrap_future(future) == 7


@one_loop
async def test_a_killed_worker_fails_its_item(htex: str, tmp_path: Path) -> None:
    """With Parsl's engine the task of a killed worker fails and a new worker takes the next ones."""
    watch = Watch()
    config = point(htex, task_count=24, task_sleep=0.3)
    async with open_session(config, directory=tmp_path, report=watch) as session:
        first = await asyncio.to_thread(session.executor.executor.submit, worker.run_task, task())
        victim: int = (await asyncio.wrap_future(first))[6]
        row, took_s = await run_with(session, watch, lambda: os.kill(victim, signal.SIGKILL))
    tell(f'worker killed: run ended after {took_s:.1f} s, {row.failed} failed')
    assert took_s < 30
    assert (row.ended, row.verdict) == ('complete', 'invalid')
    assert 1 <= row.failed < 12
    assert row.completed_tasks == 24 - row.failed
    assert any('WorkerLost' in error for error in await asyncio.to_thread(errors_of, tmp_path))


@one_loop
async def test_a_killed_endpoint_fails_its_items_at_their_deadline(
    own: Endpoint, tmp_path: Path
) -> None:
    """Futures that never complete end as failed rows, seconds after --globus-task-timeout."""
    watch = Watch()
    config = point(own.id, task_count=40, task_sleep=0.1, globus_task_timeout=2)
    async with open_session(config, directory=tmp_path, report=watch) as session:
        row, took_s = await run_with(session, watch, own.kill)
        closing = time.monotonic()
    assert time.monotonic() - closing < GONE_S
    tell(f'endpoint killed: run ended after {took_s:.1f} s, {row.failed} failed')
    assert (row.ended, row.verdict) == ('complete', 'invalid')
    assert row.failed >= 20
    # Two seconds of work were with the endpoint, or were still to come.
    assert took_s < 2 + 2 + 5
    assert 'had no result at their deadline' in row.reasons
    errors = await asyncio.to_thread(errors_of, tmp_path)
    assert all('no result 2 s after the task should have ended' in error for error in errors)


@drill
@one_loop
async def test_a_killed_endpoint_takes_its_generator_along(own: Endpoint, tmp_path: Path) -> None:
    """Nobody says that nothing more will come: the run ends when nothing has moved for a while."""
    watch = Watch()
    config = point(
        own.id,
        stream='redis',
        generator='worker',
        workers=2,
        task_count=100,
        task_sleep=0.1,
        globus_task_timeout=2,
        stall_timeout=4,
    )
    async with open_session(config, directory=tmp_path, report=watch) as session:
        row, took_s = await run_with(session, watch, own.kill)
    tell(f'endpoint killed with the generator: {row.ended} after {took_s:.1f} s: {row.reasons}')
    assert (row.ended, row.verdict) == ('stalled', 'invalid')
    assert row.failed >= 1
    assert took_s < 2 + 4 + 5


@one_loop
async def test_a_failed_request_costs_its_tasks_and_no_more(
    site: Site, pool: str, tmp_path: Path
) -> None:
    """The SDK's executor is dead after it; a new one takes the rest, and is counted."""
    watch = Watch()
    config = point(pool, task_count=40, task_sleep=0.1)
    async with open_session(config, directory=tmp_path, report=watch) as session:
        row, took_s = await run_with(session, watch, lambda: site.ask('refuse', [400]))
        again = (await session.run()).row
    assert row.ended == 'complete'
    assert row.failed >= 1
    assert row.completed_tasks == 40 - row.failed >= 5
    assert "the SDK's executor was rebuilt 1 times" in row.reasons
    assert 'refused with 400' in row.reasons
    assert took_s < 15
    errors = await asyncio.to_thread(errors_of, tmp_path)
    assert all('refused with 400' in error for error in errors)
    assert (again.completed_tasks, again.failed) == (40, 0)
    assert 'rebuilt' not in again.reasons


@drill
@one_loop
async def test_a_service_that_goes_and_comes_back(site: Site, pool: str, tmp_path: Path) -> None:
    """Tasks fail when the SDK has tried for its time; the next run in the session is well."""
    watch = Watch()
    config = point(pool, task_count=40, task_sleep=0.1)
    async with open_session(config, directory=tmp_path, report=watch) as session:
        try:
            row, took_s = await run_with(session, watch, site.kill)
            tell(f'service gone: run ended after {took_s:.1f} s, {row.failed} failed')
        finally:
            await asyncio.to_thread(site.start)
        again = (await session.run()).row
    assert row.failed >= 1
    assert took_s < 45
    assert 'GlobusConnectionError' in row.reasons
    assert (again.completed_tasks, again.failed) == (40, 0), again.reasons


@drill
@one_loop
async def test_a_service_that_stays_away_ends_the_plan(site: Site, pool: str, tmp_path: Path) -> None:
    """After a minute of nothing but failures a run ends, however many items there are."""
    watch = Watch()
    config = point(pool, task_count=100_000, task_sleep=0.1)
    async with open_session(config, directory=tmp_path, report=watch) as session:
        try:
            began = time.monotonic()
            with pytest.raises(ExecutorError, match='nothing but failures for') as caught:
                await run_with(session, watch, site.kill)
            tell(f'service gone for good: after {time.monotonic() - began:.1f} s: {caught.value}')
        finally:
            await asyncio.to_thread(site.start)


@drill
@one_loop
async def test_a_service_that_is_not_there(site: Site, pool: str, tmp_path: Path) -> None:
    """Opening says so when the SDK has tried for its time."""
    await asyncio.to_thread(site.kill)
    began = time.monotonic()
    try:
        with pytest.raises(ExecutorError, match='can not be reached at http://localhost:5000'):
            async with plugin(pool).open(slots=2, directory=tmp_path, session=''):
                pass
        tell(f'no service: refused after {time.monotonic() - began:.1f} s')
        assert time.monotonic() - began < 45
    finally:
        await asyncio.to_thread(site.start)


# The SDK makes a connection anew without closing what the last one left.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@drill
@one_loop
async def test_a_broker_that_goes(site: Site, broker: RabbitMQ, own: Endpoint, tmp_path: Path) -> None:
    """The rows fail when the SDK has tried for its time, or the run stalls; it ends."""
    watch = Watch()
    config = point(own.id, task_count=40, task_sleep=0.1, globus_task_timeout=60)
    try:
        async with open_session(config, directory=tmp_path, report=watch) as session:
            row, took_s = await run_with(session, watch, broker.kill)
            tell(f'broker gone: {row.ended} after {took_s:.1f} s: {row.reasons}')
            closing = time.monotonic()
        tell(f'broker gone: closed after {time.monotonic() - closing:.1f} s')
    finally:
        await asyncio.to_thread(site.kill)
        await asyncio.to_thread(broker.start)
        await asyncio.to_thread(site.start)
    assert row.failed >= 1
    assert row.verdict == 'invalid'
    assert took_s < 75


@one_loop
async def test_requests_stay_below_the_limit(site: Site, pool: str, tmp_path: Path) -> None:
    """As many large payloads at once as the SDK would put into one request go in several."""
    async with plugin(pool).open(slots=2, directory=tmp_path, session='') as opened:

        def submit() -> list[Any]:
            many = [task(sequence=number, size_bytes=100_000) for number in range(128)]
            return [
                opened.executor.submit(worker.run_task, each)
                for each in [*many, task(size_bytes=7_000_000)]
            ]

        futures = await asyncio.to_thread(submit)
        async with asyncio.timeout(DEADLINE_S):
            outcomes = await asyncio.gather(*map(asyncio.wrap_future, futures))
        assert [outcome[8:] for outcome in outcomes] == [('', '')] * 129
        too_large = await asyncio.to_thread(
            opened.executor.submit, worker.run_task, task(size_bytes=9_000_000)
        )
        with pytest.raises(ExecutorError, match='take --stream-method proxy'):
            await asyncio.wrap_future(too_large)
    largest = await asyncio.to_thread(site.largest_request_bytes)
    assert 9_000_000 < largest < REQUEST_BYTES


@one_loop
@pytest.mark.parametrize(('limit', 'window', 'held'), [(8, 1, False), (2, 8, True)])
async def test_the_burst_limit_reaches_the_sdk(
    pool: str, limit: int, window: int, held: bool, tmp_path: Path
) -> None:
    """Requests one by one are held back above it, and the figures say how long."""
    settings = plugin(pool, globus_burst_limit=limit, globus_burst_window=window)
    async with settings.open(slots=2, directory=tmp_path, session='') as opened:
        began = time.monotonic()
        for number in range(2):
            future = await asyncio.to_thread(
                opened.executor.submit, worker.run_task, task(sequence=number)
            )
            await asyncio.wrap_future(future)
        took_s = time.monotonic() - began
        remarks = '; '.join(opened.remarks())
    tell(f'burst limit {limit} in {window} s: a third request came back after {took_s:.1f} s')
    assert ('the SDK held requests back for' in remarks) == held
    assert (took_s > 3) == held


OTHERS = {
    "__version__ = '0.0.9'": (
        r'the endpoint has streambench 0\.0\.9 \(frames 7\), and here it is .* install the same version'
    ),
    "raise ImportError('none')": r'streambench is not installed for .*: run `pip install',
}


@pytest.fixture(params=OTHERS)
def other(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[tuple[Endpoint, str]]:
    """Return an endpoint with another streambench, or none, and what is to be said of it."""
    package = tmp_path / 'other' / 'streambench'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text(request.param)
    assert message.VERSION != 7
    (package / 'message.py').write_text('VERSION = 7')
    endpoint = Endpoint(site, environment={'PYTHONPATH': str(package.parent)})
    endpoint.start()
    yield endpoint, OTHERS[request.param]
    endpoint.kill()


@one_loop
async def test_another_streambench_at_the_endpoint(other: tuple[Endpoint, str]) -> None:
    """It is found by the first task, before anything is measured."""
    endpoint, sentence = other
    began = time.monotonic()
    with pytest.raises(ExecutorError, match=f'endpoint {endpoint.id} can not be used: .*{sentence}'):
        async with asyncio.timeout(DEADLINE_S), open_session(point(endpoint.id)):
            pass
    tell(f'another streambench: refused after {time.monotonic() - began:.1f} s')


@one_loop
async def test_an_endpoint_that_nobody_knows(site: Site, tmp_path: Path) -> None:
    """The service's own words come with the id."""
    nobody = '00000000-0000-4000-8000-000000000000'
    with pytest.raises(ExecutorError, match=f'{nobody} can not be used: .*is not known'):
        async with plugin(nobody).open(slots=2, directory=tmp_path, session=''):
            pass


@one_loop
async def test_credentials_that_are_refused(
    site: Site, pool: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Globus's own words come in the sentence."""
    monkeypatch.setenv('GLOBUS_COMPUTE_CLIENT_SECRET', 'another')
    monkeypatch.setenv('GLOBUS_COMPUTE_USER_DIR', str(tmp_path))
    with pytest.raises(ExecutorError, match=r'does not take the credentials: .*401'):
        async with plugin(pool).open(slots=2, directory=tmp_path, session=''):
            pass


def log_in() -> None:
    """Leave tokens where a login of a person would, in the SDK's own storage."""
    from globus_compute_sdk.sdk.auth.token_storage import get_token_storage
    from globus_sdk.scopes import AuthScopes, ComputeScopes
    from globus_sdk.token_storage import TokenStorageData

    scopes = {
        ComputeScopes.resource_server: str(ComputeScopes.all),
        AuthScopes.resource_server: f'{AuthScopes.openid} {AuthScopes.manage_projects}',
    }
    storage = get_token_storage()
    storage.store_token_data_by_resource_server(
        {
            server: TokenStorageData(
                resource_server=server,
                identity_id=None,
                scope=scope,
                access_token='of-a-person',
                refresh_token='of-a-person',
                expires_at_seconds=int(time.time()) + 3600,
                token_type='Bearer',
            )
            for server, scope in scopes.items()
        }
    )
    storage.close()


@one_loop
async def test_a_login_in_the_middle_is_refused(
    site: Site, pool: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A person's tokens are good until the service asks for more; the SDK would open a browser then."""
    for name in ('GLOBUS_COMPUTE_CLIENT_ID', 'GLOBUS_COMPUTE_CLIENT_SECRET'):
        monkeypatch.delenv(name)
    monkeypatch.setenv('GLOBUS_COMPUTE_USER_DIR', str(tmp_path))
    await asyncio.to_thread(log_in)
    async with plugin(pool).open(slots=2, directory=tmp_path, session='') as opened:
        await asyncio.to_thread(site.ask, 'refuse', [403])
        future = await asyncio.to_thread(opened.executor.submit, len, 'x')
        with pytest.raises(ExecutorError, match=r'^Globus Compute: Globus asks for a new login: set'):
            await asyncio.wrap_future(future)
        again = await asyncio.to_thread(opened.executor.submit, len, 'xy')
        assert await asyncio.wrap_future(again) == 2


@one_loop
async def test_closing_with_tasks_under_way_leaves_no_thread(own: Endpoint, tmp_path: Path) -> None:
    """It doesn't wait for what runs or waits at the endpoint; nor does the end of the process."""
    import globus_compute_sdk  # noqa: F401 - starts a thread for the life of the process

    before = threading.enumerate()
    async with plugin(own.id).open(slots=2, directory=tmp_path, session='') as opened:
        futures = [
            await asyncio.to_thread(opened.executor.submit, worker.run_task, task(sleep_s=600.0))
            for _ in range(8)
        ]
        await asyncio.sleep(1.0)
        assert not any(future.done() for future in futures)
        closing = time.monotonic()
    assert time.monotonic() - closing < GONE_S
    assert all(future.cancelled() for future in futures)
    assert await asyncio.to_thread(none_left, lambda: threads(before), within_s=GONE_S) == []


@one_loop
async def test_cancelled_opening_leaves_no_thread(site: Site, tmp_path: Path) -> None:
    """Wherever the cancellation comes: while it logs in, or while it waits for the endpoint."""
    import globus_compute_sdk  # noqa: F401

    before = threading.enumerate()
    settings = plugin((await asyncio.to_thread(Endpoint, site)).id)
    for wait_s in (0.05, 1.5):
        async with AsyncExitStack() as stack:
            entering = settings.open(slots=2, directory=tmp_path, session='')
            opening = asyncio.create_task(stack.enter_async_context(entering))
            await asyncio.sleep(wait_s)
            opening.cancel()
            with suppress(asyncio.CancelledError):
                async with asyncio.timeout(DEADLINE_S):
                    await opening
        assert await asyncio.to_thread(none_left, lambda: threads(before), within_s=GONE_S) == []


def run_command(words: str, *, environment: dict[str, str], directory: Path) -> tuple[int, str, str]:
    """Run `streambench run` on the memory broker; return exit code, output and error."""
    done = subprocess.run(
        [sys.executable, '-m', 'streambench', 'run', '--executor', 'globus', *words.split()],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_through_a_core_endpoint(site: Site, tmp_path: Path) -> None:
    """Login, registration and run are as shipped; only variables of the environment point elsewhere."""
    core = CoreEndpoint(site)
    try:
        endpoint = core.start()
        words = f"""--globus-compute-endpoint {endpoint} --globus-compute-config workers=2
            --globus-burst-limit 8 --globus-burst-window 1 --max-workers 3 --stream memory
            --stream-method default --data-size-bytes 10kB --task-count 20 --task-sleep 0.1 --load 1"""
        environment = {**os.environ, **site.environment}
        code, said, complaint = run_command(words, environment=environment, directory=tmp_path)
    finally:
        core.stop()
    assert code == EXIT_OK, complaint
    assert 'globus: 3 workers = 1 generator + 2 compute' in said
    assert POLLING in said


def test_the_command_without_credentials(site: Site, pool: str, tmp_path: Path) -> None:
    """It says how to log in, asks nothing, and leaves no directory."""
    environment = {**os.environ, **site.environment, 'GLOBUS_COMPUTE_USER_DIR': str(tmp_path / 'none')}
    for name in ('GLOBUS_COMPUTE_CLIENT_ID', 'GLOBUS_COMPUTE_CLIENT_SECRET'):
        del environment[name]
    words = f'--globus-compute-endpoint {pool} --stream memory --stream-method default'
    code, said, complaint = run_command(words, environment=environment, directory=tmp_path)
    assert code == EXIT_RUN
    assert (
        'there are no credentials for Globus Compute here: set $GLOBUS_COMPUTE_CLIENT_ID' in complaint
    )
    assert 'globus-compute-endpoint login' in complaint
    assert 'http' not in said + complaint


def test_the_command_with_an_endpoint_that_does_not_run(site: Site, tmp_path: Path) -> None:
    """It is waited for as long as told; the process ends, though its task never will."""
    words = f"""--globus-compute-endpoint {Endpoint(site).id} --globus-start-timeout 1
        --stream memory --stream-method default"""
    began = time.monotonic()
    environment = {**os.environ, **site.environment}
    code, _, complaint = run_command(words, environment=environment, directory=tmp_path)
    assert time.monotonic() - began < 2 * GONE_S
    assert code == EXIT_RUN
    assert 'offline, gave no answer in 1 s: start it' in complaint
