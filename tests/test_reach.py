"""Reachability before the wait: what can't work is refused, and workers say what they can't reach."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from streambench import Config, configure, open_session, reach, worker
from streambench.brokers.redis import RedisBroker
from streambench.connectors.file import FileConnectorPlugin
from streambench.errors import ConfigError, ExecutorError
from streambench.executors.base import OpenExecutor
from streambench.executors.pools import ProcessExecutor, ThreadExecutor
from streambench.interfaces import address_of
from streambench.message import HEADER_BYTES
from streambench.payload import PayloadPool
from streambench.probes import refuse_other_version
from streambench.servers.redis import EmbeddedRedis
from tests.redis_server import RedisServer

HOLD_S = 0.2


@dataclass(frozen=True, kw_only=True)
class ElsewhereExecutor(ProcessExecutor):
    """Processes that might be on other hosts."""

    name: ClassVar[str] = 'elsewhere'
    elsewhere = True

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Open the pool."""
        async with super().open(slots=slots, directory=directory, session=session) as found:
            yield found


def config(**changes: Any) -> Config:
    """Return a short run with payloads in a store."""
    values = {
        'executor': 'process',
        'stream_method': 'proxy',
        'workers': 3,
        'task_count': 6,
        'task_sleep': 0.01,
        'data_size_bytes': 1000,
    }
    return replace(configure(**(values | changes)), executor_plugin=ElsewhereExecutor())


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Return a server without a password, so far."""
    with RedisServer() as found:
        yield found


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port: int = probe.getsockname()[1]
    return port


def opening(*, key: tuple[Any, ...] = (), **changes: Any) -> tuple[worker.Outcome, float]:
    """Run a warm-up task that opens a broker; return its outcome and how long the worker was held."""
    payloads = PayloadPool(1000)
    frame = bytes(HEADER_BYTES) + payloads.whole(0)
    task = ('', 0, HOLD_S, True, frame, key, 1000, payloads.checksum(0), '')
    needs = {
        'store': '',
        'store_title': '',
        'generates': True,
        'broker': 'redis',
        'broker_settings': {},
        'broker_title': 'redis broker',
        'topic': 'topic',
    }
    began = time.monotonic()
    return reach.warm_up_task((task, needs | changes)), time.monotonic() - began


def test_a_worker_says_what_it_can_not_reach(server: RedisServer) -> None:
    """By the broker's own client; it holds its worker as long as one that does well."""
    outcome, held_s = opening(broker_settings={'stream_servers': server.address})
    assert outcome[-2:] == ('', '')
    assert held_s >= HOLD_S
    gone = f'127.0.0.1:{closed_port()}'
    outcome, held_s = opening(broker_settings={'stream_servers': gone})
    assert outcome[-1].startswith(f'{reach.UNREACHABLE}the redis broker (')
    assert 'Connection refused' in outcome[-1]
    assert held_s >= HOLD_S
    assert outcome[4] == os.uname().nodename


# Each starts processes.
@pytest.mark.asyncio(loop_factories=['uvloop'])
@pytest.mark.parametrize('executor', ['process', 'thread'])
async def test_every_worker_opens_what_it_will_need(executor: str, server: RedisServer) -> None:
    """Each that is proven has asked the store, put and removed an object, and greeted the broker."""
    chosen = configure(
        executor=executor,
        stream_method='proxy',
        generator='worker',
        workers=3,
        task_count=6,
        task_sleep=0.01,
        data_size_bytes=1000,
        stream_servers=server.address,
        ps_host=server.host,
        ps_port=server.port,
    )

    def calls() -> dict[str, int]:
        found = server.ask('INFO', 'commandstats')
        return {
            name: found.get(f'cmdstat_{name}', {'calls': 0})['calls']
            for name in ('ping', 'exists', 'set', 'del')
        }

    async with open_session(chosen) as session:
        at_begin = await asyncio.to_thread(calls)
        row = (await session.run()).row
        made = {
            name: number - at_begin[name] for name, number in (await asyncio.to_thread(calls)).items()
        }
    assert (row.completed_tasks, row.workers_proven, row.ended) == (6, 3, 'complete')
    # Beside the dispatcher's own, and the items.
    assert made['exists'] >= 3
    assert made['ping'] >= 2 + 3 + 1
    assert made['set'] == made['exists'] + made['exists'] + 6
    assert made['del'] == made['set']


