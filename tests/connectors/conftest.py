"""Every connector of the registry, with a look behind it."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import redis

from streambench import registry
from streambench.connectors.base import ConnectorPlugin
from streambench.connectors.endpoint import EndpointConnectorPlugin
from streambench.connectors.file import FileConnectorPlugin
from streambench.connectors.local import LocalConnectorPlugin
from streambench.connectors.redis import RedisConnectorPlugin
from streambench.connectors.zmq import ZeroMQConnectorPlugin
from streambench.servers.redis import EmbeddedRedis
from tests.connectors.endpoint_server import HOST, EndpointServer, free_port, listens
from tests.connectors.tls_redis import PASSWORD, TlsRedis
from tests.redis_server import RedisServer
from tests.required import need

Server = TypeVar('Server', bound=AbstractContextManager[Any])


class Servers(Protocol):
    """Gives the one server of a class."""

    def __call__(self, kind: type[Server]) -> Server:
        """Return it, started."""
        ...


# Their libraries or services can't be had: test_refusals.py meets them up to their error.
NEVER = {'globus', 'margo', 'ucx', 'daos'}
NAMES = [name for name in registry.names('connector', others=False) if name not in NEVER]
# Redis stands three times in the contract: an embedded server has a password, a user's may have none
# or speak TLS.
CASES = [
    case for name in NAMES for case in (['embedded', 'open', 'tls'] if name == 'redis' else [name])
]
OWN_FILE = 'not-of-streambench'


@dataclass(frozen=True, kw_only=True)
class Place:
    """A connector and what can be seen of it from outside.

    Attributes:
        plugin: Its settings.
        objects: Returns what lies in the store, off the loop.
        user: Directory of the user that the store is made in, if it is made in one.
    """

    plugin: ConnectorPlugin
    objects: Callable[[], Collection[object]]
    user: Path | None = None


def local_objects() -> Collection[object]:
    """Return what the open local store holds; nothing without one."""
    from proxystore.connectors.local import LocalConnector
    from proxystore.store import _stores

    found = [store.connector for store in _stores.values()]
    return [key for one in found if isinstance(one, LocalConnector) for key in one._store]


@pytest.fixture(scope='module')
def redis_server() -> Iterator[RedisServer]:
    """Return a server without a password."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope='session')
def servers() -> Iterator[Servers]:
    """Return what gives the one server of a class, started when it is first asked for."""
    started: dict[type[Any], Any] = {}
    with ExitStack() as stack:

        def get(kind: type[Server]) -> Server:
            if kind not in started:
                started[kind] = stack.enter_context(kind())
            found: Server = started[kind]
            return found

        yield get


@dataclass(frozen=True, kw_only=True)
class NotedZeroMQ(ZeroMQConnectorPlugin):
    """ZeroMQ with keys that are noted."""

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        _, arguments, key_class = super().connector(name)
        return 'tests.connectors.noted_zmq.NotedZeroMQConnector', arguments, key_class


def zmq_objects(port: int) -> Callable[[], Collection[object]]:
    """Return what finds the objects in a ZeroMQ server, which doesn't list them: it asks for each."""
    need(*ZeroMQConnectorPlugin.packages, install=ZeroMQConnectorPlugin.install)
    from tests.connectors.noted_zmq import NotedZeroMQConnector

    def objects() -> list[object]:
        if not listens(port):
            return []
        with NotedZeroMQConnector(port, HOST) as asker:
            keys = [key for key in NotedZeroMQConnector.keys if key.peer_port == port]
            return [key for key in keys if asker.exists(key)]

    return objects


@pytest.fixture
def store_name() -> str:
    """Return a name that no store has had."""
    return f'streambench-{secrets.token_hex(6)}'


@pytest.fixture(params=CASES)
async def place(
    request: pytest.FixtureRequest,
    redis_server: RedisServer,
    servers: Servers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Place]:
    """Return each connector of the registry."""
    case: str = request.param
    if case == 'embedded':
        async with EmbeddedRedis() as server:
            plugin = RedisConnectorPlugin().at(server.host, server.port, server.password)

            def keys() -> list[bytes]:
                with redis.Redis(
                    host=server.host, port=server.port, password=server.password
                ) as client:
                    return list(client.scan_iter())

            yield Place(plugin=plugin, objects=keys)
    elif case == 'open':
        await asyncio.to_thread(redis_server.ask, 'FLUSHALL')
        yield Place(
            plugin=RedisConnectorPlugin(ps_host=redis_server.host, ps_port=redis_server.port),
            objects=redis_server.keys,
        )
    elif case == 'file':
        (tmp_path / OWN_FILE).touch()

        def files() -> set[str]:
            # An object is a file and a second one that marks it as whole.
            found = {path.stem for path in tmp_path.rglob('*') if path.is_file()}
            return found - {OWN_FILE}

        yield Place(plugin=FileConnectorPlugin(ps_file_dir=str(tmp_path)), objects=files, user=tmp_path)
    elif case == 'local':
        yield Place(plugin=LocalConnectorPlugin(), objects=local_objects)
    elif case == 'tls':
        secure = await asyncio.to_thread(servers, TlsRedis)
        plugin = RedisConnectorPlugin(
            ps_host=secure.host, ps_port=secure.port, ps_password=PASSWORD, ps_ca_file=secure.ca_file
        )
        yield Place(plugin=plugin, objects=secure.keys)
    elif case == 'endpoint':
        endpoint = await asyncio.to_thread(servers, EndpointServer)
        monkeypatch.setenv('PROXYSTORE_HOME', str(endpoint.home))
        yield Place(
            plugin=EndpointConnectorPlugin(ps_endpoints=(endpoint.uuid,)), objects=endpoint.objects
        )
    elif case == 'zmq':
        port = free_port()
        yield Place(
            plugin=NotedZeroMQ(ps_port=port, ps_address=HOST),
            objects=await asyncio.to_thread(zmq_objects, port),
        )
    elif case == registry.BY_PATH:
        directory = tmp_path / 'by-path'
        path = 'proxystore.connectors.file:FileConnector'
        options = json.dumps({'store_dir': str(directory)})

        def objects() -> set[str]:
            return {entry.stem for entry in directory.rglob('*')}

        yield Place(
            plugin=registry.load('connector', path)(ps_options=options), objects=objects, user=None
        )
    else:
        pytest.fail(f'the contract says nothing about the connector {case!r}: make a place for it')
