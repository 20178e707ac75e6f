"""The broker `redis`: pub/sub over one connection for each end, pipelined, with hiredis.

redis-py's own client retries and resubscribes silently, which would double or lose items without a
word; here a connection is made anew in the open, and counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from streambench.brokers.base import RECONNECT_S, BrokerPlugin, Publisher, Subscriber, split_address
from streambench.errors import BrokerError, ConfigError
from streambench.options import assignments, option, text
from streambench.url_file import read_url

if TYPE_CHECKING:
    from redis.asyncio import Connection

READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class RedisBroker(BrokerPlugin):
    """Redis pub/sub."""

    name: ClassVar[str] = 'redis'
    summary: ClassVar[str] = 'Redis pub/sub; an embedded server is started if no address is given'
    packages: ClassVar[tuple[str, ...]] = ('redis', 'hiredis')
    install: ClassVar[str] = "pip install 'redis[hiredis]'"

    stream_servers: str | None = option(
        'Address of the broker (Redis: embedded if absent).', text('HOST:PORT'), group='broker'
    )
    stream_url_file: str | None = option(
        'File with a redis:// URL, so that its password is not on the command line.',
        text('FILE'),
        group='broker',
    )
    stream_option: tuple[tuple[str, str], ...] = option(
        "Settings of the broker's client, checked by name.",
        assignments(),
        default=(),
        group='broker',
    )
    stream_password: str | None = option(
        'Password of the broker, from $STREAMBENCH_STREAM_PASSWORD.',
        text(),
        group='broker',
        secret=True,
    )

    @property
    def needs_redis_server(self) -> bool:
        """Whether no address was given."""
        return self.stream_servers is None and self.stream_url_file is None

    def at(self, host: str, port: int, password: str) -> Self:
        """Return these settings for an embedded server."""
        return replace(self, stream_servers=f'{host}:{port}', stream_password=password)

    def address(self) -> tuple[str, int] | None:
        """Return host and port of the server."""
        settings = self._settings()
        return str(settings['host']), int(settings['port'])

    def _settings(self) -> dict[str, Any]:
        """Return what redis-py's Connection is made of."""
        settings: dict[str, Any] = {}
        if self.stream_url_file is not None:
            settings |= read_url(self.stream_url_file, flag='--stream-url-file')
        if self.stream_servers is not None:
            host, port = split_address(self.stream_servers, default_port=6379, flag='--stream-servers')
            settings |= {'host': host, 'port': port}
        if self.stream_password is not None:
            settings['password'] = self.stream_password
        return {'host': 'localhost', 'port': 6379} | settings | self._client_options()

    def _client_options(self) -> dict[str, Any]:
        import inspect

        from redis.asyncio.connection import AbstractConnection, Connection

        known = {
            name: parameter.default
            for kind in (AbstractConnection, Connection)
            for name, parameter in inspect.signature(kind.__init__).parameters.items()
        }
        result: dict[str, Any] = {}
        for key, value in self.stream_option:
            if key not in known or key in ('self', 'kwargs', 'password', 'parser_class'):
                raise ConfigError(
                    f'--stream-option: {key!r} is no setting of the redis client; there are '
                    f'socket_timeout, socket_connect_timeout, socket_read_size, username, db.'
                )
            result[key] = _converted(value)
        return result

    async def _connect(self) -> Connection:
        from redis.asyncio import Connection
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import AuthenticationError, RedisError

        defaults: dict[str, Any] = {
            'retry': Retry(NoBackoff(), 0),
            'socket_timeout': None,
            'socket_connect_timeout': 5.0,
            'socket_read_size': READ_BYTES,
            'protocol': 2,
            'driver_info': None,
        }
        settings = defaults | self._settings()
        connection = Connection(**settings)
        where = f'{settings["host"]}:{settings["port"]}'
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            # A server with a password accepts the connection and refuses the first command.
            await connection.send_command('PING')
            await connection.read_response()
        except (RedisError, OSError) as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, AuthenticationError) or 'NOAUTH' in str(error):
                raise BrokerError(
                    f'Redis at {where} refuses the connection ({error}): set '
                    '$STREAMBENCH_STREAM_PASSWORD or give --stream-url-file.'
                ) from None
            raise BrokerError(
                f'no Redis server answers at {where} ({error}): start one there, or leave out '
                '--stream-servers to use the embedded one.'
            ) from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _connect_again(self) -> Connection:
        """Connect to a server that went away, for as long as a restart takes."""
        import asyncio

        deadline = asyncio.get_running_loop().time() + RECONNECT_S
        while True:
            try:
                return await self._connect()
            except BrokerError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def open_publisher(self, topic: str) -> AsyncIterator[Publisher]:
        """Open the sending end of a topic."""
        from streambench.brokers.redis_client import RedisPublisher

        publisher = RedisPublisher(await self._connect(), self._connect_again, topic)
        try:
            yield publisher
        finally:
            await publisher.close()

    @asynccontextmanager
    async def open_subscriber(self, topic: str) -> AsyncIterator[Subscriber]:
        """Open the receiving end; enters when Redis has confirmed the subscription."""
        from streambench.brokers.redis_client import RedisSubscriber

        subscriber = RedisSubscriber(self._connect_again, topic)
        try:
            await subscriber.subscribe(await self._connect())
            yield subscriber
        finally:
            await subscriber.close()


def _converted(value: str) -> int | float | str | None:
    """Return a client setting in the type that its text looks like."""
    if value.lower() == 'none':
        return None
    for kind in (int, float):
        with suppress(ValueError):
            return kind(value)
    return value
