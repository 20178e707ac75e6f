"""ProxyStore's RedisConnector with password and TLS, keys that tell whose they are, no silent retries.

It travels to workers: nothing above layer 0 is imported here.
"""

from __future__ import annotations

import socket
import uuid
from contextlib import suppress
from typing import Any

import redis
from proxystore.connectors.redis import RedisConnector as PlainRedisConnector
from proxystore.connectors.redis import RedisKey
from proxystore.serialize import BytesLike
from redis.backoff import NoBackoff
from redis.retry import Retry

CONNECT_S = 5.0
ANSWER_S = 30.0


class RedisConnector(PlainRedisConnector):
    """Connector whose objects can be found again, for a server with or without a password and TLS.

    redis-py would retry ten times, for more than a minute, where a server is gone: a task that hangs
    instead of failing, and time that no figure accounts for.

    Args:
        hostname: Host of the server.
        port: Its port.
        clear: Must stay False: True would remove every key of the server at the end.
        prefix: What the names of all keys begin with.
        password: Its password, if it asks for one.
        username: The user that the password belongs to, if not the default one.
        db: Number of the server's database.
        tls: Whether the server speaks TLS.
        ca_file: Certificates that its own is checked against, on every worker; else the system's.
        answer_s: Seconds in which an answer must come.
    """

    def __init__(
        self,
        hostname: str,
        port: int,
        clear: bool = False,
        *,
        prefix: str,
        password: str | None = None,
        username: str | None = None,
        db: int = 0,
        tls: bool = False,
        ca_file: str | None = None,
        answer_s: float = ANSWER_S,
    ) -> None:
        super().__init__(hostname, port, clear)
        self._redis_client.close()
        self._own = {
            'prefix': prefix,
            'password': password,
            'username': username,
            'db': db,
            'tls': tls,
            'ca_file': ca_file,
        }
        self.prefix = prefix
        self._aborted = False
        self._redis_client = redis.StrictRedis(
            host=hostname,
            port=port,
            password=password,
            username=username,
            db=db,
            ssl=tls,
            ssl_ca_certs=ca_file,
            socket_connect_timeout=CONNECT_S,
            socket_timeout=answer_s,
            retry=Retry(NoBackoff(), 0),
        )

    def ping(self) -> None:
        """Return if the server answers.

        Raises:
            redis.RedisError: If it refuses, or doesn't in time.
        """
        self._redis_client.ping()

    def config(self) -> dict[str, Any]:
        """Return what makes an equal connector."""
        return super().config() | self._own

    def new_key(self, obj: BytesLike | None = None) -> RedisKey:
        """Return a key that no object has had."""
        return RedisKey(redis_key=f'{self.prefix}:{uuid.uuid4()}')

    def put(self, obj: BytesLike) -> RedisKey:
        """Put an object and return its key."""
        key = self.new_key(obj)
        self.set(key, obj)
        return key

    def set(self, key: RedisKey, obj: BytesLike) -> None:
        """Put an object under a key.

        Raises:
            redis.DataError: If it is above the server's limit; the server just cuts the connection.
        """
        try:
            super().set(key, obj)
        except redis.RedisError as error:
            # Who is silent doesn't tell either.
            silent = self._aborted or isinstance(error, redis.TimeoutError)
            limit = None if silent else self._limit()
            if limit is None or len(obj) <= limit:
                raise
            raise redis.DataError(
                f"{len(obj)} bytes are above the limit of Redis, {limit}: raise the server's setting "
                'proto-max-bulk-len, or lower --data-size-bytes.'
            ) from None

    def _limit(self) -> int | None:
        try:
            return int(self._redis_client.config_get('proto-max-bulk-len')['proto-max-bulk-len'] or 0)
        except (redis.RedisError, KeyError):
            return None

    def abort(self) -> None:
        """Break off what other threads wait for: it fails as if the server had gone."""
        self._aborted = True
        for connection in list(self._redis_client.connection_pool._in_use_connections):
            # Another thread may be at its end.
            with suppress(OSError, AttributeError):
                connection._sock.shutdown(socket.SHUT_RDWR)

    def put_batch(self, objs: Any) -> list[RedisKey]:
        """Put objects and return their keys."""
        return [self.put(obj) for obj in objs]

    def remove_all(self) -> None:
        """Remove every object under the prefix, whoever put it."""
        for name in self._redis_client.scan_iter(match=f'{self.prefix}:*', count=1000):
            self._redis_client.delete(name)
