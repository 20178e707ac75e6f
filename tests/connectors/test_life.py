"""How connectors live and die: lost servers, refused certificates, and servers that are ours to end."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from streambench import worker
from streambench.connectors.base import ConnectorPlugin
from streambench.connectors.endpoint import EndpointConnectorPlugin
from streambench.connectors.redis import RedisConnectorPlugin
from streambench.connectors.zmq import ZeroMQConnectorPlugin
from streambench.errors import ConnectorError
from tests.connectors.conftest import Servers
from tests.connectors.endpoint_server import HOST, EndpointServer, free_port, listens
from tests.connectors.tls_redis import PASSWORD, TlsRedis
from tests.living import none_left, processes
from tests.redis_server import RedisServer
from tests.required import need

DEADLINE_S = 60.0
GONE_S = 10.0
ROOT = Path(__file__).parents[2]
MARK = 'STREAMBENCH_TEST_MARK'

PUT_ELSEWHERE = """\
import json, sys
from streambench import worker
print(json.dumps(worker.put(b'from another process', sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def name() -> str:
    """Return a name that no store has had."""
    return f'streambench-{secrets.token_hex(6)}'


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what marks the processes that a test starts."""
    value = secrets.token_hex(8)
    monkeypatch.setenv(MARK, value)
    return f'{MARK}={value}'


@pytest.fixture
def zmq_plugin() -> ZeroMQConnectorPlugin:
    """Return ZeroMQ on a free port of loopback."""
    need(*ZeroMQConnectorPlugin.packages, install=ZeroMQConnectorPlugin.install)
    return ZeroMQConnectorPlugin(ps_port=free_port(), ps_interface='lo')


def refusal(plugin: ConnectorPlugin, name: str) -> str:
    """Return what a connector that can't be opened says."""

    async def opened() -> None:
        async with asyncio.timeout(DEADLINE_S), plugin.open(name):
            pass

    with pytest.raises(ConnectorError) as caught:
        asyncio.run(opened())
    text = str(caught.value)
    assert '\n' not in text
    assert text.endswith('.')
    assert PASSWORD not in text
    return text


def secured(servers: Servers, **values: Any) -> RedisConnectorPlugin:
    """Return settings for the server with TLS."""
    server = servers(TlsRedis)
    given: dict[str, Any] = {'ps_host': server.host, 'ps_port': server.port, 'ps_password': PASSWORD}
    return RedisConnectorPlugin(**(given | values))


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'ps_tls': True}, ['not trusted', '--ps-ca-file']),
        ({'ps_ca_file': 'stranger.crt'}, ['not trusted', '--ps-ca-file']),
        ({'ps_ca_file': 'nothing.crt'}, ["nothing.crt' can not be read"]),
        ({}, ['--ps-tls true']),
        ({'ps_ca_file': 'ca.crt', 'ps_password': 'wrong'}, ['refuses the given', '$STREAMBENCH_PS_']),
        ({'ps_ca_file': 'ca.crt', 'ps_host': 'localhost'}, ['not trusted', 'as the certificate does']),
    ],
)
def test_a_refused_handshake_is_one_sentence(
    servers: Servers, name: str, values: dict[str, Any], words: list[str]
) -> None:
    """Unknown authority, missing file, no TLS, wrong password, wrong host: each says its remedy."""
    if 'ps_ca_file' in values:
        directory = servers(TlsRedis).directory
        values = values | {'ps_ca_file': str(directory / values['ps_ca_file'])}
    text = refusal(secured(servers, **values), name)
    for word in words:
        assert word in text


def test_a_url_file_brings_tls(servers: Servers, name: str, tmp_path: Path) -> None:
    """A rediss:// URL with its password opens the store in its database; nothing is left there."""
    server = servers(TlsRedis)
    file = tmp_path / 'url'
    file.write_text(f'rediss://:{PASSWORD}@{server.host}:{server.port}/2\n')
    plugin = RedisConnectorPlugin(ps_url_file=str(file), ps_ca_file=server.ca_file)

    async def used() -> bytes:
        async with plugin.open(name) as store:
            key = await store.put([b'payload'])
            # That is database 0.
            assert await asyncio.to_thread(server.keys) == []
            return await asyncio.to_thread(worker.resolve, key, store.description)

    assert asyncio.run(used()) == b'payload'
    with server.client() as client:
        assert client.info('keyspace') == {}