async def test_embedded_servers_on_an_interface_are_reached() -> None:
    """Workers elsewhere find store and broker at the interface's address, which has a password."""
    chosen = config(bind_interface='127.0.0.2', generator='worker')
    async with open_session(chosen) as session:
        assert session.connector is not None
        assert session.connector.address() == ('127.0.0.2', session.connector.address()[1])  # type: ignore[index]
        row = (await session.run()).row
    assert row.completed_tasks == 6


async def test_a_store_that_workers_do_not_share(tmp_path: Path) -> None:
    """A directory of their own under the same name: nothing fails there but what was put is missing."""
    async with FileConnectorPlugin(ps_file_dir=str(tmp_path / 'here')).open('reach') as store:
        key = await store.put([b'1234'])
        shared = {'generates': False, 'store_title': 'file store'}
        outcome, _ = await asyncio.to_thread(opening, key=key, store=store.description, **shared)
        assert outcome[-1] == ''
        there = store.description.replace(str(tmp_path / 'here'), str(tmp_path / 'there'))
        there = there.replace('"reach"', '"there"')
        outcome, _ = await asyncio.to_thread(opening, key=key, store=there, **shared)
        await asyncio.to_thread(worker.close_stores, 'there')
    assert outcome[-1] == (
        f'{reach.UNREACHABLE}the file store (what was put there is not to be seen from here)'
    )


@dataclass(frozen=True, kw_only=True)
class Hidden(RedisBroker):
    """A broker that this process reaches, and others don't."""

    def for_workers(self) -> Self:
        """Return the address of nobody."""
        return replace(self, stream_servers=f'127.0.0.1:{closed_port()}')


@pytest.mark.asyncio(loop_factories=['uvloop'])
async def test_who_can_t_reach_what_ends_the_run_before_it_is_measured(server: RedisServer) -> None:
    """One sentence with the host, the service, why, and the remedy; the store is well."""
    chosen = config(
        generator='worker',
        stream_servers=server.address,
        ps_host=server.host,
        ps_port=server.port,
    )
    chosen = replace(chosen, broker_plugin=Hidden(stream_servers=server.address))
    async with open_session(chosen) as session:
        with pytest.raises(ExecutorError) as caught:
            await session.run()
    assert str(caught.value) == (
        f'the worker on {os.uname().nodename} can not reach the redis broker at {server.address} '
        '(Connection refused): give --stream-servers an address that they can reach (embedded servers: '
        '--bind-interface).'
    )


def test_workers_need_no_file_of_this_host(tmp_path: Path) -> None:
    """What the URL of --stream-url-file says travels in its place."""
    file = tmp_path / 'url'
    file.write_text('redis://somebody:of%20theirs@[::1]:6390/2')
    here = RedisBroker(stream_url_file=str(file), stream_option=(('client_name', 'bench'),))
    there = here.for_workers()
    file.unlink()
    assert there.address() == ('::1', 6390)
    assert there.stream_password == 'of theirs'
    assert dict(there.stream_option) == {'client_name': 'bench', 'username': 'somebody', 'db': '2'}


