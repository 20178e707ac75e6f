"""Every connector of the registry, with a look behind it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from streambench import registry
from streambench.connectors.base import ConnectorPlugin
from streambench.connectors.file import FileConnectorPlugin
from streambench.connectors.local import LocalConnectorPlugin
from streambench.connectors.redis import RedisConnectorPlugin
from streambench.servers.redis import EmbeddedRedis
from tests.redis_server import RedisServer

NAMES = registry.names('connector', others=False)
# Redis stands twice in the contract: an embedded server has a password, a user's may have none.
CASES = [case for name in NAMES for case in (['embedded', 'open'] if name == 'redis' else [name])]
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


@pytest.fixture
def store_name() -> str:
    """Return a name that no store has had."""
    return f'streambench-{secrets.token_hex(6)}'


@pytest.fixture(params=CASES)
async def place(
    request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path
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
    else:
        pytest.fail(f'the contract says nothing about the connector {case!r}: make a place for it')