def test_the_zmq_server_ends_with_its_store(
    zmq_plugin: ZeroMQConnectorPlugin, name: str, mark: str
) -> None:
    """While the store is open one server runs on a leash; when it closed none does."""
    assert zmq_plugin.ps_port is not None
    seen: list[str] = []

    async def used() -> None:
        async with zmq_plugin.open(name) as store:
            await store.put([b'payload'])
            seen.extend((await asyncio.to_thread(processes, mark)).values())

    asyncio.run(used())
    assert len(seen) == 2
    assert all('start_server' in words for words in seen)
    assert not none_left(lambda: processes(mark), within_s=GONE_S)
    assert not listens(zmq_plugin.ps_port)


def test_a_worker_that_only_reads_starts_no_server(
    zmq_plugin: ZeroMQConnectorPlugin, name: str, mark: str
) -> None:
    """Elsewhere a proxy is resolved by the server that its key names; none is started there."""
    from streambench.connectors.zmq_connector import ZeroMQConnector

    other = free_port()

    async def used() -> bytes:
        async with zmq_plugin.open(name) as store:
            key = await store.put([b'payload'])
            # A worker of another node: its own server would be another one.
            description = store.description.replace(str(zmq_plugin.ps_port), str(other))
            description = description.replace(name, f'{name}-elsewhere')
            try:
                return await asyncio.to_thread(worker.resolve, key, description)
            finally:
                assert not await asyncio.to_thread(listens, other)
                await asyncio.to_thread(worker.close_stores, f'{name}-elsewhere')

    assert asyncio.run(used()) == b'payload'
    assert ZeroMQConnector.__name__ == zmq_plugin.class_name


@pytest.mark.parametrize('killed', [False, True])
def test_a_server_of_a_worker_ends_with_it(
    zmq_plugin: ZeroMQConnectorPlugin, name: str, mark: str, killed: bool
) -> None:
    """A worker of another node that puts has a server of its own, which serves us and goes with it."""
    other = free_port()

    async def used() -> None:
        async with zmq_plugin.open(name) as store:
            description = store.description.replace(str(zmq_plugin.ps_port), str(other))
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, '-c', PUT_ELSEWHERE, description],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {'PYTHONPATH': str(ROOT)},
            )
            assert process.stdin is not None
            assert process.stdout is not None
            async with asyncio.timeout(DEADLINE_S):
                key = tuple(json.loads(await process.stdout.readline()))
                found = await asyncio.to_thread(worker.resolve, key, store.description)
                assert found == b'from another process'
                store.evict(key)
                await store.settle()
                assert await asyncio.to_thread(listens, other)
                if killed:
                    process.kill()
                process.stdin.close()
                await process.wait()

    asyncio.run(used())
    assert not none_left(lambda: processes(mark), within_s=GONE_S)
    assert not listens(other)


def test_a_port_of_somebody_else_is_one_sentence(name: str, mark: str) -> None:
    """What listens there and is no such server is not waited for long, and nothing is left."""
    need(*ZeroMQConnectorPlugin.packages, install=ZeroMQConnectorPlugin.install)
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        plugin = ZeroMQConnectorPlugin(ps_port=port, ps_address=HOST)
        text = refusal(plugin, name)
    assert f'{HOST}:{port}' in text
    assert '--ps-port' in text
    assert not none_left(lambda: processes(mark), within_s=GONE_S)


@pytest.mark.parametrize('values', [{'ps_address': '192.0.2.1'}, {'ps_interface': 'nothing0'}])
def test_an_address_that_is_not_ours_is_one_sentence(name: str, values: dict[str, str]) -> None:
    """A server can't be started at an address, or on an interface, that this machine hasn't."""
    need(*ZeroMQConnectorPlugin.packages, install=ZeroMQConnectorPlugin.install)
    text = refusal(ZeroMQConnectorPlugin(ps_port=free_port(), **values), name)
    assert '--ps-interface' in text