def test_servers_that_the_name_of_this_host_hides() -> None:
    """Debian's name of a host stands for loopback: such servers are refused before the wait."""
    given: dict[str, Any] = {'executor': 'dask', 'dask_scheduler': 'a:1', 'stream': 'memory'}
    given |= {'stream_method': 'proxy', 'ps_connector': 'zmq', 'ps_port': 7000}
    address = socket.gethostbyname(socket.gethostname())
    if address.startswith('127.'):
        with pytest.raises(ConfigError, match=rf'payloads in servers at {address}, .* --ps-interface'):
            configure(**given)
    else:
        configure(**given)
    configure(**given, ps_address=address)


async def test_the_server_has_a_password_on_every_address() -> None:
    """Loopback and the interface, and nobody gets in without."""
    async with EmbeddedRedis(host='127.0.0.3') as server:
        for host in ('127.0.0.1', '127.0.0.3'):
            reader, writer = await asyncio.open_connection(host, server.port)
            writer.write(b'PING\r\n')
            assert b'NOAUTH' in await reader.readline()
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'stream_method': 'proxy'}, 'payloads in an embedded Redis'),
        ({'stream_method': 'default', 'generator': 'worker'}, 'the generator reaches an embedded'),
    ],
)
def test_what_can_t_work_is_refused(changes: dict[str, Any], words: str) -> None:
    """An embedded server on loopback, and workers elsewhere that need it."""
    globus = {
        'executor': 'globus',
        'globus_compute_endpoint': '1d3cde40-6a05-4f6b-9bce-c9c7bf7f483c',
        'task_count': 5,
    }
    with pytest.raises(ConfigError, match=words):
        configure(**(globus | changes))
    configure(**(globus | changes | {'bind_interface': 'lo'}))


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', ''),
        ("import streambench; streambench.__version__ = '0.0.9'", r'has streambench 0\.0\.9 \(frames'),
        ("import sys; sys.modules['streambench'] = None", r'has no streambench \(.*\), and here it is'),
    ],
)
@pytest.mark.asyncio(loop_factories=['uvloop'])
async def test_another_streambench_on_a_worker(text: str, words: str) -> None:
    """It is found by a task that a worker without streambench can unpack."""

    def start() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, get_context('spawn'), initializer=exec, initargs=(text,))

    pool = await asyncio.to_thread(start)
    try:
        opened = OpenExecutor(executor=pool, slots=1)
        with pytest.raises(ExecutorError, match=f'^a worker of x {words}') if words else nullcontext():
            await refuse_other_version(opened, title='x')
    finally:
        await asyncio.to_thread(pool.shutdown)


@dataclass(frozen=True, kw_only=True)
class CrowdedExecutor(ThreadExecutor):
    """Workers of two nodes that are all on one."""

    name: ClassVar[str] = 'crowded'
    nodes = 2


@pytest.mark.parametrize('workers', [2, 3])
async def test_nodes_without_workers_are_seen(workers: int, tmp_path: Path) -> None:
    """A launcher that starts everything on the first node leaves the others idle, and is named."""
    given = config(executor='thread', stream='memory', stream_method='default', workers=workers)
    given = replace(given, executor_plugin=CrowdedExecutor())
    with pytest.raises(ConfigError, match=r'^open_session\(directory=.* name one that they see'):
        async with open_session(given):
            raise AssertionError
    async with open_session(given, directory=tmp_path) as session:
        row = (await session.run()).row
    # One compute worker can't be on two nodes.
    assert ('2 nodes were asked for' in row.reasons) == (workers > 2)


def test_interfaces_have_addresses() -> None:
    """By name, by address, and a sentence for what is none."""
    assert address_of('lo') == '127.0.0.1'
    assert address_of('127.0.0.9') == '127.0.0.9'
    for given, why in (
        ('0.0.0.0', 'is none that workers can connect to'),
        ('203.0.113.9', 'is no address of this machine'),
    ):
        with pytest.raises(ConfigError, match=rf'{given} {why}.* one of .*lo \(127\.0\.0\.1\)'):
            address_of(given)
    with pytest.raises(ConfigError, match="'nosuch0' is no interface"):
        address_of('nosuch0')
