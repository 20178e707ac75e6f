"""The connector `redis`: objects as keys of a Redis server."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from streambench.connectors.base import ConnectorPlugin
from streambench.errors import ConfigError, ConnectorError
from streambench.kinds import host, port, text
from streambench.options import option
from streambench.url_file import read_url


@dataclass(frozen=True, kw_only=True)
class RedisConnectorPlugin(ConnectorPlugin):
    """ProxyStore's RedisConnector, with what a password, tidy keys and a lost server need."""

    name: ClassVar[str] = 'redis'
    class_name: ClassVar[str] = 'RedisConnector'
    summary: ClassVar[str] = 'keys of a Redis server; an embedded one is started if none is given'
    packages: ClassVar[tuple[str, ...]] = ('proxystore', 'redis')
    install: ClassVar[str] = "pip install 'proxystore[redis]'"

    ps_host: str | None = option(
        "Host of the store's server (Redis: embedded if absent).", host(), group='connector'
    )
    ps_port: int | None = option("Port of the store's server.", port(), group='connector')
    ps_url_file: str | None = option(
        'File with a redis:// URL of the store.', text('FILE'), group='connector'
    )
    ps_password: str | None = option(
        'Password of the store, from $STREAMBENCH_PS_PASSWORD.',
        text(),
        group='connector',
        secret=True,
    )

    def __post_init__(self) -> None:
        """Refuse half an address."""
        if (self.ps_host is None) != (self.ps_port is None):
            given, missing = (
                ('--ps-port', '--ps-host') if self.ps_host is None else ('--ps-host', '--ps-port')
            )
            raise ConfigError(
                f'--ps-connector redis with {given} needs {missing} too, or neither of them for '
                'the embedded server.'
            )
        if self.ps_host is not None and self.ps_url_file is not None:
            raise ConfigError('give --ps-host and --ps-port or --ps-url-file, not both.')

    @property
    def needs_redis_server(self) -> bool:
        """Whether no address was given."""
        return self.ps_host is None and self.ps_url_file is None

    def at(self, host: str, port: int, password: str) -> Self:
        """Return these settings for an embedded server."""
        return replace(self, ps_host=host, ps_port=port, ps_password=password)

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        if self.ps_url_file is not None:
            url = read_url(self.ps_url_file, flag='--ps-url-file')
            settings = {'hostname': url.pop('host', 'localhost'), 'port': url.pop('port', 6379)}
            settings |= {key: url[key] for key in ('password', 'username') if key in url}
        else:
            settings = {'hostname': self.ps_host, 'port': self.ps_port}
        if self.ps_password is not None:
            settings['password'] = self.ps_password
        return settings

    def address(self) -> tuple[str, int] | None:
        """Return host and port of the server."""
        settings = self._settings()
        return str(settings['hostname']), int(settings['port'])

    def check(self) -> None:
        """Raise ConnectorError if the server doesn't answer or refuses."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        settings = self._settings()
        where = f'{settings["hostname"]}:{settings["port"]}'
        client = redis.Redis(
            host=settings['hostname'],
            port=settings['port'],
            password=settings.get('password'),
            username=settings.get('username'),
            socket_connect_timeout=5.0,
            socket_timeout=5.0,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            client.ping()
        except redis.AuthenticationError as error:
            given = settings.get('password') is not None
            why = f'refuses the given password ({error})' if given else 'asks for a password'
            raise ConnectorError(
                f'Redis at {where} {why}: set $STREAMBENCH_PS_PASSWORD or give --ps-url-file.'
            ) from None
        except redis.RedisError as error:
            raise ConnectorError(
                f'no Redis server answers at {where} ({error}): start one there, or leave out '
                '--ps-host and --ps-port to use the embedded one.'
            ) from None
        finally:
            client.close()

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        key = 'proxystore.connectors.redis:RedisKey'
        settings = self._settings() | {'prefix': name}
        return 'streambench.connectors.password_redis.RedisConnector', settings, key

    def clean(self, name: str) -> None:
        """Remove keys that nobody could evict: a generator was killed on its worker."""
        import redis

        from streambench.connectors.password_redis import RedisConnector

        connector = RedisConnector(**self._settings(), prefix=name)
        # A server that is gone has forgotten them.
        with suppress(redis.RedisError), connector:
            connector.remove_all()