async def lost(plugin: ConnectorPlugin, name: str, kill: Any) -> None:
    """Kill a store's server; every use of it must fail soon with words, and closing must not."""
    async with asyncio.timeout(DEADLINE_S), plugin.open(name) as store:
        key = await store.put([b'payload'])
        await asyncio.to_thread(kill)
        with pytest.raises(ConnectorError, match=r'7 bytes \(.*[Cc]onnection'):
            await store.put([b'payload'])
        with pytest.raises(Exception, match=r'[Cc]onnection'):
            await asyncio.to_thread(worker.resolve, key, store.description)
        store.evict(key)
        with pytest.raises(ConnectorError, match='did not remove'):
            await store.settle()


def test_a_lost_zmq_server_is_an_error(zmq_plugin: ZeroMQConnectorPlugin, name: str, mark: str) -> None:
    """ZeroMQ itself would wait for it for ever."""

    def kill() -> None:
        for number in processes(mark):
            os.kill(number, signal.SIGKILL)

    asyncio.run(lost(zmq_plugin, name, kill))
    assert not none_left(lambda: processes(mark), within_s=GONE_S)


def test_a_lost_endpoint_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ProxyStore's own class would end in an AssertionError without words."""
    with EndpointServer() as server:
        monkeypatch.setenv('PROXYSTORE_HOME', str(server.home))
        plugin = EndpointConnectorPlugin(ps_endpoints=(server.uuid,))
        asyncio.run(lost(plugin, name, server.kill))
        text = refusal(plugin, name)
        assert server.uuid in text
        assert '$PROXYSTORE_HOME' in text


def test_an_unknown_endpoint_is_one_sentence(
    servers: Servers, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A UUID that nobody configured here, and a home without endpoints, say how to start one."""
    server = servers(EndpointServer)
    monkeypatch.setenv('PROXYSTORE_HOME', str(server.home))
    other = 'a68bf7c8-3a8f-4390-b1ee-4e885a32ad42'
    text = refusal(EndpointConnectorPlugin(ps_endpoints=(other,)), name)
    assert other in text
    assert 'proxystore-endpoint start' in text


def test_threads_that_follow_each_other_share_a_store() -> None:
    """A process opens as many stores as threads use them at once: one, unless it has more."""
    places: list[int] = []

    def note() -> None:
        places.append(worker._place())

    for _ in range(worker.STORES_PER_PROCESS + 3):
        thread = threading.Thread(target=note)
        thread.start()
        thread.join()
    assert len(set(places)) == 1
    places.clear()
    barrier = threading.Barrier(5)

    def note_together() -> None:
        note()
        barrier.wait(DEADLINE_S)

    together = [threading.Thread(target=note_together) for _ in range(5)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert len(set(places)) == 5


def test_a_key_keeps_its_tuples() -> None:
    """A key whose fields hold tuples is the same after JSON has made lists of them."""
    from proxystore.connectors.globus import GlobusKey

    key = worker.key_of(GlobusKey, ['file', ['task-1', 'task-2']])
    assert tuple(key) == ('file', ('task-1', 'task-2'))
    assert hash(key) == hash(GlobusKey('file', ('task-1', 'task-2')))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Return a Redis server of the test's own."""
    with RedisServer() as running:
        yield running


async def test_a_silent_redis_is_not_waited_for(name: str, server: RedisServer) -> None:
    """What was to be put, fetched or removed is given up; its threads would wait for 30 s."""
    plugin = RedisConnectorPlugin(ps_host=server.host, ps_port=server.port)
    async with plugin.open(name) as store:
        keys = [await store.put([b'payload']) for _ in range(2)]
        with server.silent():
            before_s = time.monotonic()
            putting = asyncio.create_task(store.put([b'another']))
            fetching = asyncio.create_task(
                asyncio.to_thread(worker.resolve, keys[0], store.description)
            )
            await asyncio.sleep(0.3)
            assert not fetching.done()
            while not fetching.done():
                worker.break_off(name)
                await asyncio.sleep(0.05)
            assert isinstance(await outcome(fetching), redis.ConnectionError)
            putting.cancel()
            store.evict(keys[1])
            with pytest.raises(ConnectorError, match='did not remove'):
                await store.settle(silent_s=0.3)
            assert isinstance(await outcome(putting), asyncio.CancelledError)
            assert time.monotonic() - before_s < GONE_S
    assert await asyncio.to_thread(server.keys) == []


async def outcome(task: asyncio.Task[Any]) -> BaseException | None:
    """Return what a task raises."""
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait([task])
    return asyncio.CancelledError() if task.cancelled() else task.exception()
