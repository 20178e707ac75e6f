"""The broker `redis`: pub/sub over one connection for each end, pipelined, with hiredis.

redis-py's own client retries and resubscribes silently, which would double or lose items without a
word; here a connection is made anew in the open, and counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from streambench.brokers.base import (
    RECONNECT_S,
    Publisher,
    ServerBrokerPlugin,
    Subscriber,
    split_address,
)
from streambench.errors import BrokerError, ConfigError, in_one_line
from streambench.kinds import Kind, address, count, seconds, size, switch, text
from streambench.options import option
from streambench.url_file import read_url

if TYPE_CHECKING:
    from redis.asyncio import Connection

READ_BYTES = 1 << 20
LIMIT = 'proto-max-bulk-len'

# Settings of redis-py's Connection that may be given; the others would undo what is done here.
CLIENT_OPTIONS: dict[str, Kind] = {
    'socket_timeout': seconds(above=True),
    'socket_connect_timeout': seconds(above=True),
    'socket_read_size': size(minimum=1),
    'socket_keepalive': switch(),
    'client_name': text(),
    'username': text(),
    'db': count(minimum=0, maximum=10**6),
}


@dataclass(frozen=True, kw_only=True)
class RedisBroker(ServerBrokerPlugin):
    """Redis pub/sub."""

    name: ClassVar[str] = 'redis'
    summary: ClassVar[str] = 'Redis pub/sub; an embedded server is started if no address is given'
    tested: ClassVar[str] = 'yes'
    packages: ClassVar[tuple[str, ...]] = ('redis', 'hiredis')
    install: ClassVar[str] = "pip install 'redis[hiredis]'"

    stream_servers: str | None = option(
        'Address of the broker (Redis: embedded if absent).', address(), group='broker'
    )
    stream_url_file: str | None = option(
        'File with a redis:// URL, so that its password is not on the command line.',
        text('FILE'),
        group='broker',
    )

    def __post_init__(self) -> None:
        """Refuse two addresses, and settings that the client doesn't have."""
        if self.stream_servers is not None and self.stream_url_file is not None:
            raise ConfigError('give --stream-servers or --stream-url-file, not both.')
        self._client_options()

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

    def for_workers(self) -> Self:
        """Return these settings with what the file says in place of the file."""
        if self.stream_url_file is None:
            return self
        settings = self._settings()
        host = f'[{settings["host"]}]' if ':' in settings['host'] else settings['host']
        named = {key: str(settings[key]) for key in ('username', 'db') if key in settings}
        return replace(
            self,
            stream_url_file=None,
            stream_servers=f'{host}:{settings["port"]}',
            stream_password=settings.get('password'),
            stream_option=tuple((dict(self.stream_option) | named).items()),
        )

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
        import difflib

        result: dict[str, Any] = {}
        for key, value in self.stream_option:
            if key not in CLIENT_OPTIONS:
                near = difflib.get_close_matches(key, CLIENT_OPTIONS, n=1)
                raise ConfigError(
                    f'--stream-option: {key!r} is no setting of the redis client that can be given; '
                    f'{"did you mean " + near[0] + "?" if near else "there are"} '
                    f'{"" if near else ", ".join(CLIENT_OPTIONS) + "."}'.rstrip()
                )
            try:
                result[key] = CLIENT_OPTIONS[key].parse(value)
            except ValueError as error:
                raise ConfigError(f'--stream-option: {key}={value} {error}.') from None
        return result

    async def _connect(self) -> Connection:
        from redis.asyncio import Connection
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import AuthenticationError, RedisError

        from streambench.brokers.redis_client import ask

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
            await ask(connection, 'PING')
        except (RedisError, OSError) as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, AuthenticationError) or 'NOAUTH' in str(error):
                given = settings.get('password') is not None
                why = f'refuses the given password ({error})' if given else 'asks for a password'
                raise BrokerError(
                    f'Redis at {where} {why}: set $STREAMBENCH_STREAM_PASSWORD or give '
                    '--stream-url-file.',
                    reason=f'it {why}',
                ) from None
            reason = in_one_line(error)
            raise BrokerError(
                f'no Redis server answers at {where} ({reason}): start one there, or leave out '
                '--stream-servers to use the embedded one.',
                reason=reason,
            ) from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _limit(self, connection: Connection) -> int | None:
        """Return the longest message that the server takes, or None if it doesn't tell."""
        from redis.exceptions import RedisError

        from streambench.brokers.redis_client import ask

        try:
            answer = await ask(connection, 'CONFIG', 'GET', LIMIT)
            return int(answer[1])
        except (RedisError, OSError, IndexError, ValueError):
            # A user without the right to ask is no reason to stop; a lost connection is noticed anyway.
            return None

    async def server_cpu_s(self) -> float | None:
        """Return the CPU time that the server has taken so far; None if it doesn't tell."""
        from redis.exceptions import RedisError

        from streambench.brokers.redis_client import ask

        try:
            connection = await self._connect()
        except BrokerError:
            return None
        try:
            lines = (await ask(connection, 'INFO', 'cpu')).decode().splitlines()
            told = dict(line.split(':', 1) for line in lines if ':' in line)
            return float(told['used_cpu_sys']) + float(told['used_cpu_user'])
        except (RedisError, OSError, LookupError, ValueError):
            # As above.
            return None
        finally:
            await connection.disconnect(nowait=True)

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

        connection = await self._connect()
        publisher = RedisPublisher(
            connection, self._connect_again, topic, limit=await self._limit(connection)
        )
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
