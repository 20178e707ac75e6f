"""ProxyStore's RedisConnector with a password, which its own doesn't take.

It travels to workers: nothing above layer 0 is imported here.
"""

from __future__ import annotations

from typing import Any

import redis
from proxystore.connectors.redis import RedisConnector as UnprotectedRedisConnector


class RedisConnector(UnprotectedRedisConnector):
    """Connector to a Redis server that asks for a password.

    Args:
        hostname: Host of the server.
        port: Its port.
        clear: Must stay False: True would remove every key of the server at the end.
        password: Its password.
        username: The user that the password belongs to, if not the default one.
    """

    def __init__(
        self,
        hostname: str,
        port: int,
        clear: bool = False,
        *,
        password: str,
        username: str | None = None,
    ) -> None:
        super().__init__(hostname, port, clear)
        self._redis_client.close()
        self.password = password
        self.username = username
        self._redis_client = redis.StrictRedis(
            host=hostname, port=port, password=password, username=username
        )

    def config(self) -> dict[str, Any]:
        """Return what makes an equal connector."""
        return super().config() | {'password': self.password, 'username': self.username}
