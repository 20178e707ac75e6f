"""Reachability before the wait: what can't work is refused, and workers say what they can't reach."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from streambench import Config, configure, open_session
from streambench.errors import ConfigError, ExecutorError
from streambench.executors.base import OpenExecutor
from streambench.executors.pools import ProcessExecutor
from streambench.interfaces import address_of
from streambench.reach import reach
from streambench.servers.redis import EmbeddedRedis

AWAY = '127.77.0.1'


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


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_worker_says_what_it_can_not_reach() -> None:
    """Name, address and reason; what it reaches is not named."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        gone = closed_port()
        _, failures, *_ = reach((0.0, (('store', '127.0.0.1', port), ('broker', '127.0.0.1', gone))))
    assert len(failures) == 1
    assert failures[0].startswith(f'broker at 127.0.0.1:{gone} (')


async def test_embedded_servers_on_an_interface_are_reached() -> None:
    """Workers elsewhere find store and broker at the interface's address, which has a password."""
    chosen = config(bind_interface='127.0.0.2', generator='worker')
    async with open_session(chosen) as session:
        assert session.connector is not None
        assert session.connector.address() == ('127.0.0.2', session.connector.address()[1])  # type: ignore[index]
        row = (await session.run()).row
    assert row.completed_tasks == 6


async def test_who_can_t_reach_what_ends_the_run_before_it_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence with the host, the server and the remedy."""
    chosen = config(bind_interface='127.0.0.2')
    async with open_session(chosen) as session:
        assert session.connector is not None
        plugin = type(session.connector)
        monkeypatch.setattr(plugin, 'address', lambda self: (AWAY, closed_port()))
        with pytest.raises(
            ExecutorError, match=rf'can not reach the store at {AWAY}:\d+ .*bind-interf'
        ):
            await session.run()


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


def test_interfaces_have_addresses() -> None:
    """By name, by address, and a sentence for what is none."""
    assert address_of('lo') == '127.0.0.1'
    assert address_of('127.0.0.9') == '127.0.0.9'
    with pytest.raises(ConfigError, match="'nosuch0' is no interface"):
        address_of('nosuch0')
